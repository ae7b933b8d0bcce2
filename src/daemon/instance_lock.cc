// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "daemon/instance_lock.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "sys/file.h"

namespace tinderbox::daemon {

namespace {

constexpr std::size_t kMaxCommand = 200;

}  // namespace

std::string DescribeProcess(const std::string& pid) {
  if (pid.empty() || !std::ranges::all_of(pid, [](char c) { return c >= '0' && c <= '9'; })) {
    return "another process";
  }
  std::string command = sys::ReadFile(fmt::format("/proc/{}/cmdline", pid)).value_or("");
  while (!command.empty() && command.back() == '\0') command.pop_back();
  for (char& c : command) {
    if (static_cast<unsigned char>(c) < ' ') c = ' ';
  }
  if (command.empty()) return fmt::format("process {}", pid);
  return fmt::format("process {} ({})", pid, command.substr(0, kMaxCommand));
}

base::Result<InstanceLock> InstanceLock::Take(const std::string& directory, Of of) {
  const std::string path = directory + "/tinderboxd.lock";
  const std::string pid_file = of == Of::kRunDir ? directory + "/tinderboxd.pid" : "";
  sys::UniqueFd lock = TRY(sys::Open(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0600));
  if (flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return base::FailErrno(errno, fmt::format("lock '{}'", path));
    std::string pid = sys::ReadAll(lock, 32).value_or("");
    while (!pid.empty() && pid.back() == '\n') pid.pop_back();
    const std::string setting = of == Of::kRunDir ? "run_dir" : "state_dir";
    return std::unexpected(
        base::Error(base::Code::kAlreadyExists,
                    fmt::format("{} '{}' is in use already, by {}; nothing was changed", setting,
                                directory, DescribeProcess(pid)))
            .WithRemedy(fmt::format("Stop it first ('sudo kill {}', or 'sudo systemctl stop "
                                    "tinderboxd'), or set another {} in the configuration.",
                                    pid, setting)));
  }
  const std::string pid = fmt::format("{}\n", getpid());
  if (::ftruncate(lock.get(), 0) != 0)
    return base::FailErrno(errno, fmt::format("write '{}'", path));
  TRY(sys::WriteAll(lock, pid));
  if (!pid_file.empty()) TRY(sys::WriteFileAtomic(pid_file, pid, 0644));
  return InstanceLock(std::move(lock), pid_file);
}

InstanceLock::~InstanceLock() {
  if (lock_ && !pid_file_.empty()) static_cast<void>(sys::RemoveFile(pid_file_));
}

}  // namespace tinderbox::daemon
