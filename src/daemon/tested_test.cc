// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "daemon/tested.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tinderbox::daemon {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

vmm::Capabilities Firecracker() {
  vmm::Capabilities vmm;
  vmm.vmm = "firecracker";
  vmm.version = "1.12.1";
  vmm.accelerator = vmm::Accelerator::kKvm;
  vmm.cpu_features = "fpu svm avx2";
  return vmm;
}

TEST(TestedOn, ProcessorsDiffer) {
  vmm::Capabilities vmm = Firecracker();
  EXPECT_THAT(TestedOn(vmm), HasSubstr("not on hardware"));
  vmm.cpu_features = "fpu vmx avx2";
  EXPECT_THAT(TestedOn(vmm), HasSubstr("not on Intel VMX"));
  vmm.cpu_features = "fpu vmx_other";
  EXPECT_THAT(TestedOn(vmm), Not(HasSubstr("VMX")));
}

TEST(TestedOn, AnotherVersionOfTheVmmIsNamed) {
  vmm::Capabilities vmm = Firecracker();
  EXPECT_THAT(TestedOn(vmm), Not(HasSubstr("1.12.1")));
  vmm.version = "1.15.1";
  EXPECT_THAT(TestedOn(vmm), HasSubstr("with Firecracker 1.12.1, and not with 1.15.1"));
}

TEST(TestedOn, Emulation) {
  vmm::Capabilities vmm;
  vmm.vmm = "qemu";
  vmm.version = "7.2.22";
  EXPECT_THAT(TestedOn(vmm), HasSubstr("software emulation"));
  EXPECT_THAT(TestedOn(vmm), HasSubstr("with one CPU for each sandbox"));
  EXPECT_THAT(TestedOn(vmm), Not(HasSubstr("not with")));
  vmm.version = "9.1.0";
  EXPECT_THAT(TestedOn(vmm), HasSubstr("with QEMU 7.2, and not with 9.1.0"));
}

}  // namespace
}  // namespace tinderbox::daemon
