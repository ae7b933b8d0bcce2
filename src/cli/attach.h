// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cli/agent.h"
#include "cli/options.h"
#include "cli/terminal.h"

namespace tinderbox::cli {

inline constexpr int kOwnFailure = 125;      // tinderbox itself failed
inline constexpr int kCannotExecute = 126;   // the command is there but cannot be executed
inline constexpr int kNotFoundStatus = 127;  // no such command

// Runs one command in a sandbox with our standard streams as its own, until it ends, and yields
// what a shell's $? would be, or one of the above after an error that it has printed. Streams are
// carried as they come; nothing is gathered.
//
// Signals: the first SIGINT, SIGTERM, SIGHUP or SIGQUIT sends SIGTERM to the command, the second
// SIGKILL, the third leaves at once. If the command dies of ours, the status is 128 + the signal
// that we were sent. With a terminal of its own in raw mode, Ctrl-C is a byte like any other and
// reaches the command as such. A reader of ours that goes away (cat | head) ends the command;
// status 141.
int RunAttached(Agent& agent, const ProcessOptions& options, SignalQueue& signals);

}  // namespace tinderbox::cli
