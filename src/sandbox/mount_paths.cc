// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "sandbox/mount_paths.h"

#include <fmt/format.h>

#include <string_view>

namespace tinderbox::sandbox {

using base::Code;
using base::Fail;
using base::Result;

namespace {

constexpr std::size_t kMaxPath = 1024;

bool IsWithin(std::string_view path, std::string_view directory) {
  return path == directory || (path.starts_with(directory) && path.size() > directory.size() &&
                               path[directory.size()] == '/');
}

Result<> CheckPath(const std::string& path) {
  const auto wrong = [&path](std::string_view why) {
    return Fail(Code::kInvalidArgument, fmt::format("a volume's path '{}' {}", path, why));
  };
  if (path.size() > kMaxPath) {
    return Fail(Code::kInvalidArgument,
                fmt::format("a volume's path has at most {} bytes", kMaxPath));
  }
  if (!path.starts_with('/')) return wrong("is not absolute");
  if (path == "/") return wrong("is the root");
  if (path.find('\0') != path.npos) return wrong("contains a NUL character");
  for (std::string_view rest = std::string_view(path).substr(1);;) {
    const std::string_view part = rest.substr(0, rest.find('/'));
    if (part.empty() || part == "." || part == "..") return wrong("is not clean");
    if (part.size() > 255) return wrong("has a name that is too long");
    if (part.size() == rest.size()) break;
    rest.remove_prefix(part.size() + 1);
  }
  for (const char* system : {"/proc", "/sys", "/dev"}) {
    if (IsWithin(path, system)) return wrong("is the kernel's own");
  }
  return {};
}

}  // namespace

Result<> CheckMounts(const MountMap& mounts) {
  if (mounts.size() > kMaxVolumeMounts) {
    return Fail(Code::kInvalidArgument,
                fmt::format("a sandbox has at most {} volumes", kMaxVolumeMounts));
  }
  for (const auto& [path, name] : mounts) {
    TRY(CheckPath(path));
    for (const auto& [other, ignored] : mounts) {
      if (other == path || !IsWithin(path, other)) continue;
      return Fail(Code::kInvalidArgument,
                  fmt::format("a volume's path '{}' is inside another's, '{}'", path, other));
    }
  }
  return {};
}

}  // namespace tinderbox::sandbox
