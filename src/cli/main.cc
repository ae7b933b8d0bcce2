// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <string>
#include <variant>
#include <vector>

#include "cli/attach.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/session.h"
#include "sys/file.h"

namespace tinderbox::cli {
namespace {

// As docker and podman have it: a failure of ours must not look like the command's own status.
int OwnFailure(bool runs_command) { return runs_command ? kOwnFailure : 1; }

int Main(const std::vector<std::string>& arguments) {
  auto parsed = ParseArguments(arguments);
  if (const auto* stop = std::get_if<ParseStop>(&parsed)) {
    const int fd = stop->exit_code == 0 ? STDOUT_FILENO : STDERR_FILENO;
    static_cast<void>(sys::WriteAll(sys::FdRef::Borrow(fd), stop->text));
    const bool runs = !arguments.empty() && (arguments[0] == "run" || arguments[0] == "exec");
    return stop->exit_code != 0 && runs ? kOwnFailure : stop->exit_code;
  }
  const auto& invocation = std::get<Invocation>(parsed);
  const bool runs = std::holds_alternative<RunOptions>(invocation.command) ||
                    std::holds_alternative<ExecOptions>(invocation.command);
  auto session = Session::FromEnvironment(invocation.global);
  if (!session) {
    PrintError(session.error());
    return OwnFailure(runs);
  }
  const auto status = std::visit(
      [&session](const auto& options) { return Execute(*session, options); }, invocation.command);
  if (status) return *status;
  PrintError(status.error());
  return OwnFailure(runs);
}

}  // namespace
}  // namespace tinderbox::cli

int main(int argc, char** argv) {
  return tinderbox::cli::Main(std::vector<std::string>(argv + (argc > 0 ? 1 : 0), argv + argc));
}
