// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// What the manager tells of a sandbox: every event once, with what it is about, and nothing of what
// did not come to pass.
#include <signal.h>

#include <algorithm>
#include <set>

#include "sandbox/manager_fixture.h"
#include "sandbox/sandbox.h"

namespace tinderbox::sandbox {
namespace {

using std::chrono::seconds;

using Words = std::vector<std::string>;

class EventsTest : public ManagerTest {
 protected:
  std::vector<Event> EventsOf(const std::string& id) {
    return manager_->Events({.sandbox_id = id, .ascending = true}).value_or(std::vector<Event>{});
  }
  Words Kinds(const std::string& id) {
    Words kinds;
    for (const Event& event : EventsOf(id)) kinds.emplace_back(EventKindName(event.kind));
    return kinds;
  }
};

TEST_F(EventsTest, AWholeLifeIsTold) {
  const SandboxInfo made =
      manager_->Create({.template_id = "base", .metadata = {{"owner", "me"}}}).value();
  ASSERT_TRUE(manager_->SetTimeout(made.id, seconds(60)));
  ASSERT_TRUE(manager_->SetNetwork(made.id, {.allow_internet = false}));
  const TemplateInfo snapshot = manager_->Snapshot(made.id, {}).value();
  ASSERT_TRUE(manager_->Pause(made.id, {}));
  ASSERT_TRUE(manager_->SetNetwork(made.id, {}));
  ASSERT_TRUE(manager_->Resume(made.id, {}));
  ASSERT_TRUE(manager_->Kill(made.id));
  const std::vector<Event> events = EventsOf(made.id);
  ASSERT_EQ(Kinds(made.id), (Words{"created", "updated", "updated", "checkpointed", "paused",
                                   "updated", "resumed", "killed"}));
  std::set<std::string> ids;
  for (const Event& event : events) {
    EXPECT_EQ(event.metadata, made.metadata);
    EXPECT_EQ(event.template_id, made.template_id);
    ids.insert(event.id);
  }
  EXPECT_EQ(ids.size(), events.size());
  EXPECT_TRUE(std::ranges::is_sorted(events, {}, &Event::at_ms));
  EXPECT_NE(events[0].detail.find("from template 'base'"), std::string::npos);
  EXPECT_NEAR(static_cast<double>(events[1].end_at_ms.value() - NowMs()), 60'000, 10'000);
  EXPECT_EQ(events[3].snapshot_id, snapshot.id);
  EXPECT_EQ(events[4].execution->started_at_ms, made.started_at_ms);
  EXPECT_EQ(events[4].execution->cpus, made.cpus);
  EXPECT_EQ(events[4].execution->memory_mib, made.memory_mib);
  EXPECT_LT(events[4].execution->ran_ms, 60'000);
  EXPECT_EQ(events[7].detail, "on request");
  EXPECT_GE(events[7].execution->started_at_ms, events[4].at_ms) << "of its second life alone";
  for (const int of_first : {1, 2, 3, 4, 5}) {
    EXPECT_EQ(events[static_cast<std::size_t>(of_first)].execution_id, events[0].execution_id);
  }
  EXPECT_EQ(events[7].execution_id, events[6].execution_id);
  EXPECT_NE(events[6].execution_id, events[0].execution_id);
  ASSERT_TRUE(manager_->RemoveTemplate(snapshot.id));
}

TEST_F(EventsTest, WhatFailsIsNotTold) {
  driver_.fail_launch = true;
  EXPECT_FALSE(manager_->Create({.template_id = "base"}));
  driver_.fail_launch = false;
  EXPECT_TRUE(manager_->Events({}).value().empty());
  const SandboxInfo made = Create();
  library_->fail_commit = true;
  EXPECT_FALSE(manager_->Pause(made.id, {}));
  EXPECT_FALSE(manager_->Snapshot(made.id, {}));
  library_->fail_commit = false;
  slots_.fail_policy = true;
  EXPECT_FALSE(manager_->SetNetwork(made.id, {.allow_internet = false}));
  slots_.fail_policy = false;
  ASSERT_TRUE(manager_->Pause(made.id, {}));
  driver_.fail_launch = true;
  EXPECT_FALSE(manager_->Resume(made.id, {}));
  driver_.fail_launch = false;
  EXPECT_EQ(Kinds(made.id), (Words{"created", "paused"}));
}

TEST_F(EventsTest, ADeathIsToldOnceAndWhy) {
  const SandboxInfo made = Create();
  ASSERT_EQ(::kill(static_cast<pid_t>(made.vmm_pid), SIGKILL), 0);
  ASSERT_TRUE(Eventually([&] { return manager_->Get(made.id)->state == State::kDead; }));
  ASSERT_TRUE(manager_->Kill(made.id)) << "its record goes";
  const std::vector<Event> events = EventsOf(made.id);
  ASSERT_EQ(Kinds(made.id), (Words{"created", "killed"}));
  EXPECT_EQ(events[1].detail, "the VMM was killed by signal 9 (Killed)");
  EXPECT_TRUE(events[1].execution);
}

TEST_F(EventsTest, AnEndOfTimeAndTheEndOfAPausedOneAreToldApart) {
  const SandboxInfo expired = Create(seconds(1)), paused = Create();
  ASSERT_TRUE(manager_->Pause(paused.id, {}));
  ASSERT_TRUE(manager_->Kill(paused.id));
  ASSERT_TRUE(Eventually([&] { return !manager_->Get(expired.id); }));
  EXPECT_EQ(EventsOf(expired.id).back().detail, "its time was over");
  EXPECT_TRUE(EventsOf(expired.id).back().execution);
  EXPECT_EQ(EventsOf(paused.id).back().kind, EventKind::kKilled);
  EXPECT_FALSE(EventsOf(paused.id).back().execution) << "told with its pause already";
}

TEST_F(EventsTest, AForkIsMadeAndSaysOfWhat) {
  const SandboxInfo made = Create();
  const SandboxInfo child = manager_->Fork(made.id, {}).value().at(0).value();
  const std::vector<Event> events = EventsOf(child.id);
  ASSERT_EQ(events.size(), 1u);
  EXPECT_NE(events[0].detail.find("a fork of sandbox '" + made.id + "'"), std::string::npos)
      << events[0].detail;
  EXPECT_EQ(Kinds(made.id), Words{"created"});
}

TEST_F(EventsTest, TheyOutliveTheDaemonAndTellWhatEndedMeanwhile) {
  const SandboxInfo living = Create(), dying = Create();
  manager_.reset();
  ASSERT_EQ(::kill(static_cast<pid_t>(dying.vmm_pid), SIGKILL), 0);
  ASSERT_TRUE(Eventually([&] { return ::kill(static_cast<pid_t>(dying.vmm_pid), 0) != 0; }));
  Open();
  EXPECT_EQ(Kinds(dying.id), (Words{"created", "killed"}));
  EXPECT_EQ(Kinds(living.id), Words{"created"});
}

}  // namespace
}  // namespace tinderbox::sandbox
