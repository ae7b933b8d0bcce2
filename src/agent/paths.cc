// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "agent/paths.h"

#include <algorithm>
#include <vector>

namespace tinderbox::agent {

std::string CleanPath(std::string_view path) {
  std::vector<std::string_view> parts;
  while (!path.empty()) {
    const auto slash = std::min(path.find('/'), path.size());
    const std::string_view part = path.substr(0, slash);
    path.remove_prefix(std::min(slash + 1, path.size()));
    if (part == "..") {
      if (!parts.empty()) parts.pop_back();
    } else if (!part.empty() && part != ".") {
      parts.push_back(part);
    }
  }
  std::string clean;
  for (const std::string_view part : parts) clean.append("/").append(part);
  return clean.empty() ? "/" : clean;
}

base::Result<std::string> ResolvePath(std::string_view path, const User& user,
                                      std::string_view default_workdir) {
  if (path.find('\0') != path.npos) {
    return base::Fail(base::Code::kInvalidArgument, "resolve path: it contains a NUL");
  }
  if (path.empty()) path = default_workdir;
  if (path.empty()) return CleanPath(user.home);
  if (path.front() == '/') return CleanPath(path);
  if (path.front() == '~') {
    if (path.size() > 1 && path[1] != '/') {
      return base::Fail(base::Code::kInvalidArgument,
                        "resolve path: cannot expand another user's home directory");
    }
    path.remove_prefix(1);
  }
  return CleanPath(user.home + "/" + std::string(path));
}

std::string BaseName(std::string_view path) {
  const auto slash = path.rfind('/');
  const std::string_view name = slash == path.npos ? path : path.substr(slash + 1);
  return name.empty() ? "/" : std::string(name);
}

std::string ParentOf(std::string_view path) {
  const auto slash = path.rfind('/');
  return slash == path.npos || slash == 0 ? "/" : std::string(path.substr(0, slash));
}

}  // namespace tinderbox::agent
