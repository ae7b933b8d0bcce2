// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "sys/cgroup_limit.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <charconv>

#include "base/split.h"
#include "sys/file.h"

namespace tinderbox::sys {

using base::Code;
using base::Fail;
using base::FailErrno;
using base::Result;

namespace {

// Makes the group and those above it. In version 2, each passes the memory controller on.
Result<std::string> MakeGroup(const CgroupHierarchy& hierarchy, const std::string& name) {
  std::string path = hierarchy.path;
  for (const auto part : base::Split(name, '/')) {
    if (hierarchy.v2) (void)WriteExisting(path + "/cgroup.subtree_control", "+memory");
    path.append("/").append(part);
    if (::mkdir(path.c_str(), 0755) != 0 && errno != EEXIST) {
      return FailErrno(errno, fmt::format("create cgroup '{}'", path));
    }
  }
  return path;
}

std::uint64_t NumberIn(const std::string& file) {
  const std::string text = ReadFile(file, 64).value_or("");
  std::uint64_t number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

}  // namespace

Result<> LimitGroupMemory(const std::vector<CgroupHierarchy>& hierarchies, const std::string& name,
                          std::uint64_t bytes) {
  if (!IsValidCgroupName(name)) {
    return Fail(Code::kInvalidArgument, fmt::format("limit cgroup '{}': not a valid name", name));
  }
  const auto memory = std::ranges::find_if(hierarchies, [](const CgroupHierarchy& hierarchy) {
    return std::ranges::find(hierarchy.controllers, "memory") != hierarchy.controllers.end();
  });
  if (memory == hierarchies.end()) {
    return Fail(Code::kUnimplemented,
                fmt::format("limit cgroup '{}': the host has no memory controller", name));
  }
  const std::string group = TRY(MakeGroup(*memory, name));
  // Version 2 would take the limit, and kill what is in the group.
  if (const std::uint64_t now = memory->v2 ? NumberIn(group + "/memory.current") : 0; now > bytes) {
    return Fail(Code::kFailedPrecondition,
                fmt::format("limit cgroup '{}' to {} MiB: it uses {} MiB already", group,
                            bytes >> 20, now >> 20));
  }
  // Kernels before 5.11 count the groups below only with this setting.
  if (!memory->v2) (void)WriteExisting(group + "/memory.use_hierarchy", "1");
  const std::string file = group + (memory->v2 ? "/memory.max" : "/memory.limit_in_bytes");
  auto written = WriteExisting(file, std::to_string(bytes));
  if (!written && written.error().errno_value() == EBUSY) {
    return Fail(
        Code::kFailedPrecondition,
        fmt::format("limit cgroup '{}' to {} MiB: it uses more already", group, bytes >> 20));
  }
  return written;
}

}  // namespace tinderbox::sys
