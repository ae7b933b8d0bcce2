// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// Admission: the sum of what sandboxes may use stays within the host's capacity, whatever starts
// them and however they end. That nothing stays reserved, every test of the fixture checks.
#include <signal.h>

#include <thread>

#include "sandbox/manager_fixture.h"

namespace tinderbox::sandbox {
namespace {

using base::Code;
using std::chrono::seconds;

// Room for three of the fake template's sandboxes.
constexpr std::uint64_t kOne = 256 + kVmmShareMib;

class CapacityTest : public ManagerTest {
 protected:
  void SetUp() override {
    limits_.host.memory_mib = 3 * kOne;
    warm_templates_.clear();  // or the first boot would begin by itself, and race with the test
    ManagerTest::SetUp();
  }
  std::uint64_t Reserved() { return capacity_->Reserved().memory_mib / kOne; }
  void ExpectFull() {
    const auto refused = manager_->Create({.template_id = "base"});
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), Code::kResourceExhausted);
    EXPECT_NE(refused.error().ToString().find("not enough memory"), std::string::npos)
        << refused.error().ToString();
  }
};

TEST_F(CapacityTest, CreatesAreAdmittedUntilTheHostIsFull) {
  const SandboxInfo first = Create();
  Create();
  Create();
  ExpectFull();
  EXPECT_EQ(manager_->List().size(), 3u);
  ASSERT_TRUE(manager_->Kill(first.id));
  Create();
  EXPECT_EQ(Reserved(), 3u);
}

TEST_F(CapacityTest, MoreThanTheHostHasIsABadRequest) {
  const auto refused = manager_->Create({.template_id = "base", .memory_mib = 2000});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), Code::kInvalidArgument) << refused.error().ToString();
}

TEST_F(CapacityTest, ParallelCreatesDoNotExceedIt) {
  std::atomic<int> made = 0, full = 0;
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 8; ++i) {
      threads.emplace_back([&] {
        const auto created = manager_->Create({.template_id = "base"});
        if (created) ++made;
        if (!created && created.error().code() == Code::kResourceExhausted) ++full;
      });
    }
  }
  EXPECT_EQ(made, 3);
  EXPECT_EQ(full, 5);
}

TEST_F(CapacityTest, AFailedCreateHoldsNothing) {
  driver_.fail_launch = true;
  EXPECT_FALSE(manager_->Create({.template_id = "base"}));
  EXPECT_EQ(Reserved(), 0u);
  driver_.fail_launch = false;
  slots_.init_status = 500;
  EXPECT_FALSE(manager_->Create({.template_id = "base"}));
  slots_.init_status = 204;
  EXPECT_EQ(Reserved(), 0u);
}

TEST_F(CapacityTest, ADeadSandboxHoldsNothing) {
  const SandboxInfo made = Create();
  ASSERT_EQ(::kill(static_cast<pid_t>(made.vmm_pid), SIGKILL), 0);
  EXPECT_TRUE(Eventually([&] { return manager_->Get(made.id)->state == State::kDead; }));
  EXPECT_EQ(Reserved(), 0u);
}

TEST_F(CapacityTest, PausedItHoldsNothingAndAResumeNeedsRoom) {
  const SandboxInfo made = Create();
  ASSERT_TRUE(manager_->Pause(made.id, {}));
  EXPECT_EQ(Reserved(), 0u);
  Create();
  Create();
  const SandboxInfo third = Create();
  const auto refused = manager_->Resume(made.id, {});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), Code::kResourceExhausted) << refused.error().ToString();
  EXPECT_EQ(manager_->Get(made.id)->state, State::kPaused);
  ASSERT_TRUE(manager_->Kill(third.id));
  EXPECT_TRUE(manager_->Resume(made.id, {}));
  EXPECT_EQ(Reserved(), 3u);
}

TEST_F(CapacityTest, AForkIsRefusedChildByChild) {
  const SandboxInfo made = Create();
  const auto children = manager_->Fork(made.id, {.count = 5});
  ASSERT_TRUE(children) << children.error().ToString();
  int born = 0;
  for (const auto& child : *children) {
    if (child) ++born;
    if (!child) EXPECT_EQ(child.error().code(), Code::kResourceExhausted);
  }
  EXPECT_EQ(born, 2);
  EXPECT_EQ(manager_->List().size(), 3u);
}

TEST_F(CapacityTest, ARollbackKeepsItsPlace) {
  const SandboxInfo made = Create();
  Create();
  Create();
  const auto snapshot = manager_->Snapshot(made.id, {});
  ASSERT_TRUE(snapshot) << snapshot.error().ToString();
  // Whoever tries at every moment never gets the place.
  std::atomic<bool> done = false;
  std::jthread rival([&] {
    while (!done) EXPECT_FALSE(manager_->Create({.template_id = "base"}));
  });
  const auto rolled = manager_->Rollback(made.id, snapshot->id);
  done = true;
  rival.join();
  EXPECT_TRUE(rolled) << rolled.error().ToString();
  EXPECT_EQ(Reserved(), 3u);
}

TEST_F(CapacityTest, ThePoolGivesWay) {
  warm_vms_ = 2;
  warm_templates_ = {"base"};
  Open();
  ASSERT_TRUE(Eventually([&] { return manager_->Pool().ready == 2; }));
  EXPECT_EQ(Reserved(), 2u);
  // Another size, so that none comes from the pool: they need the memory that its VMs hold.
  const auto large = manager_->Create({.template_id = "base", .memory_mib = 3 * 256});
  ASSERT_TRUE(large) << large.error().ToString();
  EXPECT_EQ(manager_->Pool().ready, 0u);
  EXPECT_EQ(manager_->List().size(), 1u);
  warm_vms_ = 0;
  Open();
}

// However far the pool has got with a VM that it makes or ends: a create waits, and is admitted.
TEST_F(CapacityTest, ThePoolGivesWayWhileItFills) {
  warm_vms_ = 1;
  most_warm_vms_ = 8;
  warm_templates_ = {"base"};
  idle_cores_ = 2;
  Open();
  for (int round = 0; round < 6; ++round) {
    ASSERT_TRUE(Eventually([&] { return capacity_->Reserved().memory_mib > 0; }));
    std::this_thread::sleep_for(std::chrono::milliseconds(round * 10));
    const auto large = manager_->Create({.template_id = "base", .memory_mib = 3 * 256});
    ASSERT_TRUE(large) << "round " << round << ": " << large.error().ToString();
    EXPECT_TRUE(manager_->Kill(large->id));
    // Demand for another VM, so that the pool is at work in the next round.
    std::vector<std::thread> clients;
    for (int i = 0; i < 3; ++i) {
      clients.emplace_back([&] {
        const auto small = manager_->Create({.template_id = "base"});
        EXPECT_TRUE(small) << (small ? "" : small.error().ToString());
        if (small) EXPECT_TRUE(manager_->Kill(small->id));
      });
    }
    for (std::thread& client : clients) client.join();
  }
  warm_vms_ = 0;
  Open();
}

TEST_F(CapacityTest, ARestartedDaemonCountsWhatRuns) {
  Create();
  Create();
  const SandboxInfo third = Create();
  ASSERT_TRUE(manager_->Pause(third.id, {}));
  Open();
  EXPECT_EQ(Reserved(), 2u);
  limits_.host.memory_mib = kOne;  // less than runs: it runs on
  Open();
  EXPECT_EQ(Reserved(), 2u);
  ExpectFull();
}

}  // namespace
}  // namespace tinderbox::sandbox
