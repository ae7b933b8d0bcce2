// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// What may stand on the command line, and its help.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <functional>
#include <iterator>
#include <map>
#include <sstream>

#include "cli/argument_parts.h"
#include "cli/duration.h"
#include "cli/options.h"

namespace tinderbox::cli {
namespace {

// CLI11 does not know of the words that prefix_command leaves to the sandbox.
class UsageWithCommand : public CLI::Formatter {
 public:
  std::string make_usage(const CLI::App* app, std::string name) const override {
    const bool exec = app->get_name() == "exec";
    return fmt::format("Usage: {} [OPTIONS]{} [--] [COMMAND [ARGS...]]\n", name,
                       exec ? " SANDBOX" : "");
  }
};

void AddSandbox(CLI::App* app, SandboxOptions& options) {
  app->add_option("-T,--template", options.template_id, "Template to start from")
      ->type_name("NAME")
      ->capture_default_str();
  app->add_option("--memory", options.memory_mib, "Memory in MiB (default: the template's)")
      ->type_name("MIB")
      ->check(Positive());
  app->add_option("--cpus", options.cpus, "Virtual CPUs (default: the template's)")
      ->type_name("N")
      ->check(Positive());
  app->add_option_function<std::string>(
         "--timeout",
         [&options](const std::string& text) { SetDuration(options.timeout.emplace(), text); },
         "End the sandbox after this long, whatever it does (default: see below)")
      ->type_name("DURATION");
  app->add_option("--name", options.name, "Name by which other commands find the sandbox")
      ->type_name("NAME");
  AddPairs(app, "-m,--metadata", options.metadata,
           "Metadata to keep with the sandbox (repeatable)");
  app->add_option_function<std::vector<std::string>>(
         "-v,--volume",
         [&options](const std::vector<std::string>& words) {
           for (const std::string& word : words) {
             const auto at = word.find(':');
             if (at == std::string::npos || at == 0) {
               throw CLI::ValidationError(fmt::format("'{}' is not NAME:PATH", word));
             }
             options.volumes.emplace_back(word.substr(0, at), word.substr(at + 1));
           }
         },
         "Volume to mount, and where (repeatable)")
      ->type_name("NAME:PATH")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  app->add_flag("--no-internet", options.no_internet, "No way out to public addresses");
  app->add_option("--on-timeout", options.on_timeout, "What its timeout does to it (default: kill)")
      ->type_name("pause|kill")
      ->check(CLI::IsMember({"pause", "kill"}));
  app->add_flag("--auto-resume", options.auto_resume,
                "Traffic to it (exec, cp, its ports) resumes it when it is paused");
  app->add_flag("--cold", options.cold, "Boot it, even where a snapshot could be restored");
  app->add_flag("--timings", options.timings, "Tell how long each stage of the start took");
}

void AddProcess(CLI::App* app, ProcessOptions& options) {
  app->add_flag("-i,--interactive", options.interactive,
                "Forward standard input, its end included");
  app->add_flag("-t,--tty", options.tty, "Give the command a terminal (with -i: interactive)");
  AddPairs(app, "-e,--env", options.env, "Environment of the command (repeatable)");
  app->add_option("-w,--workdir", options.workdir, "Working directory in the sandbox")
      ->type_name("DIR");
  app->add_option("-u,--user", options.user, "User to run as (default: the template's)")
      ->type_name("USER");
}

// The words that are the command: those behind "--", or everything from the first word that is no
// option of ours.
std::vector<std::string> CommandWords(const CLI::App* app, const Building& building) {
  std::vector<std::string> words = app->remaining();
  if (!words.empty() && words.front().starts_with('-') && words.front() != "-") {
    throw CLI::ValidationError(
        fmt::format("{} is no option of {}", words.front(), app->get_name()));
  }
  std::ranges::copy(building.after_dashes, std::back_inserter(words));
  return words;
}

void DefineRun(CLI::App& app, Building& b) {
  CLI::App* sub = AddCommand(
      app, b, "run", "Run a command in a new sandbox",
      "  tinderbox run --rm -- python3 -c 'print(6 * 7)'\n"
      "  echo hi | tinderbox run --rm -i -- cat\n"
      "  tinderbox run --rm -it -- bash\n"
      "  tinderbox run -e GREETING=hi --memory 512 --timeout 10m -- sh -c 'echo $GREETING'\n"
      "\n"
      "Without --rm the sandbox stays after the command, until its timeout; its id is told on\n"
      "standard error where that is a terminal, and written to the --id-file. The exit status is\n"
      "the command's, 128+N if signal N ended it, 125 if tinderbox itself failed, 126 if the\n"
      "command could not be executed, 127 if it was not found.\n"
      "\n"
      "A --timeout (90s, 10m, 1h30m) is kept to the second. Without one the sandbox lives as long "
      "as\n"
      "the command, and five minutes more.");
  auto options = std::make_shared<RunOptions>();
  AddSandbox(sub, options->sandbox);
  AddProcess(sub, options->process);
  sub->add_flag("--rm", options->remove, "Remove the sandbox when the command has ended");
  sub->add_option("--id-file", options->id_file, "Write the sandbox's id to this file")
      ->type_name("FILE");
  sub->prefix_command();
  sub->formatter(std::make_shared<UsageWithCommand>());
  sub->get_formatter()->column_width(34);
  b.finish[sub] = [options, sub, &b] {
    options->process.command = CommandWords(sub, b);
    return Command(*options);
  };
}

void DefineExec(CLI::App& app, Building& b) {
  CLI::App* sub =
      AddCommand(app, b, "exec", "Run a command in a sandbox that is there",
                 "  tinderbox exec web -- ps aux\n"
                 "  tinderbox exec -it i3k bash\n"
                 "  tar -c src | tinderbox exec -i web -- tar -x -C /tmp\n"
                 "\n"
                 "SANDBOX is an id, the beginning of one, or a name. The exit status is "
                 "as for run.");
  auto options = std::make_shared<ExecOptions>();
  AddProcess(sub, options->process);
  sub->add_option("SANDBOX", options->sandbox, "Id, beginning of an id, or name")->required();
  sub->prefix_command();
  sub->formatter(std::make_shared<UsageWithCommand>());
  sub->get_formatter()->column_width(34);
  b.finish[sub] = [options, sub, &b] {
    options->process.command = CommandWords(sub, b);
    return Command(*options);
  };
}

void DefineSandboxes(CLI::App& app, Building& b) {
  CLI::App* create = AddCommand(app, b, "create", "Start a sandbox and print its id",
                                "  id=$(tinderbox create --timeout 1h)\n"
                                "  tinderbox create --name web -e PORT=8080 -m owner=me");
  auto created = Own<CreateOptions>(b, create);
  AddSandbox(create, created->sandbox);
  AddPairs(create, "-e,--env", created->env, "Environment of every command in it (repeatable)");

  CLI::App* list = AddCommand(app, b, "ls", "List sandboxes",
                              "  tinderbox ls\n"
                              "  tinderbox ls --json | jq -r '.[].sandboxID'\n"
                              "  tinderbox ls -q -m owner=me");
  list->alias("list");
  auto listed = Own<ListOptions>(b, list);
  list->add_flag("-q,--quiet", listed->quiet, "Ids only");
  list->add_option("--state", listed->state, "Only those in this state: running, paused")
      ->type_name("STATE");
  AddPairs(list, "-m,--metadata", listed->metadata, "Only those with this metadata (repeatable)");

  CLI::App* ps =
      AddCommand(app, b, "ps", "List the commands that run in a sandbox", "  tinderbox ps web");
  ps->add_option("SANDBOX", Own<ProcessListOptions>(b, ps)->sandbox,
                 "Id, beginning of one, or name")
      ->required();

  CLI::App* inspect = AddCommand(app, b, "inspect", "Show everything about sandboxes, as JSON",
                                 "  tinderbox inspect web\n"
                                 "  tinderbox inspect web | jq .state");
  inspect
      ->add_option("SANDBOX", Own<InspectOptions>(b, inspect)->sandboxes,
                   "Id, beginning of one, or name")
      ->required();

  CLI::App* remove = AddCommand(app, b, "rm", "Remove sandboxes, running or not",
                                "  tinderbox rm web i3k\n"
                                "  tinderbox rm --all");
  remove->alias("kill");
  auto removed = Own<RemoveOptions>(b, remove);
  remove->add_option("SANDBOX", removed->sandboxes, "Ids, beginnings of ids, or names");
  remove->add_flag("-a,--all", removed->all, "Every sandbox of this daemon");
  remove->add_flag("-f,--force", removed->force, "No error where there is no such sandbox");

  CLI::App* timeout = AddCommand(app, b, "timeout", "Set when a sandbox ends, counted from now",
                                 "  tinderbox timeout web 1h");
  auto timed = Own<TimeoutOptions>(b, timeout);
  timeout->add_option("SANDBOX", timed->sandbox, "Id, beginning of one, or name")->required();
  timeout
      ->add_option_function<std::string>(
          "DURATION", [timed](const std::string& text) { SetDuration(timed->timeout, text); },
          "90s, 10m, 1h30m")
      ->required();
}

void DefineFiles(CLI::App& app, Building& b) {
  CLI::App* copy =
      AddCommand(app, b, "cp", "Copy files and directories into or out of a sandbox",
                 "  tinderbox cp ./script.py web:/home/user/\n"
                 "  tinderbox cp web:/var/log ./logs\n"
                 "  tinderbox cp web:/etc/os-release -\n"
                 "  echo hello | tinderbox cp - web:greeting.txt\n"
                 "\n"
                 "One of the two is SANDBOX:PATH; relative paths there start at the user's home. - "
                 "is standard\n"
                 "input or output, as a file. Write a local name that holds a colon as ./name.");
  auto copied = Own<CopyOptions>(b, copy);
  copy->add_option("FROM", copied->from, "File or directory")->required();
  copy->add_option("TO", copied->to, "File or directory")->required();
  copy->add_option("-u,--user", copied->user, "User who shall own what is copied in")
      ->type_name("USER");

  CLI::App* logs = AddCommand(app, b, "logs", "Show a sandbox's serial console",
                              "  tinderbox logs web\n"
                              "  tinderbox logs -f web");
  auto logged = Own<LogsOptions>(b, logs);
  logs->add_option("SANDBOX", logged->sandbox, "Id, beginning of one, or name")->required();
  logs->add_flag("-f,--follow", logged->follow, "Go on with what comes, until the sandbox is gone");
  logs->add_option("--bytes", logged->bytes, "At most this many of the last bytes")->type_name("N");

  CLI::App* events =
      AddCommand(app, b, "events", "Show what happened to sandboxes, those that are gone included",
                 "  tinderbox events\n"
                 "  tinderbox events -n 100 web\n"
                 "\n"
                 "They are kept for seven days. One that is gone is found by its whole id.");
  auto told = Own<EventsOptions>(b, events);
  events->add_option("SANDBOX", told->sandbox, "Id, beginning of one, or name (default: all)");
  events->add_option("-n,--count", told->count, "The last so many (default: 20)")
      ->type_name("N")
      ->check(Positive());
}

void DefineBench(CLI::App& app, Building& b) {
  CLI::App* bench =
      AddCommand(app, b, "bench", "Measure how long one waits for sandboxes on this host",
                 "  tinderbox bench\n"
                 "  tinderbox bench -n 50 --json\n"
                 "\n"
                 "It makes sandboxes one after the other, and takes them away again.");
  auto options = Own<BenchOptions>(b, bench);
  bench->add_option("-T,--template", options->template_id,
                    "What they are made from (default: base)");
  bench->add_option("-n,--count", options->count, "How many (default: 10)")
      ->type_name("N")
      ->check(Positive());
}

void DefineHost(CLI::App& app, Building& b) {
  Own<InfoOptions>(b, AddCommand(app, b, "info", "Show what the daemon runs on", ""));
  Own<DoctorOptions>(
      b, AddCommand(app, b, "doctor", "Check what works on this host, and say how to mend the rest",
                    "  tinderbox doctor\n"
                    "\n"
                    "The exit status is 1 where a check failed."));
  CLI::App* env = AddCommand(app, b, "env", "Print the variables that point an E2B SDK here",
                             "  eval \"$(tinderbox env)\"\n"
                             "\n"
                             "The API key is made once and kept in a file that only you can read.");
  env->add_flag("--new-key", Own<EnvOptions>(b, env)->fresh, "Make a new key, forget the kept one");
  Own<VersionOptions>(b, AddCommand(app, b, "version", "Show this program's version", ""));
  CLI::App* completion =
      AddCommand(app, b, "completion", "Print a script that teaches a shell to complete our words",
                 "  tinderbox completion bash > /usr/share/bash-completion/completions/tinderbox\n"
                 "  source <(tinderbox completion zsh)\n"
                 "  tinderbox completion fish > ~/.config/fish/completions/tinderbox.fish");
  completion->add_option("SHELL", Own<CompletionOptions>(b, completion)->shell, "bash, zsh or fish")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
}

// The command of a command that was given: `ls` of `snapshot ls`.
CLI::App* Innermost(CLI::App& app) {
  CLI::App* innermost = &app;
  while (!innermost->get_subcommands().empty()) innermost = innermost->get_subcommands().front();
  return innermost;
}

// CLI11 itself would only say that a command is missing.
void CheckCommandName(const CLI::App& app, const std::vector<std::string>& words) {
  const CLI::App* group = &app;
  std::string path;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (words[i] == "--host") {
      ++i;
    } else if (!words[i].starts_with('-')) {
      path += (path.empty() ? "" : " ") + words[i];
      const auto found =
          group->get_subcommands([&](const CLI::App* sub) { return sub->check_name(words[i]); });
      if (found.empty()) {
        throw CLI::ValidationError(fmt::format("there is no command '{}'", path));
      }
      group = found.front();
      if (group->get_subcommands([](const CLI::App*) { return true; }).empty()) return;
    }
  }
}

void CheckRules(const Invocation& invocation, const Building& building) {
  const Command& command = invocation.command;
  const bool takes_command =
      std::holds_alternative<RunOptions>(command) || std::holds_alternative<ExecOptions>(command);
  if (building.had_dashes && !takes_command) {
    throw CLI::ValidationError("nothing may follow -- for this command");
  }
  if (const auto* remove = std::get_if<RemoveOptions>(&command)) {
    if (remove->all != remove->sandboxes.empty()) {
      throw CLI::ValidationError("rm: name the sandboxes to remove, or give --all");
    }
  }
}

}  // namespace

void AddPairs(CLI::App* app, const std::string& flags, Pairs& pairs, const std::string& what) {
  app->add_option_function<std::vector<std::string>>(
         flags,
         [&pairs](const std::vector<std::string>& words) {
           for (const std::string& word : words) {
             const auto at = word.find('=');
             if (at == std::string::npos || at == 0) {
               throw CLI::ValidationError(fmt::format("'{}' is not KEY=VALUE", word));
             }
             pairs.emplace_back(word.substr(0, at), word.substr(at + 1));
           }
         },
         what)
      ->type_name("KEY=VALUE")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
}

CLI::Validator Positive() {
  return CLI::Validator(
      [](std::string& word) {
        const bool digits = !word.empty() && word.find_first_not_of("0123456789") == word.npos;
        if (digits && word.find_first_not_of('0') != word.npos) return std::string();
        return fmt::format("'{}' is not a whole number above 0", word);
      },
      "");
}

void AddGlobal(CLI::App* app, GlobalOptions& global) {
  app->add_option("--host", global.host,
                  "Daemon to talk to (default: $TINDERBOX_HOST, else its unix socket)")
      ->type_name("URL")
      ->group("Global options");
  app->add_flag("--json", global.json, "Answer as JSON, with the API's field names")
      ->group("Global options");
}

void SetDuration(std::chrono::seconds& to, const std::string& text) {
  const auto parsed = ParseDuration(text);
  if (!parsed) {
    throw CLI::ValidationError(parsed.error().message() + ". " + parsed.error().remedy());
  }
  to = *parsed;
}

CLI::App* AddCommand(CLI::App& app, Building& b, const std::string& name, const std::string& what,
                     const std::string& examples) {
  CLI::App* sub = app.add_subcommand(name, what);
  AddGlobal(sub, b.invocation.global);
  if (!examples.empty()) sub->footer("Examples:\n" + examples);
  return sub;
}

std::variant<Invocation, ParseStop> ParseArguments(const std::vector<std::string>& arguments) {
  Building building;
  CLI::App app("Run untrusted code in throw-away Linux microVMs.", "tinderbox");
  app.require_subcommand(1);
  app.get_formatter()->column_width(34);
  app.footer(
      "Start with:\n"
      "  tinderbox run --rm -- uname -a\n"
      "  tinderbox run --rm -it\n"
      "  tinderbox doctor\n"
      "\n"
      "Each command has its own --help, with examples. tinderbox(1) tells the rest.");
  AddGlobal(&app, building.invocation.global);
  bool version = false;
  app.add_flag("--version", version, "Show this program's version");
  DefineRun(app, building);
  DefineExec(app, building);
  DefineSandboxes(app, building);
  DefineStates(app, building);
  DefineVolumes(app, building);
  DefineSecrets(app, building);
  DefineKeys(app, building);
  DefineRecover(app, building);
  DefineFiles(app, building);
  DefineHost(app, building);
  DefineBench(app, building);

  // CLI11 is not told of "--": what follows belongs to the sandbox, untouched.
  const auto dashes = std::ranges::find(arguments, "--");
  std::vector<std::string> ours(arguments.begin(), dashes);
  if (dashes != arguments.end()) {
    building.had_dashes = true;
    building.after_dashes.assign(dashes + 1, arguments.end());
  }
  if (ours == std::vector<std::string>{"--version"}) ours = {"version"};
  if (ours.empty()) ours = {"--help"};
  try {
    CheckCommandName(app, ours);
    std::ranges::reverse(ours);
    app.parse(ours);
    building.invocation.command = building.finish.at(Innermost(app))();
    CheckRules(building.invocation, building);
    return building.invocation;
  } catch (const CLI::ParseError& error) {
    std::ostringstream out;
    std::ostringstream err;
    if (error.get_exit_code() == 0) {
      app.exit(error, out, err);
      return ParseStop{.text = out.str(), .exit_code = 0};
    }
    std::string name;
    for (const CLI::App* used = &app; !used->get_subcommands().empty();) {
      used = used->get_subcommands().front();
      name += " " + used->get_name();
    }
    return ParseStop{.text = fmt::format("tinderbox: {}\n  See 'tinderbox{} --help'.\n",
                                         std::string_view(error.what()), name),
                     .exit_code = 2};
  }
}

}  // namespace tinderbox::cli
