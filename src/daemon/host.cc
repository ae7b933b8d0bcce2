// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "daemon/host.h"

#include <fmt/format.h>
#include <unistd.h>

#include <boost/json.hpp>

#include "api/sandbox_json.h"
#include "daemon/doctor.h"
#include "sandbox/cgroup_name.h"

namespace tinderbox::daemon {
namespace {

std::int64_t NowMs() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

boost::json::object CapacityJson(sandbox::Capacity& capacity) {
  const sandbox::CapacityLimits& limits = capacity.limits();
  const sandbox::Resources reserved = capacity.Reserved();
  const sandbox::Resources all = limits.Allocatable();
  const auto part = [](std::uint64_t host, double overcommit, std::uint64_t allocatable,
                       std::uint64_t used) {
    return boost::json::object{{"host", host},
                               {"overcommit", overcommit},
                               {"allocatable", allocatable},
                               {"reserved", used}};
  };
  return {{"memoryMib", part(limits.host.memory_mib, limits.memory_overcommit, all.memory_mib,
                             reserved.memory_mib)},
          {"cpus", part(limits.host.cpus, limits.cpu_overcommit, all.cpus, reserved.cpus)},
          {"diskMib",
           part(limits.host.disk_mib, limits.disk_overcommit, all.disk_mib, reserved.disk_mib)}};
}

}  // namespace

Host::Host(const Config& config, System& system)
    : config_(config), system_(system), started_at_ms_(NowMs()) {}

boost::json::object Host::Info() {
  const vmm::Capabilities& vmm = system_.choice.driver->capabilities();
  const bool kvm = vmm.accelerator == vmm::Accelerator::kKvm;
  boost::json::object info;
  info["version"] = TINDERBOX_VERSION;
  info["pid"] = ::getpid();
  info["startedAt"] = api::Rfc3339(started_at_ms_);
  if (port_ != 0) {
    const auto listen = ParseListen(config_.listen);
    std::string address = listen ? listen->address : "127.0.0.1";
    // An address to bind to is not always one to connect to.
    if (address == "0.0.0.0") address = "127.0.0.1";
    if (address == "::") address = "::1";
    if (address.contains(':')) address = fmt::format("[{}]", address);
    const std::string_view scheme = UsesTls(config_) ? "https" : "http";
    info["apiUrl"] = fmt::format("{}://{}:{}", scheme, address, port_);
    if (UsesTls(config_) && !config_.domain.empty()) {
      // The names the certificate is for. SDKs put others before the domain, one a sandbox's port.
      info["apiUrl"] = fmt::format("https://api.{}", config_.domain);
      info["sandboxUrl"] = fmt::format("https://sandbox.{}", config_.domain);
      info["domain"] = config_.domain;
    }
  }
  info["socket"] = config_.socket;
  info["vmm"] = {{"name", vmm.vmm},
                 {"version", vmm.version},
                 {"binary", vmm.binary},
                 {"accelerator", kvm ? "kvm" : "tcg"},
                 {"runsLinux", vmm.runs_linux},
                 {"isolation", kvm ? "hardware" : "emulation (weaker)"},
                 {"reason", system_.choice.reason}};
  info["kvm"] = {{"verdict", vmm::VerdictName(system_.choice.kvm.verdict)},
                 {"detail", system_.choice.kvm.detail}};
  if (const auto kernel = system_.library->DefaultKernel()) info["guestKernel"] = kernel->version;
  info["paths"] = {{"state", config_.state_dir},
                   {"run", config_.run_dir},
                   {"pool", system_.library->pool_dir()},
                   {"agent", system_.agent},
                   {"warden", system_.warden}};
  if (const auto space = system_.library->PoolSpace()) {
    info["pool"] = {{"freeBytes", space->free_bytes}, {"totalBytes", space->total_bytes}};
  }
  info["limits"] = {{"sandboxes", config_.limits.sandboxes}, {"enforced", config_.limits.enforce}};
  info["capacity"] = CapacityJson(*system_.capacity);
  const auto pool = system_.manager->Pool();
  info["readyVms"] = pool.ready;
  info["readyVmsTarget"] = pool.target;
  return info;
}

std::vector<api::Check> Host::Doctor() { return RunDoctor(config_, system_); }

boost::json::object Host::SandboxPaths(const sandbox::SandboxInfo& info) {
  boost::json::object paths;
  paths["runDir"] = info.run_dir;
  paths["disk"] = fmt::format("{}/sandboxes/{}/disk.img", system_.library->pool_dir(), info.id);
  if (config_.limits.enforce) paths["cgroup"] = sandbox::CgroupName(config_.limits.cgroup, info.id);
  if (info.slot != 0) paths["netns"] = fmt::format("{}-{}", config_.network.prefix, info.slot);
  return paths;
}

}  // namespace tinderbox::daemon
