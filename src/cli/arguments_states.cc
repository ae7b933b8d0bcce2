// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// The commands that keep and restore states: pause, resume, fork, snapshot, rollback, template,
// prune.
#include "cli/argument_parts.h"

namespace tinderbox::cli {
namespace {

constexpr char kSandbox[] = "Id, beginning of one, or name";
constexpr char kTemplate[] = "Id or name, with its tag where it has one";

void AddTimeout(CLI::App* app, std::optional<std::chrono::seconds>& timeout,
                const std::string& what) {
  app->add_option_function<std::string>(
         "--timeout", [&timeout](const std::string& text) { SetDuration(timeout.emplace(), text); },
         what)
      ->type_name("DURATION");
}

void AddTimings(CLI::App* app, bool& timings) {
  app->add_flag("--timings", timings, "Tell how long each stage of the start took");
}

// A word that only groups commands: `tinderbox snapshot ls`.
CLI::App* AddGroup(CLI::App& app, Building& b, const std::string& name, const std::string& what,
                   const std::string& examples) {
  CLI::App* group = AddCommand(app, b, name, what, examples);
  group->require_subcommand(1);
  return group;
}

void DefinePause(CLI::App& app, Building& b) {
  CLI::App* pause = AddCommand(
      app, b, "pause", "Keep sandboxes as they are, and give their memory and processors back",
      "  tinderbox pause web\n"
      "  tinderbox pause --disk-only web     # it boots when it is resumed\n"
      "\n"
      "One that cannot be paused runs on.");
  auto paused = Own<PauseOptions>(b, pause);
  pause->add_option("SANDBOX", paused->sandboxes, "Ids, beginnings of ids, or names")->required();
  pause->add_flag("--disk-only", paused->disk_only, "Keep the disk alone, not the memory");
  pause->add_flag("--require-healthy", paused->require_healthy,
                  "Refuse where the agent in it does not answer");

  CLI::App* resume = AddCommand(app, b, "resume", "Go on with a paused sandbox",
                                "  tinderbox resume web\n"
                                "  tinderbox resume --timeout 1h --on-timeout pause web\n"
                                "  tinderbox resume --reboot web       # from its disk alone\n"
                                "\n"
                                "Its timeout is five minutes unless given.");
  auto resumed = Own<ResumeOptions>(b, resume);
  resume->add_option("SANDBOX", resumed->sandbox, kSandbox)->required();
  AddTimeout(resume, resumed->timeout, "End it after this long (default: 5m)");
  resume
      ->add_option("--on-timeout", resumed->on_timeout, "What that does to it (default: as it was)")
      ->type_name("pause|kill")
      ->check(CLI::IsMember({"pause", "kill"}));
  resume->add_flag("--reboot", resumed->reboot, "Boot it from its disk; its memory is dropped");
  AddTimings(resume, resumed->timings);
}

void DefineFork(CLI::App& app, Building& b) {
  CLI::App* fork = AddCommand(
      app, b, "fork", "Make sandboxes with the memory and disk of one that runs",
      "  tinderbox fork web                  # prints the new sandbox's id\n"
      "  tinderbox fork -n 10 --timeout 1h web\n"
      "\n"
      "Each has an id, a token and a network of its own; the first goes on running. The\n"
      "exit status is 1 where any of them could not be made.");
  auto forked = Own<ForkOptions>(b, fork);
  fork->add_option("SANDBOX", forked->sandbox, kSandbox)->required();
  fork->add_option("-n,--count", forked->count, "How many (default: 1)")
      ->type_name("N")
      ->check(Positive());
  AddTimeout(fork, forked->timeout, "End each after this long (default: 5m)");
  AddTimings(fork, forked->timings);

  CLI::App* rollback =
      AddCommand(app, b, "rollback", "Put a sandbox back to a snapshot that was taken of it",
                 "  tinderbox snapshot create --name before web\n"
                 "  tinderbox exec web -- apt-get upgrade -y\n"
                 "  tinderbox rollback web before");
  auto rolled = Own<RollbackOptions>(b, rollback);
  rollback->add_option("SANDBOX", rolled->sandbox, kSandbox)->required();
  rollback->add_option("SNAPSHOT", rolled->snapshot, kTemplate)->required();
  AddTimings(rollback, rolled->timings);
}

void AddRemove(CLI::App& group, Building& b, const std::string& what, const std::string& examples) {
  CLI::App* remove = AddCommand(group, b, "rm", what, examples);
  auto removed = Own<TemplateRemoveOptions>(b, remove);
  remove->add_option("NAME", removed->templates, kTemplate)->required();
  remove->add_flag("-f,--force", removed->force, "No error where there is none");
}

void AddVerify(CLI::App& group, Building& b, const std::string& examples) {
  CLI::App* verify =
      AddCommand(group, b, "verify", "Read all of it, and compare it with its checksums", examples);
  verify->add_option("NAME", Own<VerifyOptions>(b, verify)->templates, kTemplate)->required();
}

void DefineSnapshot(CLI::App& app, Building& b) {
  CLI::App* group =
      AddGroup(app, b, "snapshot", "Keep the state of a sandbox, to create others from",
               "  tinderbox snapshot create --name ready web\n"
               "  tinderbox create -T ready\n"
               "  tinderbox snapshot ls web\n"
               "  tinderbox snapshot rm ready");
  CLI::App* create =
      AddCommand(*group, b, "create", "Take a snapshot and print its id",
                 "  tinderbox snapshot create web\n"
                 "  tinderbox snapshot create --name ready:v2 --disk-only web\n"
                 "  tinderbox snapshot create --name api --start 'python3 -m http.server' \\\n"
                 "      --ready 'curl -sf localhost:8000' web\n"
                 "\n"
                 "A name that a snapshot bears already goes over to the new one.");
  auto created = Own<SnapshotCreateOptions>(b, create);
  create->add_option("SANDBOX", created->sandbox, kSandbox)->required();
  create->add_option("--name", created->name, "Name to create sandboxes from it by")
      ->type_name("NAME[:TAG]");
  CLI::Option* start =
      create->add_option("--start", created->start,
                         "Run this first, in the background; it runs in all that come from it");
  CLI::Option* ready =
      create->add_option("--ready", created->ready,
                         "Wait until this succeeds, tried every 2 s (default: 20 s after --start)");
  create
      ->add_option_function<std::string>(
          "--ready-timeout",
          [created](const std::string& text) { SetDuration(created->ready_time, text); },
          "How long at most (default: 10m)")
      ->type_name("DURATION")
      ->needs(ready);
  create->add_flag("--disk-only", created->disk_only, "Keep the disk alone, not the memory")
      ->excludes(start);
  CLI::App* list = AddCommand(*group, b, "ls", "List snapshots",
                              "  tinderbox snapshot ls\n"
                              "  tinderbox snapshot ls -q web");
  list->alias("list");
  auto listed = Own<SnapshotListOptions>(b, list);
  list->add_option("SANDBOX", listed->sandbox, "Only those of this one");
  list->add_flag("-q,--quiet", listed->quiet, "Ids only");
  AddRemove(*group, b, "Remove snapshots", "  tinderbox snapshot rm ready ready:v2");
  AddVerify(*group, b, "  tinderbox snapshot verify ready");
}

void DefineTemplates(CLI::App& app, Building& b) {
  CLI::App* group = AddGroup(app, b, "template", "What sandboxes can be created from",
                             "  tinderbox template ls\n"
                             "  tinderbox template inspect base");
  for (CLI::App* list :
       {AddCommand(*group, b, "ls", "List templates and snapshots", "  tinderbox template ls"),
        AddCommand(app, b, "templates", "The same as: template ls", "  tinderbox templates")}) {
    list->add_flag("-q,--quiet", Own<TemplatesOptions>(b, list)->quiet, "Ids only");
  }
  AddRemove(*group, b, "Remove templates and snapshots", "  tinderbox template rm mine:v1");
  AddVerify(*group, b, "  tinderbox template verify base");
  CLI::App* inspect = AddCommand(*group, b, "inspect", "Show everything about templates, as JSON",
                                 "  tinderbox template inspect base | jq .misfit");
  inspect->add_option("NAME", Own<TemplateInspectOptions>(b, inspect)->templates, kTemplate)
      ->required();
  CLI::App* prune =
      AddCommand(app, b, "prune", "Remove what can be made again, or nobody can use",
                 "  tinderbox prune\n"
                 "\n"
                 "Saved boots that no longer fit, and remains of what was interrupted; never a\n"
                 "template, a snapshot or a sandbox.");
  Own<PruneOptions>(b, prune);
}

}  // namespace

void DefineStates(CLI::App& app, Building& b) {
  DefinePause(app, b);
  DefineFork(app, b);
  DefineSnapshot(app, b);
  DefineTemplates(app, b);
}

}  // namespace tinderbox::cli
