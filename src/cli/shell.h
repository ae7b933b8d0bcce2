// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <string>

#include "base/deadline.h"
#include "base/error.h"
#include "cli/agent.h"

// Commands that the client itself runs in a sandbox: as an SDK does, by a login shell.
namespace tinderbox::cli {

struct ShellResult {
  int status = 0;  // as $? has it
  std::string output;
};

// Runs `command` to its end; of its output the first MiB is kept.
base::Result<ShellResult> RunShell(const Agent& agent, const std::string& command,
                                   base::Deadline deadline);

struct StartCommand {
  std::string start;  // runs on in the background; empty: none
  std::string ready;  // repeated until its status is 0; empty: 20 s after the start
  std::chrono::seconds ready_time{600};
};

// Starts it and waits until it is ready. A start command that fails before that is
// kFailedPrecondition, one that is not ready in time kDeadlineExceeded.
base::Result<> StartAndAwaitReady(const Agent& agent, const StartCommand& command);

}  // namespace tinderbox::cli
