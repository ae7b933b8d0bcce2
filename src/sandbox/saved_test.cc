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

TEST(Saved, AnotherVersionThatReadsTheFormatFits) {
  vmm::Capabilities host = Host();
  host.vmm = "firecracker";
  host.version = "1.12.1";
  host.state_format = "6.1.0";
  const image::SavedVm saved = SavedVmOf(host, "6.1");
  host.version = "1.13.9";
  EXPECT_EQ(MisfitOf(saved, host), "");
  host.state_format = "6.2.0";
  EXPECT_EQ(MisfitOf(saved, host), "");
  host.state_format = "6.0.0";
  EXPECT_NE(MisfitOf(saved, host), "") << "an older minor number";
  host.state_format = "7.1.0";
  EXPECT_EQ(MisfitOf(saved, host),
            "its memory was saved with version '1.12.1', and here it is '1.13.9' (state format "
            "6.1.0, and here it is 7.1.0)");
  host.state_format = "";
  EXPECT_NE(MisfitOf(saved, host), "") << "unknown here";
}

TEST(Saved, ACpuMayHaveMoreFeaturesAndNoFewer) {
  vmm::Capabilities host = Host();
  host.accelerator = vmm::Accelerator::kKvm;
  host.cpu = "AMD EPYC 25/1/1 0001";
  host.cpu_features = "fpu sse avx avx2";
  const image::SavedVm saved = SavedVmOf(host, "6.1");
  host.cpu = "AMD EPYC 25/1/1 0002";
  host.cpu_features = "fpu avx avx2 sse vaes";
  EXPECT_EQ(MisfitOf(saved, host), "");
  host.cpu_features = "fpu sse avx";
  EXPECT_EQ(MisfitOf(saved, host),
            "its memory was saved on a CPU with features that this host lacks: avx2");
  host.cpu_features = "";
  EXPECT_NE(MisfitOf(saved, host), "") << "unknown here";
  host.cpu = "AMD EPYC 25/1/2 0003";  // another stepping
  host.cpu_features = "fpu sse avx avx2 vaes";
  EXPECT_NE(MisfitOf(saved, host).find("'AMD EPYC 25/1/1 0001'"), std::string::npos);
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
