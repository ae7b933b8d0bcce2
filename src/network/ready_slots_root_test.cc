// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0

// What the pool does on its own thread: slots made ahead, and removals.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <functional>
#include <mutex>
#include <set>
#include <thread>

#include "network/pool_fixture.h"
#include "network/slot_pool.h"
#include "network/test_net.h"
#include "sys/netns.h"

namespace tinderbox::network {
namespace {

using base::Code;
using base::Deadline;
using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::Contains;
using testing::EchoServer;
using testing::Guest;
using ::testing::HasSubstr;
using testing::HostState;
using ::testing::IsEmpty;
using testing::PoolTest;
using testing::Tool;

class ReadySlotsRootTest : public PoolTest {
 protected:
  void OpenWithReady(std::uint32_t ready) {
    options_.ready = ready;
    Open();
    ASSERT_TRUE(pool_->Sweep());
    AwaitStanding(ready);
  }
  std::size_t Standing() const {
    std::size_t count = 0;
    for (const std::string& name : sys::NetNsNames().value()) {
      if (name.starts_with(options_.prefix + "-")) ++count;
    }
    return count;
  }
  void AwaitStanding(std::size_t count) const {
    const auto deadline = Deadline::After(seconds(20));
    while (Standing() != count && !deadline.passed()) {
      std::this_thread::sleep_for(milliseconds(2));
    }
    // The name comes before the rest of a slot: the last one may still be under way.
    std::this_thread::sleep_for(milliseconds(50));
    ASSERT_EQ(Standing(), count);
  }
  // Tells one namespace from another of the same name.
  static ino_t Identity(const std::string& path) {
    struct stat status{};
    return stat(path.c_str(), &status) == 0 ? status.st_ino : 0;
  }
  static std::string RulesOf(const Slot& slot) {
    return Tool({"ip", "netns", "exec", slot.netns_name, "nft", "list", "ruleset"});
  }
  std::string PathOf(std::uint32_t index) const {
    return sys::NetNsPath(options_.prefix + "-" + std::to_string(index));
  }
};

TEST_F(ReadySlotsRootTest, ASlotMadeAheadIsHandedOutWhole) {
  OpenWithReady(2);
  const ino_t first = Identity(PathOf(1));
  ASSERT_NE(first, 0u);
  const Slot slot = Acquire();
  EXPECT_EQ(slot.index, 1u);
  EXPECT_EQ(slot.uid, kUidBase + 1);
  EXPECT_EQ(slot.netns_path, PathOf(1));
  EXPECT_EQ(Identity(slot.netns_path), first) << "made ahead";
  Guest guest(slot);
  EchoServer server(guest.netns(), {49983});
  EXPECT_TRUE(pool_->Dial(slot.index, 49983, Deadline::After(seconds(5))));
}

TEST_F(ReadySlotsRootTest, WhatWasTakenIsMadeAgain) {
  OpenWithReady(2);
  for (std::uint32_t index = 1; index <= 5; ++index) EXPECT_EQ(Acquire().index, index);
  AwaitStanding(7);
  const ino_t sixth = Identity(PathOf(6));
  EXPECT_EQ(Acquire().index, 6u);
  EXPECT_EQ(Identity(PathOf(6)), sixth);
}

TEST_F(ReadySlotsRootTest, NothingIsMadeBeforeTheFirstSweep) {
  Open();
  Acquire();
  pool_.reset();
  options_.ready = 2;
  Open();
  std::this_thread::sleep_for(milliseconds(300));
  EXPECT_EQ(Standing(), 1u);
  EXPECT_TRUE(pool_->Adopt(1));
  ASSERT_TRUE(pool_->Sweep());
  AwaitStanding(3);
  EXPECT_EQ(pool_->Adopt(1).error().code(), Code::kAlreadyExists);
  EXPECT_EQ(pool_->Adopt(2).error().code(), Code::kAlreadyExists) << "made ahead, nobody's";
  EXPECT_THAT(*pool_->Sweep(), IsEmpty()) << "those made ahead are not swept";
}

TEST_F(ReadySlotsRootTest, AnotherPolicyHoldsFromTheStart) {
  options_.max_slots = 2;
  OpenWithReady(1);
  const std::string open_rules = RulesOf({.netns_name = options_.prefix + "-1"});
  const EgressPolicy none{.allow_internet = false};
  const Slot fresh = Acquire(none);
  EXPECT_EQ(fresh.index, 2u);
  EXPECT_NE(RulesOf(fresh), open_rules);
  // No index is left but that of the slot made ahead.
  const Slot changed = Acquire(none);
  EXPECT_EQ(changed.index, 1u);
  EXPECT_EQ(RulesOf(changed), RulesOf(fresh));
  EXPECT_EQ(pool_->Acquire({}).error().code(), Code::kResourceExhausted);
}

TEST_F(ReadySlotsRootTest, ThoseMadeAheadTakeNoPlaceFromThoseInUse) {
  options_.max_slots = 3;
  OpenWithReady(3);
  for (std::uint32_t index = 1; index <= 3; ++index) EXPECT_EQ(Acquire().index, index);
  EXPECT_EQ(pool_->Acquire({}).error().code(), Code::kResourceExhausted);
  // One that is being removed is waited for.
  ASSERT_TRUE(pool_->Release(2));
  EXPECT_EQ(Acquire().index, 2u);
}

TEST_F(ReadySlotsRootTest, TheEndOfThePoolLeavesOnlySlotsInUse) {
  const HostState before(options_.prefix);
  OpenWithReady(3);
  for (int i = 0; i < 3; ++i) Acquire();
  ASSERT_TRUE(pool_->Release(1));
  ASSERT_TRUE(pool_->Release(3));
  pool_.reset();
  EXPECT_EQ(Standing(), 1u);
  Open();
  EXPECT_TRUE(pool_->Adopt(2));
  ASSERT_TRUE(pool_->Release(2));
  pool_.reset();
  ASSERT_TRUE(RemoveAll(options_));
  EXPECT_EQ(HostState(options_.prefix), before);
}

TEST_F(ReadySlotsRootTest, ThoseOfAKilledHolderAreSwept) {
  options_.ready = 2;
  int made[2];
  ASSERT_EQ(pipe2(made, O_CLOEXEC), 0);
  const pid_t holder = fork();
  if (holder == 0) {
    auto pool = OpenSlotPool(options_);
    if (!pool || !(*pool)->Sweep()) _exit(1);
    while (Standing() < 2) std::this_thread::sleep_for(milliseconds(2));
    (void)!write(made[1], "x", 1);
    for (;;) pause();
  }
  close(made[1]);
  char byte = 0;
  ASSERT_EQ(read(made[0], &byte, 1), 1);
  close(made[0]);
  kill(holder, SIGKILL);
  waitpid(holder, nullptr, 0);
  EXPECT_EQ(Standing(), 2u);
  const ino_t old = Identity(PathOf(1));
  Open();
  EXPECT_THAT(*pool_->Sweep(), Contains("removed network namespace " + options_.prefix + "-1"));
  AwaitStanding(2);
  EXPECT_NE(Identity(PathOf(1)), old);
}

TEST_F(ReadySlotsRootTest, AReleasedSlotIsNobodysUntilItIsRemoved) {
  Open();
  const Slot slot = Acquire();
  ASSERT_TRUE(pool_->Release(slot.index));
  EXPECT_EQ(pool_->SetPolicy(slot.index, {}).error().code(), Code::kNotFound);
  EXPECT_EQ(pool_->Dial(slot.index, 80, Deadline::After(seconds(1))).error().code(),
            Code::kNotFound);
  ASSERT_TRUE(pool_->Release(slot.index)) << "asked for already";
  EXPECT_EQ(Acquire().index, 2u) << "1 is on its way out";
  EXPECT_EQ(pool_->Adopt(1).error().code(), Code::kNotFound) << "waited for the removal";
}

TEST_F(ReadySlotsRootTest, ARemovalThatFailsIsTriedAgain) {
  Open();
  const Slot slot = Acquire();
  // Something that no unlink removes stands where the name was.
  ASSERT_TRUE(sys::UnnameNetNs(slot.netns_name));
  ASSERT_TRUE(std::filesystem::create_directory(slot.netns_path));
  ::testing::internal::CaptureStderr();
  ASSERT_TRUE(pool_->Release(slot.index));
  const auto failed = pool_->Sweep();
  EXPECT_THAT(::testing::internal::GetCapturedStderr(), HasSubstr("stays for now"));
  ASSERT_TRUE(failed);
  EXPECT_THAT(*failed, Contains(HasSubstr("could not")));
  EXPECT_EQ(Acquire().index, 2u) << "1 is not free";
  ASSERT_TRUE(std::filesystem::remove(slot.netns_path));
  ASSERT_TRUE(pool_->Sweep());
  EXPECT_EQ(Acquire().index, 1u);
}

// Eight at once on six slots, while the pool makes and removes: no slot is ever two's, and each is
// whole while it is held.
TEST_F(ReadySlotsRootTest, ManyTakeAndGiveBackAtOnce) {
  const HostState before(options_.prefix);
  options_.max_slots = 6;
  OpenWithReady(2);
  std::mutex mutex;
  std::set<std::uint32_t> held;
  std::atomic<int> taken = 0;
  const auto churn = [&](int seed) {
    for (int i = 0; i < 15; ++i) {
      const EgressPolicy policy{.allow_internet = (seed + i) % 3 != 0};
      const auto slot = pool_->Acquire(policy);
      if (!slot) {
        EXPECT_EQ(slot.error().code(), Code::kResourceExhausted) << slot.error().ToString();
        std::this_thread::sleep_for(milliseconds(5));
        continue;
      }
      ++taken;
      {
        const std::lock_guard lock(mutex);
        EXPECT_TRUE(held.insert(slot->index).second) << "slot " << slot->index << " is two's";
      }
      if (i % 4 == 0) EXPECT_TRUE(pool_->SetPolicy(slot->index, {.allow_internet = i % 8 == 0}));
      EXPECT_TRUE(sys::OpenNetNs(slot->netns_name));
      if (i % 5 == 0) EXPECT_TRUE(pool_->Sweep());
      {
        const std::lock_guard lock(mutex);
        held.erase(slot->index);
      }
      EXPECT_TRUE(pool_->Release(slot->index));
    }
  };
  std::vector<std::thread> threads;
  for (int seed = 0; seed < 8; ++seed) threads.emplace_back(churn, seed);
  for (std::thread& thread : threads) thread.join();
  EXPECT_GT(taken, 40);
  pool_.reset();
  EXPECT_EQ(Standing(), 0u);
  ASSERT_TRUE(RemoveAll(options_));
  EXPECT_EQ(HostState(options_.prefix), before);
}

}  // namespace
}  // namespace tinderbox::network
