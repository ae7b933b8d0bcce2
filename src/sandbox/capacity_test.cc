// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "sandbox/capacity.h"

#include <gmock/gmock.h>

#include <atomic>
#include <thread>
#include <vector>

namespace tinderbox::sandbox {
namespace {

using base::Code;
using testing::HasSubstr;

constexpr Resources kHost{.memory_mib = 1000, .cpus = 4, .disk_mib = 10'000};

TEST(Capacity, RefusesWhatDoesNotFitWithFigures) {
  Capacity capacity({.host = kHost});
  EXPECT_TRUE(capacity.Reserve("one", {600, 1, 1000}, {}));
  const auto refused = capacity.Reserve("two", {600, 1, 1000}, {});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), Code::kResourceExhausted);
  EXPECT_THAT(refused.error().ToString(), HasSubstr("not enough memory: the sandbox needs 600 MiB "
                                                    "with its VMM, 400 MiB of 1000 MiB are free"));
  EXPECT_THAT(refused.error().remedy(), HasSubstr("host.overcommit.memory"));
  EXPECT_EQ(capacity.Reserve("cpu", {1, 4, 1}, {}).error().code(), Code::kResourceExhausted);
  EXPECT_EQ(capacity.Reserve("disk", {1, 1, 9001}, {}).error().code(), Code::kResourceExhausted);
  EXPECT_EQ(capacity.Reserved(), (Resources{600, 1, 1000})) << "a refusal holds nothing";
  capacity.Release("one");
  capacity.Release("one");
  EXPECT_TRUE(capacity.Reserve("two", {600, 1, 1000}, {}));
}

TEST(Capacity, WhatCanNeverFitIsTheRequestsFault) {
  Capacity capacity({.host = kHost});
  EXPECT_EQ(capacity.Reserve("one", {1001, 1, 1}, [] { return true; }).error().code(),
            Code::kInvalidArgument);
  EXPECT_EQ(capacity.Reserve("one", {1, 5, 1}, {}).error().code(), Code::kInvalidArgument);
}

TEST(Capacity, OvercommitAndNoLimit) {
  Capacity capacity({.host = {.memory_mib = 1000, .cpus = 4, .disk_mib = 0},
                     .memory_overcommit = 1.5,
                     .cpu_overcommit = 2});
  EXPECT_EQ(capacity.limits().Allocatable(), (Resources{1500, 8, 0}));
  EXPECT_TRUE(capacity.Reserve("one", {1500, 8, 1'000'000'000}, {}));
  EXPECT_EQ(capacity.Free(), (Resources{0, 0, UINT64_MAX}));
  capacity.Adopt("two", {1, 1, 1});
  EXPECT_EQ(capacity.Free().memory_mib, 0U) << "more is used than there is";
}

TEST(Capacity, OneVmHoldsOneReservation) {
  Capacity capacity({.host = kHost});
  EXPECT_TRUE(capacity.Reserve("one", {600, 1, 0}, {}));
  EXPECT_TRUE(capacity.Reserve("one", {600, 1, 0}, {})) << "held already";
  EXPECT_EQ(capacity.Reserved().memory_mib, 600u);
}

TEST(Capacity, AsksForRoomUntilThereIsSome) {
  Capacity capacity({.host = kHost});
  for (const char* id : {"a", "b", "c", "d"}) ASSERT_TRUE(capacity.Reserve(id, {250, 1, 0}, {}));
  std::vector<std::string> pool = {"a", "b", "c"};
  const auto drop = [&] {
    if (pool.empty()) return false;
    capacity.Release(pool.back());
    pool.pop_back();
    return true;
  };
  EXPECT_TRUE(capacity.Reserve("large", {500, 1, 0}, drop));
  EXPECT_EQ(pool, std::vector<std::string>{"a"});
  EXPECT_FALSE(capacity.Reserve("larger", {800, 1, 0}, drop));
}

TEST(Capacity, AVmOfAnEarlierDaemonIsCountedEvenIfThereIsNoRoom) {
  Capacity capacity({.host = kHost});
  capacity.Adopt("old", {5000, 1, 0});
  EXPECT_EQ(capacity.Reserved().memory_mib, 5000u);
  const auto refused = capacity.Reserve("new", {100, 1, 0}, {});
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().ToString(), HasSubstr("0 MiB of 1000 MiB are free"));
}

TEST(Capacity, NobodyTakesThePlaceThatIsKept) {
  Capacity capacity({.host = kHost});
  ASSERT_TRUE(capacity.Reserve("one", {1000, 1, 0}, {}));
  {
    const Capacity::Keep place(capacity, "one");
    capacity.Release("one");
    EXPECT_FALSE(capacity.Reserve("two", {1000, 1, 0}, {}));
    EXPECT_TRUE(capacity.Reserve("one", {1000, 1, 0}, {}));
  }
  EXPECT_EQ(capacity.Reserved().memory_mib, 1000u) << "it runs again";
  {
    const Capacity::Keep place(capacity, "one");
    capacity.Release("one");
  }
  EXPECT_EQ(capacity.Reserved(), Resources{}) << "it does not";
  {
    const Capacity::Keep place(capacity, "unknown");
  }
}

TEST(Capacity, ParallelReservationsNeverExceedIt) {
  Capacity capacity({.host = kHost});
  std::atomic<int> admitted = 0;
  std::vector<std::jthread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 50; ++i) {
        const std::string id = std::to_string(t) + "-" + std::to_string(i);
        if (capacity.Reserve(id, {100, 0, 0}, {})) ++admitted;
      }
    });
  }
  threads.clear();
  EXPECT_EQ(admitted, 10);
  EXPECT_EQ(capacity.Reserved().memory_mib, 1000u);
}

TEST(Capacity, TheHostKeepsAShare) {
  const Resources host = DetectedHost();
  EXPECT_GT(host.memory_mib, 0u);
  EXPECT_GT(host.cpus, 0u);
}

}  // namespace
}  // namespace tinderbox::sandbox
