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
#include "sandbox/manager_impl.h"
#include "sandbox/teardown.h"
#include "sys/directory.h"
#include "sys/file.h"

namespace tinderbox::sandbox {

using base::Deadline;
using base::Result;

namespace {

constexpr std::chrono::seconds kGoOn{10};

bool HoldsItsSlot(const store::SandboxRecord& record) {
  return record.state == StateName(State::kRunning) || record.state == StateName(State::kPausing) ||
         record.state == StateName(State::kSnapshotting);
}

}  // namespace

void ManagerImpl::Report(std::string line) {
  base::LogInfo("recovery", {{"found", line}});
  recovery_report_.push_back(std::move(line));
}

Result<> ManagerImpl::Recover() {
  std::vector<store::SandboxRecord> records = TRY(options_.store.ListSandboxes());
  // A sandbox that was being removed may still name a slot which it had given back already, and
  // which a running one has taken since: the running one's claim holds.
  std::set<std::uint32_t> taken;
  for (const store::SandboxRecord& record : records) {
    if (HoldsItsSlot(record)) taken.insert(record.slot);
  }
  for (store::SandboxRecord& record : records) {
    if (!HoldsItsSlot(record) && taken.contains(record.slot)) record.slot = 0;
    RecoverOne(std::move(record));
  }
  if (const auto swept = options_.library.SweepCaptures(); swept && *swept > 0) {
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
  // Resumed, and the daemon died before it could remove what it was resumed from.
  static_cast<void>(options_.library.RemovePaused(sandbox->id()));
  if (TakeUp(sandbox)) {
    Report(fmt::format("sandbox '{}' runs on", sandbox->id()));
    Watch(sandbox);
    if (!sandbox->record().volume_mounts.empty()) MountInBackground(sandbox->id());
    return;
  }
  Report(fmt::format("sandbox '{}' has ended while no daemon ran", sandbox->id()));
}

// The guest may stand still, and what was saved of it may be whole or not: as long as the VM lives,
// it goes on as if nothing had been begun.
void ManagerImpl::RecoverPausing(const SandboxPtr& sandbox) {
  store::SandboxRecord record = sandbox->record();
  const bool pausing = record.state == StateName(State::kPausing);
  auto vm = options_.driver.Adopt(record.run_dir);
  const bool lives = vm && !(*vm)->process().Wait(Deadline::After(std::chrono::seconds(0)));
  if (!lives && pausing && options_.library.FindPaused(sandbox->id())) {
    // The host went down after everything was saved.
    record.state = StateName(State::kPaused);
    record.pause_mode = PauseModeName(
        options_.library.FindPaused(sandbox->id())->vm ? PauseMode::kFull : PauseMode::kFilesystem);
    record.end_at = NowMs();
    if (auto updated = sandbox->Update(options_.store, record, PausedEvent(*sandbox, record));
        !updated) {
      Report(updated.error().ToString());
    }
    return RecoverPaused(sandbox);
  }
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
  EndPausedVm(*sandbox);
  Report(fmt::format("sandbox '{}' is paused{}", sandbox->id(),
                     resuming ? ": its resume was interrupted" : ""));
  if (auto saved = options_.library.FindPaused(sandbox->id())) {
    SealInBackground(*saved);
  } else {
    Report(fmt::format("sandbox '{}': {}", sandbox->id(), saved.error().ToString()));
  }
}

// Adopts the VM of a sandbox recorded as running. False where it has ended: it is dead then.
bool ManagerImpl::TakeUp(const SandboxPtr& sandbox) {
  store::SandboxRecord record = sandbox->record();
  if (record.slot != 0) {
    if (auto adopted = options_.slots.Adopt(record.slot); !adopted) {
      Report(fmt::format("sandbox '{}' has lost its network: {}", record.id,
                         adopted.error().ToString()));
    } else if (auto applied = TakeUpRules(*sandbox); !applied) {
      Report(
          fmt::format("network rules of sandbox '{}': {}", record.id, applied.error().ToString()));
    }
    record = sandbox->record();
  }
  auto vm = vmm::Adopt(RunDirOf(options_, record.id));
  if (vm) {
    sandbox->SetVm(std::shared_ptr<vmm::LaunchedVm>(std::move(*vm)));
    if (!sandbox->vm()->Wait(Deadline::After(std::chrono::seconds(0)))) {
      if (options_.capacity != nullptr) {
        options_.capacity->Adopt(record.id,
                                 ResourcesOf(record.memory_mib, record.cpus, record.disk_mib));
      }
      return true;
    }
    BuryIfEnded(sandbox);
    return false;
  }
  // No trace of it: the host was restarted, or someone cleared the run directory.
  record.state = StateName(State::kDead);
  record.cause = fmt::format("its VM is gone: {}", vm.error().ToString());
  record.end_at = NowMs();
  const TeardownOutcome outcome = Teardown(options_, record);
  if (!outcome.result) Report(outcome.result.error().ToString());
  // How long it ran nobody knows.
  const auto event = KilledEvent(*sandbox, record, record.cause, false);
  if (auto updated = sandbox->Update(options_.store, record, event); !updated) {
    Report(updated.error().ToString());
  }
  return false;
}

// Everything that bears our names and belongs to no sandbox is removed.
void ManagerImpl::SweepOrphans() {
  const auto unknown = [this](const std::string& id) { return !Find(id).has_value(); };
  const auto vms = sys::NamesIn(options_.run_dir + "/vm");
  if (!vms) Report(vms.error().ToString());
  for (const std::string& id : vms.value_or(std::vector<std::string>{})) {
    if (!unknown(id)) continue;
    store::SandboxRecord orphan;
    orphan.id = id;
    const TeardownOutcome outcome = Teardown(options_, orphan);
    Report(fmt::format("VM '{}' belonged to no sandbox: {}", id,
                       outcome.result ? "removed" : outcome.result.error().ToString()));
  }
  if (auto disks = options_.library.SandboxDirs(); disks) {
    for (const std::string& id : *disks) {
      if (!unknown(id)) continue;
      const auto removed = options_.library.RemoveSandbox(id);
      Report(fmt::format("disk '{}' belonged to no sandbox: {}", id,
                         removed ? "removed" : removed.error().ToString()));
    }
  }
  const std::string dead = options_.state_dir + "/dead";
  for (const std::string& name : sys::NamesIn(dead).value_or(std::vector<std::string>{})) {
    const bool ours = name.ends_with(".log") && !unknown(name.substr(0, name.size() - 4));
    if (!ours) static_cast<void>(sys::RemoveFile(fmt::format("{}/{}", dead, name)));
  }
  auto swept = options_.slots.Sweep();
  if (!swept) {
    Report(fmt::format("network: {}", swept.error().ToString()));
    return;
  }
  for (const std::string& line : *swept) Report(line);
}

}  // namespace tinderbox::sandbox
