// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// What a daemon does about the sandboxes of its predecessor, which may have been killed anywhere.
#include <fmt/format.h>

#include <memory>
#include <set>
#include <utility>

#include "base/log.h"
#include "sandbox/context.h"
#include "sandbox/manager_impl.h"
#include "sandbox/teardown.h"
#include "sys/directory.h"
#include "sys/file.h"

namespace tinderbox::sandbox {

using base::Deadline;
using base::Result;

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
    if (record.state == StateName(State::kRunning)) taken.insert(record.slot);
  }
  for (store::SandboxRecord& record : records) {
    if (record.state != StateName(State::kRunning) && taken.contains(record.slot)) record.slot = 0;
    RecoverOne(std::move(record));
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
  const State state = sandbox->state();
  if (state == State::kDead) return;
  if (state == State::kRunning) {
    if (TakeUp(sandbox)) {
      Report(fmt::format("sandbox '{}' runs on", record.id));
      Watch(sandbox);
      return;
    }
    Report(fmt::format("sandbox '{}' has ended while no daemon ran", record.id));
    return;
  }
  // Anything else was in the middle of something that nobody waits for any more.
  Report(fmt::format("sandbox '{}' was {}: removed", record.id, record.state));
  const std::lock_guard operation(sandbox->operation);
  if (auto killed = KillLocked(*sandbox); !killed) {
    Report(
        fmt::format("sandbox '{}' could not be removed: {}", record.id, killed.error().ToString()));
  }
}

// Adopts the VM of a sandbox recorded as running. False where it has ended: it is dead then.
bool ManagerImpl::TakeUp(const SandboxPtr& sandbox) {
  store::SandboxRecord record = sandbox->record();
  if (record.slot != 0) {
    if (auto adopted = options_.slots.Adopt(record.slot); !adopted) {
      Report(fmt::format("sandbox '{}' has lost its network: {}", record.id,
                         adopted.error().ToString()));
    }
  }
  auto vm = vmm::Adopt(RunDirOf(options_, record.id));
  if (vm) {
    sandbox->SetVm(std::shared_ptr<vmm::LaunchedVm>(std::move(*vm)));
    if (!sandbox->vm()->Wait(Deadline::After(std::chrono::seconds(0)))) return true;
    BuryIfEnded(sandbox);
    return false;
  }
  // No trace of it: the host was restarted, or someone cleared the run directory.
  record.state = StateName(State::kDead);
  record.cause = fmt::format("its VM is gone: {}", vm.error().ToString());
  record.end_at = NowMs();
  const TeardownOutcome outcome = Teardown(options_, record);
  if (!outcome.result) Report(outcome.result.error().ToString());
  if (auto updated = sandbox->Update(options_.store, record); !updated) {
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
  auto swept = options_.slots.Sweep();
  if (!swept) {
    Report(fmt::format("network: {}", swept.error().ToString()));
    return;
  }
  for (const std::string& line : *swept) Report(line);
}

}  // namespace tinderbox::sandbox
