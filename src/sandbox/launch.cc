// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "sandbox/launch.h"

#include <fmt/format.h>

#include <string>
#include <utility>

#include "sandbox/context.h"
#include "sandbox/egress.h"
#include "sandbox/lost.h"
#include "sandbox/stage.h"

namespace tinderbox::sandbox {

using base::Deadline;
using base::Result;

namespace {

// Beyond the guest's own memory the VMM needs some for itself: QEMU's code and heap, its
// translation buffer under TCG, page tables. The cgroup's limit is the guest's memory and this.
constexpr std::uint64_t kVmmOverheadBytes = 384ull << 20;
// QEMU's threads: main, vCPUs, I/O workers (64 at most), RCU. And the warden.
constexpr std::uint32_t kVmmPids = 128;

// Without the id, which QEMU has among its arguments then: every user of the host could read it
// there. The guest learns it with its identity.
std::string GuestCommandLine(const ManagerOptions& options) {
  return fmt::format("tinderbox.dns={}", fmt::join(options.dns, ","));
}

vmm::VmSpec SpecOf(const ManagerOptions& options, const VmStart& start, const network::Slot& slot,
                   const image::VmFiles& files) {
  vmm::VmSpec spec;
  spec.id = start.id;
  spec.rootfs = files.disk;
  spec.memory_base = files.memory_base;
  spec.state = files.state;
  spec.snapshots = true;
  spec.snapshot_dir = files.snapshot_dir;
  spec.cmdline = GuestCommandLine(options);
  spec.memory_mib = start.memory_mib;
  spec.cpus = start.cpus;
  spec.netns = slot.netns_path;
  spec.tap = slot.tap;
  spec.mac = network::kGuestMac;
  spec.uid = slot.uid;
  spec.gid = slot.uid;
  spec.run_dir = RunDirOf(options, start.id);
  if (options.enforce_limits) {
    spec.cgroup = CgroupOf(options, start.id);
    spec.limits.memory_bytes = (std::uint64_t{start.memory_mib} << 20) + kVmmOverheadBytes;
    spec.limits.cpus = start.cpus + 1;  // and one for the VMM's own I/O
    spec.limits.pids = kVmmPids;
  }
  return spec;
}

Result<network::Slot> TakeSlot(const ManagerOptions& options, const VmStart& start) {
  network::Slot slot = TRY(options.slots.Acquire(PolicyOf(options, start.network)));
  if (auto recorded = start.on_slot(slot); !recorded) {
    static_cast<void>(options.slots.Release(slot.index));
    return std::unexpected(std::move(recorded).error());
  }
  // From here on Teardown() finds it.
  if (start.network.by_gateway()) TRY(ServeAtGateway(options, slot.index, start.network));
  return slot;
}

}  // namespace

Result<StartedVm> StartVm(const ManagerOptions& options, const VmStart& start, StageClock& clock,
                          Deadline deadline) {
  image::Kernel kernel;
  if (!start.restore) kernel = TRY(options.library.DefaultKernel());

  StartedVm started;
  started.slot = TRY(TakeSlot(options, start));
  clock.Stage("network");
  AtStage(options, "create.network");

  if (start.ephemeral) TRY(MarkEphemeral(options.library, start.id));
  started.files = TRY(options.library.MakeVmFiles(
      start.source, {.sandbox_id = start.id,
                     .uid = started.slot.uid,
                     .gid = started.slot.uid,
                     .restore = start.restore,
                     .own_memory = options.driver.capabilities().writable_memory_base,
                     .memory_mib = start.memory_mib}));
  clock.Stage("disk");
  AtStage(options, "create.files");

  vmm::VmSpec spec = SpecOf(options, start, started.slot, started.files);
  spec.kernel = kernel.vmlinux;
  spec.initrd = kernel.initrd;
  started.vm = TRY(options.driver.Launch(spec, deadline));
  clock.Stage(start.restore ? "restore" : "launch");
  AtStage(options, "create.launched");
  return started;
}

Result<> LaunchSandbox(const ManagerOptions& options, const image::Template& source, bool restore,
                       Sandbox& sandbox, StageClock& clock) {
  const auto deadline = Deadline::After(options.boot_deadline);
  const store::SandboxRecord before = sandbox.record();
  const auto record_slot = [&](const network::Slot& slot) {
    store::SandboxRecord record = sandbox.record();
    record.slot = slot.index;
    record.uid = slot.uid;
    return sandbox.Update(options.store, record);
  };
  const VmStart start{.id = before.id,
                      .source = source,
                      .restore = restore,
                      .memory_mib = before.memory_mib,
                      .cpus = before.cpus,
                      .network = TRY(RulesOf(before)),
                      .on_slot = record_slot};
  const StartedVm started = TRY(StartVm(options, start, clock, deadline));
  const auto process = ProcessOf(started.vm);
  sandbox.SetVm(process);

  const AgentLink agent(options.slots, started.slot.index);
  // A restored agent answers at once, so that the call that sets its identity is also the one that
  // finds it; a booting one is asked something small until it is there.
  if (!restore) {
    TRY(agent.AwaitHealth(*process, deadline));
    clock.Stage("boot");
  }
  const std::string demanded = restore ? source.agent_token : std::string();
  Identity identity = IdentityOf(before, source);
  identity.authority = TRY(AuthorityFor(options, start.network));
  // A snapshot that the sandbox is rolled back to is of itself, too.
  identity.known = restore && source.source_sandbox == before.id;
  TRY(agent.AwaitInit(*process, identity, demanded, deadline));
  clock.Stage("identity");
  if (!before.volume_mounts.empty()) {
    TRY(MountVolumes(options, sandbox.record(), source.source_sandbox == before.id, deadline));
    clock.Stage("volumes");
  }
  AtStage(options, "create.identity");
  return {};
}

Identity IdentityOf(const store::SandboxRecord& record, const image::Template& source) {
  return {.access_token = record.access_token,
          .env = record.env,
          .sandbox_id = record.id,
          .template_id = record.template_id,
          .default_user = source.default_user,
          .default_workdir = source.default_workdir};
}

}  // namespace tinderbox::sandbox
