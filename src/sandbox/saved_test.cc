// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "sandbox/saved.h"

#include <gtest/gtest.h>

namespace tinderbox::sandbox {
namespace {

vmm::Capabilities Host() {
  vmm::Capabilities host;
  host.vmm = "qemu";
  host.version = "7.2.22";
  host.accelerator = vmm::Accelerator::kTcg;
  host.cpu = "qemu max";
  host.tsc_khz = 2'600'000;
  return host;
}

TEST(Saved, FitsWhereItWasSaved) {
  const image::SavedVm saved = SavedVmOf(Host(), "6.1");
  EXPECT_EQ(MisfitOf(saved, Host()), "");
  EXPECT_EQ(saved.kernel, "6.1");
  EXPECT_EQ(saved.accelerator, "tcg");
}

TEST(Saved, EveryDifferenceThatMattersIsNamed) {
  const image::SavedVm saved = SavedVmOf(Host(), "6.1");
  const auto differs = [&](auto change, std::string_view words) {
    vmm::Capabilities other = Host();
    change(other);
    const std::string misfit = MisfitOf(saved, other);
    EXPECT_NE(misfit.find(words), std::string::npos) << "'" << misfit << "' lacks " << words;
  };
  differs([](auto& host) { host.vmm = "firecracker"; }, "VMM 'qemu', and here it is 'firecracker'");
  differs([](auto& host) { host.version = "8.0"; }, "version '7.2.22'");
  differs([](auto& host) { host.accelerator = vmm::Accelerator::kKvm; }, "accelerator 'tcg'");
  differs([](auto& host) { host.cpu = "another"; }, "CPU 'qemu max'");
  differs([](auto& host) { host.tsc_khz = 2'500'000; }, "2600000 kHz, and here it is 2500000");
}

TEST(Saved, TwoMeasurementsOfOneClockAreTheSame) {
  const image::SavedVm saved = SavedVmOf(Host(), "6.1");
  vmm::Capabilities again = Host();
  again.tsc_khz += 20;
  EXPECT_EQ(MisfitOf(saved, again), "");
  again.tsc_khz = 0;  // of no importance there
  EXPECT_EQ(MisfitOf(saved, again), "");
}

}  // namespace
}  // namespace tinderbox::sandbox
