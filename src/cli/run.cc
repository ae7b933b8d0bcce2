// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// tinderbox run, tinderbox exec.
#include <fmt/format.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <csignal>
#include <optional>

#include "cli/agent.h"
#include "cli/attach.h"
#include "cli/commands.h"
#include "cli/new_sandbox.h"
#include "cli/output.h"
#include "cli/terminal.h"
#include "sys/file.h"

namespace tinderbox::cli {
namespace {

// Someone who sits in a shell of a sandbox does not lose it to the timeout; a sandbox that was made
// for one command has its default timeout left when the command ends.
constexpr std::chrono::seconds kExecFloor{120};

void TellThatItStays(const std::string& id) {
  if (!IsTerminal(STDERR_FILENO)) return;
  static_cast<void>(sys::WriteAll(
      sys::FdRef::Borrow(STDERR_FILENO),
      fmt::format("sandbox {} stays until its timeout; remove it: tinderbox rm {}\n", id, id)));
}

}  // namespace

base::Result<int> Execute(Session& session, const RunOptions& options) {
  SignalQueue signals = TRY(SignalQueue::Open());
  auto created = CreateSandbox(session, options.sandbox, {}, signals);
  if (!created) {
    if (created.error().code() != base::Code::kCancelled) {
      return std::unexpected(std::move(created).error());
    }
    PrintError(base::Error(base::Code::kCancelled, "interrupted; no sandbox was left behind"));
    return 128 + created.error().errno_value();
  }
  const std::string id = TextAt(*created, "sandboxID");
  TellTimings(*created);
  base::Result<> noted;
  if (!options.id_file.empty()) noted = sys::WriteFileAtomic(options.id_file, id + "\n");

  int status = kOwnFailure;
  if (noted) {
    std::optional<LifeKeeper> keeper;
    if (!options.sandbox.timeout) keeper.emplace(session, id, kDefaultTimeout);
    Agent agent(session, id, TextAt(*created, "envdAccessToken"), options.process.user);
    status = RunAttached(agent, options.process, signals);
  }
  if (options.remove) {
    if (const auto removed = RemoveSandbox(session, id); !removed) {
      PrintError(removed.error());
      // The command's own failure says more than ours.
      if (status == 0) status = kOwnFailure;
    }
  } else {
    TellThatItStays(id);
  }
  if (!noted) return std::unexpected(std::move(noted).error());
  return status;
}

base::Result<int> Execute(Session& session, const ExecOptions& options) {
  SignalQueue signals = TRY(SignalQueue::Open());
  const std::string id = TRY(session.Resolve(options.sandbox));
  Agent agent = TRY(Agent::Find(session, id, options.process.user));
  const LifeKeeper keeper(session, id, kExecFloor);
  return RunAttached(agent, options.process, signals);
}

}  // namespace tinderbox::cli
