// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

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

// One VM as the layers above describe it. A value: no pointers, no open descriptors.
struct VmSpec {
  std::string id;
  std::string kernel;  // host path: uncompressed ELF vmlinux
  std::string initrd;  // host path, or empty
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

  bool operator==(const VmSpec&) const = default;
};

enum class Accelerator { kKvm, kTcg };

struct Capabilities {
  std::string vmm;      // "firecracker", "qemu", "fake"
  std::string version;  // as the binary reports it
  std::string binary;   // host path
  Accelerator accelerator = Accelerator::kTcg;
  bool runs_linux = false;  // an unmodified Linux guest boots with this accelerator here
  bool disk_hotplug = false;
  bool diff_snapshots = false;
  bool needs_pvh_note = false;  // refuses an ELF kernel without the Xen PHYS32 entry note
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

class Vm {
 public:
  virtual ~Vm() = default;
  virtual LaunchedVm& process() = 0;
  virtual base::Result<VmState> State(base::Deadline deadline) = 0;
  // Both idempotent.
  virtual base::Result<> Pause(base::Deadline deadline) = 0;
  virtual base::Result<> Resume(base::Deadline deadline) = 0;
};

class Driver {
 public:
  virtual ~Driver() = default;
  virtual const Capabilities& capabilities() const = 0;
  // Validates `spec` (memory, cpus, paths that must be set) and lays out the launch. Pure.
  virtual base::Result<LaunchPlan> Plan(const VmSpec& spec) const = 0;
  // Launches by the launcher, configures over the API socket and starts the guest. On failure the
  // VMM is gone and nothing is left; the error carries the VMM's own words where it had any.
  virtual base::Result<std::unique_ptr<Vm>> Launch(const VmSpec& spec, base::Deadline deadline) = 0;
  // The running VM of `run_dir`, after a restart of the daemon.
  virtual base::Result<std::unique_ptr<Vm>> Adopt(const std::string& run_dir) = 0;
};

}  // namespace tinderbox::vmm
