// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>
#include <cerrno>
#include <cstdlib>
#include <filesystem>

#include "launch/commands.h"
#include "launch/console_follower.h"
#include "sys/file.h"
#include "vmm/driver.h"
#include "vmm/drivers.h"

namespace tinderbox::launch {

namespace json = boost::json;
using base::Code;
using base::Deadline;
using base::Error;
using base::Fail;
using base::FailErrno;
using base::Result;

namespace {

constexpr std::chrono::seconds kStartTime{60};
// What a VMM needs beside the guest's memory: QEMU's translation buffer is the largest part.
constexpr std::uint64_t kVmmOverheadMib = 768;
constexpr std::uint32_t kMaxThreads = 128;
// Ids of VMs that were given none: far above those of people and of services.
constexpr uid_t kFirstUid = 0x40000000;
constexpr uid_t kUidCount = 0x20000000;

Result<std::string> AbsolutePath(const std::string& path) {
  if (path.empty()) return std::string();
  std::error_code error;
  auto absolute = std::filesystem::absolute(path, error).lexically_normal().string();
  if (error) return Fail(Code::kInvalidArgument, fmt::format("'{}' is no path", path));
  return absolute;
}

// The same id has the same uid each time, so that its disk can belong to it. (FNV-1a.)
uid_t UidOf(const std::string& id) {
  std::uint32_t hash = 2166136261u;
  for (const char c : id) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619u;
  return kFirstUid + hash % kUidCount;
}

Result<vmm::VmSpec> MakeSpec(const Options& options, const StartOptions& start) {
  vmm::VmSpec spec;
  spec.id = start.id;
  spec.run_dir = TRY(RunDirOf(options, start.id));
  spec.kernel = TRY(AbsolutePath(start.kernel));
  spec.initrd = TRY(AbsolutePath(start.initrd));
  spec.rootfs = TRY(AbsolutePath(start.rootfs));
  spec.rootfs_read_only = start.rootfs_read_only;
  spec.cmdline = start.cmdline;
  spec.memory_mib = start.memory_mib;
  spec.cpus = start.cpus;
  spec.netns = start.netns.empty() || start.netns.find('/') != std::string::npos
                   ? start.netns
                   : "/run/netns/" + start.netns;
  spec.tap = start.tap;
  spec.mac = start.mac;
  spec.uid = start.uid != 0 ? start.uid : UidOf(start.id);
  spec.gid = start.gid != 0 ? start.gid : spec.uid;
  spec.cgroup = "tinderbox-launch-" + start.id;
  spec.limits.memory_bytes = (start.memory_mib + kVmmOverheadMib) << 20;
  spec.limits.cpus = start.cpus;
  spec.limits.pids = kMaxThreads;
  spec.stop_grace = start.grace;
  return spec;
}

Result<std::unique_ptr<vmm::Driver>> OpenDriver(const StartOptions& start) {
  const bool firecracker = start.vmm == "firecracker";
  std::string named = start.binary;
  const char* variable = std::getenv("TINDERBOX_FIRECRACKER");
  if (firecracker && named.empty() && variable != nullptr) named = variable;
  // A bare name is looked for on PATH, anything else is relative to where we stand.
  if (named.find('/') != std::string::npos) named = TRY(AbsolutePath(named));
  const auto binary = TRY(firecracker ? vmm::FindFirecracker(named) : vmm::FindQemu(named));
  if (!binary) {
    return std::unexpected(
        Error(Code::kNotFound, fmt::format("there is no {} on this host", start.vmm))
            .WithRemedy("Install it, or name its program by --vmm-binary."));
  }
  return firecracker ? vmm::OpenFirecracker(*binary) : vmm::OpenQemu(*binary);
}

json::array TimingsJson(const vmm::LaunchReport& report) {
  json::array timings;
  for (const auto& timing : report.timings) {
    timings.push_back(
        {{"step", timing.step}, {"us", static_cast<double>(timing.took.count()) / 1000}});
  }
  return timings;
}

void PrintNotes(const StartOptions& start, const vmm::LaunchReport* report) {
  if (report == nullptr) return;
  for (const auto& limit : report->missing_limits) {
    fmt::print(stderr, "tinderbox-launch: not limited: {}\n", limit);
  }
  if (!start.timings) return;
  std::chrono::nanoseconds total{0};
  for (const auto& timing : report->timings) {
    total += timing.took;
    fmt::print(stderr, "{:<14} {:>9.1f} us\n", timing.step,
               static_cast<double>(timing.took.count()) / 1000);
  }
  fmt::print(stderr, "{:<14} {:>9.1f} us\n", "all", static_cast<double>(total.count()) / 1000);
}

// SIGINT and SIGTERM as a descriptor, for the foreground.
Result<sys::UniqueFd> TakeSignals() {
  sigset_t set;
  ::sigemptyset(&set);
  ::sigaddset(&set, SIGINT);
  ::sigaddset(&set, SIGTERM);
  ::sigaddset(&set, SIGHUP);
  ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
  sys::UniqueFd fd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!fd) return FailErrno(errno, "take signals");
  return fd;
}

// Shows the console until the VM ends. A first signal stops it by the ladder, a second kills it.
Result<vmm::ExitStatus> Attend(vmm::LaunchedVm& vm, const sys::UniqueFd& signals, bool json) {
  auto follower = TRY(ConsoleFollower::Open(vm.run_dir()));
  const auto show = [json](std::string_view text) {
    // With --json, stdout is for the one object at the end.
    return sys::WriteAll(sys::FdRef::Borrow(json ? STDERR_FILENO : STDOUT_FILENO), text);
  };
  int asked = 0;
  for (;;) {
    const auto status = vm.Wait(Deadline::After({}));
    if (!status && status.error().code() != Code::kDeadlineExceeded) return status;
    TRY(follower.Drain(show));
    if (status) return status;
    pollfd entries[] = {{vm.pidfd().get(), POLLIN, 0},
                        {follower.events().get(), POLLIN, 0},
                        {signals.get(), POLLIN, 0}};
    if (::poll(entries, 3, -1) < 0 && errno != EINTR) return FailErrno(errno, "poll");
    signalfd_siginfo info;
    if (::read(signals.get(), &info, sizeof info) != sizeof info) continue;
    if (++asked > 1) return vm.Kill();
    // The warden runs the ladder by itself; this loop goes on showing the console meanwhile.
    if (::kill(vm.warden_pid(), SIGTERM) != 0) return vm.Kill();
  }
}

// --fail-at: the launcher alone, with a failure at that step. There is no VM to go on with.
Result<int> StartWithFault(const vmm::Driver& driver, const vmm::VmSpec& spec,
                           const std::string& step) {
  const auto plan = TRY(driver.Plan(spec));
  const auto launched = TRY(vmm::Launch(plan.launch, Deadline::After(kStartTime), {step}));
  TRY(launched.vm->Kill());
  TRY(vmm::Remove(spec.run_dir));
  return Fail(Code::kInvalidArgument, fmt::format("there is no step '{}' to fail at", step));
}

Result<int> Detached(const Options& options, const vmm::Capabilities& vmm_is, vmm::LaunchedVm& vm) {
  const std::string socket = vm.run_dir() + "/api.sock";
  if (!options.json) {
    fmt::print("{}\n", socket);
    return 0;
  }
  json::object object{{"id", vm.id()},
                      {"apiSocket", socket},
                      {"runDir", vm.run_dir()},
                      {"vmm", vmm_is.vmm},
                      {"vmmVersion", vmm_is.version},
                      {"accelerator", vmm_is.accelerator == vmm::Accelerator::kKvm ? "kvm" : "tcg"},
                      {"vmmPid", vm.vmm_pid()},
                      {"wardenPid", vm.warden_pid()}};
  if (const auto* report = vm.report()) object["timings"] = TimingsJson(*report);
  fmt::print("{}\n", json::serialize(object));
  return 0;
}

}  // namespace

Result<int> Start(const Options& options, const StartOptions& start) {
  const auto spec = TRY(MakeSpec(options, start));
  auto driver = TRY(OpenDriver(start));
  TRY(sys::MakeDirs(options.run_dir, 0700));
  if (!start.fail_at.empty()) return StartWithFault(*driver, spec, start.fail_at);
  // Before the launch: a Ctrl-C in the middle of it must not leave a VM that nobody attends.
  const auto signals = TRY(TakeSignals());
  auto vm = TRY(driver->Launch(spec, Deadline::After(kStartTime)));
  PrintNotes(start, vm->process().report());
  if (start.detach) return Detached(options, driver->capabilities(), vm->process());
  auto status = Attend(vm->process(), signals, options.json);
  if (!status) (void)vm->process().Kill();
  TRY(vmm::Remove(spec.run_dir));
  if (!status) return std::unexpected(std::move(status).error());
  if (options.json) {
    auto object = ToJson(*status);
    object["id"] = spec.id;
    if (const auto* report = vm->process().report()) object["timings"] = TimingsJson(*report);
    fmt::print("{}\n", json::serialize(object));
  } else if (status->signalled) {
    fmt::print(stderr, "tinderbox-launch: the VMM of '{}' ended by {}\n", spec.id,
               Describe(*status));
  }
  return ExitCodeOf(*status);
}

}  // namespace tinderbox::launch
