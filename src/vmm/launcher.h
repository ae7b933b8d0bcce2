// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/deadline.h"
#include "base/error.h"
#include "sys/fd.h"

// The launcher: one VMM process in its own namespaces and jail, under a warden of its own.
//
// Everything blocks; everything is safe to call from any thread; nothing here keeps global state.
namespace tinderbox::vmm {

// Fixed names inside every jail, so that a snapshot taken in one resolves in any other.
inline constexpr char kJailKernel[] = "/vmlinux";
inline constexpr char kJailInitrd[] = "/initrd.img";
inline constexpr char kJailRootfs[] = "/rootfs.ext4";
inline constexpr char kJailApiSocket[] = "/run/api.sock";  // Firecracker's REST, QEMU's QMP

// A host file or directory that shall stand at `target` inside the jail, by bind mount.
struct JailBind {
  std::string source;
  std::string target;  // absolute, inside the jail
  bool read_only = true;
  // A file is executable in the jail if its mode says so or this does: libraries are executed, and
  // have no such mode everywhere. Directories are executable.
  bool executable = false;

  bool operator==(const JailBind&) const = default;
};

// Limits of the VM's cgroup; 0 means none. Where a controller is missing on the host, Launch
// reports it in LaunchReport::missing_limits instead of failing.
struct CgroupLimits {
  std::uint64_t memory_bytes = 0;
  double cpus = 0;  // cpu.max / cfs quota, in whole CPUs
  std::uint32_t pids = 0;

  bool operator==(const CgroupLimits&) const = default;
};

struct LaunchSpec {
  std::string id;       // base::IsValidVmId
  std::string run_dir;  // host directory of this VM, made by Launch (0700); parent must exist
  std::string warden;   // path of tinderbox-warden
  std::string vmm;      // host path of the VMM binary; stands in the jail at its own path or /vmm
  std::vector<std::string> argv;  // argv[0] included, paths as seen inside the jail
  std::vector<JailBind> binds;    // kernel, initrd, root file system, libraries, …
  std::string netns;              // path of a named network namespace; empty: a fresh empty one
  uid_t uid = 0;                  // of the VMM; never 0
  gid_t gid = 0;
  bool kvm = false;                          // /dev/kvm in the jail
  bool tun = false;                          // /dev/net/tun in the jail
  std::uint64_t workspace_bytes = 64 << 20;  // size cap of the jail's tmpfs
  std::uint64_t open_files = 2048;           // RLIMIT_NOFILE
  // RLIMIT_FSIZE is the largest of this, workspace_bytes and the sizes of the files that are bound
  // writable: the VMM cannot make a file grow beyond it (EFBIG).
  std::uint64_t file_bytes = 0;
  bool processes = false;  // the VMM may start processes (for tests); threads are always allowed
  std::uint64_t console_bytes = 1 << 20;  // the console log keeps at least the last half of this
  std::string cgroup;  // name below each controller's root, e.g. "tinderbox/<id>"; empty: none
  CgroupLimits limits;
  std::chrono::milliseconds stop_grace{10000};  // TERM → KILL when `stop` names no other

  bool operator==(const LaunchSpec&) const = default;
};

// The named steps of a launch, in order. An error of Launch names its step; tests inject a failure
// at each (LaunchOptions::fail_at).
//   run-dir, console, cgroup, clone, cgroup-join, session, mount-private, workspace, binds,
//   devices, netns, pivot, limits, credentials, exec, api-socket
std::vector<std::string> LaunchStepNames();

struct StepTiming {
  std::string step;
  std::chrono::nanoseconds took;
};

struct LaunchReport {
  std::vector<StepTiming> timings;          // up to and with the exec
  std::vector<std::string> missing_limits;  // limits that this host cannot enforce, in words
};

struct LaunchOptions {
  std::string fail_at;  // tests: the step of this name fails with EIO
};

// How a VM's life ended.
struct ExitStatus {
  bool signalled = false;
  int code = 0;            // exit code, or the signal's number
  std::string stopped_by;  // which rung of the stop ladder won: "", "term", "kill"; "warden" where
                           // the warden itself was killed and no status could be kept
  bool operator==(const ExitStatus&) const = default;
};

// A VM that runs, or ran, under its warden. A handle to it, not its owner: destroying the handle
// leaves the VM alone. Any number of handles in any number of processes may refer to one VM.
class LaunchedVm {
 public:
  virtual ~LaunchedVm() = default;

  virtual const std::string& id() const = 0;
  virtual const std::string& run_dir() const = 0;
  virtual pid_t warden_pid() const = 0;  // in the caller's pid namespace
  virtual pid_t vmm_pid() const = 0;     // likewise; of the VMM process itself
  // Readable once the warden has ended: poll it in an event loop to notice death at once.
  virtual sys::FdRef pidfd() const = 0;

  // Connects to the unix socket `jail_path` inside the VM's jail (default: its API socket), waiting
  // for it to appear. Never follows a symbolic link that the VMM may have put there.
  virtual base::Result<sys::UniqueFd> ConnectApi(base::Deadline deadline) = 0;

  // Waits for the end and yields the exit status; may be called any number of times, before or
  // after the end, by any number of callers. kDeadlineExceeded where the VM still lives.
  virtual base::Result<ExitStatus> Wait(base::Deadline deadline) = 0;

  // TERM to the whole VM, `grace`, then KILL: run by the warden, so that it completes even if the
  // caller dies. Idempotent; returns when the VM has ended. Never takes longer than grace + 5 s.
  virtual base::Result<ExitStatus> Stop(std::optional<std::chrono::milliseconds> grace) = 0;

  // Ends everything of the VM at once (SIGKILL to the warden's pid namespace).
  virtual base::Result<ExitStatus> Kill() = 0;

  // The last `max` bytes of the serial console (and of what the VMM printed).
  virtual base::Result<std::string> ConsoleTail(std::size_t max) = 0;

  // Of the launch, where this very handle came out of Launch(); null for an adopted VM.
  virtual const LaunchReport* report() const { return nullptr; }
};

struct Launched {
  std::unique_ptr<LaunchedVm> vm;
  LaunchReport report;
};

// Runs the whole sequence (ARCHITECTURE.md, "life of a launch") and returns once the VMM has been
// exec'ed; the API socket may not be there yet (ConnectApi waits). `deadline` governs the start-up
// alone: the VM's life is not tied to it, nor to the caller's. On failure nothing is left behind:
// no process, mount, namespace, cgroup, socket, file. The error names step, object and errno.
// kAlreadyExists where a VM of that run_dir still lives.
base::Result<Launched> Launch(const LaunchSpec& spec, base::Deadline deadline,
                              const LaunchOptions& options = {});

// Takes up a VM again that another process launched, from its run_dir: pid and start time are
// checked, so that a recycled pid is never taken for the warden. Works for a VM that has ended
// since (Wait then yields its kept status). kNotFound where run_dir holds no VM.
base::Result<std::unique_ptr<LaunchedVm>> Adopt(const std::string& run_dir);

// Removes what a VM that has ended leaves on purpose: run_dir (status, console) and its cgroup.
// kFailedPrecondition while it lives. Idempotent.
base::Result<> Remove(const std::string& run_dir);

}  // namespace tinderbox::vmm
