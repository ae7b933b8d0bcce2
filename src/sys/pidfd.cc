// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "sys/pidfd.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <ctime>

#include "sys/file.h"

namespace tinderbox::sys {

using base::Code;
using base::Fail;
using base::FailErrno;
using base::Result;

Result<UniqueFd> OpenPidFd(pid_t pid) {
  const long fd = ::syscall(SYS_pidfd_open, pid, 0);
  if (fd < 0) {
    const int err = errno == ESRCH ? ENOENT : errno;
    return FailErrno(err, fmt::format("open process {}", pid));
  }
  return UniqueFd(static_cast<int>(fd));
}

Result<> SignalPidFd(FdRef pidfd, int signal) {
  if (::syscall(SYS_pidfd_send_signal, pidfd.get(), signal, nullptr, 0) != 0) {
    if (errno == ESRCH) return Fail(Code::kNotFound, "send signal: the process has ended");
    return FailErrno(errno, fmt::format("send signal {}", signal));
  }
  return {};
}

Result<UniqueFd> TakeFd(FdRef pidfd, int fd) {
  const long taken = ::syscall(SYS_pidfd_getfd, pidfd.get(), fd, 0);
  if (taken >= 0) return UniqueFd(static_cast<int>(taken));
  const int err = errno == ESRCH || errno == EBADF ? ENOENT : errno;
  return FailErrno(err, fmt::format("take descriptor {} of a process", fd));
}

Result<bool> WaitPidFd(FdRef pidfd, base::Deadline deadline) {
  for (;;) {
    pollfd entry{pidfd.get(), POLLIN, 0};
    const int n = ::poll(&entry, 1, deadline.poll_timeout());
    if (n > 0) return true;
    if (n < 0 && errno != EINTR) return FailErrno(errno, "wait for a process");
    if (deadline.passed()) return false;
  }
}

void ReapPidFd(FdRef pidfd) {
  siginfo_t info{};
  // __WALL: the warden is cloned without an exit signal, which plain wait calls pass over.
  // ECHILD (somebody else's child) and "still running" are both fine.
  while (::waitid(P_PIDFD, static_cast<id_t>(pidfd.get()), &info, WEXITED | WNOHANG | __WALL) !=
             0 &&
         errno == EINTR) {
  }
}

Result<std::uint64_t> ParseStartTime(const std::string& stat) {
  // The second field is the command in parentheses and may itself contain both kinds and spaces.
  const auto close = stat.rfind(')');
  std::size_t at = close == std::string::npos ? close : close + 1;
  for (int field = 2; field < 21 && at != std::string::npos; ++field) at = stat.find(' ', at + 1);
  if (at == std::string::npos) return Fail(Code::kInternal, "read a process's start time");
  std::uint64_t ticks = 0;
  const char* end = stat.data() + stat.size();
  if (std::from_chars(stat.data() + at + 1, end, ticks).ec != std::errc()) {
    return Fail(Code::kInternal, "read a process's start time");
  }
  return ticks;
}

Result<std::uint64_t> ProcessStartTime(pid_t pid) {
  auto text = ReadFile(fmt::format("/proc/{}/stat", pid), 4096);
  if (!text && text.error().errno_value() == ESRCH) {
    return FailErrno(ENOENT, fmt::format("read the start time of process {}", pid));
  }
  return ParseStartTime(TRY(std::move(text)));
}

Result<std::chrono::nanoseconds> ProcessCpuTime(pid_t pid) {
  const auto fail = [&](int error) {
    return FailErrno(error == ESRCH ? ENOENT : error,
                     fmt::format("read the CPU time of process {}", pid));
  };
  clockid_t clock{};
  timespec used{};
  if (const int error = ::clock_getcpuclockid(pid, &clock); error != 0) return fail(error);
  if (::clock_gettime(clock, &used) != 0) return fail(errno == EINVAL ? ENOENT : errno);
  return std::chrono::seconds(used.tv_sec) + std::chrono::nanoseconds(used.tv_nsec);
}

Result<std::string> BootId() {
  static const Result<std::string> id = []() -> Result<std::string> {
    std::string text = TRY(ReadFile("/proc/sys/kernel/random/boot_id", 64));
    while (!text.empty() && text.back() == '\n') text.pop_back();
    return text;
  }();
  return id;
}

}  // namespace tinderbox::sys
