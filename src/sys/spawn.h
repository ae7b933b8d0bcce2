// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/error.h"
#include "sys/fd.h"

namespace tinderbox::sys {

// One descriptor that the child shall have, under the number `child_fd`.
struct InheritedFd {
  int child_fd;
  FdRef fd;
};

struct SpawnSpec {
  std::string path;               // of the program; no search, no shell
  std::vector<std::string> argv;  // argv[0] included
  std::vector<std::string> env;   // the whole environment
  std::vector<InheritedFd> fds;   // all that the child gets: whatever is not named is closed
  std::uint64_t namespaces = 0;   // CLONE_NEWPID | CLONE_NEWNS | …
  int cgroup_fd = -1;             // directory of cgroup v2 to be born in (CLONE_INTO_CGROUP), or -1
  int exit_signal = 0;            // what the parent is sent at the end; 0: nothing
};

struct Child {
  pid_t pid;       // valid until reaped
  UniqueFd pidfd;  // see sys/pidfd.h
};

// Starts a program and returns once its execve has succeeded; a failed execve is this call's error,
// and no child is left. The child begins with default signal handling and an empty mask. Safe
// beside other threads: everything is prepared before clone3(2), and the child makes system calls
// only. It shares this process's memory until its exec (as vfork does), so the cost does not grow
// with it.
base::Result<Child> Spawn(const SpawnSpec& spec);

}  // namespace tinderbox::sys
