// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// The manager after something of its world was changed or lost behind its back: no data is removed,
// no VM is left over, and none that lives is taken for gone.
#include <gmock/gmock.h>
#include <signal.h>

#include <filesystem>

#include "image/lost_found.h"
#include "sandbox/lost.h"
#include "sandbox/manager_fixture.h"
#include "sandbox/sandbox.h"

namespace tinderbox::sandbox {
namespace {

using base::Code;
using std::chrono::seconds;
using testing::HasSubstr;
namespace fs = std::filesystem;

class LostTest : public ManagerTest {
 protected:
  static bool Lives(const SandboxInfo& info) {
    return ::kill(static_cast<pid_t>(info.vmm_pid), 0) == 0;
  }
  std::vector<image::LostEntry> Lost() {
    return image::LostFound(library_->pool_dir()).List().value();
  }
  std::string DataOf(const std::string& id) { return dir_ + "/disks/sandboxes/" + id; }
  base::Result<SandboxInfo> AdoptAgain(const image::LostEntry& entry) {
    return manager_->Adopt(entry.item.id, [&](const std::string& to) {
      return image::LostFound(library_->pool_dir()).PutBack(entry, to);
    });
  }
};

TEST_F(LostTest, WithAnotherRunDirectorySandboxesRunOn) {
  const SandboxInfo kept = Create(), paused = Create(), killed = Create();
  manager_.reset();
  run_ = "elsewhere";
  Open();
  for (const SandboxInfo& made : {kept, paused, killed}) {
    ASSERT_EQ(manager_->Get(made.id)->state, State::kRunning);
    EXPECT_EQ(manager_->Get(made.id)->vmm_pid, made.vmm_pid);
    EXPECT_TRUE(fs::exists(DataOf(made.id) + "/disk.img"));
  }
  ASSERT_TRUE(manager_->Kill(killed.id));
  EXPECT_FALSE(Lives(killed));
  ASSERT_TRUE(manager_->Pause(paused.id, {}));
  EXPECT_FALSE(Lives(paused));
  ASSERT_TRUE(manager_->Resume(paused.id, {}));
  EXPECT_EQ(manager_->Get(paused.id)->run_dir, dir_ + "/elsewhere/vm/" + paused.id);
  EXPECT_EQ(sys::NamesIn(dir_ + "/run/vm").value(), std::vector{kept.id});
  ASSERT_TRUE(manager_->Kill(kept.id));
  EXPECT_FALSE(Lives(kept));
  EXPECT_TRUE(sys::NamesIn(dir_ + "/run/vm")->empty());
  EXPECT_TRUE(Lost().empty());
}

TEST_F(LostTest, NobodysVmsInAnEarlierRunDirectoryAreEnded) {
  const SandboxInfo made = Create();
  manager_.reset();
  ASSERT_TRUE(store_->DeleteSandbox(made.id));
  run_ = "elsewhere";
  former_run_dirs_ = {dir_ + "/run"};
  Open();
  EXPECT_FALSE(Lives(made));
  EXPECT_TRUE(sys::NamesIn(dir_ + "/run/vm")->empty());
  ASSERT_EQ(Lost().size(), 1u);
  EXPECT_EQ(Lost()[0].item.id, made.id);
  EXPECT_TRUE(fs::exists(Lost()[0].path + "/disk.img"));
  static_cast<void>(slots_.Release(made.slot));  // the fake's Sweep finds nothing
}

TEST_F(LostTest, AVmWhoseRunDirectoryIsGoneIsEndedAndItsDiskKept) {
  const SandboxInfo made = Create();
  manager_.reset();
  ASSERT_TRUE(sys::RemoveTree(dir_ + "/run/vm/" + made.id));
  Open();
  EXPECT_TRUE(Eventually([&] { return !Lives(made); }));
  const SandboxInfo dead = manager_->Get(made.id).value();
  EXPECT_EQ(dead.state, State::kDead);
  EXPECT_THAT(dead.cause, HasSubstr("its disk is kept as 'sandbox-" + made.id));
  ASSERT_EQ(Lost().size(), 1u);

  // It is taken up again as a paused one, with all that it was.
  const auto adopted = AdoptAgain(Lost()[0]);
  ASSERT_TRUE(adopted) << adopted.error().ToString();
  EXPECT_EQ(adopted->state, State::kPaused);
  EXPECT_EQ(adopted->pause_mode, PauseMode::kFilesystem);
  EXPECT_EQ(adopted->access_token, made.access_token);
  EXPECT_TRUE(Lost().empty());
  EXPECT_TRUE(manager_->Resume(made.id, {}));
}

TEST_F(LostTest, AfterARestartOfTheHostDisksAreKeptUnlessTheirTimeIsOver) {
  const SandboxInfo kept = Create(), over = Create();
  manager_.reset();
  for (const SandboxInfo& made : {kept, over}) {
    store::SandboxRecord record = store_->GetSandbox(made.id).value();
    record.boot_id = "of the last boot";
    if (made.id == over.id) record.end_at = NowMs() - 1;
    ASSERT_TRUE(store_->UpdateSandbox(record, "running"));
  }
  Open();
  EXPECT_EQ(manager_->Get(kept.id)->state, State::kDead);
  // The reaper may have removed it by now.
  if (const auto info = manager_->Get(over.id)) EXPECT_EQ(info->state, State::kDead);
  ASSERT_EQ(Lost().size(), 1u);
  EXPECT_EQ(Lost()[0].item.id, kept.id);
}

TEST_F(LostTest, OfASandboxThatIsMeantToLastTheDiskOutlivesItsVmm) {
  auto made = manager_->Create(
      {.template_id = "base", .timeout = seconds(300), .on_timeout = TimeoutAction::kPause});
  ASSERT_TRUE(made);
  ASSERT_EQ(::kill(static_cast<pid_t>(made->vmm_pid), SIGKILL), 0);
  ASSERT_TRUE(Eventually([&] { return manager_->Get(made->id)->state == State::kDead; }));
  ASSERT_EQ(Lost().size(), 1u);
  EXPECT_THAT(manager_->Get(made->id)->cause, HasSubstr("is kept"));
}

TEST_F(LostTest, DataThatNoRecordKnowsIsKeptAndWhatIsNobodysIsRemoved) {
  library_->AddOrphanDisk("iorphan");
  library_->AddOrphanDisk("iwarm");
  ASSERT_TRUE(MarkEphemeral(*library_, "iwarm"));
  Open();
  EXPECT_TRUE(library_->SandboxDirs()->empty());
  ASSERT_EQ(Lost().size(), 1u);
  EXPECT_EQ(*sys::ReadFile(Lost()[0].path + "/disk.img"), "nobody's");
  // Nothing is known of it: it stays where it is.
  EXPECT_EQ(AdoptAgain(Lost()[0]).error().code(), Code::kNotFound);
  ASSERT_EQ(Lost().size(), 1u);
  EXPECT_EQ(*sys::ReadFile(Lost()[0].path + "/disk.img"), "nobody's");
}

TEST_F(LostTest, WithANewDatabaseSandboxesAreTakenUpByTheRecordsBesideThem) {
  const SandboxInfo running = Create(), paused = Create();
  ASSERT_TRUE(manager_->Pause(paused.id, {}));
  manager_.reset();
  store_ = std::move(store::OpenStore(dir_ + "/new-db").value());
  const auto taken = AdoptRecords(*store_, *library_);
  ASSERT_TRUE(taken) << taken.error().ToString();
  EXPECT_EQ(taken->size(), 2u);
  Open();
  EXPECT_EQ(manager_->Get(running.id)->state, State::kRunning);
  EXPECT_EQ(manager_->Get(running.id)->vmm_pid, running.vmm_pid);
  EXPECT_EQ(manager_->Get(running.id)->access_token, running.access_token);
  EXPECT_EQ(manager_->Get(paused.id)->state, State::kPaused);
  EXPECT_TRUE(manager_->Resume(paused.id, {}));
  EXPECT_TRUE(Lost().empty());
}

// As with a database that was put back from a backup, by hand.
TEST_F(LostTest, ARecordThatIsOlderThanTheDataCostsNothing) {
  const SandboxInfo since_paused = Create(), since_resumed = Create();
  const store::SandboxRecord was_running = store_->GetSandbox(since_paused.id).value();
  ASSERT_TRUE(manager_->Pause(since_resumed.id, {}));
  const store::SandboxRecord was_paused = store_->GetSandbox(since_resumed.id).value();
  ASSERT_TRUE(manager_->Pause(since_paused.id, {}));
  ASSERT_TRUE(manager_->Resume(since_resumed.id, {}));
  const auto resumed_slot = manager_->Get(since_resumed.id)->slot;
  manager_.reset();
  ASSERT_TRUE(store_->UpdateSandbox(was_running, "paused"));
  ASSERT_TRUE(store_->UpdateSandbox(was_paused, "running"));
  Open();
  EXPECT_EQ(manager_->Get(since_paused.id)->state, State::kPaused);
  EXPECT_TRUE(library_->FindPaused(since_paused.id));
  // The saved state is gone; the later writes are not.
  EXPECT_FALSE(manager_->Get(since_resumed.id));
  ASSERT_EQ(Lost().size(), 1u);
  EXPECT_EQ(Lost()[0].item.id, since_resumed.id);
  EXPECT_TRUE(fs::exists(Lost()[0].path + "/disk.img"));
  static_cast<void>(slots_.Release(resumed_slot));
  slots_.double_releases = 0;
}

// The same, put back by `tinderboxd restore`.
TEST_F(LostTest, WithAnOldDatabaseTheRecordsBesideTheDataCount) {
  const SandboxInfo resumed = Create(), gone = Create();
  ASSERT_TRUE(manager_->Pause(resumed.id, {}));
  const store::SandboxRecord was_paused = store_->GetSandbox(resumed.id).value();
  const store::SandboxRecord was_there = store_->GetSandbox(gone.id).value();
  ASSERT_TRUE(manager_->Resume(resumed.id, {}));
  ASSERT_TRUE(manager_->Kill(gone.id));
  const SandboxInfo made_since = Create();
  const SandboxInfo now = manager_->Get(resumed.id).value();
  manager_.reset();
  ASSERT_TRUE(store_->UpdateSandbox(was_paused, "running"));
  ASSERT_TRUE(store_->DeleteSandbox(made_since.id));
  ASSERT_TRUE(store_->InsertSandbox(was_there));
  ASSERT_TRUE(AdoptRecords(*store_, *library_));
  Open();
  EXPECT_EQ(manager_->List().size(), 2u);
  for (const SandboxInfo& each : {now, made_since}) {
    ASSERT_TRUE(manager_->Get(each.id));
    EXPECT_EQ(manager_->Get(each.id)->state, State::kRunning);
    EXPECT_EQ(manager_->Get(each.id)->vmm_pid, each.vmm_pid);
  }
  EXPECT_TRUE(Lost().empty());
}

}  // namespace
}  // namespace tinderbox::sandbox
