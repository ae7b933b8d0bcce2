// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// volume create, ls, rm.
#include "cli/argument_parts.h"

namespace tinderbox::cli {

void DefineVolumes(CLI::App& app, Building& b) {
  CLI::App* group = AddCommand(app, b, "volume", "Directories that outlive sandboxes",
                               "  tinderbox volume create data\n"
                               "  tinderbox create -v data:/mnt/data\n"
                               "  tinderbox volume ls\n"
                               "  tinderbox volume rm data\n"
                               "\n"
                               "A volume may be mounted in several sandboxes at once.");
  group->require_subcommand(1);

  CLI::App* create =
      AddCommand(*group, b, "create", "Make a volume", "  tinderbox volume create data");
  create
      ->add_option("NAME", Own<VolumeCreateOptions>(b, create)->name,
                   "1 to 128 letters, digits, '_' and '-'")
      ->required();

  CLI::App* list = AddCommand(*group, b, "ls", "List volumes", "  tinderbox volume ls");
  list->alias("list");
  list->add_flag("-q,--quiet", Own<VolumeListOptions>(b, list)->quiet, "Names only");

  CLI::App* remove =
      AddCommand(*group, b, "rm", "Remove volumes and all that is in them, unless they are mounted",
                 "  tinderbox volume rm data");
  auto removed = Own<VolumeRemoveOptions>(b, remove);
  remove->add_option("NAME", removed->volumes, "Name or id")->required();
  remove->add_flag("-f,--force", removed->force, "No error where there is none");
}

}  // namespace tinderbox::cli
