// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "sys/mount.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mount.h>

#include <cerrno>

namespace tinderbox::sys {

using base::FailErrno;
using base::Result;

Result<UniqueFd> CloneMount(const std::string& path, BindFlags flags) {
  UniqueFd fd(::open_tree(AT_FDCWD, path.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
  if (!fd) return FailErrno(errno, fmt::format("clone the mount of '{}'", path));
  mount_attr attributes{};
  attributes.attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
  if (flags.read_only) attributes.attr_set |= MOUNT_ATTR_RDONLY;
  if (!flags.executable) attributes.attr_set |= MOUNT_ATTR_NOEXEC;
  // The copy of a shared mount is its peer: without this, what happens to the one reaches the
  // other.
  attributes.propagation = MS_PRIVATE;
  if (::mount_setattr(fd.get(), "", AT_EMPTY_PATH, &attributes, sizeof attributes) != 0) {
    return FailErrno(errno, fmt::format("set the mount flags of '{}'", path));
  }
  return fd;
}

}  // namespace tinderbox::sys
