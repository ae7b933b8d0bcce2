// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace tinderbox::sys {

// One line of /proc/self/mountinfo: what is mounted where in this process's mount namespace.
struct MountEntry {
  std::string path;    // mount point, unescaped
  std::string type;    // "xfs"
  std::string source;  // "/dev/loop0"
};

// All mounts, in the order in which they were made: of two on one path the later one is on top.
base::Result<std::vector<MountEntry>> ReadMountTable();
// The lines of mountinfo `text`; those that cannot be parsed are left out.
std::vector<MountEntry> ParseMountTable(std::string_view text);

// What is mounted at exactly `path` (absolute, without links); nothing where nothing is.
base::Result<std::optional<MountEntry>> FindMount(const std::string& path);

// Detaches every mount at and below `path`, the deepest first.
base::Result<> UnmountBelow(const std::string& path);

}  // namespace tinderbox::sys
