// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "agent/users.h"
#include "base/error.h"
#include "sys/fd.h"

// Starts a client's program as a user of the guest.
namespace tinderbox::agent {

struct TerminalSize {
  unsigned short cols = 80;
  unsigned short rows = 24;
};

struct SpawnSpec {
  std::vector<std::string> argv;  // argv[0] is looked up in the PATH of `env` unless it has a slash
  std::vector<std::string> env;   // "KEY=value"; nothing else is passed on
  std::string cwd;                // absolute
  User user;
  std::optional<TerminalSize> terminal;  // a PTY instead of pipes
  bool stdin_pipe = true;                // else /dev/null; no meaning with a terminal
  int cgroup = -1;  // directory of the cgroup to begin in; -1, or if it cannot be: the caller's
};

// The new process and our ends of its streams, all non-blocking and close-on-exec.
struct Spawned {
  pid_t pid = -1;
  sys::UniqueFd stdin_pipe;  // only where one was asked for
  sys::UniqueFd stdout_pipe;
  sys::UniqueFd stderr_pipe;
  sys::UniqueFd terminal;  // the PTY's master, instead of the three
};

// Session and process group of its own, the user's ids and groups, oom_score_adj 100, nice 0,
// default signals. Returns once the program runs or cannot be: a program that is missing or may not
// be executed still is a process, which says so on its stderr and exits 127 or 126, as a shell has
// it. Errors: the kernel refuses a process, or the user may not enter `cwd` (kPermissionDenied).
base::Result<Spawned> Spawn(const SpawnSpec& spec);

base::Result<> SetTerminalSize(sys::FdRef terminal, TerminalSize size);

}  // namespace tinderbox::agent
