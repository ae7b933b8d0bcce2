// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <signal.h>

#include <cerrno>
#include <cstdlib>
#include <random>
#include <thread>

#include "sandbox/manager_fixture.h"
#include "sys/directory.h"
#include "sys/file.h"

namespace tinderbox::sandbox {
namespace {

using base::Code;
using std::chrono::milliseconds;
using std::chrono::seconds;

TEST_F(ManagerTest, CreateGetListKill) {
  const SandboxInfo made = Create();
  EXPECT_EQ(made.state, State::kRunning);
  EXPECT_EQ(made.template_name, "base");
  EXPECT_EQ(made.access_token.size(), 64u);
  EXPECT_GT(made.vmm_pid, 0);
  EXPECT_EQ(::kill(static_cast<pid_t>(made.vmm_pid), 0), 0);
  ASSERT_EQ(made.timings_ms.size(), 6u);
  EXPECT_EQ(made.timings_ms.back().first, "identity");
  EXPECT_EQ(manager_->Get(made.id)->id, made.id);
  EXPECT_EQ(manager_->List().size(), 1u);
  EXPECT_TRUE(manager_->Dial(made.id, 80, base::Deadline::After(seconds(1))));
  ASSERT_TRUE(manager_->Kill(made.id));
  EXPECT_EQ(gone_, std::vector{made.id});
  EXPECT_EQ(manager_->Get(made.id).error().code(), Code::kNotFound);
  EXPECT_EQ(manager_->Kill(made.id).error().code(), Code::kNotFound);
  EXPECT_EQ(manager_->Dial(made.id, 80, base::Deadline::After(seconds(1))).error().code(),
            Code::kNotFound);
}

// The pool does not boot a template by itself: nothing may be left while the test looks.
class FailureTest : public ManagerTest {
 protected:
  void SetUp() override {
    warm_templates_.clear();
    ManagerTest::SetUp();
  }
};

TEST_F(FailureTest, AFailureAtAnyStageLeavesNothing) {
  const auto fails_with = [this](const std::string& words) {
    const auto created = manager_->Create({.template_id = "base"});
    ASSERT_FALSE(created);
    EXPECT_NE(created.error().ToString().find(words), std::string::npos)
        << created.error().ToString();
    ExpectNothingLeft();
    EXPECT_TRUE(manager_->List().empty());
  };
  library_->fail_kernel = true;
  fails_with("no kernel is prepared");
  library_->fail_kernel = false;
  slots_.fail_acquire = true;
  fails_with("no slot is free");
  slots_.fail_acquire = false;
  library_->fail_disk = true;
  fails_with("the pool is full");
  library_->fail_disk = false;
  driver_.fail_launch = true;
  fails_with("step 'pivot' failed");
  driver_.fail_launch = false;
  slots_.init_status = 500;
  fails_with("set the identity of the guest: status 500");
  slots_.init_status = 204;
  slots_.mute = true;
  driver_.arguments = {"exit", "3"};
  fails_with("the VM ended before its agent answered (exit code 3)");
  driver_.arguments = {"hello"};
  boot_deadline_ = seconds(1);
  Open();
  fails_with("the agent did not answer in time");
}

TEST_F(ManagerTest, BadRequests) {
  const auto refused = [this](CreateRequest request, Code code) {
    const auto created = manager_->Create(request);
    ASSERT_FALSE(created);
    EXPECT_EQ(created.error().code(), code) << created.error().ToString();
    EXPECT_TRUE(manager_->List().empty());
  };
  refused({.template_id = "nonesuch"}, Code::kNotFound);
  refused({.template_id = "base", .memory_mib = 0}, Code::kInvalidArgument);
  refused({.template_id = "base", .memory_mib = 4'000'000'000u}, Code::kInvalidArgument);
  refused({.template_id = "base", .cpus = 0}, Code::kInvalidArgument);
  refused({.template_id = "base", .timeout = seconds(0)}, Code::kInvalidArgument);
  refused({.template_id = "base", .timeout = seconds(-1)}, Code::kInvalidArgument);
}

TEST_F(ManagerTest, NetworkRulesGoToTheSlotAndMayChange) {
  const NetworkRules first{.deny = {ParseNetwork("0.0.0.0/0").value()},
                           .allow = {ParseNetwork("203.0.113.1").value()}};
  const SandboxInfo made =
      manager_->Create({.template_id = "base", .network = first}).value_or(SandboxInfo{});
  EXPECT_EQ(made.network, first);
  EXPECT_EQ(slots_.policy(made.slot).deny, first.deny);
  EXPECT_EQ(slots_.policy(made.slot).allow, first.allow);

  const NetworkRules second{.deny = {ParseNetwork("192.0.2.0/24").value()}};
  ASSERT_TRUE(manager_->SetNetwork(made.id, second));
  EXPECT_EQ(slots_.policy(made.slot), network::EgressPolicy{.deny = second.deny});
  EXPECT_EQ(manager_->Get(made.id)->network, second);
  EXPECT_FALSE(store_->GetSandbox(made.id)->network_pending);

  slots_.fail_policy = true;
  const auto failed = manager_->SetNetwork(made.id, {.allow_internet = false});
  ASSERT_FALSE(failed);
  EXPECT_NE(failed.error().message().find("keeps its old ones"), std::string::npos);
  EXPECT_EQ(manager_->Get(made.id)->network, second);
  EXPECT_EQ(store_->GetSandbox(made.id)->deny_out, std::vector<std::string>{"192.0.2.0/24"});
  slots_.fail_policy = false;
  EXPECT_EQ(manager_->SetNetwork("inone", {}).error().code(), Code::kNotFound);
}

egress::DomainPatterns Names(std::initializer_list<const char*> texts) {
  egress::DomainPatterns names;
  for (const char* text : texts) names.push_back(egress::DomainPattern::Parse(text).value());
  return names;
}

TEST_F(ManagerTest, NamesGoToTheGatewayAndMayChange) {
  using Redirect = network::EgressPolicy::Redirect;
  const Networks all{ParseNetwork("0.0.0.0/0").value()};
  const NetworkRules first{.deny = all, .names = Names({"a.test", "*.b.test"})};
  const SandboxInfo made =
      manager_->Create({.template_id = "base", .network = first}).value_or(SandboxInfo{});
  EXPECT_EQ(manager_->Get(made.id)->network, first);
  EXPECT_EQ(gateway_.names(made.slot), first.names);
  EXPECT_EQ(slots_.policy(made.slot).redirect, Redirect::kDenied);
  EXPECT_EQ(slots_.policy(made.slot).dns.size(), 2U) << "the daemon's own name servers";

  const sys::Ipv4 server = sys::Ipv4::Parse("192.0.2.53").value();
  const NetworkRules second{.deny = all, .names = Names({"c.test"}), .dns = {{server}}};
  ASSERT_TRUE(manager_->SetNetwork(made.id, second));
  EXPECT_EQ(gateway_.names(made.slot), second.names);
  EXPECT_EQ(slots_.policy(made.slot).dns, std::vector{server});

  for (std::atomic<bool>* part : {&slots_.fail_policy, &gateway_.fail_serve}) {
    *part = true;
    EXPECT_FALSE(manager_->SetNetwork(made.id, first));
    *part = false;
    EXPECT_EQ(manager_->Get(made.id)->network, second);
  }
  ASSERT_TRUE(manager_->SetNetwork(made.id, second));
  manager_.reset();
  gateway_.Forget(made.slot);  // which dies with its daemon
  Open();
  EXPECT_EQ(gateway_.names(made.slot), second.names);
  ASSERT_TRUE(manager_->SetNetwork(made.id, {}));
  EXPECT_EQ(gateway_.counts().slots, 0U);
  EXPECT_EQ(slots_.policy(made.slot), network::EgressPolicy{});
}

TEST_F(ManagerTest, FailedStartLeavesNothingAtTheGateway) {
  const NetworkRules rules{.allow_internet = false, .names = Names({"a.test"})};
  gateway_.fail_serve = true;
  EXPECT_FALSE(manager_->Create({.template_id = "base", .network = rules}));
  ExpectNothingLeft();
  gateway_.fail_serve = false;
  slots_.init_status = 500;
  EXPECT_FALSE(manager_->Create({.template_id = "base", .network = rules}));
  EXPECT_EQ(gateway_.counts().slots, 0U);
}

TEST_F(ManagerTest, AccessToPortsIsKeptAndNeverWaits) {
  const SandboxInfo open = Create();
  EXPECT_EQ(open.ports, PortAccess{});
  EXPECT_EQ(manager_->Ports(open.id), PortAccess{});
  EXPECT_EQ(manager_->Ports("inone"), std::nullopt);
  const SandboxInfo made = manager_
                               ->Create({.template_id = "base",
                                         .public_ports = false,
                                         .mask_host = "x:${PORT}",
                                         .https_ports = {443, 8443}})
                               .value_or(SandboxInfo{});
  EXPECT_EQ(made.ports.traffic_token.size(), 64u);
  EXPECT_NE(made.ports.traffic_token, made.access_token);
  EXPECT_EQ(made.ports.mask_host, "x:${PORT}");
  EXPECT_EQ(made.ports.https_ports, (std::vector<std::uint16_t>{443, 8443}));
  ASSERT_TRUE(manager_->SetNetwork(made.id, {}));
  manager_.reset();
  Open();
  EXPECT_EQ(manager_->Ports(made.id), made.ports);
  EXPECT_EQ(manager_->Get(made.id)->ports, made.ports);
  ASSERT_TRUE(manager_->Kill(made.id));
  EXPECT_EQ(manager_->Ports(made.id), std::nullopt);
}

TEST_F(ManagerTest, NetworkRulesThatCannotBe) {
  const SandboxInfo made = Create();
  NetworkRules many;
  many.deny.resize(network::kMostPolicyNetworks + 1);
  EXPECT_EQ(manager_->SetNetwork(made.id, many).error().code(), Code::kInvalidArgument);
  EXPECT_EQ(manager_->Create({.template_id = "base", .network = many}).error().code(),
            Code::kInvalidArgument);
  for (const char* never : {"10.1.2.3", "169.254.169.254", "192.168.0.0/16", "127.0.0.1"}) {
    const NetworkRules rules{.allow = {ParseNetwork(never).value()}};
    const auto refused = manager_->SetNetwork(made.id, rules);
    ASSERT_FALSE(refused) << never;
    EXPECT_NE(refused.error().message().find(never), std::string::npos);
  }
  EXPECT_TRUE(manager_->SetNetwork(made.id, {.allow = {ParseNetwork("0.0.0.0/0").value()}}));
  const auto named = manager_->SetNetwork(made.id, {.names = Names({"a.test"})});
  ASSERT_FALSE(named);
  EXPECT_NE(named.error().message().find("everything else is denied"), std::string::npos);
  const sys::Ipv4 inside = sys::Ipv4::Parse("10.0.0.53").value();
  const NetworkRules asks_inside{
      .allow_internet = false, .names = Names({"a.test"}), .dns = {{inside}}};
  EXPECT_EQ(manager_->SetNetwork(made.id, asks_inside).error().code(), Code::kInvalidArgument);
  for (const char* none : {"example.com", "2001:db8::1", "1.2.3", "1.2.3.4/33", ""}) {
    EXPECT_EQ(ParseNetwork(none).error().code(), Code::kInvalidArgument) << none;
  }
}

// An earlier release's rules, or what an administrator left.
TEST_F(ManagerTest, RecoveryRenewsRules) {
  const SandboxInfo made = Create();
  manager_.reset();
  ASSERT_TRUE(slots_.SetPolicy(made.slot, {.allow_internet = false}));
  Open();
  EXPECT_EQ(slots_.policy(made.slot), network::EgressPolicy{});
}

// As left by a daemon that was killed between the record and the kernel.
TEST_F(ManagerTest, RecoverySetsRulesThatWereOnlyRecorded) {
  const SandboxInfo made = Create(), other = Create();
  manager_.reset();
  store::SandboxRecord record = store_->GetSandbox(made.id).value();
  record.deny_out = {"192.0.2.0/24"};
  record.network_pending = true;
  ASSERT_TRUE(store_->UpdateSandbox(record, "running"));
  Open();
  EXPECT_EQ(slots_.policy(made.slot).deny, manager_->Get(made.id)->network.deny);
  EXPECT_EQ(slots_.policy(made.slot).deny.size(), 1u);
  EXPECT_EQ(slots_.policy(other.slot), network::EgressPolicy{});
  EXPECT_FALSE(store_->GetSandbox(made.id)->network_pending);
}

TEST_F(ManagerTest, TheLimitOfSandboxesHolds) {
  for (int i = 0; i < 8; ++i) Create();
  EXPECT_EQ(manager_->Create({.template_id = "base"}).error().code(), Code::kResourceExhausted);
}

TEST_F(ManagerTest, ADeadVmmIsNoticedAndBuried) {
  const SandboxInfo made = Create();
  // The slots answer for the guest, which may not have come to its first word yet.
  ASSERT_TRUE(Eventually([&] {
    return manager_->Console(made.id, 1000).value_or("").find("hello") != std::string::npos;
  }));
  ASSERT_EQ(::kill(static_cast<pid_t>(made.vmm_pid), SIGKILL), 0);
  ASSERT_TRUE(Eventually([&] { return manager_->Get(made.id)->state == State::kDead; }));
  const SandboxInfo dead = manager_->Get(made.id).value();
  EXPECT_EQ(dead.exit_code, 128 + SIGKILL);
  EXPECT_EQ(dead.cause, "the VMM was killed by signal 9 (Killed)");
  EXPECT_EQ(dead.vmm_pid, 0);
  EXPECT_TRUE(slots_.used().empty());
  EXPECT_TRUE(library_->SandboxDirs().value().empty());
  EXPECT_NE(manager_->Console(made.id, 1000).value().find("hello"), std::string::npos);
  EXPECT_EQ(gone_, std::vector{made.id});
  EXPECT_EQ(manager_->SetTimeout(made.id, seconds(5)).error().code(), Code::kFailedPrecondition);
}

TEST_F(ManagerTest, ConsolesOfSandboxesThatNobodyKnowsGoAtTheNextStart) {
  const SandboxInfo made = Create();
  ASSERT_EQ(::kill(static_cast<pid_t>(made.vmm_pid), SIGKILL), 0);
  ASSERT_TRUE(Eventually([&] { return manager_->Get(made.id)->state == State::kDead; }));
  const std::string dead = dir_ + "/state/dead/";
  for (const std::string& left : {made.id + ".log.0123abcd.tmp", std::string("inone.log")}) {
    ASSERT_TRUE(sys::WriteFileAtomic(dead + left, "x"));
  }
  Open();
  EXPECT_EQ(sys::NamesIn(dead).value(), std::vector{made.id + ".log"});
}

TEST_F(ManagerTest, TimeRunsOutAndCanBeChanged) {
  const SandboxInfo shortened = Create(), kept = Create(), lengthened = Create(seconds(1));
  ASSERT_TRUE(manager_->Extend(lengthened.id, seconds(100)));
  ASSERT_TRUE(manager_->SetTimeout(shortened.id, seconds(1)));
  ASSERT_TRUE(manager_->Extend(kept.id, seconds(1))) << "never shortens";
  ASSERT_TRUE(Eventually([&] { return !manager_->Get(shortened.id); }));
  EXPECT_EQ(manager_->Get(kept.id)->state, State::kRunning);
  EXPECT_EQ(manager_->Get(lengthened.id)->state, State::kRunning);
}

TEST_F(ManagerTest, SandboxesOutliveTheManager) {
  const SandboxInfo living = Create(), dying = Create();
  manager_.reset();
  EXPECT_EQ(::kill(static_cast<pid_t>(living.vmm_pid), 0), 0);
  ASSERT_EQ(::kill(static_cast<pid_t>(dying.vmm_pid), SIGKILL), 0);
  ASSERT_TRUE(Eventually([&] { return ::kill(static_cast<pid_t>(dying.vmm_pid), 0) != 0; }));
  Open();
  EXPECT_EQ(manager_->Get(living.id)->state, State::kRunning);
  EXPECT_EQ(manager_->Get(living.id)->vmm_pid, living.vmm_pid);
  // Its warden may end a moment after it.
  EXPECT_TRUE(Eventually([&] { return manager_->Get(dying.id)->state == State::kDead; }));
  EXPECT_TRUE(Eventually([&] { return slots_.used() == std::set<std::uint32_t>{living.slot}; }));
}

TEST_F(ManagerTest, RecoveryUndoesWhatWasHalfDone) {
  const SandboxInfo running = Create(), stopping = Create(), creating = Create();
  const auto force_state = [this](const std::string& id, const char* state, std::uint32_t slot) {
    store::SandboxRecord record = store_->GetSandbox(id).value();
    record.state = state;
    record.slot = slot;
    ASSERT_TRUE(store_->UpdateSandbox(record, "running"));
  };
  manager_.reset();
  // As left by a daemon killed after it had given the slot back, which `running` has taken since.
  force_state(stopping.id, "stopping", running.slot);
  force_state(creating.id, "creating", creating.slot);
  static_cast<void>(slots_.Release(stopping.slot));
  library_->AddOrphanDisk("iorphan");
  Open();
  ASSERT_EQ(manager_->List().size(), 1u);
  EXPECT_EQ(manager_->Get(running.id)->state, State::kRunning);
  EXPECT_EQ(slots_.used(), std::set<std::uint32_t>{running.slot});
  EXPECT_NE(::kill(static_cast<pid_t>(creating.vmm_pid), 0), 0);
  EXPECT_EQ(library_->SandboxDirs().value(), std::vector{running.id});
  EXPECT_FALSE(manager_->RecoveryReport().empty());
}

TEST_F(ManagerTest, AVmOfNoSandboxIsSwept) {
  const SandboxInfo made = Create();
  manager_.reset();
  ASSERT_TRUE(store_->DeleteSandbox(made.id));
  Open();
  EXPECT_TRUE(manager_->List().empty());
  EXPECT_NE(::kill(static_cast<pid_t>(made.vmm_pid), 0), 0);
  static_cast<void>(slots_.Release(made.slot));  // the fake's Sweep finds nothing
}

// Kill races kill, expiry and the VMM's own death: one winner, nothing released twice, none hangs.
TEST_F(ManagerTest, RacesHaveOneWinner) {
  std::mt19937 random(1);
  for (int round = 0; round < 500; ++round) {
    const SandboxInfo made = Create(seconds(100));
    std::atomic<int> kills = 0;
    const auto nap = [&random] { return std::chrono::microseconds(random() % 2000); };
    std::vector<std::thread> racers;
    for (int i = 0; i < 2; ++i) {
      racers.emplace_back([&, wait = nap()] {
        std::this_thread::sleep_for(wait);
        if (manager_->Kill(made.id)) ++kills;
      });
    }
    racers.emplace_back([&, wait = nap()] {
      std::this_thread::sleep_for(wait);
      ::kill(static_cast<pid_t>(made.vmm_pid), SIGKILL);
    });
    racers.emplace_back([&, wait = nap()] {
      std::this_thread::sleep_for(wait);
      static_cast<void>(manager_->SetTimeout(made.id, seconds(50)));
      static_cast<void>(manager_->Dial(made.id, 1, base::Deadline::After(seconds(1))));
    });
    for (std::thread& racer : racers) racer.join();
    EXPECT_EQ(kills, 1);
    ASSERT_TRUE(manager_->List().empty());
  }
}

}  // namespace
}  // namespace tinderbox::sandbox
