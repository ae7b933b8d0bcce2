// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <sys/sysinfo.h>

#include <algorithm>
#include <utility>

#include "base/id.h"
#include "base/log.h"
#include "sandbox/context.h"
#include "sandbox/egress.h"
#include "sandbox/event_record.h"
#include "sandbox/lost.h"
#include "sandbox/manager_impl.h"
#include "sandbox/saved.h"
#include "sandbox/stage.h"
#include "sandbox/teardown.h"
#include "sys/file.h"

namespace tinderbox::sandbox {

using base::Code;
using base::Deadline;
using base::Error;
using base::Fail;
using base::Result;

namespace {

constexpr std::uint32_t kMinimumMemoryMib =
    96;  // below it Debian's kernel does not reach the agent
constexpr std::uint32_t kMaximumCpus = 32;

std::uint64_t HostMemoryMib() {
  struct sysinfo info{};
  if (::sysinfo(&info) != 0) return 0;
  return (std::uint64_t{info.totalram} * info.mem_unit) >> 20;
}

Result<> CheckMemory(std::uint32_t memory_mib) {
  if (memory_mib < kMinimumMemoryMib) {
    return std::unexpected(
        Error(Code::kInvalidArgument,
              fmt::format("memory of {} MiB is too little for a sandbox", memory_mib))
            .WithRemedy(fmt::format("Ask for at least {} MiB.", kMinimumMemoryMib)));
  }
  if (const std::uint64_t host = HostMemoryMib(); memory_mib > host) {
    return std::unexpected(
        Error(Code::kInvalidArgument,
              fmt::format("memory of {} MiB is more than this host's {} MiB", memory_mib, host))
            .WithRemedy("Ask for less memory than the host has."));
  }
  return {};
}

Result<> CheckCpus(std::uint32_t cpus) {
  if (cpus >= 1 && cpus <= kMaximumCpus) return {};
  return std::unexpected(
      Error(Code::kInvalidArgument, fmt::format("{} CPUs cannot be given to a sandbox", cpus))
          .WithRemedy(fmt::format("Ask for 1 to {} CPUs.", kMaximumCpus)));
}

}  // namespace

Result<std::int64_t> EndAfter(std::chrono::seconds timeout) {
  if (timeout == kNoTimeout) return 0;
  constexpr std::chrono::seconds kLongest = std::chrono::hours(24 * 365);
  if (timeout.count() < 0 || timeout > kLongest) {
    return std::unexpected(Error(Code::kInvalidArgument,
                                 fmt::format("a timeout of {} s is out of range", timeout.count()))
                               .WithRemedy("Give a timeout between 1 second and one year."));
  }
  return NowMs() + timeout.count() * 1000;
}

std::unexpected<Error> NoSuchSandbox(std::string_view id) {
  return Fail(Code::kNotFound, fmt::format("sandbox '{}' was not found", id));
}

namespace {

// How long a sandbox that traffic has resumed stays, at least.
constexpr std::chrono::seconds kAutoResumed{300};

bool IsChanging(State state) {
  return state == State::kPausing || state == State::kResuming || state == State::kSnapshotting;
}

}  // namespace

ManagerImpl::ManagerImpl(const ManagerOptions& options) : options_(options) {}

ManagerImpl::~ManagerImpl() {
  stopping_ = true;
  Wake();
  if (reaper_.joinable()) reaper_.join();
  if (storage_) storage_->Stop();
  if (options_.volumes != nullptr) options_.volumes->OnEnded({});
  background_.Stop();
  pool_.Stop();
}

Result<> ManagerImpl::Start() {
  TRY(sys::MakeDirs(options_.run_dir + "/vm", 0700));
  TRY(sys::MakeDirs(options_.state_dir + "/dead", 0700));
  TRY(StartReaper());
  TRY(StartStorageWatch());
  if (options_.volumes != nullptr) {
    options_.volumes->OnEnded([this](const std::string& id) { MountInBackground(id); });
  }
  TRY(Recover());
  pool_.Start();
  return {};
}

Result<ManagerImpl::SandboxPtr> ManagerImpl::Find(std::string_view id) {
  const std::lock_guard lock(mutex_);
  const auto found = sandboxes_.find(id);
  if (found == sandboxes_.end()) return NoSuchSandbox(id);
  return found->second;
}

Result<ManagerImpl::Locked> ManagerImpl::Lock(std::string_view id) {
  SandboxPtr sandbox = TRY(Find(id));
  std::unique_lock operation(sandbox->operation);
  // Whoever came second finds it forgotten.
  if (const auto still = Find(id); !still || *still != sandbox) return NoSuchSandbox(id);
  return Locked{.sandbox = std::move(sandbox), .operation = std::move(operation)};
}

std::vector<ManagerImpl::SandboxPtr> ManagerImpl::All() {
  const std::lock_guard lock(mutex_);
  std::vector<SandboxPtr> all;
  for (const auto& [id, sandbox] : sandboxes_) all.push_back(sandbox);
  return all;
}

void ManagerImpl::Forget(std::string_view id) {
  const std::lock_guard lock(mutex_);
  if (const auto found = sandboxes_.find(id); found != sandboxes_.end()) sandboxes_.erase(found);
}

// What the sandbox of such a request is, checked against the template and the host. Not recorded.
Result<store::SandboxRecord> ManagerImpl::RecordOf(const CreateRequest& request,
                                                   const image::Template& source) const {
  store::SandboxRecord record;
  record.id = base::NewSandboxId();
  record.state = StateName(State::kCreating);
  record.template_id = source.id;
  record.template_name = source.name;
  record.memory_mib = request.memory_mib.value_or(source.memory_mib);
  record.cpus = request.cpus.value_or(source.cpus);
  TRY(CheckMemory(record.memory_mib));
  TRY(CheckCpus(record.cpus));
  if (request.timeout.count() <= 0) {
    return Fail(Code::kInvalidArgument, "the timeout must be at least 1 second");
  }
  record.started_at = NowMs();
  record.end_at = TRY(EndAfter(request.timeout));
  record.disk_mib = source.disk_bytes >> 20;
  record.metadata = request.metadata;
  for (const auto& [name, value] : source.env) record.env[name] = value;
  for (const auto& [name, value] : request.env) record.env[name] = value;
  record.access_token = base::RandomHex(32);
  TRY(CheckMounts(request.volume_mounts));
  if (!request.volume_mounts.empty()) {
    if (options_.volumes == nullptr) {
      return Fail(Code::kUnimplemented, "volumes cannot be mounted here");
    }
    TRY(options_.volumes->CheckThatTheyExist(request.volume_mounts));
  }
  record.volume_mounts = request.volume_mounts;
  TRY(CheckRules(request.network));
  PutRules(record, request.network);
  if (!request.public_ports) record.traffic_token = base::RandomHex(32);
  record.mask_host = request.mask_host;
  record.https_ports = request.https_ports;
  record.vmm = options_.driver.capabilities().vmm;
  record.accelerator = AcceleratorName(options_.driver.capabilities().accelerator);
  record.choice_reason = options_.choice_reason;
  record.run_dir = RunDirOf(options_, record.id);
  record.on_timeout = request.on_timeout == TimeoutAction::kPause ? "pause" : "kill";
  record.auto_pause_mode = PauseModeName(request.auto_pause_mode);
  record.auto_resume = request.auto_resume;
  return record;
}

// Reserves what the sandbox's VM may use, if it holds no reservation yet. Teardown releases it. VMs
// of the pool give way.
Result<> ManagerImpl::Reserve(const store::SandboxRecord& record) {
  if (options_.capacity == nullptr) return {};
  return options_.capacity->Reserve(record.id,
                                    ResourcesOf(record.memory_mib, record.cpus, record.disk_mib),
                                    [this] { return pool_.DropOne(); });
}

// Takes the sandbox in, and records it as `creating`.
Result<ManagerImpl::SandboxPtr> ManagerImpl::Admit(const store::SandboxRecord& record) {
  TRY(Reserve(record));
  auto inserted = Insert(record);
  if (!inserted && options_.capacity != nullptr) options_.capacity->Release(record.id);
  return inserted;
}

Result<ManagerImpl::SandboxPtr> ManagerImpl::Insert(const store::SandboxRecord& record) {
  const auto sandbox = std::make_shared<Sandbox>(record);
  {
    const std::lock_guard lock(mutex_);
    const auto living = std::ranges::count_if(sandboxes_, [](const auto& entry) {
      const State state = entry.second->state();
      return state != State::kDead && state != State::kPaused;
    });
    if (living >= options_.max_sandboxes) {
      return std::unexpected(
          Error(Code::kResourceExhausted,
                fmt::format("{} sandboxes exist, which is the limit of this host", living))
              .WithRemedy("Remove some, or raise limits.sandboxes in the configuration."));
    }
    sandboxes_.emplace(record.id, sandbox);
  }
  if (auto inserted = options_.store.InsertSandbox(record); !inserted) {
    Forget(record.id);
    return std::unexpected(std::move(inserted).error());
  }
  AtStage(options_, "create.recorded");
  return sandbox;
}

Result<> ManagerImpl::AbandonCreate(Sandbox& sandbox) {
  store::SandboxRecord record = sandbox.record();
  const TeardownOutcome outcome = Teardown(options_, record);
  sandbox.SetVm(nullptr);
  if (!outcome.result) {
    // It stays recorded, so that the next start of the daemon tries again.
    record.state = StateName(State::kFailed);
    record.cause = outcome.result.error().ToString();
    static_cast<void>(sandbox.Update(options_.store, record));
    return outcome.result;
  }
  Forget(sandbox.id());
  return options_.store.DeleteSandbox(sandbox.id());
}

// The record names the VMM; its version is the driver's, as long as that is the same VMM still.
SandboxInfo ManagerImpl::InfoOf(const Sandbox& sandbox) const {
  SandboxInfo info = sandbox.Info();
  const vmm::Capabilities& driver = options_.driver.capabilities();
  if (info.vmm == driver.vmm) info.vmm_version = driver.version;
  return info;
}

Result<SandboxInfo> ManagerImpl::Get(std::string_view id) { return InfoOf(*TRY(Find(id))); }

std::vector<SandboxInfo> ManagerImpl::List() {
  std::vector<SandboxInfo> infos;
  for (const SandboxPtr& sandbox : All()) infos.push_back(InfoOf(*sandbox));
  return infos;
}

std::optional<PortAccess> ManagerImpl::Ports(std::string_view id) {
  const auto sandbox = Find(id);
  if (!sandbox) return std::nullopt;
  return (*sandbox)->Ports();
}

Result<> ManagerImpl::Kill(std::string_view id) {
  const Locked locked = TRY(Lock(id));
  return KillLocked(*locked.sandbox, "on request");
}

Result<> ManagerImpl::KillLocked(Sandbox& sandbox, std::string_view why) {
  store::SandboxRecord record = sandbox.record();
  const bool was_running = sandbox.state() == State::kRunning;
  // Of one that died everything is told already; one that was never handed out is not told of.
  std::optional<store::EventRecord> event;
  if (record.cause.empty() && sandbox.state() != State::kCreating) {
    event = KilledEvent(sandbox, record, why, record.pause_mode.empty());
  }
  if (sandbox.state() != State::kStopping) {
    record.state = StateName(State::kStopping);
    TRY(sandbox.Update(options_.store, record));
  }
  if (was_running) TellGone(sandbox.id());
  TeardownOutcome outcome = Teardown(options_, record);
  sandbox.SetVm(nullptr);
  if (!outcome.result) {
    static_cast<void>(sandbox.Update(options_.store, record));  // remembers a slot given back
    return outcome.result;
  }
  TRY(sys::RemoveFile(DeadConsoleOf(options_, sandbox.id())));
  TRY(options_.store.DeleteSandbox(sandbox.id(), event));
  Forget(sandbox.id());
  base::LogInfo("sandbox removed", {{"sandbox", sandbox.id()}});
  return {};
}

Result<> ManagerImpl::SetTimeout(std::string_view id, std::chrono::seconds timeout) {
  return ChangeEnd(id, timeout, true);
}

Result<SandboxInfo> ManagerImpl::Extend(std::string_view id, std::chrono::seconds timeout) {
  TRY(ChangeEnd(id, timeout, false));
  return Get(id);
}

Result<> ManagerImpl::ChangeEnd(std::string_view id, std::chrono::seconds timeout,
                                bool may_shorten) {
  const Locked locked = TRY(Lock(id));
  const SandboxPtr& sandbox = locked.sandbox;
  if (sandbox->state() != State::kRunning) {
    if (sandbox->state() == State::kStopping) return NoSuchSandbox(id);
    return Fail(Code::kFailedPrecondition,
                fmt::format("sandbox '{}' is {}, not running", id, StateName(sandbox->state())));
  }
  store::SandboxRecord record = sandbox->record();
  const std::int64_t end = TRY(EndAfter(timeout));
  const bool longer = record.end_at != 0 && (end == 0 || end > record.end_at);
  if (!may_shorten && !longer) return {};
  record.end_at = end;
  const Event updated{.kind = EventKind::kUpdated, .detail = {}, .end_at_ms = end};
  TRY(sandbox->Update(options_.store, record, EventOf(*sandbox, record, updated)));
  KeepRecordBeside(options_.store, options_.library, sandbox->id(), false);
  Wake();
  return {};
}

// The record of a sandbox that serves. Waits for a transition in progress. Resumes a paused sandbox
// that has auto_resume, if its memory was saved: a cold boot would not restore its processes.
Result<store::SandboxRecord> ManagerImpl::AwaitServing(std::string_view id) {
  const SandboxPtr sandbox = TRY(Find(id));
  for (int attempt = 0; attempt < 3; ++attempt) {
    if (IsChanging(sandbox->state())) {
      // Whoever changes it holds this for the whole of the change.
      const std::lock_guard wait(sandbox->operation);
    }
    store::SandboxRecord record = sandbox->record();
    if (record.state == StateName(State::kRunning) && record.slot != 0) return record;
    if (record.state == StateName(State::kPaused) && record.auto_resume &&
        record.pause_mode == PauseModeName(PauseMode::kFull)) {
      // Others may be at it: whoever finds it running is content.
      TRY(Connect(id, {.timeout = kAutoResumed}));
    }
  }
  return NoSuchSandbox(id);
}

Result<sys::UniqueFd> ManagerImpl::Dial(std::string_view id, std::uint16_t port,
                                        Deadline deadline) {
  // A resume has deadlines of its own. If it takes long, time to connect remains all the same.
  const auto allowed = deadline.left();
  const store::SandboxRecord record = TRY(AwaitServing(id));
  const SandboxPtr before = TRY(Find(id));
  TRY(CheckSpace(*before));
  auto fd = options_.slots.Dial(record.slot, port, Deadline::After(allowed));
  // The sandbox may have gone while we dialled, and its slot may be another's by now: a connection
  // counts only if the same sandbox still holds the same slot.
  const SandboxPtr sandbox = TRY(Find(id));
  if (sandbox->record().slot != record.slot) return NoSuchSandbox(id);
  return fd;
}

Result<std::vector<Event>> ManagerImpl::Events(const EventRequest& request) {
  store::EventQuery query{.sandbox_id = request.sandbox_id,
                          .offset = request.offset,
                          .limit = request.limit,
                          .ascending = request.ascending};
  for (const EventKind kind : request.kinds) query.kinds.emplace_back(EventKindName(kind));
  std::vector<Event> events;
  for (const store::EventRecord& record : TRY(options_.store.Events().List(query))) {
    events.push_back(ReadEvent(record));
  }
  return events;
}

Result<std::string> ManagerImpl::Console(std::string_view id, std::size_t max_bytes) {
  const SandboxPtr sandbox = TRY(Find(id));
  if (const auto vm = sandbox->vm()) return vm->ConsoleTail(max_bytes);
  const std::string path = DeadConsoleOf(options_, id);
  if (!sys::Exists(path)) return std::string();
  std::string text = TRY(sys::ReadFile(path));
  if (text.size() > max_bytes) text.erase(0, text.size() - max_bytes);
  return text;
}

void ManagerImpl::OnGone(std::function<void(const std::string& id)> callback) {
  const std::lock_guard lock(gone_mutex_);
  gone_ = std::move(callback);
}

void ManagerImpl::TellGone(const std::string& id) {
  const std::lock_guard lock(gone_mutex_);
  if (gone_) gone_(id);
}

Result<std::unique_ptr<Manager>> OpenManager(const ManagerOptions& options) {
  auto manager = std::make_unique<ManagerImpl>(options);
  TRY(manager->Start());
  return manager;
}

}  // namespace tinderbox::sandbox
