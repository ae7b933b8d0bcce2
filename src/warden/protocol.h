// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

// What the launcher (vmm/launch_sequence.cc) and tinderbox-warden say to each other. Both come out
// of one build and run on one machine, so these are plain structs in messages of a SOCK_SEQPACKET
// socket:
//   launcher → warden  Plan, its strings, and descriptors (below)
//   launcher → warden  where Plan::cgroup_count > 0: one byte, and that many files to write "0" to
//   warden → launcher  Report
//   launcher → warden  the commit: one byte, and what the VM's life needs: console log, exit status
//                      file, listening control socket
// The warden begins before the first has been sent and waits for each where it needs it. A warden
// whose launcher hangs up before the commit ends, and takes the VM with it. Freestanding: the
// warden links no C library.
namespace tinderbox::warden {

// The descriptor at which the warden finds that socket; 0, 1 and 2 are /dev/null.
inline constexpr int kLaunchSocketFd = 3;
inline constexpr std::size_t kMaxPlanBytes = 64 * 1024;
inline constexpr std::size_t kMaxFds = 200;  // the kernel takes 253 in one message
inline constexpr std::size_t kMaxArgs = 256;
inline constexpr std::size_t kMaxBinds = 160;
inline constexpr std::size_t kMaxDevices = 4;
inline constexpr std::size_t kMaxObject = 200;  // bytes of Report::object, with its NUL
inline constexpr std::size_t kMaxControlLine = 64;
// The VMM's OOM score adjustment: if the host's memory runs out, the kernel kills VMs before the
// host's own services. The warden's is 0 (its VM would die with it), the daemon's below that.
inline constexpr int kVmmOomScore = 500;

// The steps of a launch, in their order. The names are those of LaunchStepNames().
enum class Step : std::uint8_t {
  kRunDir,
  kConsole,
  kCgroup,
  kClone,
  kCgroupJoin,
  kSession,
  kMountPrivate,
  kWorkspace,
  kBinds,
  kDevices,
  kNetns,
  kPivot,
  kLimits,
  kCredentials,
  kExec,
  kApiSocket,
  kCount,
};
inline constexpr std::size_t kStepCount = static_cast<std::size_t>(Step::kCount);
inline constexpr const char* kStepNames[kStepCount] = {
    "run-dir",       "console",     "cgroup", "clone",      "cgroup-join", "session",
    "mount-private", "workspace",   "binds",  "devices",    "netns",       "pivot",
    "limits",        "credentials", "exec",   "api-socket",
};

// A device node of the jail's /dev. `name` is relative to /dev and has at most one directory.
struct Device {
  char name[16] = {};
  std::uint64_t rdev = 0;
};

// Followed, in the same message, by NUL-terminated strings in this order: the run directory's path,
// the VMM's path inside the jail, arg_count arguments, and bind_count bind targets, each of which
// begins with 'd' (directory) or 'f' (file).
//
// The message carries these descriptors, in this order: run directory, network namespace (if
// has_netns), bind_count detached mounts.
struct Plan {
  std::uint32_t magic = 0x31445754;
  std::uint32_t fail_step = kStepCount;  // tests: this step fails with EIO
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::uint32_t arg_count = 0;
  std::uint32_t bind_count = 0;
  std::uint32_t cgroup_count = 0;
  std::uint32_t device_count = 0;
  std::uint32_t has_netns = 0;
  std::uint32_t may_fork = 0;  // 0: the system call filter allows threads and no processes
  std::uint32_t stop_grace_ms = 10000;
  std::uint64_t workspace_bytes = 0;
  std::uint64_t open_files = 0;
  std::uint64_t file_bytes = 0;  // RLIMIT_FSIZE
  std::uint64_t console_bytes = 0;
  Device devices[kMaxDevices] = {};
};

// Sent once: after the exec of the VMM, or after the first step that failed. The sender's
// credentials carry the VMM's pid, which the kernel translates for the receiver.
struct Report {
  std::uint32_t magic = 0x31525754;
  std::uint32_t failed = 0;  // 1: `step` failed on `object` with errno `error`
  std::uint32_t step = 0;
  std::int32_t error = 0;
  std::int64_t step_ns[kStepCount] = {};  // how long each of the warden's steps took
  std::int64_t exec_at_ns = 0;            // CLOCK_MONOTONIC just before the VMM's execve
  char object[kMaxObject] = {};
};

// Files of the run directory that the warden writes, and the sockets it serves.
inline constexpr char kConsoleFile[] = "console.log";
inline constexpr char kOldConsoleFile[] = "console.log.1";
inline constexpr char kExitFile[] = "exit.json";
// The launcher makes it, of this many blanks, so that its blocks are there even if the disk is full
// when the status is due. The warden overwrites it in place, in one write, before it ends: whoever
// holds it open still reads the status when the directory has been removed.
inline constexpr std::size_t kExitFileBytes = 128;
inline constexpr char kControlSocket[] = "warden.sock";

// The control socket speaks lines, from clients with uid 0 only:
//   "stop <ms>"  starts the ladder TERM → <ms> → KILL (or shortens one that runs): "ok", then as
//   wait "wait"       answers "exit <signalled 0|1> <code> <rung>" once the VM has ended "status"
//   answers "running", "stopping term" or "stopping kill"
// Anything else is answered "error" and hung up on.

}  // namespace tinderbox::warden
