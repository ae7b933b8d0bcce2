// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "base/error.h"
#include "sys/fd.h"

namespace tinderbox::daemon {

// One daemon per state directory and per run directory: a lock on <directory>/tinderboxd.lock,
// which holds the owner's pid, and which the kernel releases when the process ends however it ends.
// In the run directory also <run_dir>/tinderboxd.pid, for people and scripts.
class InstanceLock {
 public:
  enum class Of { kStateDir, kRunDir };
  // kAlreadyExists if another process has it; the message names it by pid and command line.
  static base::Result<InstanceLock> Take(const std::string& directory, Of of = Of::kRunDir);
  InstanceLock(InstanceLock&&) = default;
  InstanceLock& operator=(InstanceLock&&) = delete;
  // Removes the pid file.
  ~InstanceLock();

 private:
  InstanceLock(sys::UniqueFd lock, std::string pid_file)
      : lock_(std::move(lock)), pid_file_(std::move(pid_file)) {}
  sys::UniqueFd lock_;
  std::string pid_file_;  // empty: none
};

// "process 17 (tinderboxd run --config two.toml)": a process as an error names it.
std::string DescribeProcess(const std::string& pid);

}  // namespace tinderbox::daemon
