// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// What a daemon does about the sandboxes of its predecessor, which may have been killed anywhere.
#include <fmt/format.h>

#include <memory>
#include <set>
#include <utility>

#include "base/log.h"
#include "sandbox/agent_link.h"
#include "sandbox/context.h"
#include "sandbox/event_record.h"
#include "sandbox/lost.h"
#include "sandbox/manager_impl.h"
#include "sandbox/teardown.h"
#include "sys/file.h"
#include "sys/pidfd.h"

namespace tinderbox::sandbox {

using base::Deadline;
using base::Result;

namespace {

constexpr std::chrono::seconds kGoOn{10};

bool HoldsItsSlot(const store::SandboxRecord& record) {
  return record.state == StateName(State::kRunning) || record.state == StateName(State::kPausing) ||
         record.state == StateName(State::kSnapshotting);
}

// Whether a sandbox that ended while no daemon ran was going to be removed anyway.
bool TimeIsOver(const store::SandboxRecord& record) {
  return record.on_timeout == "kill" && record.end_at != 0 && record.end_at <= NowMs();
}

}  // namespace

void ManagerImpl::Report(std::string line) {
  base::LogInfo("recovery", {{"found", line}});
  recovery_report_.push_back(std::move(line));
}

Result<> ManagerImpl::Recover() {
  std::vector<store::SandboxRecord> records = TRY(options_.store.ListSandboxes());
  // A sandbox that was being removed, or whose record is old, may still name a slot which it had
  // given back already, and which a running one has taken since: the running one's claim holds.
  std::set<std::uint32_t> taken;
  const auto holds = [this](const store::SandboxRecord& record) {
    return HoldsItsSlot(record) && VmLives(RunDirOf(options_, record));
  };
  for (const store::SandboxRecord& record : records) {
    if (holds(record)) taken.insert(record.slot);
  }
  for (store::SandboxRecord& record : records) {
    if (taken.contains(record.slot) && !holds(record)) record.slot = 0;
    RecoverOne(std::move(record));
  }
  // A sandbox that is still there makes its half-finished save redundant.
  const auto is_redundant = [this](const std::string& id) {
    const auto sandbox = Find(id);
    return sandbox && (*sandbox)->state() != State::kDead;
  };
  const auto kept = image::KeepWholeCaptures(options_.library.pool_dir(), is_redundant);
  if (!kept) {
    Report(kept.error().ToString());
  } else if (const auto swept = options_.library.SweepCaptures(); swept && *swept > 0) {
    Report(fmt::format("{} half-made snapshots: removed", *swept));
  }
  SweepOrphans();
  return {};
}

void ManagerImpl::RecoverOne(store::SandboxRecord record) {
  const auto sandbox = std::make_shared<Sandbox>(record);
  {
    const std::lock_guard lock(mutex_);
    sandboxes_.emplace(record.id, sandbox);
  }
  switch (sandbox->state()) {
    case State::kDead: return;
    case State::kRunning: return RecoverRunning(sandbox);
    case State::kPausing:
    case State::kSnapshotting: return RecoverPausing(sandbox);
    case State::kPaused:
    case State::kResuming: return RecoverPaused(sandbox);
    case State::kCreating:
    case State::kStopping:
    case State::kFailed: break;
  }
  // It was in the middle of something that nobody waits for any more.
  Report(fmt::format("sandbox '{}' was {}: removed", record.id, record.state));
  const std::lock_guard operation(sandbox->operation);
  if (auto killed = KillLocked(*sandbox, "its end was interrupted"); !killed) {
    Report(
        fmt::format("sandbox '{}' could not be removed: {}", record.id, killed.error().ToString()));
  }
}

void ManagerImpl::RecoverRunning(const SandboxPtr& sandbox) {
  const store::SandboxRecord record = sandbox->record();
  const bool lives = VmLives(RunDirOf(options_, record));
  // The record is older than the data: it was put back from a backup.
  if (!lives && options_.library.FindPaused(sandbox->id()) && RecordAsPaused(sandbox)) {
    return RecoverPaused(sandbox);
  }
  // Resumed, and the daemon died before it could remove what it was resumed from.
  if (lives) static_cast<void>(options_.library.RemovePaused(sandbox->id()));
  if (TakeUp(sandbox)) {
    Report(fmt::format("sandbox '{}' runs on", sandbox->id()));
    Watch(sandbox);
    if (!sandbox->record().volume_mounts.empty()) MountInBackground(sandbox->id());
    return;
  }
  Report(fmt::format("sandbox '{}' has ended while no daemon ran", sandbox->id()));
}

// Its saved state is complete, and it has no VM: so it is paused, whatever its record says.
bool ManagerImpl::RecordAsPaused(const SandboxPtr& sandbox) {
  const auto saved = options_.library.FindPaused(sandbox->id());
  if (!saved) return false;
  store::SandboxRecord record = sandbox->record();
  if (record.state != StateName(State::kPausing)) {
    record.state = StateName(State::kPausing);
    if (auto updated = sandbox->Update(options_.store, record); !updated) {
      Report(updated.error().ToString());
      return false;
    }
  }
  record.state = StateName(State::kPaused);
  record.pause_mode = PauseModeName(saved->vm ? PauseMode::kFull : PauseMode::kFilesystem);
  record.end_at = NowMs();
  const auto updated = sandbox->Update(options_.store, record, PausedEvent(*sandbox, record));
  if (!updated) Report(updated.error().ToString());
  return updated.has_value();
}

// The guest may stand still, and what was saved of it may be whole or not: as long as the VM lives,
// it goes on as if nothing had been begun.
void ManagerImpl::RecoverPausing(const SandboxPtr& sandbox) {
  store::SandboxRecord record = sandbox->record();
  const bool pausing = record.state == StateName(State::kPausing);
  auto vm = options_.driver.Adopt(RunDirOf(options_, record));
  const bool lives = vm && !(*vm)->process().Wait(Deadline::After(std::chrono::seconds(0)));
  // The host went down after everything was saved.
  if (!lives && pausing && RecordAsPaused(sandbox)) return RecoverPaused(sandbox);
  if (lives) {
    if (auto resumed = (*vm)->Resume(Deadline::After(kGoOn)); !resumed) {
      Report(fmt::format("sandbox '{}' does not go on: {}", sandbox->id(),
                         resumed.error().ToString()));
    }
    Report(fmt::format("sandbox '{}' was {}: it goes on", sandbox->id(), record.state));
  }
  record.state = StateName(State::kRunning);
  record.agent_silent = false;
  if (auto updated = sandbox->Update(options_.store, record); !updated) {
    Report(updated.error().ToString());
  }
  RecoverRunning(sandbox);
  if (!lives) return;
  // Its processes or its file system may be frozen.
  if (auto goes_on =
          AgentLink(options_.slots, record.slot).GoOn(record.access_token, Deadline::After(kGoOn));
      !goes_on) {
    Report(fmt::format("sandbox '{}' does not answer: {}", record.id, goes_on.error().ToString()));
  }
}

// What was saved is whole, or it would not be recorded so. Whatever is left of a VM is removed.
void ManagerImpl::RecoverPaused(const SandboxPtr& sandbox) {
  const bool resuming = sandbox->state() == State::kResuming;
  if (resuming) {
    store::SandboxRecord record = sandbox->record();
    record.state = StateName(State::kPaused);
    if (auto updated = sandbox->Update(options_.store, record); !updated) {
      Report(updated.error().ToString());
    }
  }
  const std::lock_guard operation(sandbox->operation);
  const std::string disk =
      fmt::format("{}/sandboxes/{}/disk.img", options_.library.pool_dir(), sandbox->id());
  const auto kept = options_.library.FindPaused(sandbox->id());
  if (!kept && kept.error().code() == base::Code::kNotFound && sys::Exists(disk)) {
    // It was resumed since its record was written: the record was put back from a backup.
    return Lose(sandbox, "its record says paused, but it was running");
  }
  EndPausedVm(*sandbox);
  Report(fmt::format("sandbox '{}' is paused{}", sandbox->id(),
                     resuming ? ": its resume was interrupted" : ""));
  if (auto saved = options_.library.FindPaused(sandbox->id())) {
    SealInBackground(*saved);
  } else {
    Report(fmt::format("sandbox '{}': {}", sandbox->id(), saved.error().ToString()));
  }
}

void ManagerImpl::TakeUpNetwork(const SandboxPtr& sandbox) {
  const std::uint32_t slot = sandbox->record().slot;
  if (slot == 0) return;
  if (auto adopted = options_.slots.Adopt(slot); !adopted) {
    Report(fmt::format("sandbox '{}' has lost its network: {}", sandbox->id(),
                       adopted.error().ToString()));
  } else if (auto applied = TakeUpRules(*sandbox); !applied) {
    Report(fmt::format("network rules of sandbox '{}': {}", sandbox->id(),
                       applied.error().ToString()));
  }
}

// Adopts the VM of a sandbox recorded as running. False where it has ended: it is dead then.
bool ManagerImpl::TakeUp(const SandboxPtr& sandbox) {
  TakeUpNetwork(sandbox);
  store::SandboxRecord record = sandbox->record();
  auto vm = vmm::Adopt(RunDirOf(options_, record));
  // With another boot of the host a run directory tells nothing: all its VMs ended, and not by
  // themselves.
  const bool this_boot = record.boot_id.empty() || record.boot_id == sys::BootId().value_or("");
  if (vm && this_boot) {
    sandbox->SetVm(std::shared_ptr<vmm::LaunchedVm>(std::move(*vm)));
    if (sandbox->vm()->Wait(Deadline::After(std::chrono::seconds(0)))) {
      BuryIfEnded(sandbox);
      return false;
    }
    if (record.boot_id.empty()) {  // launched by an earlier version
      PutProcess(record, *sandbox->vm());
      if (auto updated = sandbox->Update(options_.store, record); !updated) {
        Report(updated.error().ToString());
      }
    }
    if (options_.capacity != nullptr) {
      options_.capacity->Adopt(record.id,
                               ResourcesOf(record.memory_mib, record.cpus, record.disk_mib));
    }
    KeepRecordBeside(options_.store, options_.library, record.id, false);
    return true;
  }
  // No trace of it: the host was restarted, or someone cleared the run directory.
  const std::lock_guard operation(sandbox->operation);
  Lose(sandbox,
       fmt::format("its VM is gone: {}", vm ? "the host was restarted" : vm.error().ToString()));
  return false;
}

// The sandbox was not ended by anybody, but by a crash: it is dead, and its data is kept. The
// caller holds `operation`.
void ManagerImpl::Lose(const SandboxPtr& sandbox, const std::string& why) {
  store::SandboxRecord record = sandbox->record();
  const bool was_paused = record.state == StateName(State::kPaused);
  KeepRecordBeside(options_.store, options_.library, record.id, true);
  // The end of a paused one is when it was paused.
  const bool over = !was_paused && TimeIsOver(record);
  const TeardownOutcome outcome =
      over ? Teardown(options_, record) : TeardownLost(options_, record, why);
  if (!outcome.result) {
    Report(outcome.result.error().ToString());
    // Its VM may live still: the next start tries again.
    if (record.warden_pid != 0) return;
  }
  record.state = StateName(State::kDead);
  record.cause = why;
  record.end_at = NowMs();
  if (!outcome.lost_entry.empty()) {
    record.cause += fmt::format("; its disk is kept as '{}' in lost+found", outcome.lost_entry);
    Report(fmt::format("sandbox '{}' was lost; its disk is kept: run 'tinderbox recover adopt {}'",
                       record.id, outcome.lost_entry));
  }
  // How long it ran nobody knows.
  const auto event = KilledEvent(*sandbox, record, record.cause, false);
  if (was_paused) {
    // No transition leads from paused to dead: lost+found has its data and the reason.
    if (auto deleted = options_.store.DeleteSandbox(record.id, event); !deleted) {
      Report(deleted.error().ToString());
    }
    return Forget(record.id);
  }
  if (auto updated = sandbox->Update(options_.store, record, event); !updated) {
    Report(updated.error().ToString());
  }
}

}  // namespace tinderbox::sandbox
