// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "vmm/launch_sequence.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "sys/file.h"
#include "sys/message.h"
#include "sys/mount.h"
#include "sys/pidfd.h"
#include "vmm/launch_plan.h"
#include "vmm/launched_vm.h"

namespace tinderbox::vmm {

using base::Code;
using base::Deadline;
using base::Error;
using base::Fail;
using base::FailErrno;
using base::Result;
using std::chrono::steady_clock;
using warden::Step;

namespace {

constexpr std::chrono::seconds kUndoTime{3};

// Advice for the failures that a user can mend.
std::string RemedyFor(Step step, int err, const LaunchSpec& spec) {
  if (step == Step::kClone && err == ENOENT) {
    return fmt::format("Install tinderbox-warden at '{}', or name where it is.", spec.warden);
  }
  if (step == Step::kNetns && err == ENOENT) {
    return "Create the network namespace first ('ip netns list' shows those that exist).";
  }
  if (step == Step::kExec && (err == ENOENT || err == EACCES)) {
    return "The VMM must be executable by everyone, and be static or have its libraries among the "
           "binds.";
  }
  if (step == Step::kLimits && err == EPERM) {
    return "Raise the hard limit of open files (ulimit -Hn) of this process.";
  }
  if (step == Step::kBinds && err == ENOENT) return "Check the path of that file.";
  if (err == EPERM) return "Run this as root, with all capabilities.";
  return {};
}

}  // namespace

LaunchSequence::LaunchSequence(const LaunchSpec& spec, Deadline deadline,
                               const LaunchOptions& options)
    : spec_(spec), deadline_(deadline), options_(options) {}

LaunchSequence::~LaunchSequence() {
  if (committed_) return;
  const auto deadline = Deadline::After(kUndoTime);
  pending_.reset();
  if (child_.pidfd) {
    // Process 1 of the pid namespace: with it goes all that was started and mounted in there.
    (void)sys::SignalPidFd(child_.pidfd, SIGKILL);
    (void)sys::WaitPidFd(child_.pidfd, deadline);
    sys::ReapPidFd(child_.pidfd);
  }
  // Undoing is best effort by nature; the launch's own error is the one that counts.
  if (cgroup_) (void)cgroup_->Undo(deadline);
  if (owns_run_dir_) (void)sys::RemoveTree(spec_.run_dir);
}

std::unexpected<Error> LaunchSequence::StepError(Step step, Error error) const {
  const int err = error.errno_value();
  std::string remedy = error.remedy().empty() ? RemedyFor(step, err, spec_) : error.remedy();
  return std::unexpected(
      std::move(error)
          .WithContext(fmt::format("launch '{}': step {}", spec_.id,
                                   warden::kStepNames[static_cast<std::size_t>(step)]))
          .WithRemedy(std::move(remedy)));
}

template <typename Work>
Result<> LaunchSequence::Do(Step step, Work work) {
  const auto index = static_cast<std::size_t>(step);
  const auto began = steady_clock::now();
  Result<> done = work();
  if (done && options_.fail_at == warden::kStepNames[index]) {
    done = FailErrno(EIO, "failure injected by a test");
  }
  took_[index] += steady_clock::now() - began;
  if (!done) return StepError(step, std::move(done).error());
  return {};
}

Result<> LaunchSequence::MakeRunDir() {
  const bool fresh = ::mkdir(spec_.run_dir.c_str(), 0700) == 0;
  if (!fresh && errno != EEXIST) {
    return FailErrno(errno, fmt::format("create directory '{}'", spec_.run_dir));
  }
  owns_run_dir_ = fresh;
  run_dir_ = TRY(sys::Open(spec_.run_dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  // The lock tells a directory in use from one left over. The warden holds the same open file, so
  // it lasts from here to the end of the VM, whatever becomes of this process.
  if (::flock(run_dir_.get(), LOCK_EX | LOCK_NB) != 0) {
    owns_run_dir_ = false;
    if (errno == EWOULDBLOCK) {
      return Fail(Code::kAlreadyExists, fmt::format("a VM lives in '{}'", spec_.run_dir));
    }
    return FailErrno(errno, fmt::format("lock '{}'", spec_.run_dir));
  }
  if (!fresh) TRY(TakeOverRunDir());
  return {};
}

Result<> LaunchSequence::NoteIntent() {
  return WriteRecord(run_dir_, {.id = spec_.id,
                                .boot_id = TRY(sys::BootId()),
                                .cgroup = spec_.cgroup,
                                .vmm = spec_.vmm,
                                .uid = spec_.uid,
                                .gid = spec_.gid,
                                .stop_grace = spec_.stop_grace});
}

Result<> LaunchSequence::TakeOverRunDir() {
  const auto record = ReadRecord(spec_.run_dir);
  if (!record && !HoldsNoVm(run_dir_)) {
    return std::unexpected(
        Error(Code::kAlreadyExists, fmt::format("'{}' is in use, and not by a VM", spec_.run_dir))
            .WithRemedy("Choose another directory, or remove that one."));
  }
  if (record) {
    if (TRY(FindWarden(*record))) {
      return Fail(Code::kAlreadyExists, fmt::format("a VM lives in '{}'", spec_.run_dir));
    }
    if (!record->cgroup.empty()) {
      TRY(sys::RemoveCgroup(sys::HostCgroups(), record->cgroup, Deadline::After(kUndoTime)));
    }
  }
  // Made anew rather than emptied: owner and mode are then what they must be.
  owns_run_dir_ = true;
  TRY(sys::RemoveTree(spec_.run_dir));
  if (::mkdir(spec_.run_dir.c_str(), 0700) != 0) {
    owns_run_dir_ = false;
    return FailErrno(errno, fmt::format("create directory '{}'", spec_.run_dir));
  }
  run_dir_ = TRY(sys::Open(spec_.run_dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  if (::flock(run_dir_.get(), LOCK_EX | LOCK_NB) != 0) {
    owns_run_dir_ = false;
    return Fail(Code::kAlreadyExists, fmt::format("a VM lives in '{}'", spec_.run_dir));
  }
  return {};
}

Result<> LaunchSequence::OpenConsole() {
  console_ = TRY(
      sys::OpenAt(run_dir_, warden::kConsoleFile, O_WRONLY | O_CREAT | O_EXCL | O_APPEND, 0600));
  exit_file_ = TRY(MakeExitFile(run_dir_));
  control_ = TRY(sys::ListenUnixAt(run_dir_, warden::kControlSocket));
  return {};
}

Result<> LaunchSequence::MakeCgroup() {
  if (spec_.cgroup.empty()) return {};
  cgroup_ = TRY(sys::Cgroup::Create(sys::HostCgroups(), spec_.cgroup,
                                    {.memory_bytes = spec_.limits.memory_bytes,
                                     .cpus = spec_.limits.cpus,
                                     .pids = spec_.limits.pids}));
  return {};
}

std::size_t LaunchSequence::CountJoinFiles() const {
  if (spec_.cgroup.empty()) return 0;
  return static_cast<std::size_t>(
      std::ranges::count(sys::HostCgroups(), false, &sys::CgroupHierarchy::v2));
}

void LaunchSequence::SendCgroup() {
  if (!cgroup_ || cgroup_->join_files().empty() || !sent_) return;
  std::vector<int> files;
  for (const auto& file : cgroup_->join_files()) files.push_back(file.get());
  const std::byte byte{1};
  sent_ = sys::SendMessage(socket_, std::span(&byte, 1), files);
}

Result<> LaunchSequence::OpenHostObjects() {
  const auto clone_binds = [this]() -> Result<> {
    binds_ = AllBinds(spec_);
    for (const auto& bind : binds_) {
      const auto st = TRY(sys::Stat(bind.source));
      const bool directory = S_ISDIR(st.st_mode);
      bind_is_directory_.push_back(directory);
      // A kernel or a disk is data: nothing makes it executable in there.
      const bool executable = directory || bind.executable || (st.st_mode & 0111) != 0;
      if (!bind.read_only && S_ISREG(st.st_mode)) {
        writable_bytes_ = std::max(writable_bytes_, static_cast<std::uint64_t>(st.st_size));
      }
      bind_mounts_.push_back(TRY(sys::CloneMount(bind.source, {bind.read_only, executable})));
    }
    return {};
  };
  const auto open_netns = [this]() -> Result<> {
    if (spec_.netns.empty()) return {};
    netns_ = TRY(sys::Open(spec_.netns, O_RDONLY));
    struct statfs fs{};
    constexpr long kNsfsMagic = 0x6e736673;
    if (::fstatfs(netns_.get(), &fs) != 0 || fs.f_type != kNsfsMagic) {
      return Fail(Code::kInvalidArgument, fmt::format("'{}' is no namespace", spec_.netns));
    }
    return {};
  };
  // These belong to steps of the warden, which is also where tests make them fail.
  const auto timed = [this](Step step, const auto& work) -> Result<> {
    const auto began = steady_clock::now();
    auto done = work();
    took_[static_cast<std::size_t>(step)] += steady_clock::now() - began;
    if (!done) return StepError(step, std::move(done).error());
    return {};
  };
  TRY(timed(Step::kBinds, clone_binds));
  return timed(Step::kNetns, open_netns);
}

Result<> LaunchSequence::SendPlan() {
  PlanParts parts;
  parts.devices = JailDevices(spec_);
  parts.binds = binds_;
  parts.bind_is_directory = bind_is_directory_;
  parts.writable_bytes = writable_bytes_;
  parts.fail_at = options_.fail_at;
  std::vector<int> fds{run_dir_.get()};
  if (netns_) fds.push_back(netns_.get());
  parts.cgroup_count = CountJoinFiles();
  for (const auto& mount : bind_mounts_) fds.push_back(mount.get());
  const auto plan = TRY(EncodePlan(spec_, parts));
  sent_ = sys::SendMessage(socket_, plan, fds);
  return {};
}

Result<> LaunchSequence::StartWarden() {
  auto [ours, theirs] = TRY(sys::MessagePair());
  TRY(sys::ReceiveSenders(ours));
  const auto null = TRY(sys::Open("/dev/null", O_RDWR));
  sys::SpawnSpec warden;
  warden.path = spec_.warden;
  // Without the id: every user of the host can read it there (see sandbox/cgroup_name.h).
  warden.argv = {"tinderbox-warden"};
  warden.fds = {{0, null}, {1, null}, {2, null}, {warden::kLaunchSocketFd, theirs}};
  warden.namespaces = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS;
  if (spec_.netns.empty()) warden.namespaces |= CLONE_NEWNET;
  if (cgroup_ && cgroup_->v2_directory()) warden.cgroup_fd = cgroup_->v2_directory().get();
  pending_ = std::make_unique<sys::PendingSpawn>(TRY(sys::PendingSpawn::Start(warden)));
  socket_ = std::move(ours);
  return {};
}

Result<> LaunchSequence::ConfirmWarden() {
  auto child = pending_->Finish();
  pending_.reset();
  child_ = TRY(std::move(child));
  // A warden that has hung up has its reasons in its report; any other failure is ours.
  const int err = sent_ ? 0 : sent_.error().errno_value();
  return err == EPIPE || err == ECONNRESET ? Result<>() : std::move(sent_);
}

Result<> LaunchSequence::AwaitReport() {
  warden::Report report;
  const auto message =
      sys::ReceiveMessage(socket_, std::as_writable_bytes(std::span(&report, 1)), deadline_);
  if (!message) return StepError(Step::kExec, message.error());
  if (message->size != sizeof report || report.magic != warden::Report().magic ||
      report.step >= warden::kStepCount) {
    return StepError(Step::kExec, Error(Code::kUnavailable, "the warden ended without a report"));
  }
  for (std::size_t i = 0; i < warden::kStepCount; ++i) {
    took_[i] += std::chrono::nanoseconds(report.step_ns[i]);
  }
  if (report.failed != 0) {
    report.object[sizeof report.object - 1] = 0;
    return StepError(static_cast<Step>(report.step),
                     Error::FromErrno(report.error, fmt::format("on '{}'", report.object)));
  }
  vmm_pid_ = message->sender;
  return {};
}

Result<Launched> LaunchSequence::Commit() {
  VmRecord record{.id = spec_.id,
                  .boot_id = TRY(sys::BootId()),
                  .cgroup = spec_.cgroup,
                  .vmm = spec_.vmm,
                  .uid = spec_.uid,
                  .gid = spec_.gid,
                  .warden_pid = child_.pid,
                  .warden_start = TRY(sys::ProcessStartTime(child_.pid)),
                  .vmm_pid = vmm_pid_,
                  .stop_grace = spec_.stop_grace};
  TRY(Do(Step::kApiSocket, [&]() -> Result<> {
    const auto target = fmt::format("/proc/{}/root{}", child_.pid, kJailApiSocket);
    if (::symlinkat(target.c_str(), run_dir_.get(), kApiLink) != 0) {
      return FailErrno(errno, fmt::format("link '{}/{}'", spec_.run_dir, kApiLink));
    }
    return WriteRecord(run_dir_, record);
  }));
  const std::byte go{1};
  const int fds[] = {console_.get(), exit_file_.get(), control_.get()};
  if (auto sent = sys::SendMessage(socket_, std::span(&go, 1), fds); !sent) {
    return StepError(Step::kApiSocket, std::move(sent).error().WithContext("the warden has ended"));
  }
  committed_ = true;
  Launched launched;
  launched.report = MakeReport();
  launched.vm = MakeLaunchedVm(spec_.run_dir, std::move(record), std::move(child_.pidfd),
                               std::move(exit_file_), launched.report);
  return launched;
}

LaunchReport LaunchSequence::MakeReport() const {
  LaunchReport report;
  for (std::size_t i = 0; i <= static_cast<std::size_t>(Step::kExec); ++i) {
    report.timings.push_back({warden::kStepNames[i], took_[i]});
  }
  if (cgroup_) {
    report.missing_limits = cgroup_->missing_limits();
  } else if (spec_.limits != CgroupLimits{}) {
    report.missing_limits = {"memory, CPU, number of processes: no cgroup was named"};
  }
  return report;
}

Result<Launched> LaunchSequence::Run() {
  if (::geteuid() != 0) {
    return std::unexpected(Error(Code::kPermissionDenied,
                                 fmt::format("launch '{}': only root can start VMs", spec_.id))
                               .WithRemedy("Run it as root (sudo)."));
  }
  TRY(ValidateLaunchSpec(spec_));
  TRY(Do(Step::kRunDir, [this] { return MakeRunDir(); }));
  const bool born_in_cgroup =
      std::ranges::any_of(sys::HostCgroups(), [](const auto& hierarchy) { return hierarchy.v2; });
  const auto make_cgroup = [this]() -> Result<> {
    TRY(Do(Step::kRunDir, [this] { return NoteIntent(); }));
    return Do(Step::kCgroup, [this] { return MakeCgroup(); });
  };
  if (born_in_cgroup) TRY(make_cgroup());
  TRY(Do(Step::kClone, [this] { return StartWarden(); }));
  TRY(OpenHostObjects());
  TRY(Do(Step::kClone, [this] { return SendPlan(); }));
  if (!born_in_cgroup) TRY(make_cgroup());
  SendCgroup();
  TRY(Do(Step::kConsole, [this] { return OpenConsole(); }));
  TRY(Do(Step::kClone, [this] { return ConfirmWarden(); }));
  TRY(AwaitReport());
  return Commit();
}

}  // namespace tinderbox::vmm
