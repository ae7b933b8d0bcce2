// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "launch/console_follower.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "sys/file.h"

namespace tinderbox::launch {

using base::FailErrno;
using base::Result;

Result<ConsoleFollower> ConsoleFollower::Open(const std::string& run_dir) {
  ConsoleFollower follower;
  follower.path_ = run_dir + "/console.log";
  follower.inotify_ = sys::UniqueFd(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  // The directory, not the file: the warden puts a new file in its place.
  if (!follower.inotify_ ||
      ::inotify_add_watch(follower.inotify_.get(), run_dir.c_str(), IN_MODIFY | IN_CREATE) < 0) {
    return FailErrno(errno, fmt::format("watch '{}'", run_dir));
  }
  follower.file_ = TRY(sys::Open(follower.path_, O_RDONLY | O_NOFOLLOW));
  return follower;
}

Result<bool> ConsoleFollower::Reopen() {
  auto fresh = TRY(sys::OpenIfExists(path_, O_RDONLY | O_NOFOLLOW));
  struct stat old_file{};
  struct stat new_file{};
  if (!fresh || ::fstat(file_.get(), &old_file) != 0 || ::fstat(fresh->get(), &new_file) != 0 ||
      old_file.st_ino == new_file.st_ino) {
    return false;
  }
  file_ = std::move(*fresh);
  return true;
}

Result<> ConsoleFollower::Drain(const Sink& sink) {
  char buffer[65536];
  while (::read(inotify_.get(), buffer, sizeof buffer) > 0) {
  }
  const auto read_out = [&]() -> Result<> {
    for (ssize_t n; (n = ::read(file_.get(), buffer, sizeof buffer)) != 0;) {
      if (n < 0) return FailErrno(errno, fmt::format("read '{}'", path_));
      TRY(sink({buffer, static_cast<std::size_t>(n)}));
    }
    return {};
  };
  TRY(read_out());
  // The old file was finished before the new one appeared: what came in between is read first.
  for (;;) {
    const sys::UniqueFd before(::fcntl(file_.get(), F_DUPFD_CLOEXEC, 0));
    if (!TRY(Reopen())) return {};
    for (ssize_t n; (n = ::read(before.get(), buffer, sizeof buffer)) > 0;) {
      TRY(sink({buffer, static_cast<std::size_t>(n)}));
    }
    TRY(read_out());
  }
}

}  // namespace tinderbox::launch
