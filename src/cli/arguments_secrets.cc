// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// secret set, ls, rm.
#include "cli/argument_parts.h"

namespace tinderbox::cli {

void DefineSecrets(CLI::App& app, Building& b) {
  CLI::App* group = AddCommand(
      app, b, "secret", "Values that sandboxes use without seeing them",
      "  tinderbox secret set openai < key.txt\n"
      "  tinderbox secret ls\n"
      "  tinderbox secret rm openai\n"
      "\n"
      "A sandbox that is created with network rules has ${e2b.secrets.openai} in a header\n"
      "replaced by the value, on the way out of it.");
  group->require_subcommand(1);

  CLI::App* set = AddCommand(
      *group, b, "set", "Keep a value, or replace the one that is kept",
      "  tinderbox secret set openai < key.txt\n"
      "  tinderbox secret set openai --file key.txt -m team=search\n"
      "  pass show openai | tinderbox secret set openai\n"
      "\n"
      "The value is read from standard input (from a terminal: without showing it) or a file,\n"
      "never from the command line, which everybody on the host may read. One line break at its\n"
      "end is not part of it. It is told to nobody again.");
  auto setting = std::make_shared<SecretSetOptions>();
  auto metadata = std::make_shared<Pairs>();
  b.finish[set] = [setting, metadata] {
    if (!metadata->empty()) setting->metadata = *metadata;
    return Command(*setting);
  };
  set->add_option("NAME", setting->name,
                  "1 to 128 letters, digits, '_' and '-'; kept in lower case")
      ->required();
  set->add_option("-f,--file", setting->file, "File that holds the value (default: -)")
      ->type_name("FILE");
  AddPairs(set, "-m,--metadata", *metadata,
           "Metadata to show with it (repeatable; default: as it was)");

  CLI::App* list =
      AddCommand(*group, b, "ls", "List secrets; never their values", "  tinderbox secret ls");
  list->alias("list");
  list->add_flag("-q,--quiet", Own<SecretListOptions>(b, list)->quiet, "Names only");

  CLI::App* remove =
      AddCommand(*group, b, "rm", "Forget secrets; requests that need them fail from then on",
                 "  tinderbox secret rm openai");
  auto removed = Own<SecretRemoveOptions>(b, remove);
  remove->add_option("NAME", removed->secrets, "Name or id")->required();
  remove->add_flag("-f,--force", removed->force, "No error where there is none");
}

}  // namespace tinderbox::cli
