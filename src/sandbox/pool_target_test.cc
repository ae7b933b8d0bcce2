// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "sandbox/pool_target.h"

#include <gmock/gmock.h>

namespace tinderbox::sandbox {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::ElementsAre;

constexpr Resources kVm{.memory_mib = 576, .cpus = 1, .disk_mib = 8192};
constexpr Resources kAll{kUnlimited, kUnlimited, kUnlimited};
constexpr PoolRule kRule{.ready = 2, .most = 8};
constexpr PoolHeadroom kIdleHost{.free = kAll, .memory_mib = kUnlimited, .cpu_idle = true};

// A clock that only the test moves.
class DemandTest : public testing::Test {
 protected:
  void Create(int count, milliseconds every = {}) {
    for (int i = 0; i < count; ++i) {
      demand_.Note(now_);
      now_ += every;
    }
  }
  std::uint32_t Peak() const { return demand_.Peak(now_); }
  std::uint32_t Target(std::uint32_t size = 2) const {
    const std::array one{PoolTemplate{.need = kVm, .peak = Peak(), .size = size}};
    return PoolTargets(kRule, one, kIdleHost)[0];
  }

  PoolDemand::Clock::time_point now_{seconds(1'000'000)};
  PoolDemand demand_;
};

TEST_F(DemandTest, WithoutDemandItIsTheMinimum) {
  EXPECT_EQ(Peak(), 0U);
  EXPECT_EQ(Target(), 2U);
  EXPECT_EQ(Target(0), 2U);
}

TEST_F(DemandTest, SlowDemandIsServedByTheMinimum) {
  Create(100, seconds(5));
  EXPECT_EQ(Peak(), 1U);
  EXPECT_EQ(Target(), 2U);
}

TEST_F(DemandTest, ItRisesWithTheRateUpToTheMost) {
  Create(20, milliseconds(500));
  EXPECT_EQ(Peak(), 4U);
  EXPECT_EQ(Target(), 4U);
  Create(100, milliseconds(100));
  EXPECT_EQ(Peak(), 20U);
  EXPECT_EQ(Target(), 8U);
}

TEST_F(DemandTest, ABurstCountsAtOnceAndAcrossASecond) {
  now_ += milliseconds(900);
  Create(3);
  EXPECT_EQ(Target(), 3U);
  now_ += milliseconds(200);
  Create(3);
  EXPECT_EQ(Target(), 6U);
}

TEST_F(DemandTest, ItFallsToTheMinimumWithinAMinute) {
  Create(100, milliseconds(100));
  now_ += PoolDemand::kRemembered - seconds(2);
  EXPECT_EQ(Target(8), 8U) << "the client may only think";
  now_ += seconds(2);
  EXPECT_EQ(Target(8), 2U);
  static_assert(PoolDemand::kRemembered < seconds(50), "the VMs' end takes time, too");
}

TEST_F(DemandTest, BurstsWithPausesKeepIt) {
  for (int burst = 0; burst < 5; ++burst) {
    Create(6);
    now_ += seconds(30);
    EXPECT_EQ(Target(6), 6U);
  }
}

TEST_F(DemandTest, LongAgoIsForgotten) {
  Create(6);
  now_ += seconds(41 * 1000);  // the same place in the ring
  EXPECT_EQ(Peak(), 0U);
}

PoolTemplate Wants(std::uint32_t peak, std::uint32_t size) {
  return {.need = kVm, .peak = peak, .size = size};
}

TEST(PoolTargets, TheMostMayBeBelowTheMinimum) {
  const std::array one{Wants(50, 2)};
  EXPECT_THAT(PoolTargets({.ready = 4, .most = 0}, one, kIdleHost), ElementsAre(4));
}

TEST(PoolTargets, TemplatesShareTheHeadroom) {
  const std::array three{Wants(10, 2), Wants(5, 2), Wants(0, 2)};
  EXPECT_THAT(PoolTargets(kRule, three, kIdleHost), ElementsAre(8, 5, 2));
  // Room for six more; the last place stays for a client.
  PoolHeadroom headroom = kIdleHost;
  headroom.free.memory_mib = 6 * 576;
  EXPECT_THAT(PoolTargets(kRule, three, headroom), ElementsAre(5, 4, 2));
  headroom.free.memory_mib = 576;
  EXPECT_THAT(PoolTargets(kRule, three, headroom), ElementsAre(2, 2, 2));
}

TEST(PoolTargets, MinimumsComeBeforeGrowth) {
  PoolHeadroom headroom = kIdleHost;
  headroom.free.cpus = 4;
  const std::array two{Wants(10, 2), Wants(0, 0)};
  EXPECT_THAT(PoolTargets(kRule, two, headroom), ElementsAre(3, 2));
}

TEST(PoolTargets, ExtrasOfAllTogetherAreLimited) {
  const std::array two{Wants(100, 2), Wants(100, 2)};
  const PoolRule rule{.ready = 2, .most = 64, .most_extra = 10};
  EXPECT_THAT(PoolTargets(rule, two, kIdleHost), ElementsAre(7, 7));
}

TEST(PoolTargets, EachAxisOfTheCapacityCounts) {
  const std::array one{Wants(8, 2)};
  for (auto axis : {&Resources::memory_mib, &Resources::cpus, &Resources::disk_mib}) {
    PoolHeadroom headroom = kIdleHost;
    headroom.free.*axis = 3 * kVm.*axis;
    EXPECT_THAT(PoolTargets(kRule, one, headroom), ElementsAre(4));
    headroom.free.*axis = 0;
    EXPECT_THAT(PoolTargets(kRule, one, headroom), ElementsAre(2)) << "what is there stays";
    const std::array empty{Wants(8, 0)};
    EXPECT_THAT(PoolTargets(kRule, empty, headroom), ElementsAre(0));
  }
}

TEST(PoolTargets, WithoutIdleCpuItDoesNotGrow) {
  PoolHeadroom headroom = kIdleHost;
  headroom.cpu_idle = false;
  const std::array three{Wants(8, 2), Wants(8, 5), Wants(8, 0)};
  EXPECT_THAT(PoolTargets(kRule, three, headroom), ElementsAre(2, 5, 2));
}

TEST(PoolTargets, GrowthLeavesTheHostItsMemory) {
  PoolHeadroom headroom = kIdleHost;
  headroom.memory_mib = 2 * 576 + 100;
  const std::array one{Wants(8, 2)}, empty{Wants(8, 0)};
  EXPECT_THAT(PoolTargets(kRule, one, headroom), ElementsAre(4));
  headroom.memory_mib = 0;
  EXPECT_THAT(PoolTargets(kRule, one, headroom), ElementsAre(2));
  EXPECT_THAT(PoolTargets(kRule, empty, headroom), ElementsAre(2)) << "the minimum needs little";
  headroom.memory_short = true;
  EXPECT_THAT(PoolTargets(kRule, one, headroom), ElementsAre(0));
}

}  // namespace
}  // namespace tinderbox::sandbox
