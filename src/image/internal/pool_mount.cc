// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "image/internal/pool_mount.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <poll.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <set>
#include <vector>

#include "base/deadline.h"
#include "sys/directory.h"
#include "sys/file.h"
#include "sys/mount.h"
#include "sys/mount_table.h"

namespace tinderbox::image {

using base::FailErrno;
using base::Result;

namespace {

constexpr std::size_t kNamedUsers = 5;

std::string ReadLink(const std::string& path) {
  char target[4096];
  const ssize_t size = ::readlink(path.c_str(), target, sizeof target);
  return size < 0 ? std::string() : std::string(target, static_cast<std::size_t>(size));
}

bool IsAtOrBelow(const std::string& path, const std::string& directory) {
  return path == directory || path.starts_with(directory + "/");
}

bool HasOpen(const std::string& process, const std::string& pool) {
  for (const char* link : {"/cwd", "/root", "/exe"}) {
    if (IsAtOrBelow(ReadLink(process + link), pool)) return true;
  }
  const auto files = sys::NamesIn(process + "/fd").value_or(std::vector<std::string>{});
  return std::ranges::any_of(files, [&](const std::string& file) {
    return IsAtOrBelow(ReadLink(fmt::format("{}/fd/{}", process, file)), pool);
  });
}

bool HasMounted(const std::string& process, const std::string& device) {
  const auto text = sys::ReadFile(process + "/mountinfo", 4 << 20);
  return text && std::ranges::any_of(sys::ParseMountTable(*text),
                                     [&](const auto& mount) { return mount.source == device; });
}

}  // namespace

Result<> ProtectPool(const std::string& pool) {
  if (!TRY(sys::FindMount(pool))) {
    const auto tree = TRY(sys::CloneMount(pool, {.read_only = false, .executable = false}));
    if (::move_mount(tree.get(), "", AT_FDCWD, pool.c_str(), MOVE_MOUNT_F_EMPTY_PATH) != 0) {
      return FailErrno(errno, fmt::format("mount pool '{}'", pool));
    }
    return {};
  }
  mount_attr attributes{};
  attributes.attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
  if (::mount_setattr(AT_FDCWD, pool.c_str(), 0, &attributes, sizeof attributes) != 0) {
    return FailErrno(errno, fmt::format("set the mount flags of pool '{}'", pool));
  }
  return {};
}

Result<> UnprotectPool(const std::string& pool, const std::string& state_dir) {
  const auto mount = TRY(sys::FindMount(pool));
  if (!mount) return {};
  if (TRY(sys::Stat(pool)).st_dev != TRY(sys::Stat(state_dir)).st_dev) return {};
  const auto deadline = base::Deadline::After(std::chrono::seconds(10));
  while (::umount2(pool.c_str(), UMOUNT_NOFOLLOW) != 0) {
    if (errno != EBUSY) return FailErrno(errno, fmt::format("unmount pool '{}'", pool));
    if (deadline.passed()) {
      return std::unexpected(
          base::Error(base::Code::kFailedPrecondition,
                      fmt::format("unmount pool '{}': it is in use: {}", pool, PoolUsers(pool, "")))
              .WithRemedy("End these processes, then try again."));
    }
    ::poll(nullptr, 0, 10);
  }
  return {};
}

std::string PoolUsers(const std::string& pool, const std::string& device) {
  std::vector<std::string> users;
  std::size_t more = 0;
  std::set<std::string> told = {ReadLink("/proc/self/ns/mnt")};
  const std::string own = *told.begin();
  for (const auto& pid : sys::NamesIn("/proc").value_or(std::vector<std::string>{})) {
    if (pid.find_first_not_of("0123456789") != std::string::npos) continue;
    const std::string process = "/proc/" + pid;
    const std::string space = ReadLink(process + "/ns/mnt");
    const bool holds_copy = !device.empty() && space != own && HasMounted(process, device);
    if (holds_copy ? !told.insert(space).second : space != own || !HasOpen(process, pool)) continue;
    if (users.size() == kNamedUsers) {
      ++more;
      continue;
    }
    std::string name = sys::ReadFile(process + "/comm", 64).value_or("?");
    if (name.ends_with('\n')) name.pop_back();
    users.push_back(fmt::format("process {} ({}){}", pid, name,
                                holds_copy ? " in a mount namespace of its own" : ""));
  }
  std::string text = fmt::format("{}", fmt::join(users, ", "));
  if (more > 0) text += fmt::format(" and {} more", more);
  return text;
}

}  // namespace tinderbox::image
