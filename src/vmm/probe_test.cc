// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "vmm/probe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <chrono>

namespace tinderbox::vmm {
namespace {

using ::testing::HasSubstr;
using Verdict = KvmReport::Verdict;

KvmFacts Whole() {
  KvmFacts facts;
  facts.api_version = 12;
  facts.stage = kLongLoop;
  facts.mips = 3000;
  return facts;
}

TEST(JudgeKvm, WholeNeedsEveryStageAtNativeSpeed) {
  const KvmReport report = JudgeKvm(Whole());
  EXPECT_EQ(report.verdict, Verdict::kWhole);
  EXPECT_EQ(report.detail,
            "/dev/kvm runs guests in hardware, at 3000 million instructions a second");
  EXPECT_EQ(report.mips, 3000);
}

TEST(JudgeKvm, NoDevice) {
  for (const int err : {ENOENT, ENODEV, ENXIO}) {
    KvmFacts facts;
    facts.open_errno = err;
    EXPECT_EQ(JudgeKvm(facts).verdict, Verdict::kAbsent) << err;
  }
}

TEST(JudgeKvm, DeviceThatMayNotBeOpened) {
  KvmFacts facts;
  facts.open_errno = EACCES;
  const KvmReport report = JudgeKvm(facts);
  EXPECT_EQ(report.verdict, Verdict::kUnusable);
  EXPECT_THAT(report.detail, HasSubstr("EACCES"));
}

TEST(JudgeKvm, OtherApiVersion) {
  KvmFacts facts = Whole();
  facts.api_version = 11;
  EXPECT_EQ(JudgeKvm(facts).verdict, Verdict::kUnusable);
}

TEST(JudgeKvm, MissingCapabilitiesAreNamed) {
  KvmFacts facts = Whole();
  facts.missing = {"IRQFD", "XSAVE"};
  const KvmReport report = JudgeKvm(facts);
  EXPECT_EQ(report.verdict, Verdict::kUnusable);
  EXPECT_THAT(report.detail, HasSubstr("IRQFD, XSAVE"));
}

TEST(JudgeKvm, FailedCallIsNamedWithItsErrno) {
  KvmFacts facts;
  facts.api_version = 12;
  facts.failed_call = "KVM_CREATE_VM";
  facts.call_errno = ENOMEM;
  const KvmReport report = JudgeKvm(facts);
  EXPECT_EQ(report.verdict, Verdict::kUnusable);
  EXPECT_THAT(report.detail, HasSubstr("KVM_CREATE_VM"));
  EXPECT_THAT(report.detail, HasSubstr("ENOMEM"));
}

TEST(JudgeKvm, GuestThatNeverRanIsUnusable) {
  KvmFacts facts = Whole();
  facts.stage = kNothing;
  facts.mips = 0;
  facts.exit_reason = 9;
  EXPECT_EQ(JudgeKvm(facts).verdict, Verdict::kUnusable);
  facts.exit_reason = 0;
  facts.timed_out = true;
  EXPECT_EQ(JudgeKvm(facts).verdict, Verdict::kUnusable);
}

TEST(JudgeKvm, AnyStageNotReachedIsSlow) {
  const std::pair<int, const char*> stages[] = {{kLongMode, "loop of 20,000"},
                                                {kShortLoop, "cmpxchg16b"},
                                                {kCmpxchg16b, "xsave"},
                                                {kXsave, "loop of 2,000,000"}};
  for (const auto& [stage, word] : stages) {
    KvmFacts facts = Whole();
    facts.stage = stage;
    facts.exit_reason = 17;
    const KvmReport report = JudgeKvm(facts);
    EXPECT_EQ(report.verdict, Verdict::kSlow) << stage;
    EXPECT_THAT(report.detail, HasSubstr(word)) << stage;
    EXPECT_THAT(report.detail, HasSubstr("exit 17")) << stage;
  }
}

TEST(JudgeKvm, SoftwareSpeedIsSlowThoughNothingIsMissing) {
  KvmFacts facts = Whole();
  facts.stage = kXsave;  // the long loop is left out then
  facts.mips = 1.04;
  const KvmReport report = JudgeKvm(facts);
  EXPECT_EQ(report.verdict, Verdict::kSlow);
  EXPECT_EQ(report.detail,
            "/dev/kvm runs guests in software, at 1.0 million instructions a second");
}

TEST(JudgeKvm, TimeoutIsSaid) {
  KvmFacts facts = Whole();
  facts.stage = kLongMode;
  facts.mips = 0;
  facts.timed_out = true;
  EXPECT_THAT(JudgeKvm(facts).detail, HasSubstr("in time"));
}

TEST(LoadMayExplain, WhatABusyHostCanCause) {
  KvmFacts facts = Whole();
  EXPECT_FALSE(LoadMayExplain(facts));
  facts.mips = 40;  // preempted in the middle of the loop
  EXPECT_TRUE(LoadMayExplain(facts));
  facts = Whole();
  facts.stage = kNothing;
  facts.mips = 0;
  facts.timed_out = true;
  EXPECT_TRUE(LoadMayExplain(facts));
}

TEST(LoadMayExplain, WhatItCannotCause) {
  KvmFacts absent;
  absent.open_errno = ENOENT;
  EXPECT_FALSE(LoadMayExplain(absent));
  KvmFacts refused;
  refused.api_version = 12;
  refused.failed_call = "KVM_CREATE_VM";
  EXPECT_FALSE(LoadMayExplain(refused));
  KvmFacts stopped = Whole();
  stopped.stage = kShortLoop;  // cmpxchg16b made the guest exit
  stopped.exit_reason = 17;
  EXPECT_FALSE(LoadMayExplain(stopped));
}

// Any host: a verdict with a reason, in bounded time, and the same one twice.
TEST(ProbeKvm, AnswersSoonAndTwiceTheSame) {
  const auto begin = std::chrono::steady_clock::now();
  const KvmReport first = ProbeKvm();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(15));
  EXPECT_FALSE(first.detail.empty());
  EXPECT_EQ(first.mips > 0, first.verdict == Verdict::kSlow || first.verdict == Verdict::kWhole);
  EXPECT_EQ(ProbeKvm().verdict, first.verdict);
}

}  // namespace
}  // namespace tinderbox::vmm
