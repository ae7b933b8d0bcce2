// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// Fork, snapshot, rollback: the state of a sandbox, kept without ending it.
#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "base/id.h"
#include "base/log.h"
#include "sandbox/capture.h"
#include "sandbox/context.h"
#include "sandbox/event_record.h"
#include "sandbox/launch.h"
#include "sandbox/manager_impl.h"
#include "sandbox/saved.h"
#include "sandbox/stage.h"

namespace tinderbox::sandbox {

using base::Code;
using base::Deadline;
using base::Error;
using base::Fail;
using base::Result;

namespace {

constexpr std::chrono::minutes kSave{2};
constexpr std::chrono::seconds kDefaultTimeout{300};
constexpr std::uint32_t kMaxChildren = 100;
// Starting a VM is mostly CPU under emulation, mostly waiting otherwise.
constexpr std::size_t kStartsAtOnce = 8;

std::unexpected<Error> NotRunning(const Sandbox& sandbox) {
  return Fail(Code::kFailedPrecondition, fmt::format("sandbox '{}' is {}, not running",
                                                     sandbox.id(), StateName(sandbox.state())));
}

// 20 characters, as a template's id has.
std::string NewSnapshotId() { return base::NewSandboxId().substr(1); }

}  // namespace

// Saves the state of a running sandbox as `info` says. It stands still only while its memory and
// disk are captured; that they get onto the disk, it does not wait for.
Result<image::Template> ManagerImpl::CaptureRunning(Sandbox& sandbox, PauseMode mode,
                                                    image::Template info) {
  TRY(CheckSpace(sandbox));
  store::SandboxRecord record = sandbox.record();
  record.state = StateName(State::kSnapshotting);
  TRY(sandbox.Update(options_.store, record));
  AtStage(options_, "snapshot.recorded");
  auto saved = CaptureAs(sandbox, mode, std::move(info));
  if (!saved && IsLostDisk(saved.error())) {
    EndDamaged(sandbox, saved.error().ToString());
    return saved;
  }
  record = sandbox.record();
  record.state = StateName(State::kRunning);
  if (auto back = sandbox.Update(options_.store, record); !back && saved) {
    return std::unexpected(std::move(back).error());
  }
  return saved;
}

Result<image::Template> ManagerImpl::CaptureAs(Sandbox& sandbox, PauseMode mode,
                                               image::Template info) {
  const auto deadline = Deadline::After(kSave);
  StoppedGuest guest = TRY(StoppedGuest::Stop(options_, sandbox.record(), mode,
                                              StoppedGuest::Silent::kRefuse, deadline));
  image::Capture capture = TRY(guest.Save(deadline));
  AtStage(options_, "snapshot.captured");
  const auto stood = TRY(guest.Resume(deadline));
  AtStage(options_, "snapshot.resumed");
  base::LogInfo("captured a running sandbox",
                {{"sandbox", sandbox.id()},
                 {"stood still ms", std::chrono::duration<double, std::milli>(stood).count()}});
  const bool seal = info.kind != image::SavedKind::kFork;
  auto saved = options_.library.Commit(std::move(capture), std::move(info), seal);
  AtStage(options_, "snapshot.committed");
  return saved;
}

Result<std::vector<Result<SandboxInfo>>> ManagerImpl::Fork(std::string_view id,
                                                           const ForkRequest& request) {
  if (request.count < 1 || request.count > kMaxChildren) {
    return Fail(Code::kInvalidArgument,
                fmt::format("a fork makes 1 to {} sandboxes, not {}", kMaxChildren, request.count));
  }
  const std::chrono::seconds timeout = request.timeout.value_or(kDefaultTimeout);
  const std::int64_t end = TRY(EndAfter(timeout));
  store::SandboxRecord source;
  image::Template saved;
  {
    const Locked locked = TRY(Lock(id));
    Sandbox& sandbox = *locked.sandbox;
    if (sandbox.state() == State::kStopping) return NoSuchSandbox(id);
    if (sandbox.state() != State::kRunning) return NotRunning(sandbox);
    source = sandbox.record();
    image::Template info = DescribeSaved(options_, source, PauseMode::kFull);
    info.kind = image::SavedKind::kFork;
    info.id = NewSnapshotId();
    saved = TRY_CTX(CaptureRunning(sandbox, PauseMode::kFull, std::move(info)),
                    fmt::format("fork sandbox '{}'", id));
  }
  AtStage(options_, "fork.committed");

  std::vector<Result<SandboxInfo>> children(request.count,
                                            Fail(Code::kInternal, "the child was not started"));
  InParallel(children.size(), kStartsAtOnce, [&](std::size_t i) {
    StageClock clock;
    store::SandboxRecord child = source;
    child.id = base::NewSandboxId();
    child.state = StateName(State::kCreating);
    child.run_dir = RunDirOf(options_, child.id);
    child.access_token = base::RandomHex(32);
    if (!child.traffic_token.empty()) child.traffic_token = base::RandomHex(32);
    child.slot = child.uid = 0;
    child.warden_pid = child.warden_start = 0;  // its VM is not its source's
    child.boot_id.clear();
    child.started_at = NowMs();
    child.end_at = end;
    child.timings.clear();
    children[i] = CreateFrom(child, saved, timeout, false, clock);
  });
  // The children hold what they need of it.
  if (auto removed = options_.library.RemoveFork(saved.id); !removed) {
    base::LogWarning("a fork's files stay behind until the next start",
                     {{"sandbox", id}, {"error", removed.error().ToString()}});
  }
  return children;
}

// A name is one snapshot's: the new one takes it from the old one, which stays without.
Result<> ManagerImpl::TakeName(const std::string& name, const std::string& new_owner) {
  for (const image::Template& other : TRY(options_.library.Templates())) {
    if (other.name != name || other.id == new_owner) continue;
    TRY(options_.library.RenameSnapshot(other.id, ""));
  }
  return {};
}

Result<TemplateInfo> ManagerImpl::Snapshot(std::string_view id, const SnapshotOptions& request) {
  std::string name = request.name;
  if (name.ends_with(":default")) name.resize(name.size() - std::string_view(":default").size());
  if (!name.empty() && !image::IsValidSnapshotName(name)) {
    return std::unexpected(
        Error(Code::kInvalidArgument, fmt::format("'{}' is no snapshot's name", name))
            .WithRemedy("Use small letters, digits, '-' and '_', and a tag after ':' if need be."));
  }
  if (!name.empty()) {
    const auto taken = options_.library.FindTemplate(name);
    if (taken && taken->kind == image::SavedKind::kTemplate) {
      return Fail(Code::kAlreadyExists, fmt::format("'{}' is the name of a template", name));
    }
  }
  const Locked locked = TRY(Lock(id));
  Sandbox& sandbox = *locked.sandbox;
  const store::SandboxRecord record = sandbox.record();
  const auto context = [&] { return fmt::format("snapshot sandbox '{}'", id); };
  image::Template saved;
  if (sandbox.state() == State::kPaused) {
    const image::Template paused = TRY_CTX(options_.library.FindPaused(record.id), context());
    image::Capture capture = TRY_CTX(options_.library.BeginCapture(), context());
    TRY_CTX(options_.library.CaptureCopy(capture, paused), context());
    image::Template info = paused;
    info.kind = image::SavedKind::kSnapshot;
    info.id = NewSnapshotId();
    info.created_at.clear();
    saved = TRY_CTX(options_.library.Commit(std::move(capture), std::move(info), true), context());
  } else if (sandbox.state() == State::kRunning) {
    image::Template info = DescribeSaved(options_, record, request.mode);
    info.kind = image::SavedKind::kSnapshot;
    info.id = NewSnapshotId();
    saved = TRY_CTX(CaptureRunning(sandbox, request.mode, std::move(info)), context());
  } else {
    return NotRunning(sandbox);
  }
  if (!name.empty()) {
    // Whole, and nameless until here: a name always means something that is whole.
    const std::lock_guard names(names_mutex_);
    TRY(TakeName(name, saved.id));
    TRY(options_.library.RenameSnapshot(saved.id, name));
    saved.name = name;
  }
  const Event taken{.kind = EventKind::kCheckpointed,
                    .detail = fmt::format("snapshot '{}'", name.empty() ? saved.id : name),
                    .snapshot_id = saved.id};
  if (auto told = options_.store.RecordEvent(EventOf(sandbox, record, taken)); !told) {
    base::LogWarning("a snapshot is not among the events",
                     {{"sandbox", id}, {"error", told.error().ToString()}});
  }
  base::LogInfo("took a snapshot", {{"sandbox", id}, {"id", saved.id}, {"name", name}});
  return Describe(saved);
}

// By way of a pause: what the sandbox is now is kept until it runs as what it was.
Result<SandboxInfo> ManagerImpl::Rollback(std::string_view id, std::string_view snapshot) {
  const image::Template target = TRY(options_.library.FindTemplate(snapshot));
  const Locked locked = TRY(Lock(id));
  const SandboxPtr& sandbox = locked.sandbox;
  if (target.kind != image::SavedKind::kSnapshot || target.source_sandbox != sandbox->id()) {
    return std::unexpected(
        Error(Code::kInvalidArgument,
              fmt::format("'{}' is no snapshot of sandbox '{}'", snapshot, sandbox->id()))
            .WithRemedy("`tinderbox snapshot ls` lists them with their sandboxes."));
  }
  if (target.vm) {
    const std::string misfit = MisfitOf(*target.vm, options_.driver.capabilities());
    if (!misfit.empty()) {
      return Fail(Code::kFailedPrecondition,
                  fmt::format("roll sandbox '{}' back to '{}': {}", id, snapshot, misfit));
    }
  }
  const bool was_running = sandbox->state() == State::kRunning;
  if (!was_running && sandbox->state() != State::kPaused) return NotRunning(*sandbox);
  // What is left of its time is what it goes on with.
  const std::int64_t end = sandbox->record().end_at;
  ResumeRequest request{.timeout = kDefaultTimeout, .reboot = false, .on_timeout = {}};
  if (was_running && end == 0) request.timeout = kNoTimeout;
  if (was_running && end != 0) {
    request.timeout = std::chrono::seconds(std::max<std::int64_t>((end - NowMs() + 999) / 1000, 1));
  }
  AtStage(options_, "rollback.recorded");
  std::optional<Capacity::Keep> place;
  if (options_.capacity != nullptr) place.emplace(*options_.capacity, sandbox->id());
  if (was_running) TRY(PauseLocked(*sandbox, {.mode = PauseMode::kFull, .require_healthy = false}));
  AtStage(options_, "rollback.paused");
  auto rolled = ResumeLocked(sandbox, request, target);
  if (rolled || !was_running) return rolled;
  // As it was.
  const auto present = options_.library.FindPaused(sandbox->id());
  if (present && ResumeLocked(sandbox, request, *present)) return rolled;
  base::LogError("a sandbox that could not be rolled back stays paused", {{"sandbox", id}});
  return rolled;
}

}  // namespace tinderbox::sandbox
