// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/deadline.h"
#include "base/error.h"
#include "image/library.h"
#include "network/slot_pool.h"
#include "sandbox/agent_link.h"
#include "sandbox/network_rules.h"
#include "sandbox/open.h"
#include "sandbox/sandbox.h"
#include "sandbox/timings.h"
#include "vmm/driver.h"

namespace tinderbox::sandbox {

// One VM to be started, whoever it is for.
struct VmStart {
  std::string id;
  const image::Template& source;
  bool restore = false;  // out of the source's memory; else it boots from its disk
  std::uint32_t memory_mib = 0;
  std::uint32_t cpus = 0;
  NetworkRules network{};
  bool ephemeral = false;  // no sandbox yet: if the daemon is killed, its files are removed
  // Called with the network slot before anything is built on it; its failure is the start's.
  std::function<base::Result<>(const network::Slot&)> on_slot;
};

// A VM that runs.
struct StartedVm {
  network::Slot slot;
  image::VmFiles files;
  std::shared_ptr<vmm::Vm> vm;
};

// The order of a start: network slot, files, VM. What each took goes to `clock`. On failure the
// caller runs Teardown(); what was made by then is found by the id and the slot.
base::Result<StartedVm> StartVm(const ManagerOptions& options, const VmStart& start,
                                StageClock& clock, base::Deadline deadline);

// Brings a sandbox that is recorded as `creating` or `resuming` to the point where its agent has
// answered and its identity is set: StartVm(), then the agent. Everything is recorded before it is
// built upon, so that a daemon killed in the middle finds it again.
base::Result<> LaunchSandbox(const ManagerOptions& options, const image::Template& source,
                             bool restore, Sandbox& sandbox, StageClock& clock);

// Who the guest of `record` is, out of `source`.
// Mounts what the record names, in a guest that has its identity. Where the sandbox is `known`
// already, a failure is told in the log alone. volumes.cc
base::Result<> MountVolumes(const ManagerOptions& options, const store::SandboxRecord& record,
                            bool known, base::Deadline deadline);

Identity IdentityOf(const store::SandboxRecord& record, const image::Template& source);

// The process is a member of the VM: it shares the VM's life.
inline std::shared_ptr<vmm::LaunchedVm> ProcessOf(const std::shared_ptr<vmm::Vm>& vm) {
  return {vm, &vm->process()};
}

}  // namespace tinderbox::sandbox
