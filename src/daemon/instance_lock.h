// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "base/error.h"
#include "sys/fd.h"

namespace tinderbox::daemon {

// One daemon per run directory: a lock on <run_dir>/tinderboxd.lock, which the kernel gives back
// when the process ends however it ends, and <run_dir>/tinderboxd.pid for people and scripts.
class InstanceLock {
 public:
  // kAlreadyExists where another process has it; its pid is in the message.
  static base::Result<InstanceLock> Take(const std::string& run_dir);
  InstanceLock(InstanceLock&&) = default;
  InstanceLock& operator=(InstanceLock&&) = delete;
  // Removes the pid file.
  ~InstanceLock();

 private:
  InstanceLock(sys::UniqueFd lock, std::string pid_file)
      : lock_(std::move(lock)), pid_file_(std::move(pid_file)) {}
  sys::UniqueFd lock_;
  std::string pid_file_;
};

}  // namespace tinderbox::daemon
