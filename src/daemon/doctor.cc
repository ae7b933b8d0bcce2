// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "daemon/doctor.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <ctime>
#include <utility>

#include "daemon/backups.h"
#include "daemon/doctor_network.h"
#include "daemon/host_hardening.h"
#include "daemon/tested.h"
#include "image/lost_found.h"
#include "sys/cgroup.h"
#include "sys/file.h"
#include "sys/reflink.h"
#include "tls/certificate.h"

namespace tinderbox::daemon {
namespace {

using api::Check;

constexpr std::uint64_t kGib = 1ull << 30;

Check Ok(std::string name, std::string detail) {
  return {std::move(name), "ok", std::move(detail), ""};
}
Check Warn(std::string name, std::string detail, std::string remedy) {
  return {std::move(name), "warn", std::move(detail), std::move(remedy)};
}
Check Bad(std::string name, std::string detail, std::string remedy) {
  return {std::move(name), "fail", std::move(detail), std::move(remedy)};
}
Check Failed(std::string name, const base::Error& error) {
  return Bad(std::move(name), error.ToString(), error.remedy());
}

std::string Gib(std::uint64_t bytes) {
  return fmt::format("{:.1f} GiB", static_cast<double>(bytes) / static_cast<double>(kGib));
}

Check CheckRoot() {
  if (::geteuid() == 0) return Ok("root", "the daemon runs as root");
  return Bad("root", "the daemon does not run as root", "Start it with sudo or as a service.");
}

Check CheckKernel() {
  utsname names{};
  ::uname(&names);
  const std::string detail = fmt::format("Linux {}", names.release);
  if (KernelVersion(names.release) >= std::pair(5, 10)) return Ok("kernel", detail);
  return Bad("kernel", detail, "Use Linux 5.10 or later: pidfds and clone3 are needed.");
}

Check CheckKvm(const System& system) {
  const vmm::KvmReport& kvm = system.choice.kvm;
  const std::string detail = fmt::format("{}: {}", vmm::VerdictName(kvm.verdict), kvm.detail);
  switch (kvm.verdict) {
    case vmm::KvmReport::Verdict::kWhole: return Ok("kvm", detail);
    case vmm::KvmReport::Verdict::kAbsent:
      return Warn(
          "kvm", detail,
          "Turn on virtualization in the firmware, or nested virtualization for this virtual "
          "machine, and load kvm_intel or kvm_amd. Without it guests are emulated: slower, "
          "and more weakly isolated.");
    case vmm::KvmReport::Verdict::kUnusable:
    case vmm::KvmReport::Verdict::kSlow:
      return Warn(
          "kvm", detail,
          "This host's /dev/kvm cannot run an unmodified Linux; use a host whose hypervisor "
          "offers real nested virtualization. Until then guests are emulated.");
  }
  return Bad("kvm", detail, "");
}

Check CheckVmm(const System& system) {
  const vmm::Capabilities& vmm = system.choice.driver->capabilities();
  const std::string detail = fmt::format(
      "{} {} ({}), {}: {}", vmm.vmm, vmm.version, vmm.binary,
      vmm.accelerator == vmm::Accelerator::kKvm ? "KVM" : "emulation (TCG)", system.choice.reason);
  if (!vmm.runs_linux) {
    return Bad("vmm", detail,
               "With this accelerator no unmodified Linux boots here: set vmm = \"auto\".");
  }
  return Ok("vmm", detail);
}

Check CheckTested(const System& system) {
  return Ok("tested", TestedOn(system.choice.driver->capabilities()));
}

Check CheckPrograms(const System& system) {
  for (const std::string& path : {system.agent, system.warden}) {
    if (::access(path.c_str(), X_OK) != 0) {
      return Bad("programs", fmt::format("{} is gone or not executable", path),
                 "Install Tinderbox again.");
    }
  }
  return Ok("programs", fmt::format("{}, {}", system.agent, system.warden));
}

Check CheckTun() {
  if (::access("/dev/net/tun", F_OK) == 0) return Ok("tun", "/dev/net/tun is there");
  return Bad("tun", "there is no /dev/net/tun", "Load the module: sudo modprobe tun");
}

Check CheckCgroups(const Config& config) {
  if (!config.limits.enforce) {
    return Warn("cgroups", "no limits are set on VMs (limits.enforce = false)",
                "Set limits.enforce = true, so that one sandbox cannot starve the others.");
  }
  std::string found, missing;
  for (const std::string_view controller : {"memory", "cpu", "pids"}) {
    std::string where;
    for (const sys::CgroupHierarchy& hierarchy : sys::HostCgroups()) {
      if (where.empty() &&
          std::ranges::find(hierarchy.controllers, controller) != hierarchy.controllers.end()) {
        where = hierarchy.v2 ? "v2" : "v1";
      }
    }
    std::string& list = where.empty() ? missing : found;
    if (!list.empty()) list += ", ";
    list += where.empty() ? std::string(controller) : fmt::format("{} ({})", controller, where);
  }
  if (missing.empty()) return Ok("cgroups", fmt::format("limits on {}", found));
  return Warn("cgroups",
              fmt::format("limits on {}; none on {}", found.empty() ? "nothing" : found, missing),
              "Boot the kernel with those controllers (cgroup_enable=memory where that one is "
              "missing).");
}

Check CheckStorage(System& system) {
  const std::string& pool = system.library->pool_dir();
  const auto reflinks = sys::HasReflinks(pool);
  if (!reflinks) return Failed("storage", reflinks.error());
  if (!*reflinks) {
    return Bad("storage", fmt::format("{} has no reflinks", pool),
               "Restart the daemon: it makes a pool that has.");
  }
  const auto space = system.library->PoolSpace();
  if (!space) return Failed("storage", space.error());
  const std::string detail = fmt::format("{}: reflinks, {} free of {}", pool,
                                         Gib(space->free_bytes), Gib(space->total_bytes));
  if (space->free_bytes < kGib) {
    return Bad("storage", detail, "Free disk space: new sandboxes may fail.");
  }
  if (space->free_bytes < 5 * kGib) return Warn("storage", detail, "Free disk space soon.");
  return Ok("storage", detail);
}

Check CheckMemory() {
  std::uint64_t available_kib = 0;
  const std::string text = sys::ReadFile("/proc/meminfo").value_or("");
  if (const auto at = text.find("MemAvailable:"); at != text.npos) {
    std::sscanf(text.c_str() + at, "MemAvailable: %lu", &available_kib);
  }
  const std::string detail = fmt::format("{} available", Gib(available_kib << 10));
  if (available_kib < (512u << 10)) {
    return Bad("memory", detail, "Free memory: a sandbox takes 512 MiB unless told otherwise.");
  }
  if (available_kib < (2u << 20)) return Warn("memory", detail, "Few more sandboxes fit.");
  return Ok("memory", detail);
}

Check CheckGuestKernel(System& system) {
  const auto kernel = system.library->DefaultKernel();
  return kernel ? Ok("guest kernel", kernel->version) : Failed("guest kernel", kernel.error());
}

Check CheckTemplates(System& system) {
  const auto base = system.library->FindTemplate("base");
  if (!base) {
    return Bad(
        "template", base.error().ToString(),
        base.error().remedy().empty() ? "Make it: sudo tinderboxd prepare" : base.error().remedy());
  }
  return Ok("template", fmt::format("base, made {}", base->created_at));
}

// The files as they are now: the daemon may still serve with what stood there before.
Check CheckTls(const Config& config) {
  constexpr std::int64_t kSoon = 14 * 86400;
  const auto certificate = tls::LoadCertificate({config.tls_certificate, config.tls_key});
  if (!certificate) return Failed("api", certificate.error());
  const std::int64_t left = certificate->not_after - static_cast<std::int64_t>(std::time(nullptr));
  const std::string detail = fmt::format("listens on {} with TLS, {} days left of certificate '{}'",
                                         config.listen, left / 86400, config.tls_certificate);
  if (left < kSoon) return Warn("api", detail, "Renew it; the daemon takes the new one by itself.");
  struct stat key{};
  if (::stat(config.tls_key.c_str(), &key) == 0 && (key.st_mode & 0077) != 0) {
    return Warn("api", fmt::format("'{}' is not for root alone", config.tls_key),
                fmt::format("sudo chmod 600 {}", config.tls_key));
  }
  if (config.domain.empty()) {
    return Warn("api", detail + "; without a domain",
                "Set `domain` to the name the certificate is for, so that host names work.");
  }
  const std::string name = config.domain.substr(0, config.domain.find(':'));
  if (!tls::IsFor(certificate->names, "api." + name)) {
    return Bad("api", fmt::format("certificate '{}' is not for *.{}", config.tls_certificate, name),
               "Get a wildcard certificate for the domain, or set `domain` to what it is for.");
  }
  return Ok("api", detail);
}

Check CheckApi(const Config& config) {
  if (config.listen.empty()) {
    return Warn("api", "no TCP port: SDKs cannot connect", "Set `listen` in the configuration.");
  }
  if (UsesTls(config)) return CheckTls(config);
  const auto listen = ParseListen(config.listen);
  if (listen && !listen->loopback) {
    return Warn("api", fmt::format("listens on {}, without TLS", config.listen),
                "Set tls_certificate and tls_key, put a proxy with TLS in front, or listen on "
                "127.0.0.1.");
  }
  return Ok("api", fmt::format("listens on {} and {}", config.listen, config.socket));
}

Check CheckLost(System& system) {
  const auto lost = image::LostFound(system.library->pool_dir()).List();
  if (!lost) return Failed("lost+found", lost.error());
  if (lost->empty()) return Ok("lost+found", "nothing was lost");
  return Warn("lost+found",
              fmt::format("{} entries; the first is '{}': {}", lost->size(), lost->front().name,
                          lost->front().item.why),
              "Run 'tinderbox recover ls', then 'adopt' or 'rm' for each.");
}

Check CheckBackups(const Config& config) {
  constexpr std::time_t kOld = 2 * 86400;
  const auto all = BackupsIn(config.state_dir);
  if (!all) return Failed("backup", all.error());
  const auto st = all->empty() ? base::Result<struct stat>(base::Fail(base::Code::kNotFound, ""))
                               : sys::Stat(all->back());
  if (!st || std::time(nullptr) - st->st_mtime > kOld) {
    return Warn("backup", "the database was not backed up for two days",
                "Look for 'cannot back up the database' in the daemon's log.");
  }
  return Ok("backup", all->back());
}

}  // namespace

std::pair<int, int> KernelVersion(std::string_view release) {
  int major = 0, minor = 0;
  const char* end = release.data() + release.size();
  const auto first = std::from_chars(release.data(), end, major);
  if (first.ec != std::errc() || first.ptr == end || *first.ptr != '.') return {0, 0};
  const auto second = std::from_chars(first.ptr + 1, end, minor);
  if (second.ec != std::errc()) return {0, 0};
  return {major, minor};
}

std::vector<Check> RunDoctor(const Config& config, System& system) {
  std::vector<Check> checks = {CheckRoot(),
                               CheckKernel(),
                               CheckKvm(system),
                               CheckVmm(system),
                               CheckTested(system),
                               CheckPrograms(system),
                               CheckTun(),
                               CheckCgroups(config),
                               CheckStorage(system),
                               CheckMemory(),
                               CheckGuestKernel(system),
                               CheckTemplates(system),
                               CheckLost(system),
                               CheckBackups(config)};
  for (Check& check : CheckNetwork(config, *system.slots)) checks.push_back(std::move(check));
  checks.push_back(CheckApi(config));
  for (Check& check : CheckHardening()) checks.push_back(std::move(check));
  return checks;
}

}  // namespace tinderbox::daemon
