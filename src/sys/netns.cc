// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "sys/netns.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <sched.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include "sys/directory.h"
#include "sys/file.h"
#include "sys/fresh_thread.h"

namespace tinderbox::sys {
namespace {

constexpr char kNeedsRoot[] = "Run as root: network namespaces need CAP_SYS_ADMIN.";

std::unexpected<base::Error> FailNeedingRoot(int err, std::string message) {
  auto error = base::Error::FromErrno(err, std::move(message));
  if (err == EPERM || err == EACCES)
    return std::unexpected(std::move(error).WithRemedy(kNeedsRoot));
  return std::unexpected(std::move(error));
}

bool IsNamespaceFile(FdRef fd) {
  struct statfs fs{};
  return fstatfs(fd.get(), &fs) == 0 && fs.f_type == NSFS_MAGIC;
}

base::Result<> CheckName(const std::string& name) {
  if (name.empty() || name == "." || name == ".." || name.size() > 64 ||
      name.find('/') != std::string::npos || name.find('\0') != std::string::npos) {
    return base::Fail(base::Code::kInvalidArgument, fmt::format("name a netns '{}'", name));
  }
  return {};
}

// /run/netns as a shared mount of itself. Without the lock two processes that start together would
// stack one mount on the other, and the first's names would vanish underneath.
base::Result<> EnsureDirectory() {
  TRY(MakeDirs(kNetNsDirectory, 0755));
  const UniqueFd lock = TRY(Open(kNetNsDirectory, O_RDONLY | O_DIRECTORY));
  if (flock(lock.get(), LOCK_EX) != 0) {
    return base::FailErrno(errno, fmt::format("lock '{}'", kNetNsDirectory));
  }
  const auto share = [] {
    return mount("", kNetNsDirectory, "none", MS_SHARED | MS_REC, nullptr) == 0;
  };
  if (share()) return {};
  if (errno != EINVAL) {
    return FailNeedingRoot(errno, fmt::format("share mount '{}'", kNetNsDirectory));
  }
  // EINVAL: not a mount point yet.
  if (mount(kNetNsDirectory, kNetNsDirectory, "none", MS_BIND | MS_REC, nullptr) != 0) {
    return FailNeedingRoot(errno, fmt::format("bind '{}' on itself", kNetNsDirectory));
  }
  if (!share()) return base::FailErrno(errno, fmt::format("share mount '{}'", kNetNsDirectory));
  return {};
}

}  // namespace

std::string NetNsPath(const std::string& name) {
  return fmt::format("{}/{}", kNetNsDirectory, name);
}

base::Result<UniqueFd> NewNetNs() {
  UniqueFd netns;
  const auto make = [&]() -> base::Result<> {
    if (unshare(CLONE_NEWNET) != 0) return FailNeedingRoot(errno, "make a network namespace");
    netns = TRY(CurrentNetNs());
    return {};
  };
  TRY(OnFreshThread(make));
  return netns;
}

base::Result<UniqueFd> CurrentNetNs() { return Open("/proc/thread-self/ns/net", O_RDONLY); }

base::Result<UniqueFd> OpenNetNs(const std::string& name) {
  TRY(CheckName(name));
  UniqueFd fd = TRY_CTX(Open(NetNsPath(name), O_RDONLY), fmt::format("open netns '{}'", name));
  if (!IsNamespaceFile(fd)) {
    return base::Fail(base::Code::kFailedPrecondition,
                      fmt::format("open netns '{}': '{}' is a plain file", name, NetNsPath(name)));
  }
  return fd;
}

base::Result<> NameNetNs(FdRef netns, const std::string& name) {
  TRY(CheckName(name));
  TRY_CTX(EnsureDirectory(), fmt::format("name netns '{}'", name));
  const std::string path = NetNsPath(name);
  // O_EXCL makes the name a lock: of two that want it, one gets it.
  TRY_CTX(Open(path, O_RDONLY | O_CREAT | O_EXCL, 0444), fmt::format("name netns '{}'", name));
  const std::string source = fmt::format("/proc/self/fd/{}", netns.get());
  if (mount(source.c_str(), path.c_str(), "none", MS_BIND, nullptr) != 0) {
    const int err = errno;
    unlink(path.c_str());
    return FailNeedingRoot(err, fmt::format("mount netns on '{}'", path));
  }
  return {};
}

base::Result<bool> UnnameNetNs(const std::string& name) {
  TRY(CheckName(name));
  const std::string path = NetNsPath(name);
  // EINVAL: a plain file, left by someone who died between making and mounting it.
  if (umount2(path.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) != 0 && errno != EINVAL &&
      errno != ENOENT) {
    return FailNeedingRoot(errno, fmt::format("unmount netns '{}'", path));
  }
  if (unlink(path.c_str()) != 0) {
    if (errno == ENOENT) return false;
    return base::FailErrno(errno, fmt::format("remove netns name '{}'", path));
  }
  return true;
}

base::Result<std::vector<std::string>> NetNsNames() { return NamesIn(kNetNsDirectory); }

base::Result<> RunInNetNs(FdRef netns, const std::function<base::Result<>()>& work) {
  return OnFreshThread([&]() -> base::Result<> {
    if (setns(netns.get(), CLONE_NEWNET) != 0) {
      return FailNeedingRoot(errno, "enter a network namespace");
    }
    return work();
  });
}

}  // namespace tinderbox::sys
