// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "image/internal/rootfs_tree.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "sys/file.h"

namespace tinderbox::image {

using base::FailErrno;
using base::Result;

Result<RootfsTree> RootfsTree::Open(const std::string& dir) {
  return RootfsTree(TRY(sys::Open(dir, O_PATH | O_DIRECTORY | O_NOFOLLOW)));
}

Result<sys::UniqueFd> RootfsTree::OpenIn(const std::string& path, int flags, mode_t mode) const {
  open_how how{};
  how.flags = static_cast<std::uint64_t>(flags | O_CLOEXEC);
  how.mode = mode;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  const auto fd = ::syscall(SYS_openat2, root_.get(), path.c_str(), &how, sizeof how);
  if (fd < 0) return FailErrno(errno, fmt::format("open '{}' of the tree", path));
  return sys::UniqueFd(static_cast<int>(fd));
}

Result<RootfsTree::Place> RootfsTree::Find(const std::string& path) const {
  const auto slash = path.rfind('/');
  if (slash == std::string::npos || slash + 1 == path.size()) {
    return base::Fail(base::Code::kInvalidArgument, fmt::format("open '{}' of the tree", path));
  }
  const auto parent = path.substr(0, slash + 1);
  return Place{TRY(OpenIn(parent, O_RDONLY | O_DIRECTORY)), path.substr(slash + 1)};
}

Result<> RootfsTree::Write(const std::string& path, std::string_view content,
                           Ownership owner) const {
  const auto place = TRY(Find(path));
  if (::unlinkat(place.parent.get(), place.name.c_str(), 0) != 0 && errno != ENOENT) {
    return FailErrno(errno, fmt::format("replace '{}' of the tree", path));
  }
  const auto file =
      TRY(sys::OpenAt(place.parent, place.name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
  TRY_CTX(sys::WriteAll(file, content), fmt::format("'{}' of the tree", path));
  if (::fchown(file.get(), owner.uid, owner.gid) != 0 || ::fchmod(file.get(), owner.mode) != 0) {
    return FailErrno(errno, fmt::format("set the owner of '{}' of the tree", path));
  }
  return {};
}

Result<std::string> RootfsTree::Read(const std::string& path) const {
  const auto file = TRY(OpenIn(path, O_RDONLY));
  return TRY_CTX(sys::ReadAll(file, 16 << 20), fmt::format("'{}' of the tree", path));
}

Result<> RootfsTree::Append(const std::string& path, std::string_view content) const {
  const auto file = TRY(OpenIn(path, O_WRONLY | O_APPEND));
  TRY_CTX(sys::WriteAll(file, content), fmt::format("'{}' of the tree", path));
  return {};
}

Result<> RootfsTree::MakeDir(const std::string& path, Ownership owner) const {
  const auto place = TRY(Find(path));
  if (::mkdirat(place.parent.get(), place.name.c_str(), 0700) != 0 && errno != EEXIST) {
    return FailErrno(errno, fmt::format("create directory '{}' of the tree", path));
  }
  const auto dir = TRY(sys::OpenAt(place.parent, place.name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  if (::fchown(dir.get(), owner.uid, owner.gid) != 0 || ::fchmod(dir.get(), owner.mode) != 0) {
    return FailErrno(errno, fmt::format("set the owner of '{}' of the tree", path));
  }
  return {};
}

Result<> RootfsTree::Symlink(const std::string& path, const std::string& target) const {
  const auto place = TRY(Find(path));
  if (::symlinkat(target.c_str(), place.parent.get(), place.name.c_str()) != 0) {
    return FailErrno(errno, fmt::format("link '{}' of the tree", path));
  }
  return {};
}

Result<> RootfsTree::Remove(const std::string& path) const {
  const auto place = TRY(Find(path));
  if (::unlinkat(place.parent.get(), place.name.c_str(), 0) != 0 && errno != ENOENT) {
    return FailErrno(errno, fmt::format("remove '{}' of the tree", path));
  }
  return {};
}

}  // namespace tinderbox::image
