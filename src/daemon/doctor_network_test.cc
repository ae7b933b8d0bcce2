// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "daemon/doctor_network.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tinderbox::daemon {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

TEST(JudgeRules, NamesEveryDifferenceWithARemedy) {
  network::RulesReport report{.compared = 3};
  ASSERT_THAT(JudgeRules(report), SizeIs(1));
  EXPECT_EQ(JudgeRules(report)[0].status, "ok");
  report.host = {"nftables table 'tb_net': it is missing"};
  report.namespaces = {"Network namespace 'tb-3': x"};
  const auto checks = JudgeRules(report);
  ASSERT_THAT(checks, SizeIs(2));
  for (const api::Check& check : checks) {
    EXPECT_EQ(check.status, "fail");
    EXPECT_THAT(check.remedy, Not(IsEmpty()));
  }
  EXPECT_THAT(checks[0].detail, HasSubstr("it is missing"));
  EXPECT_THAT(checks[1].detail, HasSubstr("'tb-3'"));
}

TEST(JudgeRules, TellsOfWhatWasRebuilt) {
  const auto checks = JudgeRules({.rebuilds = 2, .last_rebuild = "2026-01-02T03:04:05Z: gone"});
  ASSERT_THAT(checks, SizeIs(1));
  EXPECT_EQ(checks[0].status, "warn");
  EXPECT_THAT(checks[0].detail, HasSubstr("rebuilt 2 times, last 2026-01-02T03:04:05Z: gone"));
}

TEST(JudgeConntrack, WarnsIfAllSandboxesTogetherFillTheTable) {
  EXPECT_EQ(JudgeConntrack({.max = 262144, .count = 9}, 341, 576).status, "ok");
  const auto small = JudgeConntrack({.max = 65536, .count = 9}, 256, 576);
  EXPECT_EQ(small.status, "warn");
  EXPECT_THAT(small.remedy, HasSubstr("nf_conntrack_max=196612"));
  EXPECT_EQ(JudgeConntrack({.max = 262144, .count = 9}, 4096, 576).status, "warn");
  EXPECT_EQ(JudgeConntrack({.max = 262144, .count = 200000}, 341, 576).status, "warn");
}

}  // namespace
}  // namespace tinderbox::daemon
