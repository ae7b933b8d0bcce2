// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <cstdio>

#include "launch/commands.h"

namespace tinderbox::launch {
namespace {

base::Result<int> Run(const Options& options) {
  if (::geteuid() != 0) {
    return std::unexpected(
        base::Error(base::Code::kPermissionDenied, "only root can start and see VMs")
            .WithRemedy("Run it by sudo."));
  }
  if (const auto* start = std::get_if<StartOptions>(&options.command))
    return Start(options, *start);
  if (const auto* wait = std::get_if<WaitOptions>(&options.command)) return Wait(options, *wait);
  if (const auto* stop = std::get_if<StopOptions>(&options.command)) return Stop(options, *stop);
  if (const auto* console = std::get_if<ConsoleOptions>(&options.command)) {
    return ShowConsole(options, *console);
  }
  return List(options);
}

int Main(int argc, char** argv) {
  // A reader of our output that goes away is an error of write(2), not our death.
  ::signal(SIGPIPE, SIG_IGN);
  const auto parsed = ParseArguments(argc, argv);
  if (const auto* printed = std::get_if<Printed>(&parsed)) {
    std::fputs(printed->text.c_str(), printed->exit_code == 0 ? stdout : stderr);
    return printed->exit_code;
  }
  const auto& options = std::get<Options>(parsed);
  const auto code = Run(options);
  if (code) return *code;
  fmt::print(stderr, "tinderbox-launch: {}\n", code.error().ToString());
  if (!code.error().remedy().empty()) fmt::print(stderr, "  {}\n", code.error().remedy());
  return std::holds_alternative<StartOptions>(options.command) ? kLaunchFailed : 1;
}

}  // namespace
}  // namespace tinderbox::launch

int main(int argc, char** argv) { return tinderbox::launch::Main(argc, argv); }
