// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/deadline.h"
#include "base/error.h"
#include "vmm/launcher.h"

// What a VMM must be able to do, whichever it is. One contract suite (driver_contract_vm_test.cc)
// runs over every driver.
namespace tinderbox::vmm {

// Fixed names inside every jail, as those of launcher.h.
inline constexpr char kJailMemory[] = "/memory.img";
inline constexpr char kJailState[] = "/vmm.state";
inline constexpr char kJailSnapshots[] = "/snapshots";

// One VM as the layers above describe it. A value: no pointers, no open descriptors.
struct VmSpec {
  std::string id;
  std::string kernel;  // host path: uncompressed ELF vmlinux; with `state` not needed, nor read
  std::string initrd;  // host path, or empty; likewise
  std::string rootfs;  // host path of a raw disk image, or empty
  bool rootfs_read_only = false;
  std::string cmdline;  // the caller's part; the driver adds what its machine needs (console, …)
  std::uint32_t memory_mib = 256;
  std::uint32_t cpus = 1;
  std::string netns;  // path, or empty: none
  std::string tap;    // name of a TAP device inside netns, or empty: no network device
  std::string mac;    // of the guest's network device
  uid_t uid = 0;
  gid_t gid = 0;
  std::string run_dir;  // as in LaunchSpec
  std::string cgroup;
  CgroupLimits limits;
  std::chrono::milliseconds stop_grace{10000};

  // What guest memory begins as: a host file of exactly memory_mib, readable by everyone. It is
  // mapped privately: never written, shared by all VMs that begin as it, and must not change while
  // one lives. To restore: the snapshot's memory. To boot: QEMU needs one to be able to snapshot,
  // a sparse file of zeros (Firecracker ignores it when it boots). Where Capabilities say so, it is
  // opened for writing and must be a copy of this VM's own, owned by `uid`.
  std::string memory_base;
  std::string state;          // host path: restore this snapshot's state instead of booting
  bool start_paused = false;  // with `state`: Launch leaves the restored guest standing still
  // Whether Snapshot will be called. To Firecracker it costs the guest a fault per changed page.
  bool snapshots = false;
  // With `snapshots`, Firecracker alone: an existing host directory of this VM's own, where the VMM
  // writes what Snapshot then copies; on the file system of the snapshots, for reflinks. Launch
  // gives it the owner and mode that it needs: root's, and `gid` may pass through it.
  std::string snapshot_dir;

  bool operator==(const VmSpec&) const = default;
};

enum class Accelerator { kKvm, kTcg };

struct Capabilities {
  std::string vmm;      // "firecracker", "qemu", "fake"
  std::string version;  // as the binary reports it
  std::string binary;   // host path
  Accelerator accelerator = Accelerator::kTcg;
  // The version of the format in which this VMM writes a guest's state, if it numbers that format:
  // it reads what has the same major and no later minor number. Empty: only the same version of the
  // VMM reads a state.
  std::string state_format;
  // The state of a guest's CPU depends on this, besides the VMM. With KVM the host's CPU: its name,
  // "family/model/stepping", and a digest of its features. A state fits a CPU that is the same, or
  // one that differs in nothing but that it has more features.
  std::string cpu;
  std::string cpu_features;  // with KVM: the features, as /proc/cpuinfo lists them; else empty
  // Under TCG a guest's time stamp counter is the host's, and its kernel learned this rate at boot.
  // If it differs by more than the error of a measurement (some parts in a million), the clock of a
  // restored guest would be wrong. 0 if it does not matter.
  std::uint64_t tsc_khz = 0;
  bool runs_linux = false;  // an unmodified Linux guest boots with this accelerator here
  bool disk_hotplug = false;
  bool diff_snapshots = false;
  bool writable_memory_base = false;  // opens VmSpec::memory_base for writing: no VMs share one
  bool needs_pvh_note = false;        // refuses an ELF kernel without the Xen PHYS32 entry note
};

// One HTTP request of the plan (Firecracker).
struct PlannedRequest {
  std::string method;
  std::string path;
  std::string body;
  bool operator==(const PlannedRequest&) const = default;
};

// Everything that Launch will do, computed without touching the host: golden-tested.
struct LaunchPlan {
  LaunchSpec launch;
  std::vector<PlannedRequest> requests;  // sent in order once the API answers; empty for QEMU
  bool operator==(const LaunchPlan&) const = default;
};

enum class VmState { kNotStarted, kRunning, kPaused, kEnded };

// Host paths of a snapshot's files; neither may exist.
struct SnapshotPaths {
  std::string memory;  // as large as guest memory, sparse
  std::string state;   // of CPU and devices, in the VMM's own format; a few kilobytes
  bool operator==(const SnapshotPaths&) const = default;
};

struct SnapshotRequest {
  SnapshotPaths to;
  // The memory of this VM's latest snapshot, whatever it is called by now; before the first one
  // what it began as (booted: a sparse file of zeros). Where that was thrown away, a whole one is
  // due: Firecracker refuses any other base (kFailedPrecondition). Given: `to.memory` becomes a
  // reflink of it (a copy, where the file system has none) in which only what has changed is
  // written. Empty: all of guest memory is written, by itself.
  std::string base;
};

struct SnapshotReport {
  std::uint64_t memory_bytes = 0;  // of guest memory that were written; 0 where the VMM tells none
  std::chrono::nanoseconds state_took{0};
  std::chrono::nanoseconds memory_took{0};
};

class Vm {
 public:
  virtual ~Vm() = default;
  virtual LaunchedVm& process() = 0;
  virtual base::Result<VmState> State(base::Deadline deadline) = 0;
  // Both idempotent. Pause: kResourceExhausted if the VMM has stopped the guest by itself because a
  // write of its disk finds no free space (see io_events.h); it stays as it is.
  virtual base::Result<> Pause(base::Deadline deadline) = 0;
  virtual base::Result<> Resume(base::Deadline deadline) = 0;
  // Saves memory and state. Demands a paused guest (kFailedPrecondition), and leaves it paused: the
  // caller saves its disk in the same pause. The new files belong to root, mode 0444, and are not
  // synced. On failure (a full disk is kResourceExhausted) neither of them is there, and the guest
  // can go on. Disks are not looked at.
  virtual base::Result<SnapshotReport> Snapshot(const SnapshotRequest& request,
                                                base::Deadline deadline);
  // While the guest still runs: does what can be done of the Snapshot with this very request, on
  // this handle, so that the guest stands still for less time. May do nothing; its failure is no
  // reason not to try Snapshot. What it made is gone with the handle if no Snapshot takes it up.
  virtual base::Result<> PrepareSnapshot(const SnapshotRequest& request, base::Deadline deadline);
};

class Driver {
 public:
  virtual ~Driver() = default;
  virtual const Capabilities& capabilities() const = 0;
  // Validates `spec` (memory, cpus, paths that must be set) and lays out the launch. Pure.
  virtual base::Result<LaunchPlan> Plan(const VmSpec& spec) const = 0;
  // Launches by the launcher, configures over the API socket and starts the guest. On failure the
  // VMM is gone and nothing is left; the error carries the VMM's own words where it had any. With
  // VmSpec::state, restores instead: a state that is damaged is kDataLoss.
  virtual base::Result<std::unique_ptr<Vm>> Launch(const VmSpec& spec, base::Deadline deadline) = 0;
  // The running VM of `run_dir`, after a restart of the daemon.
  virtual base::Result<std::unique_ptr<Vm>> Adopt(const std::string& run_dir) = 0;
};

}  // namespace tinderbox::vmm
