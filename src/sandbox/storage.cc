// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// Sandboxes whose VM stands still because the host has no free space for a write of its disk.
#include <fmt/format.h>

#include <cerrno>
#include <utility>

#include "base/log.h"
#include "sandbox/capture.h"
#include "sandbox/context.h"
#include "sandbox/event_record.h"
#include "sandbox/manager_impl.h"
#include "sandbox/teardown.h"
#include "sys/file.h"
#include "vmm/io_events.h"

namespace tinderbox::sandbox {

using base::Code;
using base::Error;
using base::Result;

namespace {

constexpr int kTicksPerLook = 10;
constexpr std::size_t kKeptConsoleBytes = 64 << 10;

}  // namespace

Result<> ManagerImpl::StartStorageWatch() {
  storage_ = std::make_unique<StorageWatch>(StorageWatch::Options{
      .library = options_.library,
      .on_change = [this](const std::string& id, bool no_space) { return NoteSpace(id, no_space); },
      .if_idle =
          [this](const std::string& id, const std::function<void()>& work) {
            const auto sandbox = Find(id);
            if (!sandbox) return;
            const std::unique_lock operation((*sandbox)->operation, std::try_to_lock);
            if (operation && (*sandbox)->state() == State::kRunning) work();
          },
      .on_space =
          [this, looks = 0](std::uint64_t free_bytes) mutable {
            if (options_.on_space) options_.on_space(free_bytes);
            if (++looks % kTicksPerLook == 0) LookAtDisks();
          }});
  return storage_->Start();
}

void ManagerImpl::WatchStorage(const Sandbox& sandbox) {
  const auto vm = sandbox.vm();
  if (!vm || !storage_) return;
  auto events = vmm::OpenIoEvents(sandbox.record().vmm, *vm);
  if (!events) {
    base::LogDebug("a VM's disk is not watched",
                   {{"sandbox", sandbox.id()}, {"error", events.error().ToString()}});
  } else if (*events) {
    storage_->Add(sandbox.id(), std::move(*events));
  }
}

// Readers see it at once; the event and the log follow when nothing else is done to the sandbox.
bool ManagerImpl::NoteSpace(const std::string& id, bool no_space) {
  const auto found = Find(id);
  if (!found) return true;
  Sandbox& sandbox = **found;
  sandbox.no_space = no_space;
  const std::unique_lock operation(sandbox.operation, std::try_to_lock);
  if (!operation) return false;
  if (sandbox.state() != State::kRunning) return true;
  const store::SandboxRecord record = sandbox.record();
  const Event event{.kind = EventKind::kUpdated,
                    .detail = no_space
                                  ? "stopped: no free space on the host for a write of its disk"
                                  : "continues: the host has free space again"};
  if (auto updated = sandbox.Update(options_.store, record, EventOf(sandbox, record, event));
      !updated) {
    base::LogError("cannot record that a sandbox has no space",
                   {{"sandbox", id}, {"error", updated.error().ToString()}});
    return false;
  }
  if (no_space) {
    base::LogWarning("a sandbox is stopped: no free space for a write of its disk",
                     {{"sandbox", id}});
  } else {
    base::LogInfo("a sandbox continues: there is free space again", {{"sandbox", id}});
  }
  return true;
}

// For what needs a guest that answers, or saves it.
Result<> ManagerImpl::CheckSpace(const Sandbox& sandbox) const {
  if (!sandbox.no_space) return {};
  return std::unexpected(
      Error(Code::kResourceExhausted,
            fmt::format("sandbox '{}' is stopped: a write of its disk waits for free space",
                        sandbox.id()))
          .WithErrno(ENOSPC)
          .WithRemedy("Free disk space on the host: the sandbox then continues by itself."));
}

// Writes that the host lost after they had succeeded.
void ManagerImpl::LookAtDisks() {
  for (const SandboxPtr& sandbox : All()) {
    const auto vm = sandbox->vm();
    if (!vm || sandbox->state() != State::kRunning) continue;
    const auto checked = CheckDisk(options_, sandbox->id(), *vm, vmm::DiskSync::kLook);
    if (checked || !IsLostDisk(checked.error())) continue;
    background_.Post([this, sandbox, vm, why = checked.error().ToString()] {
      const std::lock_guard operation(sandbox->operation);
      // It may have been paused and resumed meanwhile: a pause asks as well.
      if (sandbox->state() == State::kRunning && sandbox->vm() == vm) EndDamaged(*sandbox, why);
    });
  }
}

// The caller holds `operation`. Its guest would read something else than it wrote: it dies, and
// says why.
void ManagerImpl::EndDamaged(Sandbox& sandbox, const std::string& why) {
  TellGone(sandbox.id());
  if (const auto vm = sandbox.vm()) {
    const std::string console = vm->ConsoleTail(kKeptConsoleBytes).value_or("");
    static_cast<void>(sys::WriteFileAtomic(DeadConsoleOf(options_, sandbox.id()), console, 0600));
  }
  store::SandboxRecord record = sandbox.record();
  record.state = StateName(State::kDead);
  record.cause = why;
  record.end_at = NowMs();
  const store::EventRecord event = KilledEvent(sandbox, record, why, true);
  const TeardownOutcome outcome = Teardown(options_, record);
  sandbox.SetVm(nullptr);
  if (!outcome.result) {
    base::LogError("a damaged sandbox left something behind",
                   {{"sandbox", sandbox.id()}, {"error", outcome.result.error().ToString()}});
  }
  if (auto updated = sandbox.Update(options_.store, record, event); !updated) {
    base::LogError("cannot record that a sandbox is damaged",
                   {{"sandbox", sandbox.id()}, {"error", updated.error().ToString()}});
  }
  base::LogError("a sandbox is dead: the host lost writes of its disk",
                 {{"sandbox", sandbox.id()}, {"error", why}});
}

}  // namespace tinderbox::sandbox
