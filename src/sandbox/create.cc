// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// Where a new sandbox's VM comes from: the pool, a snapshot, or a boot.
#include <fmt/format.h>

#include <utility>

#include "base/log.h"
#include "sandbox/context.h"
#include "sandbox/egress.h"
#include "sandbox/event_record.h"
#include "sandbox/launch.h"
#include "sandbox/lost.h"
#include "sandbox/manager_impl.h"
#include "sandbox/saved.h"
#include "sandbox/stage.h"
#include "sandbox/teardown.h"

namespace tinderbox::sandbox {

using base::Code;
using base::Deadline;
using base::Result;

Result<SandboxInfo> ManagerImpl::Create(const CreateRequest& request) {
  StageClock clock;
  const image::Template source = TRY(options_.library.FindTemplate(request.template_id));
  const store::SandboxRecord record = TRY(RecordOf(request, source));
  return CreateFrom(record, source, request.timeout, request.cold, clock);
}

Result<SandboxInfo> ManagerImpl::CreateFrom(const store::SandboxRecord& wanted,
                                            const image::Template& source,
                                            std::chrono::seconds timeout, bool cold,
                                            StageClock& clock) {
  const WarmPool::Busy busy(pool_);
  store::SandboxRecord record = wanted;
  SandboxPtr sandbox;
  if (!cold && source.kind == image::SavedKind::kTemplate) {
    const Shape shape{.memory_mib = record.memory_mib, .cpus = record.cpus};
    if (const auto member = pool_.Take(source, shape)) {
      sandbox = TRY(AdmitPooled(record, *member, clock));
    }
  }
  if (!sandbox) {
    sandbox = TRY(Admit(record));
    clock.Stage("admit");
  }
  const std::lock_guard operation(sandbox->operation);
  if (sandbox->vm() == nullptr) {
    if (auto begun = Begin(*sandbox, source, cold, clock); !begun) {
      base::LogWarning("create failed",
                       {{"sandbox", sandbox->id()}, {"error", begun.error().ToString()}});
      if (auto undone = AbandonCreate(*sandbox); !undone) {
        base::LogError("undo of a failed create left something behind",
                       {{"sandbox", sandbox->id()}, {"error", undone.error().ToString()}});
      }
      return std::unexpected(
          std::move(begun).error().WithContext(fmt::format("create sandbox '{}'", sandbox->id())));
    }
  }
  auto info = Finish(sandbox, source, timeout, clock);
  if (!info) static_cast<void>(AbandonCreate(*sandbox));
  return info;
}

// Makes the VM of a pool the sandbox's: its id is the sandbox's, and it learns now who it is. Where
// that fails the VM is gone, and the sandbox is admitted without one.
Result<ManagerImpl::SandboxPtr> ManagerImpl::AdmitPooled(store::SandboxRecord& record,
                                                         const WarmVm& member, StageClock& clock) {
  record.id = member.id;
  record.run_dir = RunDirOf(options_, member.id);
  record.slot = member.slot.index;
  record.uid = member.slot.uid;
  record.started_by = "pool";
  auto admitted = Admit(record);
  if (!admitted) {
    static_cast<void>(Teardown(options_, record));
    return admitted;
  }
  const SandboxPtr& sandbox = *admitted;
  clock.Stage("admit");
  AtStage(options_, "create.pooled");
  const auto hand_out = [&]() -> Result<> {
    TRY(UnmarkEphemeral(options_.library, record.id));
    const auto deadline = Deadline::After(options_.boot_deadline);
    const NetworkRules rules = TRY(RulesOf(record));
    if (rules != NetworkRules{}) TRY(ChangeSlotRules(options_, record.slot, {}, rules));
    TRY(member.vm->Resume(deadline));
    clock.Stage("resume");
    const AgentLink agent(options_.slots, record.slot);
    Identity identity = IdentityOf(record, member.source);
    identity.authority = TRY(AuthorityFor(options_, rules));
    TRY(agent.AwaitInit(member.vm->process(), identity, {}, deadline));
    clock.Stage("identity");
    TRY(MountVolumes(options_, record, false, deadline));
    return {};
  };
  if (auto handed = hand_out(); handed) {
    sandbox->SetVm(ProcessOf(member.vm));
  } else {
    base::LogWarning("a VM of the pool could not be handed out",
                     {{"sandbox", record.id}, {"error", handed.error().ToString()}});
    static_cast<void>(Teardown(options_, record));
    TRY(sandbox->Update(options_.store, record));  // its slot is not its own any more
  }
  return sandbox;
}

// Starts the VM of a sandbox that has none yet, as quickly as it can be had.
Result<> ManagerImpl::Begin(Sandbox& sandbox, const image::Template& source, bool cold,
                            StageClock& clock) {
  const store::SandboxRecord record = sandbox.record();
  TRY(Reserve(record));  // gone if a VM of the pool could not be handed out
  const bool same_shape = record.memory_mib == source.memory_mib && record.cpus == source.cpus;
  if (source.vm && !cold && same_shape) {
    const std::string misfit = MisfitOf(*source.vm, options_.driver.capabilities());
    if (misfit.empty()) return BeginRestored(sandbox, source, clock);
    base::LogWarning("a snapshot does not fit this host: booting from its disk",
                     {{"snapshot", source.id}, {"why", misfit}});
  }
  if (!source.vm && !cold && source.kind == image::SavedKind::kTemplate) {
    const auto boot = boots_.Ensure(source, {.memory_mib = record.memory_mib, .cpus = record.cpus});
    clock.Stage("snapshot");
    if (boot) {
      auto restored = BeginRestored(sandbox, *boot, clock);
      if (restored || restored.error().code() != Code::kDataLoss) return restored;
      // It can be made again: it goes, and this sandbox boots.
      base::LogWarning("a boot snapshot is damaged and is removed",
                       {{"id", boot->id}, {"error", restored.error().ToString()}});
      static_cast<void>(options_.library.RemoveBoot(boot->id));
      store::SandboxRecord changed = sandbox.record();
      static_cast<void>(Teardown(options_, changed));
      TRY(sandbox.Update(options_.store, changed));
      TRY(Reserve(changed));
    } else {
      base::LogWarning("no boot snapshot: the sandbox boots",
                       {{"sandbox", record.id}, {"error", boot.error().ToString()}});
    }
  }
  store::SandboxRecord booting = sandbox.record();
  booting.started_by = "boot";
  TRY(sandbox.Update(options_.store, booting));
  return LaunchSandbox(options_, source, false, sandbox, clock);
}

Result<> ManagerImpl::BeginRestored(Sandbox& sandbox, const image::Template& saved,
                                    StageClock& clock) {
  store::SandboxRecord record = sandbox.record();
  record.started_by = "restore";
  TRY(sandbox.Update(options_.store, record));
  return LaunchSandbox(options_, saved, true, sandbox, clock);
}

// The sandbox runs: from here on it is its caller's.
Result<SandboxInfo> ManagerImpl::Finish(const SandboxPtr& sandbox, const image::Template& source,
                                        std::chrono::seconds timeout, const StageClock& clock) {
  store::SandboxRecord record = sandbox->record();
  record.state = StateName(State::kRunning);
  // The caller's time begins when the sandbox is handed out, not when its boot began.
  record.started_at = NowMs();
  record.end_at = TRY(EndAfter(timeout));
  record.timings = clock.Json();
  if (const auto vm = sandbox->vm()) PutProcess(record, *vm);
  BeginExecution(record);
  const std::string from =
      source.kind == image::SavedKind::kFork
          ? fmt::format("a fork of sandbox '{}'", source.source_sandbox)
          : fmt::format("from template '{}'",
                        record.template_name.empty() ? record.template_id : record.template_name);
  const Event created{.kind = EventKind::kCreated,
                      .detail = fmt::format("{}; {}", from, HowStarted(record))};
  TRY(sandbox->Update(options_.store, record, EventOf(*sandbox, record, created)));
  KeepRecordBeside(options_.store, options_.library, sandbox->id(), false);
  Watch(sandbox);
  base::LogInfo("sandbox runs", {{"sandbox", sandbox->id()},
                                 {"template", record.template_name},
                                 {"by", record.started_by},
                                 {"timings", record.timings}});
  return InfoOf(*sandbox);
}

}  // namespace tinderbox::sandbox
