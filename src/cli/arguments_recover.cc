// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// recover ls, adopt, rm.
#include "cli/argument_parts.h"

namespace tinderbox::cli {

void DefineRecover(CLI::App& app, Building& b) {
  CLI::App* group = AddCommand(
      app, b, "recover", "Data in lost+found: volumes and sandboxes without a record",
      "  tinderbox recover ls\n"
      "  tinderbox recover adopt volume-0vyocdmnp22oab9c3y1y\n"
      "  tinderbox recover rm sandbox-i0123456789abcdefghij\n"
      "\n"
      "The daemon moves data there that its database does not know. It deletes nothing.");
  group->require_subcommand(1);

  CLI::App* list =
      AddCommand(*group, b, "ls", "List what is in lost+found", "  tinderbox recover ls");
  list->alias("list");
  list->add_flag("-q,--quiet", Own<RecoverListOptions>(b, list)->quiet, "Names only");

  CLI::App* adopt =
      AddCommand(*group, b, "adopt", "Take up a volume, or a sandbox as a paused one",
                 "  tinderbox recover adopt --name data2 volume-0vyocdmnp22oab9c3y1y");
  auto adopted = Own<RecoverAdoptOptions>(b, adopt);
  adopt->add_option("ENTRY", adopted->entry, "As `recover ls` lists it")->required();
  adopt->add_option("--name", adopted->name, "Of a volume: another name than it had");

  CLI::App* remove = AddCommand(*group, b, "rm", "Delete entries of lost+found and their data",
                                "  tinderbox recover rm volume-0vyocdmnp22oab9c3y1y");
  auto removed = Own<RecoverRemoveOptions>(b, remove);
  remove->add_option("ENTRY", removed->entries, "As `recover ls` lists it")->required();
  remove->add_flag("-f,--force", removed->force, "No error where there is none");
}

}  // namespace tinderbox::cli
