// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// The manager's pause, resume, fork, snapshot and rollback: states, failures, races, recovery. What
// is saved is real in tests/e2e/snapshot_test.py; here it is a record.
#include <signal.h>

#include <algorithm>
#include <random>

#include "sandbox/manager_fixture.h"
#include "sandbox/sandbox.h"

namespace tinderbox::sandbox {
namespace {

using base::Code;
using std::chrono::seconds;

class SavedTest : public ManagerTest {
 protected:
  void ForceState(const std::string& id, State state) {
    store::SandboxRecord record = store_->GetSandbox(id).value();
    record.state = StateName(state);
    ASSERT_TRUE(store_->UpdateSandbox(record, "running"));
  }
  std::string Console(const std::string& id) { return manager_->Console(id, 1000).value_or(""); }
};

TEST_F(SavedTest, PausedItHoldsNothingAndResumedItIsTheSame) {
  const SandboxInfo made = Create();
  ASSERT_TRUE(manager_->Pause(made.id, {}));
  const SandboxInfo paused = manager_->Get(made.id).value();
  EXPECT_EQ(paused.state, State::kPaused);
  EXPECT_EQ(paused.pause_mode, PauseMode::kFull);
  EXPECT_EQ(paused.vmm_pid, 0);
  EXPECT_EQ(paused.slot, 0u);
  EXPECT_TRUE(slots_.used().empty());
  EXPECT_NE(::kill(static_cast<pid_t>(made.vmm_pid), 0), 0);
  EXPECT_EQ(gone_, std::vector{made.id});
  EXPECT_EQ(manager_->Pause(made.id, {}).error().code(), Code::kFailedPrecondition);
  EXPECT_EQ(manager_->Fork(made.id, {}).error().code(), Code::kFailedPrecondition);

  const auto resumed = manager_->Resume(made.id, {.timeout = seconds(77)});
  ASSERT_TRUE(resumed) << resumed.error().ToString();
  EXPECT_EQ(resumed->state, State::kRunning);
  EXPECT_EQ(resumed->started_by, "restore");
  EXPECT_EQ(resumed->access_token, made.access_token);
  EXPECT_EQ(resumed->started_at_ms, made.started_at_ms);
  EXPECT_NEAR(static_cast<double>(resumed->end_at_ms - NowMs()), 77'000, 5'000);
  EXPECT_EQ(manager_->Resume(made.id, {}).error().code(), Code::kFailedPrecondition);
  EXPECT_EQ(library_->FindPaused(made.id).error().code(), Code::kNotFound);
}

TEST_F(SavedTest, ConnectResumesOrExtends) {
  const SandboxInfo made = Create();
  EXPECT_FALSE(manager_->Connect(made.id, {})->resumed);
  ASSERT_TRUE(manager_->Pause(made.id, {.mode = PauseMode::kFull, .require_healthy = true}));
  EXPECT_TRUE(manager_->Connect(made.id, {})->resumed);
  EXPECT_EQ(manager_->Connect("inone", {}).error().code(), Code::kNotFound);
}

TEST_F(SavedTest, APauseThatFailsLeavesItRunning) {
  const SandboxInfo made = Create();
  const auto fails = [&](Code code, const PauseRequest& request) {
    const auto paused = manager_->Pause(made.id, request);
    ASSERT_FALSE(paused);
    EXPECT_EQ(paused.error().code(), code) << paused.error().ToString();
    EXPECT_NE(paused.error().ToString().find("runs on"), std::string::npos);
    EXPECT_EQ(manager_->Get(made.id)->state, State::kRunning);
    EXPECT_EQ(::kill(static_cast<pid_t>(made.vmm_pid), 0), 0);
    EXPECT_TRUE(gone_.empty());
  };
  library_->fail_capture = true;
  fails(Code::kResourceExhausted, {});
  library_->fail_capture = false;
  library_->fail_commit = true;
  fails(Code::kResourceExhausted, {});
  library_->fail_commit = false;
  slots_.mute = true;
  fails(Code::kUnavailable, {.mode = PauseMode::kFull, .require_healthy = true});
  fails(Code::kUnavailable, {.mode = PauseMode::kFilesystem, .require_healthy = false});
  // Without demanding anything of the guest, it is paused all the same, and that is noted.
  ASSERT_TRUE(manager_->Pause(made.id, {}));
  EXPECT_TRUE(manager_->Get(made.id)->agent_silent_at_pause);
  slots_.mute = false;
  EXPECT_FALSE(manager_->Resume(made.id, {})->agent_silent_at_pause);
}

TEST_F(SavedTest, AResumeThatFailsLeavesItPaused) {
  const SandboxInfo made = Create();
  ASSERT_TRUE(manager_->Pause(made.id, {}));
  const auto fails = [&](const std::string& words) {
    const auto resumed = manager_->Resume(made.id, {});
    ASSERT_FALSE(resumed);
    EXPECT_NE(resumed.error().ToString().find(words), std::string::npos)
        << resumed.error().ToString();
    EXPECT_EQ(manager_->Get(made.id)->state, State::kPaused);
    EXPECT_TRUE(slots_.used().empty());
  };
  slots_.fail_acquire = true;
  fails("no slot is free");
  slots_.fail_acquire = false;
  driver_.fail_launch = true;
  fails("step 'pivot' failed");
  driver_.fail_launch = false;
  slots_.init_status = 500;
  fails("status 500");
  slots_.init_status = 204;
  EXPECT_TRUE(manager_->Resume(made.id, {}));
}

// A copy of a guest must not run a process before it has random numbers of its own.
TEST_F(SavedTest, ProcessesAreFrozenWhileAGuestIsCapturedAndGoOnWithNewRandomNumbers) {
  using Steps = std::vector<std::string>;
  const auto steps = [this] {
    Steps taken = slots_.asked->Take();
    std::erase(taken, "POST /init");  // the clock, once more: only if the host was slow
    return taken;
  };
  const SandboxInfo made = Create();
  driver_.asked = slots_.asked;
  steps();
  ASSERT_TRUE(manager_->Snapshot(made.id, {}));
  EXPECT_EQ(steps(), (Steps{"POST /freeze", "pause", "save", "resume", "POST /init entropy"}));
  ASSERT_TRUE(manager_->Snapshot(made.id, {.mode = PauseMode::kFilesystem}));
  EXPECT_EQ(steps(), (Steps{"POST /fsfreeze", "pause", "resume", "POST /init entropy"}));
  ASSERT_TRUE(manager_->Pause(made.id, {}));
  EXPECT_EQ(steps(), (Steps{"GET /health", "POST /freeze", "pause", "save"}));
  ASSERT_TRUE(manager_->Resume(made.id, {}));
  EXPECT_EQ(steps(), (Steps{"POST /init entropy"}));
  // Whatever fails meanwhile, it goes on.
  library_->fail_commit = true;
  EXPECT_FALSE(manager_->Pause(made.id, {}));
  EXPECT_EQ(steps(), (Steps{"GET /health", "POST /freeze", "pause", "save", "resume",
                            "POST /init entropy"}));
}

TEST_F(SavedTest, AGuestThatDoesNotFreezeIsPausedButNotCopied) {
  const SandboxInfo made = Create();
  slots_.freeze_status = 500;
  EXPECT_EQ(manager_->Fork(made.id, {}).error().code(), Code::kUnavailable);
  EXPECT_EQ(manager_->Snapshot(made.id, {}).error().code(), Code::kUnavailable);
  EXPECT_EQ(manager_->Get(made.id)->state, State::kRunning);
  ASSERT_TRUE(manager_->Pause(made.id, {}));
  ASSERT_TRUE(manager_->Resume(made.id, {}));
  // An agent from before an upgrade of the daemon.
  slots_.freeze_status = 404;
  EXPECT_TRUE(manager_->Fork(made.id, {}).value().at(0));
}

TEST_F(SavedTest, ForkMakesChildrenOfTheirOwn) {
  const SandboxInfo made = Create();
  const auto children = manager_->Fork(made.id, {.count = 3, .timeout = seconds(50)});
  ASSERT_TRUE(children) << children.error().ToString();
  ASSERT_EQ(children->size(), 3u);
  std::set<std::string> ids = {made.id}, tokens = {made.access_token};
  for (const auto& child : *children) {
    ASSERT_TRUE(child) << child.error().ToString();
    EXPECT_EQ(child->state, State::kRunning);
    ids.insert(child->id);
    tokens.insert(child->access_token);
  }
  EXPECT_EQ(ids.size(), 4u);
  EXPECT_EQ(tokens.size(), 4u);
  EXPECT_EQ(manager_->Get(made.id)->state, State::kRunning);
  EXPECT_EQ(library_->saved_count(), 1u) << "the boot snapshot alone";
  EXPECT_EQ(manager_->Fork(made.id, {.count = 0}).error().code(), Code::kInvalidArgument);
  EXPECT_EQ(manager_->Fork(made.id, {.count = 101}).error().code(), Code::kInvalidArgument);
  // Eight are allowed: what does not fit is told child by child.
  const auto more = manager_->Fork(made.id, {.count = 6});
  ASSERT_TRUE(more);
  EXPECT_EQ(std::ranges::count_if(*more, [](const auto& child) { return child.has_value(); }), 4);
  for (const auto& child : *more) {
    if (!child) EXPECT_EQ(child.error().code(), Code::kResourceExhausted);
  }
}

TEST_F(SavedTest, AccessToPortsOutlivesWhatHappensToTheSandboxAndAForkGetsATokenOfItsOwn) {
  const auto made = manager_->Create({.template_id = "base",
                                      .public_ports = false,
                                      .mask_host = "x:${PORT}",
                                      .https_ports = {443}});
  ASSERT_TRUE(made) << made.error().ToString();
  const auto child = manager_->Fork(made->id, {}).value().at(0).value();
  EXPECT_EQ(child.ports.mask_host, made->ports.mask_host);
  EXPECT_EQ(child.ports.https_ports, made->ports.https_ports);
  EXPECT_EQ(child.ports.traffic_token.size(), made->ports.traffic_token.size());
  EXPECT_NE(child.ports.traffic_token, made->ports.traffic_token);
  const auto snapshot = manager_->Snapshot(made->id, {});
  ASSERT_TRUE(snapshot);
  ASSERT_TRUE(manager_->Rollback(made->id, snapshot->id));
  EXPECT_EQ(manager_->Ports(made->id), made->ports);
  ASSERT_TRUE(manager_->Pause(made->id, {}));
  EXPECT_EQ(manager_->Ports(made->id), made->ports);
  Open();
  EXPECT_EQ(manager_->Ports(made->id), made->ports);
  const auto resumed = manager_->Resume(made->id, {.reboot = true});
  ASSERT_TRUE(resumed) << resumed.error().ToString();
  EXPECT_EQ(resumed->ports, made->ports);
}

TEST_F(SavedTest, NetworkRulesOutliveWhatHappensToTheSandbox) {
  const SandboxInfo made = Create();
  const NetworkRules first{.deny = {ParseNetwork("192.0.2.0/24").value()}};
  ASSERT_TRUE(manager_->SetNetwork(made.id, first));
  const auto child = manager_->Fork(made.id, {}).value().at(0).value();
  EXPECT_EQ(child.network, first);
  EXPECT_EQ(slots_.policy(child.slot).deny, first.deny);

  const auto snapshot = manager_->Snapshot(made.id, {});
  ASSERT_TRUE(snapshot);
  ASSERT_TRUE(manager_->Rollback(made.id, snapshot->id));
  EXPECT_EQ(slots_.policy(manager_->Get(made.id)->slot).deny, first.deny);

  ASSERT_TRUE(manager_->Pause(made.id, {}));
  const NetworkRules second{.allow_internet = false,
                            .allow = {ParseNetwork("203.0.113.1").value()}};
  ASSERT_TRUE(manager_->SetNetwork(made.id, second)) << "a paused one has rules, too";
  Open();
  EXPECT_EQ(manager_->Get(made.id)->network, second);
  const auto resumed = manager_->Resume(made.id, {});
  ASSERT_TRUE(resumed);
  EXPECT_EQ(slots_.policy(resumed->slot),
            (network::EgressPolicy{.allow_internet = false, .deny = {}, .allow = second.allow}));
}

TEST_F(SavedTest, SnapshotsHaveNamesAndCanBeCreatedFrom) {
  const SandboxInfo made = Create();
  const auto first = manager_->Snapshot(made.id, {.name = "mine"});
  ASSERT_TRUE(first) << first.error().ToString();
  EXPECT_EQ(first->names, std::vector<std::string>{"mine"});
  EXPECT_TRUE(first->is_snapshot);
  EXPECT_EQ(first->source_sandbox, made.id);
  EXPECT_TRUE(first->has_memory);
  EXPECT_EQ(first->misfit, "");
  ASSERT_TRUE(manager_->Pause(made.id, {}));
  EXPECT_TRUE(manager_->Snapshot(made.id, {})) << "of a paused one, too";
  EXPECT_EQ(manager_->Snapshot(made.id, {.name = "base"}).error().code(), Code::kAlreadyExists);
  EXPECT_EQ(manager_->Snapshot(made.id, {.name = "A/B"}).error().code(), Code::kInvalidArgument);

  const auto clone = manager_->Create({.template_id = first->id});
  ASSERT_TRUE(clone) << clone.error().ToString();
  EXPECT_EQ(clone->started_by, "restore");
  EXPECT_EQ(manager_->RemoveTemplate(first->id).error().code(), Code::kFailedPrecondition);
  ASSERT_TRUE(manager_->Kill(clone->id));
}

TEST_F(SavedTest, ATemplateCountsEverySandboxThatWasMadeFromIt) {
  const auto spawns = [this](const std::string& id) { return manager_->GetTemplate(id)->spawns; };
  EXPECT_EQ(spawns("base"), 0);
  EXPECT_EQ(manager_->GetTemplate("base")->last_spawned_at_ms, 0);
  const SandboxInfo made = Create();
  EXPECT_EQ(spawns("base"), 1);
  EXPECT_NEAR(static_cast<double>(manager_->GetTemplate("base")->last_spawned_at_ms),
              static_cast<double>(NowMs()), 5'000);
  driver_.fail_launches = 1;
  EXPECT_FALSE(manager_->Create({.template_id = "base"}));
  // A resume does not count as another sandbox.
  ASSERT_TRUE(manager_->Pause(made.id, {}));
  ASSERT_TRUE(manager_->Resume(made.id, {}));
  EXPECT_EQ(spawns("base"), 1);
  ASSERT_TRUE(manager_->Fork(made.id, {}));
  EXPECT_EQ(spawns("base"), 2);
  const auto snapshot = manager_->Snapshot(made.id, {});
  ASSERT_TRUE(snapshot);
  const auto clone = manager_->Create({.template_id = snapshot->id});
  ASSERT_TRUE(clone) << clone.error().ToString();
  EXPECT_EQ(spawns(snapshot->id), 1);
  ASSERT_TRUE(manager_->Kill(clone->id));
  EXPECT_EQ(spawns(snapshot->id), 1);
  ASSERT_TRUE(manager_->RemoveTemplate(snapshot->id));
  EXPECT_EQ(store_->Events().SpawnsOf(snapshot->id)->count, 0);
  EXPECT_EQ(spawns("base"), 2);
}

TEST_F(SavedTest, WhatDoesNotFitIsRefusedWithTheReasonAndBootsFromItsDisk) {
  const SandboxInfo made = Create();
  const auto snapshot = manager_->Snapshot(made.id, {});
  ASSERT_TRUE(snapshot);
  ASSERT_TRUE(manager_->Pause(made.id, {}));
  library_->MakeMisfit(snapshot->id);
  library_->MakeMisfit("paused " + made.id);
  EXPECT_NE(manager_->GetTemplate(snapshot->id)->misfit, "");

  const auto resumed = manager_->Resume(made.id, {});
  ASSERT_FALSE(resumed);
  EXPECT_EQ(resumed.error().code(), Code::kFailedPrecondition);
  EXPECT_NE(resumed.error().message().find("version 'another'"), std::string::npos);
  EXPECT_NE(resumed.error().remedy(), "");
  EXPECT_EQ(manager_->Get(made.id)->state, State::kPaused);
  EXPECT_EQ(manager_->Rollback(made.id, snapshot->id).error().code(), Code::kFailedPrecondition);
  const auto booted = manager_->Resume(made.id, {.timeout = {}, .reboot = true, .on_timeout = {}});
  ASSERT_TRUE(booted) << booted.error().ToString();
  EXPECT_EQ(booted->started_by, "boot");
  EXPECT_EQ(manager_->Create({.template_id = snapshot->id})->started_by, "boot");
}

TEST_F(SavedTest, RollbackIsForASandboxesOwnSnapshots) {
  const SandboxInfo made = Create(), other = Create();
  const auto snapshot = manager_->Snapshot(made.id, {});
  ASSERT_TRUE(snapshot);
  EXPECT_EQ(manager_->Rollback(other.id, snapshot->id).error().code(), Code::kInvalidArgument);
  EXPECT_EQ(manager_->Rollback(made.id, "base").error().code(), Code::kInvalidArgument);
  EXPECT_EQ(manager_->Rollback(made.id, "none").error().code(), Code::kNotFound);
  const auto rolled = manager_->Rollback(made.id, snapshot->id);
  ASSERT_TRUE(rolled) << rolled.error().ToString();
  EXPECT_EQ(rolled->id, made.id);
  EXPECT_EQ(rolled->state, State::kRunning);
  EXPECT_EQ(rolled->access_token, made.access_token);
  EXPECT_NEAR(static_cast<double>(rolled->end_at_ms), static_cast<double>(made.end_at_ms), 2'000);
  // One that fails leaves it running as it was.
  driver_.fail_launches = 1;
  EXPECT_FALSE(manager_->Rollback(made.id, snapshot->id));
  EXPECT_EQ(manager_->Get(made.id)->state, State::kRunning);
}

TEST_F(SavedTest, TimePausesAndTrafficResumes) {
  CreateRequest request{.template_id = "base", .timeout = seconds(1)};
  request.on_timeout = TimeoutAction::kPause;
  request.auto_resume = true;
  const SandboxInfo made = manager_->Create(request).value();
  ASSERT_TRUE(Eventually([&] { return manager_->Get(made.id)->state == State::kPaused; }));
  // The time that the resume takes is not taken from the dial's.
  driver_.launch_takes = std::chrono::milliseconds(700);
  const auto resumed =
      manager_->Dial(made.id, 80, base::Deadline::After(std::chrono::milliseconds(500)));
  EXPECT_TRUE(resumed) << resumed.error().ToString();
  driver_.launch_takes = {};
  EXPECT_EQ(manager_->Get(made.id)->state, State::kRunning);
  EXPECT_GT(manager_->Get(made.id)->end_at_ms, NowMs() + 200'000);
  // A disk that is full at that moment is no reason to throw it away.
  library_->fail_commit = true;
  ASSERT_TRUE(manager_->SetTimeout(made.id, seconds(1)));
  std::this_thread::sleep_for(seconds(2));
  EXPECT_EQ(manager_->Get(made.id)->state, State::kRunning);
  library_->fail_commit = false;
  // What would have to boot is not woken by traffic.
  ASSERT_TRUE(manager_->Pause(made.id, {.mode = PauseMode::kFilesystem}));
  const auto dialled = manager_->Dial(made.id, 80, base::Deadline::After(seconds(5)));
  EXPECT_EQ(dialled.error().code(), Code::kNotFound);
  EXPECT_EQ(manager_->Get(made.id)->state, State::kPaused);
}

TEST_F(SavedTest, ThePoolIsFilledHandedOutAndGivenBack) {
  warm_vms_ = 2;
  Open();
  ASSERT_TRUE(Eventually([&] { return manager_->Pool().ready == 2; }));
  EXPECT_TRUE(manager_->List().empty()) << "what waits is no sandbox";
  const SandboxInfo one = Create(), two = Create();
  EXPECT_EQ(one.started_by, "pool");
  EXPECT_EQ(two.started_by, "pool");
  EXPECT_NE(one.slot, two.slot);
  EXPECT_EQ(Create().started_by, "restore") << "it was empty";
  ASSERT_TRUE(Eventually([&] { return manager_->Pool().ready == 2; }));
  // A member that cannot be handed out is no reason to refuse: the sandbox gets another VM.
  slots_.init_status = 500;
  EXPECT_FALSE(manager_->Create({.template_id = "base"}));
  slots_.init_status = 204;
  EXPECT_TRUE(manager_->Create({.template_id = "base"}));
  available_mib_ = 10;
  ASSERT_TRUE(Eventually([&] { return manager_->Pool().ready == 0; })) << "given back";
  EXPECT_EQ(Create().started_by, "restore");
  available_mib_ = 100'000;
  ASSERT_TRUE(Eventually([&] { return manager_->Pool().ready == 2; }));
  // They end with the manager, and nobody else does.
  manager_.reset();
  warm_vms_ = 0;
  Open();
  EXPECT_EQ(slots_.used().size(), manager_->List().size());
}

TEST_F(SavedTest, ThePoolFollowsDemand) {
  warm_vms_ = 1;
  most_warm_vms_ = 3;
  Open();
  ASSERT_TRUE(Eventually([&] { return manager_->Pool().ready == 1; }));
  EXPECT_EQ(manager_->Pool().target, 1U);
  idle_cores_ = 2;
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(manager_->Kill(Create().id));
  ASSERT_TRUE(Eventually([&] { return manager_->Pool().ready == 3; }));
  EXPECT_EQ(manager_->Pool().target, 3U);
  for (int i = 0; i < 3; ++i) {
    const SandboxInfo made = Create();
    EXPECT_EQ(made.started_by, "pool");
    EXPECT_TRUE(manager_->Kill(made.id));
  }
  ASSERT_TRUE(Eventually([&] { return manager_->Pool().ready == 3; }));
  pool_clock_ahead_ = seconds(60);
  ASSERT_TRUE(Eventually([&] { return manager_->Pool().ready == 1; }));
  EXPECT_EQ(manager_->Pool().target, 1U);
  warm_vms_ = 0;
  Open();
}

TEST_F(SavedTest, WithoutIdleCoresThePoolDoesNotGrow) {
  warm_vms_ = 1;
  most_warm_vms_ = 8;
  Open();
  ASSERT_TRUE(Eventually([&] { return manager_->Pool().ready == 1; }));
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(manager_->Kill(Create().id));
  ASSERT_TRUE(Eventually([&] { return manager_->Pool().ready == 1; }));
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  EXPECT_EQ(manager_->Pool().ready, 1U);
  warm_vms_ = 0;
  Open();
}

TEST_F(SavedTest, RecoveryFindsItAsBeforeOrAsAfter) {
  const SandboxInfo pausing = Create(), snapshotting = Create(), resuming = Create(),
                    ended = Create(), dead = Create();
  for (const SandboxInfo& each : {resuming, ended}) ASSERT_TRUE(manager_->Pause(each.id, {}));
  ASSERT_TRUE(manager_->Resume(resuming.id, {}));
  ASSERT_TRUE(manager_->Resume(ended.id, {}));
  // As if each daemon had died in the middle: what was saved is there, what was not is not.
  const auto keep = [&](const std::string& id) {
    image::Template info = library_->FindTemplate("base").value();
    info.kind = image::SavedKind::kPaused;
    info.source_sandbox = id;
    info.vm = image::SavedVm{.vmm = "fake", .accelerator = "tcg"};
    ASSERT_TRUE(library_->Commit(library_->BeginCapture().value(), info, false));
  };
  keep(pausing.id);
  keep(resuming.id);
  keep(ended.id);
  const auto ended_pid = static_cast<pid_t>(manager_->Get(ended.id)->vmm_pid);
  manager_.reset();
  ForceState(pausing.id, State::kPausing);
  ForceState(snapshotting.id, State::kSnapshotting);
  ForceState(resuming.id, State::kResuming);
  ForceState(ended.id, State::kPausing);
  ForceState(dead.id, State::kPausing);
  ASSERT_EQ(::kill(ended_pid, SIGKILL), 0);
  ASSERT_EQ(::kill(static_cast<pid_t>(dead.vmm_pid), SIGKILL), 0);
  ASSERT_TRUE(Eventually([&] {
    return ::kill(ended_pid, 0) != 0 && ::kill(static_cast<pid_t>(dead.vmm_pid), 0) != 0;
  }));
  Open();
  EXPECT_EQ(manager_->Get(pausing.id)->state, State::kRunning) << "its VM lives: as before";
  EXPECT_EQ(library_->FindPaused(pausing.id).error().code(), Code::kNotFound);
  EXPECT_EQ(manager_->Get(snapshotting.id)->state, State::kRunning);
  EXPECT_EQ(manager_->Get(resuming.id)->state, State::kPaused) << "as before";
  EXPECT_EQ(manager_->Get(ended.id)->state, State::kPaused) << "all was saved: as after";
  EXPECT_EQ(manager_->Get(dead.id)->state, State::kDead) << "nothing was saved";
  EXPECT_TRUE(manager_->Resume(resuming.id, {}));
  EXPECT_TRUE(manager_->Resume(ended.id, {}));
}

TEST_F(SavedTest, DyingInMidPauseIsDying) {
  const SandboxInfo made = Create();
  library_->fail_commit = true;
  ASSERT_EQ(::kill(static_cast<pid_t>(made.vmm_pid), SIGKILL), 0);
  EXPECT_FALSE(manager_->Pause(made.id, {}));
  ASSERT_TRUE(Eventually([&] { return manager_->Get(made.id)->state == State::kDead; }));
}

// Destroy races pause, pause races resume, fork and snapshot run beside: each has one winner and a
// clear answer for the others, nothing is released twice, none hangs, nothing stays.
TEST_F(SavedTest, RacesHaveOneWinnerAndClearAnswers) {
  std::mt19937 random(2);
  const std::set<Code> clear = {Code::kNotFound, Code::kFailedPrecondition, Code::kAborted,
                                Code::kResourceExhausted};
  for (int round = 0; round < 500; ++round) {
    const SandboxInfo made = Create(seconds(100));
    if (round % 2 == 0) ASSERT_TRUE(manager_->Pause(made.id, {}));
    std::atomic<int> kills = 0, pauses = 0, resumes = 0;
    std::mutex mutex;
    std::vector<base::Error> errors;
    const auto note = [&](const auto& result, std::atomic<int>& count) {
      if (result) {
        ++count;
        return;
      }
      const std::lock_guard lock(mutex);
      errors.push_back(result.error());
    };
    std::atomic<int> others = 0;
    std::vector<std::function<void()>> racers = {
        [&] { note(manager_->Pause(made.id, {}), pauses); },
        [&] { note(manager_->Pause(made.id, {}), pauses); },
        [&] { note(manager_->Resume(made.id, {}), resumes); },
        [&] { note(manager_->Connect(made.id, {}), others); },
    };
    if (round % 3 == 0) racers.emplace_back([&] { note(manager_->Fork(made.id, {}), others); });
    if (round % 3 == 1) racers.emplace_back([&] { note(manager_->Snapshot(made.id, {}), others); });
    if (round % 4 < 3) racers.emplace_back([&] { note(manager_->Kill(made.id), kills); });
    if (round % 4 < 2) racers.emplace_back([&] { note(manager_->Kill(made.id), kills); });
    std::vector<std::thread> threads;
    for (const auto& race : racers) {
      threads.emplace_back([&race, wait = random() % 3000] {
        std::this_thread::sleep_for(std::chrono::microseconds(wait));
        race();
      });
    }
    for (std::thread& thread : threads) thread.join();
    if (round % 4 < 3) EXPECT_EQ(kills, 1);
    for (const base::Error& error : errors) {
      EXPECT_TRUE(clear.contains(error.code())) << error.ToString();
    }
    // A state that is a state, and the next operation works.
    if (const auto left = manager_->Get(made.id)) {
      EXPECT_TRUE(left->state == State::kRunning || left->state == State::kPaused);
      EXPECT_TRUE(manager_->Kill(made.id));
    }
    for (const SandboxInfo& child : manager_->List()) EXPECT_TRUE(manager_->Kill(child.id));
    ASSERT_TRUE(slots_.used().empty());
  }
}

}  // namespace
}  // namespace tinderbox::sandbox
