// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "sys/cgroup.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>

#include "base/split.h"
#include "sys/file.h"

namespace tinderbox::sys {

using base::Code;
using base::Fail;
using base::FailErrno;
using base::Result;
using base::Split;

namespace {

constexpr std::string_view kControllers[] = {"memory", "cpu", "pids"};
constexpr std::uint64_t kCpuPeriodUs = 100000;

bool Has(const std::vector<std::string>& list, std::string_view what) {
  return std::find(list.begin(), list.end(), what) != list.end();
}

// One line of mountinfo; false where it is no cgroup hierarchy that matters here.
bool ParseLine(std::string_view line, CgroupHierarchy* hierarchy) {
  const auto dash = line.find(" - ");
  if (dash == std::string_view::npos) return false;
  const auto before = Split(line.substr(0, dash), ' ');
  const auto after = Split(line.substr(dash + 3), ' ');
  if (before.size() < 5 || after.size() < 3) return false;
  hierarchy->path = before[4];
  hierarchy->v2 = after[0] == "cgroup2";
  if (hierarchy->v2) return true;
  if (after[0] != "cgroup") return false;
  for (const auto option : Split(after[2], ',')) {
    if (std::ranges::find(kControllers, option) != std::end(kControllers)) {
      hierarchy->controllers.emplace_back(option);
    }
  }
  return !hierarchy->controllers.empty();
}

std::vector<CgroupHierarchy> ReadHostCgroups() {
  const auto text = ReadFile("/proc/self/mountinfo");
  if (!text) return {};
  auto found = ParseCgroupMounts(*text);
  for (auto& hierarchy : found) {
    if (!hierarchy.v2) continue;
    const auto controllers = ReadFile(hierarchy.path + "/cgroup.controllers", 4096);
    if (!controllers) continue;
    const auto line = std::string_view(*controllers).substr(0, controllers->find('\n'));
    for (const auto controller : Split(line, ' ')) {
      hierarchy.controllers.emplace_back(controller);
    }
  }
  return UsefulCgroups(std::move(found));
}

}  // namespace

std::vector<CgroupHierarchy> UsefulCgroups(std::vector<CgroupHierarchy> all) {
  const bool any_v1 =
      std::ranges::any_of(all, [](const CgroupHierarchy& hierarchy) { return !hierarchy.v2; });
  std::erase_if(all, [any_v1](const CgroupHierarchy& hierarchy) {
    return hierarchy.v2 && any_v1 &&
           std::ranges::none_of(kControllers, [&hierarchy](std::string_view controller) {
             return Has(hierarchy.controllers, controller);
           });
  });
  return all;
}

std::vector<CgroupHierarchy> ParseCgroupMounts(std::string_view mountinfo) {
  std::vector<CgroupHierarchy> found;
  for (const auto line : Split(mountinfo, '\n')) {
    CgroupHierarchy hierarchy;
    if (!ParseLine(line, &hierarchy)) continue;
    // The same hierarchy can be mounted twice (containers do); once is enough.
    const bool known = std::ranges::any_of(found, [&](const CgroupHierarchy& other) {
      return other.v2 == hierarchy.v2 && other.controllers == hierarchy.controllers;
    });
    if (!known) found.push_back(std::move(hierarchy));
  }
  return found;
}

const std::vector<CgroupHierarchy>& HostCgroups() {
  static const std::vector<CgroupHierarchy> cached = ReadHostCgroups();
  return cached;
}

bool IsValidCgroupName(std::string_view name) {
  if (name.empty() || name.size() > 200 || name.front() == '/' || name.back() == '/') return false;
  const auto parts = Split(name, '/');
  if (parts.size() > 4 || name.find("//") != std::string_view::npos) return false;
  return std::ranges::all_of(parts, [](std::string_view part) {
    return part != "." && part != ".." && std::ranges::all_of(part, [](char c) {
             return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                    c == '.' || c == '_' || c == '-';
           });
  });
}

// Makes one group hierarchy by hierarchy; on failure the caller undoes what stands in the result.
class CgroupBuilder {
 public:
  CgroupBuilder(Cgroup* group, const std::string& name, const CgroupSettings& settings)
      : group_(*group), name_(name), settings_(settings) {}

  Result<> AddV1(const CgroupHierarchy& hierarchy) {
    const std::string directory = TRY(MakeDirectories(hierarchy));
    for (const auto& controller : hierarchy.controllers) TRY(LimitV1(controller, directory));
    // `tasks`, not cgroup.procs: see the warden's step cgroup-join.
    group_.join_files_.push_back(TRY(Open(directory + "/tasks", O_WRONLY)));
    return {};
  }

  Result<> AddV2(const CgroupHierarchy& hierarchy) {
    const std::string directory = TRY(MakeDirectories(hierarchy));
    for (const auto controller : kControllers) {
      if (Has(hierarchy.controllers, controller)) TRY(LimitV2(controller, directory));
    }
    group_.v2_directory_ = TRY(Open(directory, O_RDONLY | O_DIRECTORY));
    return {};
  }

  void NoteMissing() {
    const auto note = [&](bool wanted, std::string_view controller, std::string_view what) {
      if (!wanted || Has(handled_, controller)) return;
      group_.missing_limits_.push_back(fmt::format(
          "{}: the host has no '{}' cgroup controller that can be used", what, controller));
    };
    note(settings_.memory_bytes != 0, "memory", "memory");
    note(settings_.cpus > 0, "cpu", "CPU");
    note(settings_.pids != 0, "pids", "number of processes");
  }

 private:
  bool Wants(std::string_view controller) const {
    if (controller == "memory") return settings_.memory_bytes != 0;
    if (controller == "cpu") return settings_.cpus > 0;
    return controller == "pids" && settings_.pids != 0;
  }

  Result<std::string> MakeDirectories(const CgroupHierarchy& hierarchy) {
    const auto parts = Split(name_, '/');
    std::string path = hierarchy.path;
    for (std::size_t i = 0; i < parts.size(); ++i) {
      if (hierarchy.v2) EnableBelow(hierarchy, path);
      path.append("/").append(parts[i]);
      if (::mkdir(path.c_str(), 0755) == 0) {
        group_.created_.push_back({path, i + 1 == parts.size()});
      } else if (errno != EEXIST || i + 1 == parts.size()) {
        return FailErrno(errno, fmt::format("create cgroup '{}'", path));
      }
    }
    return path;
  }

  // A v2 group offers to those below it only the controllers that it was told to. Failure shows in
  // the absence of the limit's file below, where it is told as a missing limit.
  void EnableBelow(const CgroupHierarchy& hierarchy, const std::string& path) {
    for (const auto controller : kControllers) {
      if (!Wants(controller) || !Has(hierarchy.controllers, controller)) continue;
      (void)WriteExisting(path + "/cgroup.subtree_control", fmt::format("+{}", controller));
    }
  }

  Result<> LimitV1(std::string_view controller, const std::string& directory) {
    handled_.emplace_back(controller);
    if (!Wants(controller)) return {};
    if (controller == "memory") {
      const auto bytes = std::to_string(settings_.memory_bytes);
      TRY(WriteExisting(directory + "/memory.limit_in_bytes", bytes));
      // Memory and swap together: no swap beyond. Kernels without swap accounting lack the file.
      const std::string both = directory + "/memory.memsw.limit_in_bytes";
      if (Exists(both)) TRY(WriteExisting(both, bytes));
    } else if (controller == "cpu") {
      if (!Exists(directory + "/cpu.cfs_quota_us")) {
        std::erase(handled_, controller);
        return {};
      }
      // A new group's period is the 100 ms that the quota is reckoned in.
      TRY(WriteExisting(directory + "/cpu.cfs_quota_us", std::to_string(CpuQuota())));
    } else {
      TRY(WriteExisting(directory + "/pids.max", std::to_string(settings_.pids)));
    }
    return {};
  }

  Result<> LimitV2(std::string_view controller, const std::string& directory) {
    if (!Wants(controller)) return {};
    const std::string file = fmt::format("{}/{}.max", directory, controller);
    if (!Exists(file)) return {};
    handled_.emplace_back(controller);
    if (controller == "memory") {
      TRY(WriteExisting(file, std::to_string(settings_.memory_bytes)));
      if (Exists(directory + "/memory.swap.max")) {
        TRY(WriteExisting(directory + "/memory.swap.max", "0"));
      }
    } else if (controller == "cpu") {
      TRY(WriteExisting(file, fmt::format("{} {}", CpuQuota(), kCpuPeriodUs)));
    } else {
      TRY(WriteExisting(file, std::to_string(settings_.pids)));
    }
    return {};
  }

  std::uint64_t CpuQuota() const {
    // The kernel takes no quota below 1 ms.
    return std::max<std::uint64_t>(
        1000, static_cast<std::uint64_t>(std::llround(settings_.cpus * kCpuPeriodUs)));
  }

  Cgroup& group_;
  const std::string& name_;
  const CgroupSettings& settings_;
  std::vector<std::string> handled_;
};

namespace {

// rmdir, again while the kernel still counts an ended process in (EBUSY), until `deadline`.
Result<> RemoveDirectory(const std::string& path, base::Deadline deadline) {
  for (int pause_ms = 1;; pause_ms = std::min(pause_ms * 2, 20)) {
    if (::rmdir(path.c_str()) == 0 || errno == ENOENT) return {};
    if (errno != EBUSY) return FailErrno(errno, fmt::format("remove cgroup '{}'", path));
    if (deadline.passed()) {
      return Fail(Code::kFailedPrecondition,
                  fmt::format("remove cgroup '{}': processes are still in it", path));
    }
    ::poll(nullptr, 0, pause_ms);
  }
}

}  // namespace

Result<Cgroup> Cgroup::Create(const std::vector<CgroupHierarchy>& hierarchies,
                              const std::string& name, const CgroupSettings& settings) {
  if (!IsValidCgroupName(name)) {
    return Fail(Code::kInvalidArgument, fmt::format("create cgroup '{}': not a valid name", name));
  }
  Cgroup group;
  CgroupBuilder builder(&group, name, settings);
  for (const auto& hierarchy : hierarchies) {
    auto added = hierarchy.v2 ? builder.AddV2(hierarchy) : builder.AddV1(hierarchy);
    if (added) continue;
    // The first error is the one to tell; what cannot be undone either is nothing new by then.
    if (auto undone = group.Undo(base::Deadline::After(std::chrono::seconds(1))); !undone) {
      return std::unexpected(std::move(added).error().WithContext("(not all of it undone)"));
    }
    return std::unexpected(std::move(added).error());
  }
  builder.NoteMissing();
  return group;
}

Result<> Cgroup::Undo(base::Deadline deadline) {
  join_files_.clear();
  v2_directory_.Reset();
  Result<> result;
  while (!created_.empty()) {
    const Directory directory = std::move(created_.back());
    created_.pop_back();
    if (!directory.leaf) {
      // Others may have begun to use a group above meanwhile: then it stays, and is theirs.
      ::rmdir(directory.path.c_str());
      continue;
    }
    auto removed = RemoveDirectory(directory.path, deadline);
    if (!removed && result) result = std::move(removed);
  }
  return result;
}

Result<> RemoveCgroup(const std::vector<CgroupHierarchy>& hierarchies, const std::string& name,
                      base::Deadline deadline) {
  if (!IsValidCgroupName(name)) {
    return Fail(Code::kInvalidArgument, fmt::format("remove cgroup '{}': not a valid name", name));
  }
  Result<> result;
  for (const auto& hierarchy : hierarchies) {
    auto removed = RemoveDirectory(hierarchy.path + "/" + name, deadline);
    if (!removed && result) result = std::move(removed);
  }
  return result;
}

bool KillCgroup(const std::vector<CgroupHierarchy>& hierarchies, const std::string& name) {
  for (const auto& hierarchy : hierarchies) {
    if (!hierarchy.v2) continue;
    return WriteExisting(hierarchy.path + "/" + name + "/cgroup.kill", "1").has_value();
  }
  return false;
}

}  // namespace tinderbox::sys
