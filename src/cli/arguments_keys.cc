// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// key create, ls, rm, rotate.
#include "cli/argument_parts.h"

namespace tinderbox::cli {
namespace {

void AddTime(CLI::App* app, const std::string& flags, std::optional<std::chrono::seconds>& time,
             const std::string& what) {
  app->add_option_function<std::string>(
         flags, [&time](const std::string& text) { SetDuration(time.emplace(), text); }, what)
      ->type_name("DURATION");
}

}  // namespace

void DefineKeys(CLI::App& app, Building& b) {
  CLI::App* group = AddCommand(app, b, "key", "API keys of the daemon; for root on its host",
                               "  tinderbox key create --label ci --expires 90d\n"
                               "  tinderbox key ls\n"
                               "  tinderbox key rotate 3f2a9c01b7de --grace 1h\n"
                               "  tinderbox key rm 3f2a9c01b7de\n"
                               "\n"
                               "Who has a key may use every sandbox of the daemon.");
  group->require_subcommand(1);

  CLI::App* create = AddCommand(*group, b, "create", "Make a key and print it; it is not kept",
                                "  tinderbox key create --label ci --expires 90d");
  auto made = Own<KeyCreateOptions>(b, create);
  create->add_option("-l,--label", made->label, "Who uses it (default: unnamed)")
      ->type_name("TEXT");
  AddTime(create, "--expires", made->expires, "It is refused after this time (default: never)");

  CLI::App* list = AddCommand(*group, b, "ls", "List keys with their last use; never the keys",
                              "  tinderbox key ls");
  list->alias("list");
  list->add_flag("-q,--quiet", Own<KeyListOptions>(b, list)->quiet, "Ids only");

  CLI::App* remove = AddCommand(*group, b, "rm", "Remove keys; they are refused from then on",
                                "  tinderbox key rm 3f2a9c01b7de");
  auto removed = Own<KeyRemoveOptions>(b, remove);
  remove->add_option("ID", removed->keys, "From `tinderbox key ls`")->required();
  remove->add_flag("-f,--force", removed->force, "No error if there is none");

  CLI::App* rotate = AddCommand(*group, b, "rotate",
                                "Replace a key by a new one with its label and expiry; print that",
                                "  tinderbox key rotate 3f2a9c01b7de --grace 1h");
  auto rotated = Own<KeyRotateOptions>(b, rotate);
  rotate->add_option("ID", rotated->key, "From `tinderbox key ls`")->required();
  AddTime(rotate, "--grace", rotated->grace,
          "The old key works for this time (default: not at all)");
}

}  // namespace tinderbox::cli
