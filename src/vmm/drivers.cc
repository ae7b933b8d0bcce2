// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "vmm/drivers.h"

#include <fmt/format.h>
#include <limits.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>

#include "sys/file.h"
#include "vmm/firecracker/driver.h"
#include "vmm/host_facts.h"
#include "vmm/qemu/driver.h"
#include "vmm/version.h"

namespace tinderbox::vmm {

using base::Code;
using base::Error;
using base::Result;

namespace {

constexpr std::chrono::seconds kVersionAllowed{10};

bool IsProgram(const std::string& path) {
  const auto status = sys::Stat(path);
  return status && S_ISREG(status->st_mode) && ::access(path.c_str(), X_OK) == 0;
}

// Relative entries of PATH are left out: what runs must not depend on where we stand.
std::vector<std::string> SearchPath() {
  std::vector<std::string> folders;
  const char* const variable = std::getenv("PATH");
  std::string_view rest = variable == nullptr ? "" : variable;
  while (!rest.empty()) {
    const auto end = std::min(rest.find(':'), rest.size());
    if (rest[0] == '/') folders.emplace_back(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  for (const char* usual : {"/usr/local/bin", "/usr/bin", "/opt/firecracker"})
    folders.emplace_back(usual);
  return folders;
}

Result<std::optional<std::string>> Find(const std::string& configured, const std::string& name,
                                        std::string_view option) {
  if (!configured.empty()) {
    if (configured[0] == '/' && IsProgram(configured)) return configured;
    return std::unexpected(
        Error(Code::kNotFound, fmt::format("'{}' is no program with an absolute path", configured))
            .WithRemedy(fmt::format("Correct the path of {}, or leave it out.", option)));
  }
  for (const std::string& folder : SearchPath()) {
    std::string path = folder + "/" + name;
    if (IsProgram(path)) return path;
  }
  return std::nullopt;
}

Result<std::string> WardenOf(const DriverOptions& options) {
  if (options.warden.empty()) return FindWardenProgram();
  if (IsProgram(options.warden)) return options.warden;
  return base::Fail(Code::kNotFound, fmt::format("the warden '{}' is no program", options.warden));
}

// Beside the warden. Without it QEMU still runs, at the price of
// Capabilities::writable_memory_base.
void FindMemoryOpener(qemu::Programs& programs) {
  const std::string stem =
      programs.warden.substr(0, programs.warden.rfind('/')) + "/tinderbox-qemu-memory";
  if (!sys::Exists(stem + ".so") || !sys::Exists(stem + ".preload")) return;
  programs.memory_opener = stem + ".so";
  programs.preload = stem + ".preload";
}

Result<> CheckProgram(const std::string& binary, std::string_view remedy) {
  if (!binary.empty() && binary[0] == '/' && IsProgram(binary)) return {};
  return std::unexpected(
      Error(Code::kNotFound, fmt::format("'{}' is no program with an absolute path", binary))
          .WithRemedy(std::string(remedy)));
}

}  // namespace

Result<std::optional<std::string>> FindFirecracker(const std::string& configured) {
  return Find(configured, "firecracker", "firecracker");
}

Result<std::optional<std::string>> FindQemu(const std::string& configured) {
  return Find(configured, "qemu-system-x86_64", "qemu");
}

Result<std::string> FindWardenProgram() {
  char self[PATH_MAX];
  const ssize_t size = ::readlink("/proc/self/exe", self, sizeof self);
  if (size < 0) return base::FailErrno(errno, "find this program's own path");
  std::string folder(self, static_cast<std::size_t>(size));
  folder.resize(folder.rfind('/'));
  // Installed beside us or in libexec; in the build tree, in its component's folder.
  for (const char* place : {"/", "/../libexec/tinderbox/", "/../lib/tinderbox/", "/../warden/"}) {
    std::string path = folder + place + "tinderbox-warden";
    if (IsProgram(path)) return path;
  }
  return std::unexpected(
      Error(Code::kNotFound, fmt::format("there is no tinderbox-warden near '{}'", folder))
          .WithRemedy("Install Tinderbox again: its warden is missing."));
}

Result<std::unique_ptr<Driver>> OpenFirecracker(const std::string& binary,
                                                const DriverOptions& options) {
  const auto context = [&] { return fmt::format("use Firecracker '{}'", binary); };
  TRY_CTX(CheckProgram(binary, "Install Firecracker, or use QEMU."), context());
  const Version version =
      TRY(ReadVersion(binary, "Firecracker v", base::Deadline::After(kVersionAllowed)));
  TRY_CTX(CheckFirecrackerVersion(version), context());
  const KvmReport kvm = options.kvm ? *options.kvm : ProbeKvm();
  if (kvm.verdict == KvmReport::Verdict::kAbsent || kvm.verdict == KvmReport::Verdict::kUnusable)
    return std::unexpected(
        Error(Code::kFailedPrecondition, fmt::format("{}: {}", context(), kvm.detail))
            .WithRemedy("Use QEMU, which needs no KVM, or enable KVM on this host."));
  // Without the number (a version that has no such flag), only the same version reads a state.
  const auto format =
      ReadVersion(binary, "v", base::Deadline::After(kVersionAllowed), "--snapshot-version");
  HostCpu cpu = ReadHostCpu();
  Capabilities capabilities = {.vmm = "firecracker",
                               .version = version.ToString(),
                               .binary = binary,
                               .accelerator = Accelerator::kKvm,
                               .state_format = format ? format->ToString() : "",
                               .cpu = std::move(cpu.name),
                               .cpu_features = std::move(cpu.features),
                               .runs_linux = kvm.verdict == KvmReport::Verdict::kWhole,
                               .disk_hotplug = false,
                               .diff_snapshots = true,
                               .needs_pvh_note = false};
  return firecracker::MakeDriver(
      std::move(capabilities),
      {.firecracker = binary, .warden = TRY(WardenOf(options)), .disk = options.disk},
      TRY(MeasureHost()));
}

Result<std::unique_ptr<Driver>> OpenQemu(const std::string& binary, const DriverOptions& options) {
  const auto context = [&] { return fmt::format("use QEMU '{}'", binary); };
  TRY_CTX(CheckProgram(binary, "Install Debian's package qemu-system-x86."), context());
  const Version version =
      TRY(ReadVersion(binary, "QEMU emulator version ", base::Deadline::After(kVersionAllowed)));
  if (version < Version{7, 2, 0})
    return std::unexpected(
        Error(Code::kFailedPrecondition,
              fmt::format("{}: version {} is too old", context(), version.ToString()))
            .WithRemedy("Install QEMU 7.2 or later."));
  const KvmReport kvm = options.kvm ? *options.kvm : ProbeKvm();
  const bool whole = kvm.verdict == KvmReport::Verdict::kWhole;
  Capabilities capabilities = {.vmm = "qemu",
                               .version = version.ToString(),
                               .binary = binary,
                               .accelerator = whole ? Accelerator::kKvm : Accelerator::kTcg,
                               .runs_linux = true,
                               .disk_hotplug = false,
                               .diff_snapshots = true,
                               .needs_pvh_note = true};
  qemu::Programs programs = {.qemu = binary, .warden = TRY(WardenOf(options))};
  programs.disk = options.disk;
  FindMemoryOpener(programs);
  capabilities.writable_memory_base = programs.memory_opener.empty();
  HostFacts host = TRY(MeasureHost());
  // An emulated CPU is the same on every host.
  HostCpu cpu = whole ? ReadHostCpu() : HostCpu{.name = "qemu max", .features = ""};
  capabilities.cpu = std::move(cpu.name);
  capabilities.cpu_features = std::move(cpu.features);
  if (!whole) capabilities.tsc_khz = host.tsc_khz;
  auto runtime = std::make_unique<qemu::Runtime>(binary);
  TRY_CTX(runtime->Binds(), context());
  return qemu::MakeDriver(std::move(capabilities), std::move(programs), std::move(host),
                          std::move(runtime));
}

}  // namespace tinderbox::vmm
