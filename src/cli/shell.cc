// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "cli/shell.h"

#include <fmt/format.h>

#include <boost/json.hpp>
#include <optional>
#include <thread>

#include "cli/process_event.h"

namespace tinderbox::cli {
namespace {

namespace json = boost::json;
using base::Code;
using base::Deadline;
using base::Result;

constexpr std::size_t kMaxOutput = 1 << 20;
constexpr std::chrono::seconds kBetweenLooks{2};
constexpr std::chrono::seconds kWithoutCheck{20};

Result<net::ConnectStream> Start(const Agent& agent, const std::string& command,
                                 Deadline deadline) {
  const json::object process = {{"cmd", "/bin/bash"}, {"args", json::array{"-l", "-c", command}}};
  return agent.Stream("/process.Process/Start",
                      json::object{{"process", process}, {"stdin", false}}, deadline);
}

// How the process of `stream` has ended, if it has by `deadline`.
Result<std::optional<int>> EndedBy(net::ConnectStream& stream, Deadline deadline) {
  ProcessEvent event;
  while (true) {
    const auto payload = stream.Next(deadline);
    if (!payload && payload.error().code() == Code::kDeadlineExceeded) return std::nullopt;
    if (!payload) return std::unexpected(payload.error());
    if (!*payload) return base::Fail(Code::kUnavailable, "a command ended without saying how");
    TRY(DecodeProcessEvent(**payload, event));
    if (event.kind == ProcessEvent::Kind::kEnd) return std::optional(ShellStatus(event));
  }
}

}  // namespace

Result<ShellResult> RunShell(const Agent& agent, const std::string& command, Deadline deadline) {
  auto stream = TRY(Start(agent, command, deadline));
  ShellResult result;
  ProcessEvent event;
  while (const auto payload = TRY(stream.Next(deadline))) {
    TRY(DecodeProcessEvent(*payload, event));
    if (event.kind == ProcessEvent::Kind::kStdout && result.output.size() < kMaxOutput) {
      result.output += event.bytes;
    }
    if (event.kind == ProcessEvent::Kind::kEnd) result.status = ShellStatus(event);
  }
  return result;
}

Result<> StartAndAwaitReady(const Agent& agent, const StartCommand& command) {
  const auto deadline = Deadline::After(command.ready_time);
  std::optional<net::ConnectStream> started;
  if (!command.start.empty()) started = TRY(Start(agent, command.start, deadline));
  const auto check_start = [&](Deadline until) -> Result<> {
    if (!started) {
      if (!until.passed()) std::this_thread::sleep_for(until.left());
      return {};
    }
    const auto status = TRY(EndedBy(*started, until));
    if (!status) return {};
    if (*status != 0) {
      return base::Fail(Code::kFailedPrecondition,
                        fmt::format("the start command exited with status {}", *status));
    }
    started.reset();  // it has done its work
    if (!until.passed()) std::this_thread::sleep_for(until.left());
    return {};
  };
  if (command.ready.empty()) return check_start(Deadline::After(kWithoutCheck));
  while (true) {
    TRY(check_start(Deadline::After(std::chrono::seconds(0))));
    if (TRY(RunShell(agent, command.ready, deadline)).status == 0) return {};
    TRY(check_start(Deadline::After(kBetweenLooks)));
    if (deadline.passed()) {
      return base::Fail(Code::kDeadlineExceeded, "the ready command did not succeed in time");
    }
  }
}

}  // namespace tinderbox::cli
