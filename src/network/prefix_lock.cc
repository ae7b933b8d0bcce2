// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "network/prefix_lock.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string_view>
#include <utility>

#include "sys/file.h"

namespace tinderbox::network {
namespace {

using base::Code;
using base::Error;
using base::Result;

// Each means that a holder removed the file between our open and our lock.
constexpr int kMostTries = 100;

Result<> MakeLockDirectory() {
  TRY(sys::MakeDirs(kLockDirectory, 0700));
  struct stat directory{};
  if (lstat(kLockDirectory, &directory) != 0) {
    if (errno == ENOENT) return {};  // the last holder has just removed it: the caller tries again
    return base::FailErrno(errno, fmt::format("look at '{}'", kLockDirectory));
  }
  if (S_ISDIR(directory.st_mode) && directory.st_uid == 0 && (directory.st_mode & 0077) == 0) {
    return {};
  }
  return std::unexpected(
      Error(Code::kFailedPrecondition,
            fmt::format("'{}' is not a directory of root's alone", kLockDirectory))
          .WithRemedy(fmt::format("Run: sudo rm -r {}", kLockDirectory)));
}

// Whether `path` is still the file that `lock` has open.
bool IsThere(sys::FdRef lock, const std::string& path) {
  struct stat ours{}, there{};
  return fstat(lock.get(), &ours) == 0 && lstat(path.c_str(), &there) == 0 &&
         ours.st_ino == there.st_ino && ours.st_dev == there.st_dev;
}

std::string NetNsId() {
  struct stat netns{};
  if (::stat("/proc/thread-self/ns/net", &netns) != 0) return "?";
  return std::to_string(netns.st_ino);
}

std::unexpected<Error> Held(const AddressPlan& plan, sys::FdRef lock) {
  std::string holder = sys::ReadAll(lock, 256).value_or("");
  if (!holder.empty() && holder.back() == '\n') holder.pop_back();
  if (holder.empty()) holder = "another process";
  return std::unexpected(
      Error(Code::kFailedPrecondition,
            fmt::format("lock network prefix of table '{}': {} has it", plan.HostTable(), holder))
          .WithRemedy("Stop that process, or give this one another network prefix (`prefix` under "
                      "[network] in the configuration)."));
}

}  // namespace

Result<PrefixLock> PrefixLock::Take(const AddressPlan& plan) {
  const std::string path = fmt::format("{}/{}.lock", kLockDirectory, plan.HostTable());
  for (int tries = 0; tries < kMostTries; ++tries) {
    TRY_CTX(MakeLockDirectory(), "lock the network prefix");
    auto lock = sys::Open(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
    if (!lock && lock.error().errno_value() == ENOENT) continue;
    if (!lock) return std::unexpected(std::move(lock).error());
    if (flock(lock->get(), LOCK_EX | LOCK_NB) != 0) {
      if (errno == EWOULDBLOCK) return Held(plan, *lock);
      return base::FailErrno(errno, fmt::format("lock '{}'", path));
    }
    if (!IsThere(*lock, path)) continue;
    if (ftruncate(lock->get(), 0) != 0) return base::FailErrno(errno, "write who has the lock");
    TRY(sys::WriteAll(*lock,
                      fmt::format("process {} in network namespace {}\n", getpid(), NetNsId())));
    return PrefixLock(std::move(*lock), path);
  }
  return base::Fail(Code::kUnavailable, fmt::format("lock '{}': it comes and goes", path));
}

PrefixLock::~PrefixLock() {
  // While the lock is held: a process that has opened the file finds it gone, and tries again.
  if (!lock_) return;
  static_cast<void>(sys::RemoveFile(path_));
  // If it was the last one; Take() makes the directory again.
  static_cast<void>(rmdir(kLockDirectory));
}

}  // namespace tinderbox::network
