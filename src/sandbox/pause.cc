// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// Pause and resume. What a paused sandbox is stands in one directory that appears by one rename,
// and its record turns `paused` after that and before its VM is ended: a daemon that is killed
// anywhere finds either the VM, to let it go on, or all that it was.
#include <fmt/format.h>

#include <utility>

#include "base/log.h"
#include "sandbox/agent_link.h"
#include "sandbox/capture.h"
#include "sandbox/context.h"
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
using base::Error;
using base::Fail;
using base::Result;

namespace {

constexpr std::chrono::minutes kSave{2};            // a whole memory onto a slow disk
constexpr std::chrono::milliseconds kHealth{1000};  // an agent that is slower than this is silent
constexpr std::chrono::seconds kDefaultTimeout{300};

std::unexpected<Error> WrongState(const Sandbox& sandbox, std::string_view wanted) {
  return Fail(Code::kFailedPrecondition, fmt::format("sandbox '{}' is {}, not {}", sandbox.id(),
                                                     StateName(sandbox.state()), wanted));
}

}  // namespace

Result<> ManagerImpl::Pause(std::string_view id, const PauseRequest& request) {
  const Locked locked = TRY(Lock(id));
  return PauseLocked(*locked.sandbox, request);
}

Result<> ManagerImpl::PauseLocked(Sandbox& sandbox, const PauseRequest& request) {
  if (sandbox.state() == State::kStopping) return NoSuchSandbox(sandbox.id());
  if (sandbox.state() != State::kRunning) return WrongState(sandbox, "running");
  TRY(CheckSpace(sandbox));
  store::SandboxRecord record = sandbox.record();
  record.agent_silent = !AgentLink(options_.slots, record.slot).Answers(Deadline::After(kHealth));
  const bool needs_agent = request.require_healthy || request.mode == PauseMode::kFilesystem;
  if (record.agent_silent && needs_agent) {
    return std::unexpected(
        Error(Code::kUnavailable,
              fmt::format("sandbox '{}' runs on: its agent does not answer", sandbox.id()))
            .WithRemedy("Pause it with its memory and without demanding a healthy guest."));
  }
  record.state = StateName(State::kPausing);
  TRY(sandbox.Update(options_.store, record));
  AtStage(options_, "pause.recorded");
  auto paused = CommitPause(sandbox, request);
  if (!paused && IsLostDisk(paused.error())) {
    EndDamaged(sandbox, paused.error().ToString());
    return paused;
  }
  if (!paused) {
    // The guest goes on already. If even that cannot be recorded, recovery does it.
    record = sandbox.record();
    record.state = StateName(State::kRunning);
    record.agent_silent = false;
    static_cast<void>(sandbox.Update(options_.store, record));
    static_cast<void>(options_.library.RemovePaused(sandbox.id()));
    return std::unexpected(std::move(paused).error().WithContext(
        fmt::format("pause sandbox '{}', which runs on", sandbox.id())));
  }
  EndPausedVm(sandbox);
  AtStage(options_, "pause.ended");
  return {};
}

// Up to the point where the sandbox is recorded as paused; its VM, stopped, is still there then.
Result<> ManagerImpl::CommitPause(Sandbox& sandbox, const PauseRequest& request) {
  const auto deadline = Deadline::After(kSave);
  StageClock clock;
  store::SandboxRecord record = sandbox.record();
  // One life follows another here: a guest that does not answer is kept as it is.
  StoppedGuest guest = TRY(
      StoppedGuest::Stop(options_, record, request.mode, StoppedGuest::Silent::kAccept, deadline));
  clock.Stage("stop");
  AtStage(options_, "pause.stopped");
  image::Capture capture = TRY(guest.Save(deadline));
  clock.Stage("save");
  AtStage(options_, "pause.captured");
  image::Template info = DescribeSaved(options_, record, request.mode);
  info.kind = image::SavedKind::kPaused;
  info.id = sandbox.id();
  info.agent_silent = record.agent_silent;
  const image::Template saved =
      TRY(options_.library.Commit(std::move(capture), std::move(info), false));
  clock.Stage("sync");
  AtStage(options_, "pause.committed");
  record.state = StateName(State::kPaused);
  record.pause_mode = PauseModeName(request.mode);
  record.end_at = NowMs();
  TRY(sandbox.Update(options_.store, record, PausedEvent(sandbox, record)));
  guest.End();
  AtStage(options_, "pause.paused");
  TellGone(sandbox.id());
  SealInBackground(saved);
  base::LogInfo(
      "sandbox paused",
      {{"sandbox", sandbox.id()}, {"mode", record.pause_mode}, {"timings", clock.Json()}});
  return {};
}

// The sandbox is recorded as paused: of its VM nothing is needed any more.
void ManagerImpl::EndPausedVm(Sandbox& sandbox) {
  store::SandboxRecord record = sandbox.record();
  const TeardownOutcome outcome = TeardownVm(options_, record);
  sandbox.SetVm(nullptr);
  if (!outcome.result) {
    base::LogError("the VM of a paused sandbox left something behind",
                   {{"sandbox", sandbox.id()}, {"error", outcome.result.error().ToString()}});
  }
  if (auto updated = sandbox.Update(options_.store, record); !updated) {
    base::LogError("cannot record what a paused sandbox has given back",
                   {{"sandbox", sandbox.id()}, {"error", updated.error().ToString()}});
  }
  // Until here the record beside says running, with a VM that has ended: that is read as paused.
  KeepRecordBeside(options_.store, options_.library, sandbox.id(), true);
}

void ManagerImpl::SealInBackground(const image::Template& saved) {
  background_.PostIdle([this, saved] {
    // It may be resumed, or gone, before its checksums are there: nobody misses them then.
    if (auto sealed = options_.library.Seal(saved); !sealed) {
      base::LogDebug("no checksums for a saved state",
                     {{"id", saved.id}, {"error", sealed.error().ToString()}});
    }
  });
}

Result<SandboxInfo> ManagerImpl::Resume(std::string_view id, const ResumeRequest& request) {
  const Locked locked = TRY(Lock(id));
  const SandboxPtr& sandbox = locked.sandbox;
  if (sandbox->state() == State::kStopping) return NoSuchSandbox(id);
  if (sandbox->state() == State::kRunning) {
    return Fail(Code::kFailedPrecondition, fmt::format("sandbox '{}' is running already", id));
  }
  if (sandbox->state() != State::kPaused) return WrongState(*sandbox, "paused");
  return ResumeLocked(sandbox, request, TRY(options_.library.FindPaused(sandbox->id())));
}

Result<Manager::Connected> ManagerImpl::Connect(std::string_view id, const ResumeRequest& request) {
  {
    const Locked locked = TRY(Lock(id));
    if (locked.sandbox->state() == State::kPaused) {
      const auto saved = TRY(options_.library.FindPaused(locked.sandbox->id()));
      return Connected{.info = TRY(ResumeLocked(locked.sandbox, request, saved)), .resumed = true};
    }
  }
  return Connected{.info = TRY(Extend(id, request.timeout.value_or(kDefaultTimeout))),
                   .resumed = false};
}

// From `saved`: the sandbox's own, or a snapshot that it is rolled back to.
Result<SandboxInfo> ManagerImpl::ResumeLocked(const SandboxPtr& sandbox,
                                              const ResumeRequest& request,
                                              const image::Template& saved) {
  const WarmPool::Busy busy(pool_);
  StageClock clock;
  const bool restore = saved.vm.has_value() && !request.reboot;
  if (restore) {
    const std::string misfit = MisfitOf(*saved.vm, options_.driver.capabilities());
    if (!misfit.empty()) {
      return std::unexpected(
          Error(Code::kFailedPrecondition,
                fmt::format("resume sandbox '{}': {}", sandbox->id(), misfit))
              .WithRemedy("Resume it without its memory: it then boots from its disk."));
    }
  }
  const std::int64_t end = TRY(EndAfter(request.timeout.value_or(kDefaultTimeout)));
  const store::SandboxRecord before = sandbox->record();
  store::SandboxRecord record = before;
  record.state = StateName(State::kResuming);
  record.started_by = restore ? "restore" : "boot";
  record.memory_mib = saved.memory_mib;
  record.cpus = saved.cpus;
  record.run_dir = RunDirOf(options_, sandbox->id());
  TRY(sandbox->Update(options_.store, record));
  AtStage(options_, "resume.recorded");
  auto begun = Reserve(record);
  if (begun) begun = LaunchSandbox(options_, saved, restore, *sandbox, clock);
  AtStage(options_, "resume.launched");
  if (begun) {
    record = sandbox->record();
    record.state = StateName(State::kRunning);
    record.end_at = end;
    record.timings = clock.Json();
    record.pause_mode.clear();
    record.agent_silent = false;
    if (const auto vm = sandbox->vm()) PutProcess(record, *vm);
    if (request.on_timeout) {
      record.on_timeout = *request.on_timeout == TimeoutAction::kPause ? "pause" : "kill";
    }
    BeginExecution(record);
    const std::string back = saved.kind == image::SavedKind::kSnapshot
                                 ? fmt::format("rolled back to snapshot '{}'; ", saved.id)
                                 : std::string();
    const Event resumed{.kind = EventKind::kResumed,
                        .detail = fmt::format("{}{}", back, HowStarted(record))};
    begun = sandbox->Update(options_.store, record, EventOf(*sandbox, record, resumed));
  }
  if (!begun) {
    record = before;
    record.slot = sandbox->record().slot;
    record.run_dir = sandbox->record().run_dir;
    const TeardownOutcome outcome = TeardownVm(options_, record);
    sandbox->SetVm(nullptr);
    if (!outcome.result)
      base::LogError("undo of a resume",
                     {{"sandbox", sandbox->id()}, {"error", outcome.result.error().ToString()}});
    static_cast<void>(sandbox->Update(options_.store, record));
    return std::unexpected(std::move(begun).error().WithContext(
        fmt::format("resume sandbox '{}', which stays paused", sandbox->id())));
  }
  KeepRecordBeside(options_.store, options_.library, sandbox->id(), false);
  AtStage(options_, "resume.running");
  if (auto removed = options_.library.RemovePaused(sandbox->id()); !removed) {
    base::LogWarning("what a resumed sandbox was paused as stays behind",
                     {{"sandbox", sandbox->id()}, {"error", removed.error().ToString()}});
  }
  Watch(sandbox);
  base::LogInfo(
      "sandbox resumed",
      {{"sandbox", sandbox->id()}, {"by", record.started_by}, {"timings", record.timings}});
  return InfoOf(*sandbox);
}

}  // namespace tinderbox::sandbox
