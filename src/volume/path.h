// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "sys/fd.h"

namespace tinderbox::volume {

// Whether `name` may name a volume: 1-128 characters of [A-Za-z0-9_-].
bool IsValidVolumeName(std::string_view name);

// A place in a volume, as a client names it: "/data/x", "data//x" and "./data/x" are the same.
class Path {
 public:
  // kInvalidArgument: "..", a NUL, or more than 4096 bytes, 255 of them between two slashes.
  static base::Result<Path> Parse(std::string_view text);

  bool is_root() const { return parts_.empty(); }
  const std::vector<std::string>& parts() const { return parts_; }
  // Without a slash in front; "." for the root: for calls relative to a directory.
  std::string Relative() const { return Relative(parts_.size()); }
  std::string Relative(std::size_t parts) const;  // of the first parts alone
  std::string ToString() const;                   // "/data/x", "/"
  // Both not for the root.
  std::string Parent() const { return Relative(parts_.size() - 1); }
  const std::string& name() const { return parts_.back(); }

 private:
  std::vector<std::string> parts_;
};

// openat2(2) that never leaves `root`, whatever links lead where: those that stay inside are
// followed (the last one too, without O_NOFOLLOW), absolute ones and those that lead out are an
// error, as are the magic ones of /proc. Close-on-exec. `path` is relative. kNotFound also for what
// leads out.
base::Result<sys::UniqueFd> OpenBeneath(sys::FdRef root, const std::string& path, int flags);

}  // namespace tinderbox::volume
