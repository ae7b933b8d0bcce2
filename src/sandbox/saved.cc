// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "sandbox/saved.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "vmm/version.h"

namespace tinderbox::sandbox {
namespace {

// Two measurements of one clock differ by some parts in a million; a guest's clock that runs wrong
// by this much is wrong by 9 s a day.
constexpr std::uint64_t kClockTolerance = 10'000;  // one in this many

bool SameClock(std::uint64_t one, std::uint64_t other) {
  if (one == 0 || other == 0) return true;
  return std::max(one, other) - std::min(one, other) <= one / kClockTolerance;
}

std::string Differs(std::string_view what, std::string_view then, std::string_view now) {
  return fmt::format("its memory was saved with {} '{}', and here it is '{}'", what, then, now);
}

// Firecracker's own rule for the format of its states.
bool ReadsFormat(std::string_view here, std::string_view saved) {
  const auto reader = vmm::ParseVersion(here, "");
  const auto written = vmm::ParseVersion(saved, "");
  return reader && written && reader->major == written->major && reader->minor >= written->minor;
}

std::string VersionMisfit(const image::SavedVm& saved, const image::SavedVm& here) {
  if (saved.vmm_version == here.vmm_version) return {};
  if (ReadsFormat(here.state_format, saved.state_format)) return {};
  std::string misfit = Differs("version", saved.vmm_version, here.vmm_version);
  if (!saved.state_format.empty() && !here.state_format.empty()) {
    misfit +=
        fmt::format(" (state format {}, and here it is {})", saved.state_format, here.state_format);
  }
  return misfit;
}

// Without the digest of the features, which comes last.
std::string_view ModelOf(std::string_view cpu) { return cpu.substr(0, cpu.rfind(' ')); }

std::vector<std::string> Missing(const std::string& wanted, const std::string& here) {
  std::istringstream present(here);
  const std::set<std::string> known(std::istream_iterator<std::string>{present}, {});
  std::vector<std::string> missing;
  std::istringstream features(wanted);
  for (std::string feature; features >> feature;) {
    if (!known.contains(feature)) missing.push_back(feature);
  }
  return missing;
}

std::string CpuMisfit(const image::SavedVm& saved, const image::SavedVm& here) {
  if (saved.cpu == here.cpu) return {};
  const bool same_model = ModelOf(saved.cpu) == ModelOf(here.cpu);
  if (!same_model || saved.cpu_features.empty() || here.cpu_features.empty()) {
    return Differs("CPU", saved.cpu, here.cpu);
  }
  constexpr std::size_t kNamed = 8;
  std::vector<std::string> missing = Missing(saved.cpu_features, here.cpu_features);
  if (missing.empty()) return {};
  const std::size_t more = missing.size() - std::min(missing.size(), kNamed);
  missing.resize(missing.size() - more);
  return fmt::format("its memory was saved on a CPU with features that this host lacks: {}{}",
                     fmt::join(missing, ", "), more > 0 ? fmt::format(" and {} more", more) : "");
}

}  // namespace

std::string_view AcceleratorName(vmm::Accelerator accelerator) {
  return accelerator == vmm::Accelerator::kKvm ? "kvm" : "tcg";
}

image::SavedVm SavedVmOf(const vmm::Capabilities& driver, const std::string& kernel_version) {
  return {.vmm = driver.vmm,
          .vmm_version = driver.version,
          .accelerator = std::string(AcceleratorName(driver.accelerator)),
          .state_format = driver.state_format,
          .cpu = driver.cpu,
          .cpu_features = driver.cpu_features,
          .tsc_khz = driver.tsc_khz,
          .kernel = kernel_version};
}

std::string MisfitOf(const image::SavedVm& saved, const vmm::Capabilities& driver) {
  const image::SavedVm here = SavedVmOf(driver, saved.kernel);
  if (saved.vmm != here.vmm) return Differs("VMM", saved.vmm, here.vmm);
  if (std::string misfit = VersionMisfit(saved, here); !misfit.empty()) return misfit;
  if (saved.accelerator != here.accelerator) {
    return Differs("accelerator", saved.accelerator, here.accelerator);
  }
  if (std::string misfit = CpuMisfit(saved, here); !misfit.empty()) return misfit;
  if (!SameClock(saved.tsc_khz, here.tsc_khz)) {
    return fmt::format(
        "its memory was saved on a CPU whose clock runs at {} kHz, and here it is "
        "{} kHz",
        saved.tsc_khz, here.tsc_khz);
  }
  return {};
}

}  // namespace tinderbox::sandbox
