// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "sys/mount_table.h"

#include <fmt/format.h>
#include <sys/mount.h>

#include <cerrno>
#include <ranges>

#include "base/split.h"
#include "sys/file.h"

namespace tinderbox::sys {

using base::FailErrno;
using base::Result;

namespace {

// mountinfo writes space, tab, newline and backslash as \ooo.
std::string Unescape(std::string_view text) {
  const auto octal = [](char c) { return c >= '0' && c <= '7'; };
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size() && octal(text[i + 1]) && octal(text[i + 2]) &&
        octal(text[i + 3])) {
      out.push_back(static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 +
                                      (text[i + 3] - '0')));
      i += 3;
    } else {
      out.push_back(text[i]);
    }
  }
  return out;
}

}  // namespace

std::vector<MountEntry> ParseMountTable(std::string_view text) {
  std::vector<MountEntry> mounts;
  for (const auto line : base::Split(text, '\n')) {
    const auto words = base::Split(line, ' ');
    // 36 35 98:0 /root /mount/point options optional-fields… - type source super-options
    std::size_t dash = 6;
    while (dash < words.size() && words[dash] != "-") ++dash;
    if (dash + 2 >= words.size()) continue;
    mounts.push_back(MountEntry{.path = Unescape(words[4]),
                                .type = std::string(words[dash + 1]),
                                .source = Unescape(words[dash + 2])});
  }
  return mounts;
}

Result<std::vector<MountEntry>> ReadMountTable() {
  return ParseMountTable(TRY(ReadFile("/proc/self/mountinfo")));
}

Result<std::optional<MountEntry>> FindMount(const std::string& path) {
  for (auto& mount : TRY(ReadMountTable()) | std::views::reverse) {
    if (mount.path == path) return std::optional(std::move(mount));
  }
  return std::optional<MountEntry>();
}

Result<> UnmountBelow(const std::string& path) {
  const std::string prefix = path + "/";
  for (const auto& mount : TRY(ReadMountTable()) | std::views::reverse) {
    if (mount.path != path && !mount.path.starts_with(prefix)) continue;
    if (::umount2(mount.path.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) != 0 && errno != EINVAL) {
      return FailErrno(errno, fmt::format("unmount '{}'", mount.path));
    }
  }
  return {};
}

}  // namespace tinderbox::sys
