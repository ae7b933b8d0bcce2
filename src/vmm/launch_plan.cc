// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "vmm/launch_plan.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>

#include "base/id.h"
#include "sys/cgroup.h"

namespace tinderbox::vmm {

using base::Code;
using base::Fail;
using base::Result;

namespace {

constexpr char kVmmInJail[] = "/vmm";
constexpr std::size_t kMaxTarget = 200;

// Absolute, without empty, "." and ".." components: what cannot leave the place it is resolved in.
bool IsCleanPath(const std::string& path) {
  if (path.size() < 2 || path.front() != '/' || path.back() == '/') return false;
  if (path.find('\0') != std::string::npos || path.find("//") != std::string::npos) return false;
  const std::string bounded = path + "/";
  return bounded.find("/./") == std::string::npos && bounded.find("/../") == std::string::npos;
}

bool Covers(const JailBind& bind, const std::string& path) {
  return bind.source == bind.target && (path == bind.target || path.starts_with(bind.target + "/"));
}

Result<> ValidateBinds(const LaunchSpec& spec) {
  std::vector<std::string> targets;
  for (const auto& bind : spec.binds) {
    if (!IsCleanPath(bind.target) || bind.target.size() > kMaxTarget || bind.target == "/run" ||
        bind.target == "/dev" || bind.target.starts_with("/dev/")) {
      return Fail(
          Code::kInvalidArgument,
          fmt::format("launch '{}': bind target '{}' is not allowed", spec.id, bind.target));
    }
    if (bind.source.empty() || bind.source.front() != '/') {
      return Fail(Code::kInvalidArgument,
                  fmt::format("launch '{}': bind source '{}' is not an absolute path", spec.id,
                              bind.source));
    }
    if (std::ranges::find(targets, bind.target) != targets.end()) {
      return Fail(
          Code::kInvalidArgument,
          fmt::format("launch '{}': bind target '{}' is named twice", spec.id, bind.target));
    }
    targets.push_back(bind.target);
  }
  return {};
}

Result<> ValidateArguments(const LaunchSpec& spec) {
  if (spec.argv.empty() || spec.argv.size() > warden::kMaxArgs) {
    return Fail(Code::kInvalidArgument, fmt::format("launch '{}': {} arguments, 1-{} are possible",
                                                    spec.id, spec.argv.size(), warden::kMaxArgs));
  }
  for (const auto& argument : spec.argv) {
    if (argument.find('\0') != std::string::npos) {
      return Fail(Code::kInvalidArgument,
                  fmt::format("launch '{}': an argument contains a NUL byte", spec.id));
    }
  }
  return {};
}

}  // namespace

Result<> ValidateLaunchSpec(const LaunchSpec& spec) {
  const auto bad = [&](std::string_view what) {
    return Fail(Code::kInvalidArgument, fmt::format("launch '{}': {}", spec.id, what));
  };
  if (!base::IsValidVmId(spec.id)) {
    return std::unexpected(
        base::Error(Code::kInvalidArgument, fmt::format("launch '{}': not a valid id", spec.id))
            .WithRemedy("Use 1-64 characters of a-z, 0-9 and '-', the first a letter or digit."));
  }
  if (!IsCleanPath(spec.run_dir)) return bad("the run directory must be a clean absolute path");
  if (!spec.warden.starts_with('/')) return bad("the warden's path must be absolute");
  if (!IsCleanPath(spec.vmm)) return bad("the VMM's path must be clean and absolute");
  if (spec.uid == 0 || spec.gid == 0) return bad("the VMM must not run as root (uid and gid > 0)");
  if (spec.open_files < 16) return bad("open_files must be at least 16");
  if (spec.workspace_bytes < 1 << 20) return bad("workspace_bytes must be at least 1 MiB");
  if (spec.console_bytes < 4096) return bad("console_bytes must be at least 4096");
  if (spec.stop_grace.count() < 0 || spec.stop_grace > std::chrono::hours(24)) {
    return bad("stop_grace must be between 0 and 24 hours");
  }
  if (!spec.cgroup.empty() && !sys::IsValidCgroupName(spec.cgroup)) {
    return bad("the cgroup's name is not valid");
  }
  TRY(ValidateArguments(spec));
  return ValidateBinds(spec);
}

std::string VmmPathInJail(const LaunchSpec& spec) {
  const bool covered =
      std::ranges::any_of(spec.binds, [&](const JailBind& bind) { return Covers(bind, spec.vmm); });
  return covered ? spec.vmm : kVmmInJail;
}

std::vector<JailBind> AllBinds(const LaunchSpec& spec) {
  auto binds = spec.binds;
  if (VmmPathInJail(spec) == kVmmInJail) binds.push_back({spec.vmm, kVmmInJail, true});
  return binds;
}

std::vector<warden::Device> JailDevices(const LaunchSpec& spec) {
  std::vector<warden::Device> devices;
  const auto add = [&devices](const char* name) {
    struct stat st{};
    if (::stat(fmt::format("/dev/{}", name).c_str(), &st) != 0 || !S_ISCHR(st.st_mode)) return;
    warden::Device device;
    std::strncpy(device.name, name, sizeof device.name - 1);
    device.rdev = st.st_rdev;
    devices.push_back(device);
  };
  add("null");
  add("urandom");
  if (spec.kvm) add("kvm");
  if (spec.tun) add("net/tun");
  return devices;
}

Result<std::vector<std::byte>> EncodePlan(const LaunchSpec& spec, const PlanParts& parts) {
  warden::Plan plan;
  for (std::size_t i = 0; i < warden::kStepCount; ++i) {
    if (parts.fail_at == warden::kStepNames[i]) plan.fail_step = static_cast<std::uint32_t>(i);
  }
  plan.uid = spec.uid;
  plan.gid = spec.gid;
  plan.arg_count = static_cast<std::uint32_t>(spec.argv.size());
  plan.bind_count = static_cast<std::uint32_t>(parts.binds.size());
  plan.cgroup_count = static_cast<std::uint32_t>(parts.cgroup_count);
  plan.has_netns = spec.netns.empty() ? 0 : 1;
  plan.stop_grace_ms = static_cast<std::uint32_t>(spec.stop_grace.count());
  plan.workspace_bytes = spec.workspace_bytes;
  plan.open_files = spec.open_files;
  plan.file_bytes = std::max({spec.file_bytes, spec.workspace_bytes, parts.writable_bytes});
  plan.may_fork = spec.processes ? 1 : 0;
  plan.console_bytes = spec.console_bytes;
  plan.device_count =
      static_cast<std::uint32_t>(std::min(parts.devices.size(), std::size_t{warden::kMaxDevices}));
  std::copy_n(parts.devices.begin(), plan.device_count, plan.devices);

  std::string strings = spec.run_dir + '\0' + VmmPathInJail(spec) + '\0';
  for (const auto& argument : spec.argv) strings += argument + '\0';
  for (std::size_t i = 0; i < parts.binds.size(); ++i) {
    strings += (parts.bind_is_directory[i] ? 'd' : 'f') + parts.binds[i].target + '\0';
  }
  const std::size_t size = sizeof plan + strings.size();
  if (size > warden::kMaxPlanBytes || parts.binds.size() > warden::kMaxBinds ||
      5 + parts.cgroup_count + parts.binds.size() > warden::kMaxFds) {
    return Fail(Code::kInvalidArgument,
                fmt::format("launch '{}': arguments and binds are too many or too long", spec.id));
  }
  std::vector<std::byte> message(size);
  std::memcpy(message.data(), &plan, sizeof plan);
  std::memcpy(message.data() + sizeof plan, strings.data(), strings.size());
  return message;
}

}  // namespace tinderbox::vmm
