// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "vmm/qemu/plan.h"

#include <fmt/format.h>

#include "vmm/check_spec.h"

namespace tinderbox::vmm::qemu {
namespace {

// A PVH guest's start alone needs some memory below 1 MiB and the firmware's; 8 MiB always work.
constexpr MachineLimits kLimits = {.min_memory_mib = 8, .max_cpus = 32, .max_cmdline = 1536};

// Code that TCG may keep translated, in MiB. Without a bound QEMU takes an eighth of the host's
// memory; a Linux with a language runtime needs less than this.
constexpr int kTranslationMib = 128;

// The caller's part comes last, where the kernel lets it win.
//   reboot=t     a guest that reboots triple-faults at once: with -no-reboot QEMU ends with status
//   0 panic=-1     and one that panics reboots at once
// Under TCG only:
//   tsc_early_khz, tsc=reliable   the guest's time stamp counter is the host's. Left to measure its
//                rate on a busy host, the kernel finds it unstable at random, and then hangs
//   cryptomgr.notests   the kernel's tests of its own ciphers take a sixth of an emulated boot
//   mitigations=off, nokaslr      neither buys anything in an emulator without speculation, both
//                cost boot time
//   init_on_alloc=0               nor does clearing each page twice
//   norandmaps   translated code is found by its virtual address: with every process at addresses
//   of
//                its own, each exec would translate its libraries anew (a login shell: 4 times
//                slower). What a guest's processes are to each other is the guest's affair; the
//                wall is around all of it (docs/adr/0004)
std::string KernelArgs(const VmSpec& spec, const HostFacts& host, Accelerator accelerator) {
  std::string args = "console=ttyS0 quiet reboot=t panic=-1 random.trust_cpu=on";
  if (accelerator == Accelerator::kTcg) {
    if (host.tsc_khz != 0) args += fmt::format(" tsc_early_khz={} tsc=reliable", host.tsc_khz);
    args += " mitigations=off nokaslr norandmaps init_on_alloc=0 cryptomgr.notests";
  }
  if (spec.initrd.empty() && !spec.rootfs.empty())
    args += spec.rootfs_read_only ? " root=/dev/vda ro" : " root=/dev/vda rw";
  if (!spec.cmdline.empty()) args += " " + spec.cmdline;
  return args;
}

class Arguments {
 public:
  void Add(std::string option, std::string value) {
    list_.push_back(std::move(option));
    list_.push_back(std::move(value));
  }
  void Add(std::string option) { list_.push_back(std::move(option)); }
  std::vector<std::string> Take() { return std::move(list_); }

 private:
  std::vector<std::string> list_ = {"qemu-system-x86_64"};
};

void AddMachine(Arguments& args, const VmSpec& spec, Accelerator accelerator) {
  // acpi: distributions' kernels find virtio-mmio devices by ACPI alone. No PIT and no PIC: the
  // clock is given, and an idle guest wakes QEMU 57 times a second less.
  args.Add("-M",
           "microvm,acpi=on,pit=off,pic=off,rtc=on,x-option-roms=off,isa-serial=on,"
           // Device state is saved without the description of itself that QEMU looks for
           // otherwise, and complains of on the console.
           "auto-kernel-cmdline=off,suppress-vmdesc=on,memory-backend=memory,"
           // Guest memory is neither shared with other guests' by the kernel (KSM), which would
           // tell each what the others hold, nor part of a core dump.
           "mem-merge=off,dump-guest-core=off");
  if (accelerator == Accelerator::kKvm) {
    args.Add("-accel", "kvm");
    args.Add("-cpu", "host");
  } else {
    args.Add("-accel", fmt::format("tcg,tb-size={}", kTranslationMib));
    // Without what only slows an emulator down: a fifth level of page tables to walk at each miss
    // of the TLB; the kernel's guards against its own users, each of which ends a translated
    // block; and the promise that `rep movsb` is quick: it goes byte by byte here, and a kernel
    // that is not told so copies by 8 bytes (4 times quicker) and clears pages 10 times quicker.
    args.Add("-cpu", "max,la57=off,smap=off,smep=off,umip=off,pku=off,erms=off,fsrm=off");
  }
  args.Add("-smp", std::to_string(spec.cpus));
  args.Add("-m", fmt::format("{}M", spec.memory_mib));
  // share=off: what the guest writes never reaches the file, and is what Snapshot saves.
  args.Add("-object",
           spec.memory_base.empty()
               ? fmt::format("memory-backend-ram,id=memory,size={}M", spec.memory_mib)
               : fmt::format("memory-backend-file,id=memory,size={}M,mem-path={},share=off",
                             spec.memory_mib, kJailMemory));
}

void AddIsolation(Arguments& args) {
  args.Add("-nodefaults");
  args.Add("-no-user-config");
  args.Add("-display", "none");
  args.Add("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
  // A guest that resets, or crashes in a triple fault, ends the process.
  args.Add("-no-reboot");
}

void AddConsoleAndControl(Arguments& args) {
  args.Add("-chardev", "stdio,id=console,signal=off");
  args.Add("-serial", "chardev:console");
  // One monitor serves one connection at a time: who listens to events has one of its own.
  args.Add("-chardev",
           fmt::format("socket,id=events,path={},server=on,wait=off", kJailEventSocket));
  args.Add("-mon", "chardev=events,mode=control");
  args.Add("-chardev", fmt::format("socket,id=qmp,path={},server=on,wait=off", kJailApiSocket));
  args.Add("-mon", "chardev=qmp,mode=control");
  // The guest stands still until QMP says "cont": the driver is never too late to hear of its end.
  args.Add("-S");
}

void AddKernel(Arguments& args, const VmSpec& spec, const HostFacts& host,
               Accelerator accelerator) {
  args.Add("-kernel", kJailKernel);
  if (!spec.initrd.empty()) args.Add("-initrd", kJailInitrd);
  args.Add("-append", KernelArgs(spec, host, accelerator));
}

// Reads and writes together. A burst is what may be done in a tenth of a second, QEMU's default.
std::string Throttling(const DiskLimits& limits) {
  std::string text;
  if (limits.bytes_per_second != 0)
    text += fmt::format(",throttling.bps-total={}", limits.bytes_per_second);
  if (limits.operations_per_second != 0)
    text += fmt::format(",throttling.iops-total={}", limits.operations_per_second);
  return text;
}

void AddDevices(Arguments& args, const VmSpec& spec, const DiskLimits& disk) {
  if (!spec.rootfs.empty()) {
    // cache=unsafe: a guest's flush does not reach the host's disk, since a sandbox does not
    // outlive a crash of its host; what must last is synced when it is saved. discard: what the
    // guest frees, the host gets back. QEMU's default is werror=enospc: a write that finds no free
    // space stops the guest and is repeated when it continues (IoEvents); the guest gets every
    // other error.
    args.Add("-drive",
             fmt::format("if=none,id=rootfs,file={},format=raw,cache=unsafe,discard=unmap,"
                         "read-only={}{}",
                         kJailRootfs, spec.rootfs_read_only ? "on" : "off", Throttling(disk)));
    args.Add("-device", "virtio-blk-device,drive=rootfs");
  }
  if (!spec.tap.empty()) {
    args.Add("-netdev",
             fmt::format("tap,id=net0,ifname={},script=no,downscript=no,vhost=off", spec.tap));
    args.Add("-device", spec.mac.empty()
                            ? "virtio-net-device,netdev=net0"
                            : fmt::format("virtio-net-device,netdev=net0,mac={}", spec.mac));
  }
  args.Add("-object", "rng-builtin,id=rng0");
  args.Add("-device", "virtio-rng-device,rng=rng0");
}

// The guest waits for its state instead of being reset: a reset would write kernel and initrd over
// the restored memory. What is loaded is devices only, without the section on QEMU's own settings.
void AddIncoming(Arguments& args) {
  args.Add("-global", "migration.send-configuration=off");
  args.Add("-incoming", "defer");
}

void AddMemoryBinds(std::vector<JailBind>& binds, const VmSpec& spec, const Programs& programs) {
  const bool shared = !programs.memory_opener.empty();
  binds.push_back({.source = spec.memory_base, .target = kJailMemory, .read_only = shared});
  if (!shared) return;
  binds.push_back(
      {.source = programs.memory_opener, .target = kJailMemoryOpener, .executable = true});
  binds.push_back({.source = programs.preload, .target = kJailPreload});
}

std::vector<JailBind> Binds(const VmSpec& spec, const Programs& programs) {
  std::vector<JailBind> binds = programs.runtime;
  if (spec.state.empty())
    binds.push_back({.source = spec.kernel, .target = kJailKernel, .read_only = true});
  if (spec.state.empty() && !spec.initrd.empty())
    binds.push_back({.source = spec.initrd, .target = kJailInitrd, .read_only = true});
  if (!spec.rootfs.empty())
    binds.push_back(
        {.source = spec.rootfs, .target = kJailRootfs, .read_only = spec.rootfs_read_only});
  if (!spec.memory_base.empty()) AddMemoryBinds(binds, spec, programs);
  return binds;
}

}  // namespace

base::Result<LaunchPlan> MakePlan(const VmSpec& spec, const Programs& programs,
                                  const HostFacts& host, Accelerator accelerator) {
  TRY(CheckSpec(spec, host, kLimits));
  Arguments args;
  AddMachine(args, spec, accelerator);
  AddIsolation(args);
  AddConsoleAndControl(args);
  // A restored guest has them in its memory; QEMU would only spend milliseconds on reading them.
  if (spec.state.empty()) AddKernel(args, spec, host, accelerator);
  AddDevices(args, spec, programs.disk);
  if (!spec.state.empty()) AddIncoming(args);

  LaunchSpec launch;
  launch.id = spec.id;
  launch.run_dir = spec.run_dir;
  launch.warden = programs.warden;
  launch.vmm = programs.qemu;
  launch.argv = args.Take();
  launch.binds = Binds(spec, programs);
  launch.netns = spec.netns;
  launch.uid = spec.uid;
  launch.gid = spec.gid;
  launch.kvm = accelerator == Accelerator::kKvm;
  launch.tun = !spec.tap.empty();
  launch.cgroup = spec.cgroup;
  launch.limits = spec.limits;
  launch.stop_grace = spec.stop_grace;
  return LaunchPlan{.launch = std::move(launch), .requests = {}};
}

}  // namespace tinderbox::vmm::qemu
