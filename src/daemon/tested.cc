// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "daemon/tested.h"

#include <fmt/format.h>

#include <string_view>

namespace tinderbox::daemon {
namespace {

// Change these together with README.md and SECURITY.md.
constexpr std::string_view kFirecracker = "1.12.1";
constexpr std::string_view kQemu = "7.2";

bool Has(std::string_view features, std::string_view feature) {
  return fmt::format(" {} ", features).find(fmt::format(" {} ", feature)) != std::string::npos;
}

std::string Processor(const vmm::Capabilities& vmm) {
  if (vmm.accelerator == vmm::Accelerator::kTcg) {
    // QEMU before 8.1 may run code that another virtual CPU has just changed (README.md).
    return "this release was tested with software emulation on x86-64 hosts, with one CPU for each "
           "sandbox: with more, a guest may hang";
  }
  std::string tested = "this release was tested with KVM on an emulated processor with AMD SVM";
  if (Has(vmm.cpu_features, "vmx")) return tested + ", and not on Intel VMX, which this host has";
  return tested + ", and not on hardware";
}

std::string Program(const vmm::Capabilities& vmm) {
  if (vmm.vmm == "firecracker" && vmm.version != kFirecracker) {
    return fmt::format("; with Firecracker {}, and not with {}", kFirecracker, vmm.version);
  }
  if (vmm.vmm == "qemu" && !vmm.version.starts_with(fmt::format("{}.", kQemu))) {
    return fmt::format("; with QEMU {}, and not with {}", kQemu, vmm.version);
  }
  return {};
}

}  // namespace

std::string TestedOn(const vmm::Capabilities& vmm) { return Processor(vmm) + Program(vmm); }

}  // namespace tinderbox::daemon
