// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "vmm/choose.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tinderbox::vmm {
namespace {

using base::Code;
using Verdict = KvmReport::Verdict;
using ::testing::HasSubstr;

Offer With(Verdict verdict, bool firecracker = true, bool qemu = true) {
  return {.kvm = {.verdict = verdict, .detail = "KVM DETAIL", .mips = 1},
          .has_firecracker = firecracker,
          .has_qemu = qemu};
}

TEST(Decide, AutoTakesFirecrackerOnlyWhereKvmIsWhole) {
  EXPECT_TRUE(Decide(VmmWish::kAuto, With(Verdict::kWhole))->firecracker);
  for (const Verdict verdict : {Verdict::kAbsent, Verdict::kUnusable, Verdict::kSlow}) {
    const auto decision = Decide(VmmWish::kAuto, With(verdict));
    ASSERT_TRUE(decision);
    EXPECT_FALSE(decision->firecracker);
    EXPECT_EQ(decision->reason, "KVM DETAIL; QEMU with software emulation (TCG) is used instead");
  }
}

TEST(Decide, AutoWithoutFirecrackerTakesQemuWithKvm) {
  const auto decision = Decide(VmmWish::kAuto, With(Verdict::kWhole, false));
  ASSERT_TRUE(decision);
  EXPECT_FALSE(decision->firecracker);
  EXPECT_EQ(decision->reason,
            "KVM DETAIL; QEMU with KVM is used, since there is no Firecracker here");
}

TEST(Decide, AutoWithNothingFailsWithARemedy) {
  for (const Verdict verdict : {Verdict::kSlow, Verdict::kWhole}) {
    const auto decision = Decide(VmmWish::kAuto, With(verdict, false, false));
    ASSERT_FALSE(decision);
    EXPECT_EQ(decision.error().code(), Code::kFailedPrecondition);
    EXPECT_NE(decision.error().remedy(), "");
  }
}

TEST(Decide, FirecrackerByNameIsAllowedOnSlowKvmAndSaysWhatItMeans) {
  const auto decision = Decide(VmmWish::kFirecracker, With(Verdict::kSlow));
  ASSERT_TRUE(decision);
  EXPECT_TRUE(decision->firecracker);
  EXPECT_THAT(decision->reason, HasSubstr("no Linux"));
}

TEST(Decide, FirecrackerByNameIsNeverReplaced) {
  for (const Offer& offer : {With(Verdict::kAbsent), With(Verdict::kUnusable),
                             With(Verdict::kWhole, false), With(Verdict::kSlow, false)}) {
    const auto decision = Decide(VmmWish::kFirecracker, offer);
    ASSERT_FALSE(decision);
    EXPECT_EQ(decision.error().code(), Code::kFailedPrecondition);
    EXPECT_NE(decision.error().remedy(), "");
  }
}

TEST(Decide, QemuByNameTakesWhateverAcceleratorIsThere) {
  EXPECT_THAT(Decide(VmmWish::kQemu, With(Verdict::kWhole))->reason, HasSubstr("with KVM"));
  EXPECT_THAT(Decide(VmmWish::kQemu, With(Verdict::kSlow))->reason, HasSubstr("TCG"));
  EXPECT_FALSE(Decide(VmmWish::kQemu, With(Verdict::kWhole, true, false)));
}

TEST(ParseVmmWish, NamesAndNothingElse) {
  EXPECT_EQ(ParseVmmWish("auto").value(), VmmWish::kAuto);
  EXPECT_EQ(ParseVmmWish("firecracker").value(), VmmWish::kFirecracker);
  EXPECT_EQ(ParseVmmWish("qemu").value(), VmmWish::kQemu);
  for (const char* text : {"", "Auto", "xen", "qemu "}) EXPECT_FALSE(ParseVmmWish(text)) << text;
}

}  // namespace
}  // namespace tinderbox::vmm
