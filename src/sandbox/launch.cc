// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "sandbox/launch.h"

#include <fmt/format.h>

#include <string>
#include <utility>

#include "base/deadline.h"
#include "sandbox/agent_link.h"
#include "sandbox/context.h"
#include "vmm/driver.h"

namespace tinderbox::sandbox {

using base::Deadline;
using base::Result;

namespace {

// Beyond the guest's own memory the VMM needs some for itself: QEMU's code and heap, its
// translation buffer under TCG, page tables. The cgroup's limit is the guest's memory and this.
constexpr std::uint64_t kVmmOverheadBytes = 384ull << 20;
// QEMU's threads: main, vCPUs, I/O workers (64 at most), RCU. And the warden.
constexpr std::uint32_t kVmmPids = 128;

std::string GuestCommandLine(const ManagerOptions& options, std::string_view id) {
  return fmt::format("tinderbox.dns={} tinderbox.hostname={}", fmt::join(options.dns, ","), id);
}

vmm::VmSpec SpecOf(const ManagerOptions& options, const store::SandboxRecord& record,
                   const network::Slot& slot, const image::Kernel& kernel,
                   const std::string& disk) {
  vmm::VmSpec spec;
  spec.id = record.id;
  spec.kernel = kernel.vmlinux;
  spec.initrd = kernel.initrd;
  spec.rootfs = disk;
  spec.cmdline = GuestCommandLine(options, record.id);
  spec.memory_mib = record.memory_mib;
  spec.cpus = record.cpus;
  spec.netns = slot.netns_path;
  spec.tap = slot.tap;
  spec.mac = network::kGuestMac;
  spec.uid = record.uid;
  spec.gid = record.uid;
  spec.run_dir = record.run_dir;
  if (options.enforce_limits) {
    spec.cgroup = CgroupOf(options, record.id);
    spec.limits.memory_bytes = (std::uint64_t{record.memory_mib} << 20) + kVmmOverheadBytes;
    spec.limits.cpus = record.cpus + 1;  // and one for the VMM's own I/O
    spec.limits.pids = kVmmPids;
  }
  return spec;
}

}  // namespace

Result<> LaunchSandbox(const ManagerOptions& options, const image::Template& source,
                       Sandbox& sandbox, StageClock& clock) {
  const auto deadline = Deadline::After(options.boot_deadline);
  store::SandboxRecord record = sandbox.record();

  const image::Kernel kernel = TRY(options.library.DefaultKernel());

  const network::EgressPolicy policy{.allow_internet = record.allow_internet};
  const network::Slot slot = TRY(options.slots.Acquire(policy, options.uid_base));
  record.slot = slot.index;
  record.uid = slot.uid;
  // Recorded before anything is built on it: whoever finds this record can undo what follows.
  if (auto recorded = sandbox.Update(options.store, record); !recorded) {
    static_cast<void>(options.slots.Release(slot.index));
    return recorded;
  }
  clock.Stage("network");

  const std::string disk =
      TRY(options.library.CloneDisk(source, record.id, record.uid, record.uid));
  clock.Stage("disk");

  const vmm::VmSpec spec = SpecOf(options, record, slot, kernel, disk);
  std::shared_ptr<vmm::Vm> vm = TRY(options.driver.Launch(spec, deadline));
  // The process is a member of the VM: it shares the VM's life.
  const std::shared_ptr<vmm::LaunchedVm> process(vm, &vm->process());
  sandbox.SetVm(process);
  clock.Stage("launch");

  const AgentLink agent(options.slots, slot.index);
  TRY(agent.AwaitHealth(*process, deadline));
  clock.Stage("boot");

  TRY(agent.Init({.access_token = record.access_token,
                  .env = record.env,
                  .sandbox_id = record.id,
                  .template_id = record.template_id,
                  .default_user = source.default_user,
                  .default_workdir = source.default_workdir},
                 deadline));
  clock.Stage("identity");
  return {};
}

}  // namespace tinderbox::sandbox
