// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// tinderboxd: the host daemon.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <optional>
#include <string>

#include "base/log.h"
#include "daemon/commands.h"
#include "daemon/config.h"

namespace tinderbox::daemon {
namespace {

using base::Result;

struct Flags {
  std::string config = kDefaultConfigPath;
  bool config_given = false;
  std::optional<std::string> listen;
  std::optional<std::string> socket;
  std::optional<std::string> state_dir;
  std::optional<std::string> run_dir;
  std::optional<std::string> vmm;
  std::optional<std::string> log_level;
  bool all = false;
  StartOptions start;
  std::string backup;
  bool none = false;
};

void AddStartFlags(CLI::App& app, Flags& flags) {
  CLI::Option* adopt = app.add_flag("--adopt", flags.start.adopt,
                                    "With an empty database: take up the volumes and sandboxes "
                                    "that are in the pool");
  app.add_flag("--discard", flags.start.discard,
               "With an empty database: move them to the pool's lost+found")
      ->excludes(adopt);
}

void AddFlags(CLI::App& app, Flags& flags) {
  app.add_option("-c,--config", flags.config, "Configuration file")->capture_default_str();
  app.add_option("--listen", flags.listen, "Address and port of the API (\"\": none)");
  app.add_option("--socket", flags.socket, "Unix socket of the API");
  app.add_option("--state-dir", flags.state_dir, "Where templates, disks and the database stand");
  app.add_option("--run-dir", flags.run_dir, "Where sockets and jails stand");
  app.add_option("--vmm", flags.vmm, "auto, firecracker or qemu");
  app.add_option("--log-level", flags.log_level, "debug, info, warning or error");
}

Result<Config> Configure(const Flags& flags) {
  Config config = TRY(LoadConfig(flags.config, flags.config_given));
  const auto set = [](const std::optional<std::string>& flag, std::string& into) {
    if (flag) into = *flag;
  };
  set(flags.listen, config.listen);
  set(flags.socket, config.socket);
  set(flags.state_dir, config.state_dir);
  set(flags.run_dir, config.run_dir);
  set(flags.vmm, config.vmm);
  set(flags.log_level, config.log_level);
  TRY(CheckConfig(config));
  return config;
}

void SetLevel(const std::string& name) {
  if (name == "debug") base::SetLogLevel(base::LogLevel::kDebug);
  if (name == "warning") base::SetLogLevel(base::LogLevel::kWarning);
  if (name == "error") base::SetLogLevel(base::LogLevel::kError);
}

int Report(const base::Error& error) {
  fmt::print(stderr, "tinderboxd: {}\n", error.ToString());
  if (!error.remedy().empty()) fmt::print(stderr, "  {}\n", error.remedy());
  return 1;
}

int Main(int argc, char** argv) {
  CLI::App app(
      "tinderboxd runs untrusted code in small throw-away virtual machines: the daemon.\n"
      "Without a command it serves, in the foreground (as `run`).",
      "tinderboxd");
  app.set_version_flag("--version", "tinderboxd " TINDERBOX_VERSION);
  app.footer(
      "Examples:\n"
      "  sudo tinderboxd prepare              make the guests' kernel and the template `base`\n"
      "  sudo tinderboxd                      serve until Ctrl-C; sandboxes live on\n"
      "  tinderboxd check-config -c FILE      say whether FILE is good, and what counts\n"
      "  sudo tinderboxd restore              put back the latest backup of the database\n"
      "  sudo tinderboxd cleanup --all        end every sandbox, take everything off the host");
  app.fallthrough();
  app.require_subcommand(0, 1);
  Flags flags;
  AddFlags(app, flags);
  AddStartFlags(app, flags);
  app.add_subcommand("run", "Serve in the foreground until SIGTERM or Ctrl-C");
  CLI::App* prepare =
      app.add_subcommand("prepare", "Make the guests' kernel and the template base");
  CLI::App* check = app.add_subcommand("check-config", "Read the configuration and print it");
  CLI::App* cleanup =
      app.add_subcommand("cleanup", "Remove sandboxes, namespaces, cgroups and mounts (uninstall)");
  cleanup->add_flag("--all", flags.all, "Really remove everything")->required();
  CLI::App* backup = app.add_subcommand("backup", "Copy the database; the daemon may run");
  backup->add_option("FILE", flags.backup, "Where to; default: the state directory's backups");
  CLI::App* restore = app.add_subcommand(
      "restore", "Put back the database out of a backup; the present one is kept");
  CLI::Option* from = restore->add_option("FILE", flags.backup, "Default: the latest backup");
  restore->add_flag("--none", flags.none, "Put back none: the next start begins a new database")
      ->excludes(from);
  CLI11_PARSE(app, argc, argv);
  flags.config_given = app.count("--config") > 0;

  const Result<Config> config = Configure(flags);
  if (!config) return Report(config.error());
  SetLevel(config->log_level);
  Result<> result;
  if (*check) {
    result = CheckFiles(*config);
    if (result) PrintConfig(*config);
  } else if (*prepare) {
    result = Prepare(*config);
  } else if (*cleanup) {
    result = CleanUp(*config);
  } else if (*backup) {
    result = BackUp(*config, flags.backup);
  } else if (*restore) {
    result = Restore(*config, flags.backup, flags.none);
  } else {
    result = RunDaemon(*config, flags.start);
  }
  return result ? 0 : Report(result.error());
}

}  // namespace
}  // namespace tinderbox::daemon

int main(int argc, char** argv) {
  try {
    return tinderbox::daemon::Main(argc, argv);
  } catch (const std::exception& e) {
    // None of ours throw; a library did what it says it does not.
    fmt::print(stderr, "tinderboxd: unexpected exception: {}\n", e.what());
    return 70;
  }
}
