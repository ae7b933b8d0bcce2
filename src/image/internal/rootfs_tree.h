// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>

#include "base/error.h"
#include "sys/fd.h"

namespace tinderbox::image {

// Who owns a file of a tree, and its permissions.
struct Ownership {
  mode_t mode = 0644;
  uid_t uid = 0;
  gid_t gid = 0;
};

// Changes a root file system from outside. Paths are as the guest sees them ("/etc/hosts"); links
// in the tree are resolved within it, whatever they point to (openat2 with RESOLVE_IN_ROOT).
class RootfsTree {
 public:
  static base::Result<RootfsTree> Open(const std::string& dir);

  // Replaces the file, be it a link, and not what it points to.
  base::Result<> Write(const std::string& path, std::string_view content,
                       Ownership owner = {}) const;
  base::Result<std::string> Read(const std::string& path) const;
  // Appends to a file that is there.
  base::Result<> Append(const std::string& path, std::string_view content) const;
  // One directory; one that is there gets mode and owner.
  base::Result<> MakeDir(const std::string& path, Ownership owner) const;
  base::Result<> Symlink(const std::string& path, const std::string& target) const;
  // Absence is success.
  base::Result<> Remove(const std::string& path) const;

 private:
  explicit RootfsTree(sys::UniqueFd root) : root_(std::move(root)) {}
  struct Place {
    sys::UniqueFd parent;
    std::string name;
  };
  base::Result<sys::UniqueFd> OpenIn(const std::string& path, int flags, mode_t mode = 0) const;
  base::Result<Place> Find(const std::string& path) const;

  sys::UniqueFd root_;
};

}  // namespace tinderbox::image
