// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "daemon/instance_lock.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>

#include "sys/file.h"

namespace tinderbox::daemon {

base::Result<InstanceLock> InstanceLock::Take(const std::string& run_dir) {
  const std::string path = run_dir + "/tinderboxd.lock";
  const std::string pid_file = run_dir + "/tinderboxd.pid";
  sys::UniqueFd lock = TRY(sys::Open(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0600));
  if (flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return base::FailErrno(errno, fmt::format("lock '{}'", path));
    std::string pid = sys::ReadFile(pid_file, 32).value_or("?");
    while (!pid.empty() && pid.back() == '\n') pid.pop_back();
    return std::unexpected(
        base::Error(
            base::Code::kAlreadyExists,
            fmt::format("a tinderboxd runs already with run_dir '{}' (process {})", run_dir, pid))
            .WithRemedy(fmt::format(
                "Stop it first: sudo kill {}, or: sudo systemctl stop tinderboxd", pid)));
  }
  TRY(sys::WriteFileAtomic(pid_file, fmt::format("{}\n", getpid()), 0644));
  return InstanceLock(std::move(lock), pid_file);
}

InstanceLock::~InstanceLock() {
  if (lock_) static_cast<void>(sys::RemoveFile(pid_file_));
}

}  // namespace tinderbox::daemon
