// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "daemon/host_hardening.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "base/split.h"
#include "sys/directory.h"
#include "sys/file.h"

namespace tinderbox::daemon {
namespace {

using api::Check;

Check Ok(std::string name, std::string detail) {
  return {std::move(name), "ok", std::move(detail), ""};
}
Check Warn(std::string name, std::string detail, std::string remedy) {
  return {std::move(name), "warn", std::move(detail), std::move(remedy)};
}

// The first line of a small file; "" if it cannot be read.
std::string FirstLine(const std::string& path) {
  const std::string text = sys::ReadFile(path, 4096).value_or("");
  return text.substr(0, text.find('\n'));
}

// Whether what is written to that swap area is out of reach of who reads the disk: dm-crypt, or
// compressed memory.
bool IsSafeSwap(const std::string& root, std::string_view area) {
  const std::string name(area.substr(area.rfind('/') + 1));
  if (!area.starts_with("/dev/")) return false;
  return name.starts_with("zram") ||
         FirstLine(fmt::format("{}/sys/class/block/{}/dm/uuid", root, name)).starts_with("CRYPT-");
}

Check CheckSwap(const std::string& root) {
  const std::string text = sys::ReadFile(root + "/proc/swaps", 1 << 16).value_or("");
  std::vector<std::string> plain;
  std::size_t areas = 0;
  for (const auto line : base::Split(text, '\n')) {
    const std::string_view area = line.substr(0, line.find_first_of(" \t"));
    if (!area.starts_with('/')) continue;  // the heading
    ++areas;
    if (!IsSafeSwap(root, area)) plain.emplace_back(area);
  }
  if (areas == 0) return Ok("swap", "off");
  if (plain.empty()) return Ok("swap", "encrypted, or compressed memory");
  return Warn(
      "swap", fmt::format("not encrypted: {}", fmt::join(plain, ", ")),
      "Turn it off (swapoff -a, and remove it from /etc/fstab), or encrypt it with dm-crypt: "
      "memory of guests could stay on the disk.");
}

Check CheckKsm(const std::string& root) {
  const std::string run = FirstLine(root + "/sys/kernel/mm/ksm/run");
  if (run != "1") return Ok("ksm", "the kernel merges no equal pages");
  return Warn(
      "ksm", "the kernel merges equal pages of different guests",
      "Turn it off (echo 2 > /sys/kernel/mm/ksm/run, and stop ksmtuned): by the time a write "
      "takes, a guest learns what others have in memory.");
}

Check CheckSmt(const std::string& root) {
  const std::string active = FirstLine(root + "/sys/devices/system/cpu/smt/active");
  if (active != "1") return Ok("smt", "no two threads share a core");
  return Warn("smt", "threads of different guests share cores",
              "Turn it off if tenants do not trust each other (boot with nosmt, or echo off > "
              "/sys/devices/system/cpu/smt/control).");
}

Check CheckCpu(const std::string& root) {
  const std::string directory = root + "/sys/devices/system/cpu/vulnerabilities";
  std::vector<std::string> open;
  bool microcode = false;
  auto names = sys::NamesIn(directory).value_or(std::vector<std::string>{});
  std::ranges::sort(names);
  for (const std::string& name : names) {
    const std::string state = FirstLine(fmt::format("{}/{}", directory, name));
    if (!state.starts_with("Vulnerable") && !state.contains("KVM: Vulnerable")) continue;
    open.push_back(name);
    microcode = microcode || state.contains("microcode");
  }
  if (names.empty()) {
    return Warn("cpu", "the kernel does not say what the CPU is vulnerable to",
                "Use a kernel that does (Linux 4.15 or later).");
  }
  if (open.empty()) return Ok("cpu", "mitigations are on for all that the kernel knows");
  return Warn("cpu", fmt::format("no mitigation for {}", fmt::join(open, ", ")),
              microcode ? "Install the CPU's microcode (intel-microcode or amd64-microcode) and "
                          "reboot; in a virtual machine its host needs it."
                        : "Boot without mitigations=off, and with a kernel that is up to date; see "
                          "/sys/devices/system/cpu/vulnerabilities.");
}

}  // namespace

std::vector<Check> CheckHardening(const std::string& root) {
  return {CheckSwap(root), CheckKsm(root), CheckSmt(root), CheckCpu(root)};
}

}  // namespace tinderbox::daemon
