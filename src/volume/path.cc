// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "volume/path.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace tinderbox::volume {

using base::Code;
using base::Fail;
using base::Result;

namespace {

constexpr std::size_t kMaxPath = 4096;
constexpr std::size_t kMaxName = 255;
constexpr std::size_t kMaxVolumeName = 128;
// A rename anywhere on the host at the wrong moment makes the kernel give up (EAGAIN).
constexpr int kAttempts = 64;

}  // namespace

bool IsValidVolumeName(std::string_view name) {
  return !name.empty() && name.size() <= kMaxVolumeName && std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_';
  });
}

Result<Path> Path::Parse(std::string_view text) {
  if (text.size() > kMaxPath) {
    return Fail(Code::kInvalidArgument, fmt::format("the path is longer than {} bytes", kMaxPath));
  }
  if (text.find('\0') != text.npos) {
    return Fail(Code::kInvalidArgument, "the path contains a NUL character");
  }
  Path path;
  while (!text.empty()) {
    const std::string_view part = text.substr(0, text.find('/'));
    text.remove_prefix(std::min(part.size() + 1, text.size()));
    if (part.empty() || part == ".") continue;
    if (part == "..") return Fail(Code::kInvalidArgument, "the path contains '..'");
    if (part.size() > kMaxName) {
      return Fail(Code::kInvalidArgument,
                  fmt::format("the path contains a name of more than {} bytes", kMaxName));
    }
    path.parts_.emplace_back(part);
  }
  return path;
}

std::string Path::Relative(std::size_t parts) const {
  if (parts == 0) return ".";
  std::string text;
  for (std::size_t i = 0; i < parts; ++i) {
    if (i > 0) text += '/';
    text += parts_[i];
  }
  return text;
}

std::string Path::ToString() const { return is_root() ? "/" : "/" + Relative(); }

Result<sys::UniqueFd> OpenBeneath(sys::FdRef root, const std::string& path, int flags) {
  open_how how{};
  how.flags = static_cast<std::uint64_t>(flags | O_CLOEXEC);
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV;
  for (int i = 0; i < kAttempts; ++i) {
    const long fd = ::syscall(SYS_openat2, root.get(), path.c_str(), &how, sizeof how);
    if (fd >= 0) return sys::UniqueFd(static_cast<int>(fd));
    if (errno != EAGAIN && errno != EINTR) break;
  }
  const int error = errno;
  if (error == EXDEV || error == ELOOP) {
    return Fail(Code::kNotFound, fmt::format("'{}': a link in it leads out of the volume", path));
  }
  if (error == ENOTDIR) return Fail(Code::kNotFound, fmt::format("'{}': not a directory", path));
  return base::FailErrno(error, fmt::format("open '{}'", path));
}

}  // namespace tinderbox::volume
