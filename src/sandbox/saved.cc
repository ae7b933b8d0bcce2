// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "sandbox/saved.h"

#include <fmt/format.h>

#include <algorithm>

namespace tinderbox::sandbox {
namespace {

// Two measurements of one clock differ by some parts in a million; a guest's clock that runs wrong
// by this much is wrong by 9 s a day.
constexpr std::uint64_t kClockTolerance = 10'000;  // one in this many

bool SameClock(std::uint64_t one, std::uint64_t other) {
  if (one == 0 || other == 0) return true;
  return std::max(one, other) - std::min(one, other) <= one / kClockTolerance;
}

}  // namespace

std::string_view AcceleratorName(vmm::Accelerator accelerator) {
  return accelerator == vmm::Accelerator::kKvm ? "kvm" : "tcg";
}

image::SavedVm SavedVmOf(const vmm::Capabilities& driver, const std::string& kernel_version) {
  return {.vmm = driver.vmm,
          .vmm_version = driver.version,
          .accelerator = std::string(AcceleratorName(driver.accelerator)),
          .cpu = driver.cpu,
          .tsc_khz = driver.tsc_khz,
          .kernel = kernel_version};
}

std::string MisfitOf(const image::SavedVm& saved, const vmm::Capabilities& driver) {
  const image::SavedVm here = SavedVmOf(driver, saved.kernel);
  const auto differs = [](std::string_view what, std::string_view then, std::string_view now) {
    return fmt::format("its memory was saved with {} '{}', and here it is '{}'", what, then, now);
  };
  if (saved.vmm != here.vmm) return differs("VMM", saved.vmm, here.vmm);
  if (saved.vmm_version != here.vmm_version) {
    return differs("version", saved.vmm_version, here.vmm_version);
  }
  if (saved.accelerator != here.accelerator) {
    return differs("accelerator", saved.accelerator, here.accelerator);
  }
  if (saved.cpu != here.cpu) return differs("CPU", saved.cpu, here.cpu);
  if (!SameClock(saved.tsc_khz, here.tsc_khz)) {
    return fmt::format(
        "its memory was saved on a CPU whose clock runs at {} kHz, and here it is "
        "{} kHz",
        saved.tsc_khz, here.tsc_khz);
  }
  return {};
}

}  // namespace tinderbox::sandbox
