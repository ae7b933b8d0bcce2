// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// The parts of the warden that make no system calls. The rest is tested by the launcher's tests.
#include <gtest/gtest.h>

#include <climits>
#include <cstring>
#include <set>
#include <string>

#include "warden/console.h"
#include "warden/ladder.h"
#include "warden/protocol.h"
#include "warden/text.h"

namespace tinderbox::warden {
namespace {

constexpr int64_t kMs = 1000000;

TEST(LineTest, NumbersAndTruncation) {
  EXPECT_STREQ(
      Line().Add("a").Add(int64_t{0}).Add(" ").Add(int64_t{-7}).Add(" ").Add(INT64_MIN).data(),
      "a0 -7 -9223372036854775808");
  Line line;
  for (int i = 0; i < 100; ++i) line.Add("0123456789");
  EXPECT_EQ(line.size(), 255u);
  EXPECT_EQ(std::strlen(line.data()), 255u);
}

Command Parse(const std::string& text) { return ParseCommand(text.data(), text.size()); }

TEST(CommandTest, OnlyTheThreeCommands) {
  EXPECT_EQ(Parse("wait").verb, Verb::kWait);
  EXPECT_EQ(Parse("status").verb, Verb::kStatus);
  EXPECT_EQ(Parse("stop 250").verb, Verb::kStop);
  EXPECT_EQ(Parse("stop 250").milliseconds, 250u);
  EXPECT_EQ(Parse("stop 999999999").milliseconds, 999999999u);
  for (const char* bad : {"", "stop", "stop ", "stop -1", "stop 1x", "stop 1234567890", "stop  1",
                          "waits", "wai", "Status", "stopp 1", "kill", "stop 1 "}) {
    EXPECT_EQ(Parse(bad).verb, Verb::kBad) << bad;
  }
}

TEST(LadderTest, TermThenKillOnce) {
  Ladder ladder;
  EXPECT_LT(ladder.Left(0), 0);
  EXPECT_FALSE(ladder.Expired(INT64_MAX));
  EXPECT_TRUE(ladder.Stop(0, 100));
  EXPECT_EQ(ladder.rung(), Ladder::Rung::kTerm);
  EXPECT_EQ(ladder.Left(40 * kMs), 60 * kMs);
  EXPECT_FALSE(ladder.Expired(99 * kMs));
  EXPECT_TRUE(ladder.Expired(100 * kMs));
  EXPECT_FALSE(ladder.Expired(101 * kMs)) << "KILL is sent once";
  EXPECT_EQ(ladder.rung(), Ladder::Rung::kKill);
  EXPECT_LT(ladder.Left(200 * kMs), 0);
}

TEST(LadderTest, LaterStopsShortenAndNeverLengthen) {
  Ladder ladder;
  EXPECT_TRUE(ladder.Stop(0, 1000));
  EXPECT_FALSE(ladder.Stop(0, 5000)) << "TERM is sent once";
  EXPECT_EQ(ladder.Left(0), 1000 * kMs);
  EXPECT_FALSE(ladder.Stop(10 * kMs, 20));
  EXPECT_EQ(ladder.Left(10 * kMs), 20 * kMs);
  EXPECT_TRUE(ladder.Expired(30 * kMs));
  EXPECT_FALSE(ladder.Stop(31 * kMs, 0));
  EXPECT_EQ(ladder.rung(), Ladder::Rung::kKill);
}

TEST(RateLimitTest, BurstThenRateInQuanta) {
  RateLimit limit(/*per_second=*/1000, /*burst=*/500, /*quantum=*/100, /*now=*/0);
  EXPECT_TRUE(limit.Open(0));
  limit.Take(500);
  EXPECT_FALSE(limit.Open(0));
  EXPECT_FALSE(limit.Open(99 * kMs)) << "not for less than a quantum";
  EXPECT_TRUE(limit.Open(100 * kMs));
  limit.Take(60);
  EXPECT_TRUE(limit.Open(100 * kMs)) << "open until it is used up";
  limit.Take(60);
  EXPECT_FALSE(limit.Open(101 * kMs));
}

TEST(RateLimitTest, LongSilenceNeitherOverflowsNorAccumulates) {
  RateLimit limit(4 << 20, 1 << 20, 64 << 10, 0);
  limit.Take(1 << 20);
  const int64_t year = 365ll * 86400 * 1000 * kMs;
  EXPECT_TRUE(limit.Open(year));
  limit.Take(1 << 20);
  EXPECT_FALSE(limit.Open(year)) << "no more than one burst was saved up";
}

TEST(ProtocolTest, StepsHaveNames) {
  std::set<std::string> names;
  for (const char* name : kStepNames) {
    ASSERT_NE(name, nullptr);
    names.insert(name);
  }
  EXPECT_EQ(names.size(), kStepCount);
  EXPECT_STREQ(kStepNames[static_cast<std::size_t>(Step::kPivot)], "pivot");
  EXPECT_STREQ(kStepNames[static_cast<std::size_t>(Step::kApiSocket)], "api-socket");
}

}  // namespace
}  // namespace tinderbox::warden
