// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "image/internal/workspace.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/statvfs.h>

#include <cerrno>
#include <cstdio>
#include <utility>

#include "sys/file.h"
#include "sys/mount_table.h"

namespace tinderbox::image {

using base::Code;
using base::FailErrno;
using base::Result;

namespace {

Result<> Sweep(const std::string& dir) {
  // Tools run in mount namespaces of their own, so nothing should be mounted here; if something is
  // all the same (by hand, for debugging), removing its content would be wrong.
  TRY(sys::UnmountBelow(dir));
  return sys::RemoveTree(dir);
}

// For locks of the open file, not of the process (F_OFD_…): two threads exclude each other too.
struct flock WholeFile() {
  struct flock lock{};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  return lock;
}

}  // namespace

Result<sys::UniqueFd> LockFile(const std::string& path, const std::function<void()>& on_wait) {
  if (auto free = TRY(TryLockFile(path))) return std::move(*free);
  if (on_wait) on_wait();
  auto file = TRY(sys::Open(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0600));
  struct flock lock = WholeFile();
  while (::fcntl(file.get(), F_OFD_SETLKW, &lock) != 0) {
    if (errno != EINTR) return FailErrno(errno, fmt::format("lock '{}'", path));
  }
  return file;
}

Result<std::optional<sys::UniqueFd>> TryLockFile(const std::string& path) {
  auto file = TRY(sys::Open(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0600));
  struct flock lock = WholeFile();
  if (::fcntl(file.get(), F_OFD_SETLK, &lock) == 0) return std::optional(std::move(file));
  if (errno == EAGAIN || errno == EACCES) return std::optional<sys::UniqueFd>();
  return FailErrno(errno, fmt::format("lock '{}'", path));
}

Result<Workspace> Workspace::Enter(const std::string& state_dir, const Progress& progress) {
  TRY(sys::MakeDirs(state_dir));
  auto lock = TRY(LockFile(state_dir + "/prepare.lock", [&] {
    progress("waiting for another process that is preparing the same state directory");
  }));
  std::string dir = state_dir + "/tmp";
  TRY_CTX(Sweep(dir), "sweep what an earlier run has left");
  TRY(sys::MakeDirs(dir, 0711));  // for apt's downloader to pass; what is inside is 0700
  return Workspace(std::move(dir), std::move(lock));
}

Result<> Workspace::SweepAbandoned(const std::string& state_dir) {
  const auto dir = state_dir + "/tmp";
  if (!sys::Exists(dir)) return {};
  const auto lock = TRY(TryLockFile(state_dir + "/prepare.lock"));
  if (!lock) return {};
  TRY_CTX(Sweep(dir), "sweep what an earlier run has left");
  return {};
}

Workspace::~Workspace() {
  // What cannot be removed now is swept by the next one to enter.
  if (lock_) static_cast<void>(Sweep(dir_));
}

Result<std::string> Workspace::MakeDir(std::string_view name) const {
  std::string path = fmt::format("{}/{}", dir_, name);
  TRY(sys::RemoveTree(path));
  TRY(sys::MakeDirs(path, 0700));
  return path;
}

Result<> RequireFreeSpace(const std::string& path, std::uint64_t bytes) {
  struct statvfs fs{};
  if (::statvfs(path.c_str(), &fs) != 0) return FailErrno(errno, fmt::format("stat '{}'", path));
  const std::uint64_t free = fs.f_bavail * std::uint64_t{fs.f_frsize};
  if (free >= bytes) return {};
  return std::unexpected(
      base::Error(Code::kResourceExhausted,
                  fmt::format("find room in '{}': {} MiB free, {} MiB needed", path, free >> 20,
                              bytes >> 20))
          .WithErrno(ENOSPC)
          .WithRemedy(fmt::format("Free disk space on the file system of '{}'.", path)));
}

Result<> SyncPath(const std::string& path) {
  const auto fd = TRY(sys::Open(path, O_RDONLY | O_NOFOLLOW));
  if (::fsync(fd.get()) != 0) return FailErrno(errno, fmt::format("fsync '{}'", path));
  return {};
}

Result<> ReplaceDirectory(const std::string& from, const std::string& to) {
  TRY(SyncPath(from));
  if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) != 0) {
    if (errno != EEXIST ||
        ::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_EXCHANGE) != 0) {
      return FailErrno(errno, fmt::format("rename '{}' to '{}'", from, to));
    }
    TRY(sys::RemoveTree(from));
  }
  return SyncPath(to.substr(0, to.rfind('/')));
}

}  // namespace tinderbox::image
