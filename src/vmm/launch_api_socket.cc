// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/openat2.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "sys/file.h"
#include "sys/message.h"
#include "sys/pidfd.h"
#include "vmm/launched_vm.h"

namespace tinderbox::vmm {

using base::Code;
using base::Fail;
using base::FailErrno;
using base::Result;

namespace {

// Opens the socket below `root`, with all of the path resolved inside it. Anything else than a
// socket that stands there is the VMM's attempt at something, not a socket that is still to come.
Result<sys::UniqueFd> OpenSocket(sys::FdRef root, const std::string& jail_path) {
  open_how how{};
  how.flags = O_PATH | O_NOFOLLOW | O_CLOEXEC;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  const long fd = ::syscall(SYS_openat2, root.get(), jail_path.c_str(), &how, sizeof how);
  if (fd < 0) return FailErrno(errno, fmt::format("open '{}' in the jail", jail_path));
  sys::UniqueFd socket(static_cast<int>(fd));
  struct stat st{};
  if (::fstat(socket.get(), &st) != 0) return FailErrno(errno, "stat a socket in the jail");
  if (!S_ISSOCK(st.st_mode)) {
    return Fail(Code::kPermissionDenied,
                fmt::format("open '{}' in the jail: it is not a socket", jail_path));
  }
  return socket;
}

bool MayComeYet(const base::Error& error) {
  // Not there; there but not listening yet; listening but its backlog is full.
  const int err = error.errno_value();
  return err == ENOENT || err == ECONNREFUSED || err == EAGAIN || err == EINTR;
}

}  // namespace

Result<sys::UniqueFd> ConnectInJail(sys::FdRef pidfd, pid_t pid, const std::string& jail_path,
                                    base::Deadline deadline) {
  const auto root_path = fmt::format("/proc/{}/root", pid);
  auto root = sys::Open(root_path, O_PATH | O_DIRECTORY);
  // Only after that: a process that still lives now is the one whose root was opened.
  const bool ended = TRY(sys::WaitPidFd(pidfd, base::Deadline::After({})));
  if (ended) return Fail(Code::kUnavailable, "connect to the VMM: it has ended");
  if (!root) {
    // An exiting process loses its root a moment before its pidfd says that it has ended.
    const auto moment = base::Deadline::After(std::chrono::seconds(1)).Earlier(deadline);
    if (TRY(sys::WaitPidFd(pidfd, moment))) {
      return Fail(Code::kUnavailable, "connect to the VMM: it has ended");
    }
    return std::unexpected(std::move(root).error());
  }

  // The pause grows from 0.1 ms to 1 ms: a VMM binds its socket within milliseconds, and an inotify
  // watch would still leave the gap between bind and listen to be polled for.
  for (auto pause = std::chrono::microseconds(100);;
       pause = std::min(pause * 2, std::chrono::microseconds(1000))) {
    auto socket = OpenSocket(*root, jail_path);
    auto connection = socket ? sys::ConnectUnixFd(*socket)
                             : Result<sys::UniqueFd>(std::unexpected(socket.error()));
    if (connection) return connection;
    if (!MayComeYet(connection.error())) return connection;
    if (deadline.passed()) {
      return Fail(Code::kDeadlineExceeded,
                  fmt::format("connect to '{}' in the jail: the deadline passed ({})", jail_path,
                              connection.error().ToString()));
    }
    pollfd entry{pidfd.get(), POLLIN, 0};
    const timespec wait{0, pause.count() * 1000};
    if (::ppoll(&entry, 1, &wait, nullptr) > 0) {
      return Fail(Code::kUnavailable,
                  fmt::format("connect to '{}' in the jail: the VMM has ended", jail_path));
    }
  }
}

}  // namespace tinderbox::vmm
