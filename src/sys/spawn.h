// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
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
  pid_t pid = 0;   // valid until reaped
  UniqueFd pidfd;  // see sys/pidfd.h
};

// A program that is being started: the child exists, its execve may still be under way. Lets the
// caller do other things meanwhile; Spawn is the same without that.
//
// Safe beside other threads: everything is prepared before clone3(2), and the child makes system
// calls only. It shares this process's memory until its exec, as vfork's does, so the cost does not
// grow with it. The child begins with default signal handling and an empty mask.
class PendingSpawn {
 public:
  static base::Result<PendingSpawn> Start(const SpawnSpec& spec);
  PendingSpawn(PendingSpawn&&) noexcept;
  PendingSpawn& operator=(PendingSpawn&&) = delete;
  // Kills and reaps a child that was not taken by Finish.
  ~PendingSpawn();

  // Waits for the execve. A failed one is this call's error, and no child is left then. Called
  // once.
  base::Result<Child> Finish();

 private:
  struct Block;
  PendingSpawn(std::unique_ptr<Block> block, Child child);
  void AwaitExec();

  std::unique_ptr<Block> block_;  // what the child reads; null once taken
  Child child_;
};

base::Result<Child> Spawn(const SpawnSpec& spec);

}  // namespace tinderbox::sys
