// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "vmm/qemu/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

namespace tinderbox::vmm::qemu {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

const HostFacts kHost = {.memory_mib = 8192, .cpus = 2, .tsc_khz = 2500123};
const JailBind kQemu{"/usr/bin/qemu-system-x86_64", "/usr/bin/qemu-system-x86_64", true, true};
const Programs kPrograms = {
    .qemu = kQemu.source, .warden = "/opt/warden", .runtime = {kQemu, {"/lib64", "/lib64"}}};

VmSpec Full() {
  VmSpec spec;
  spec.id = "ione";
  spec.kernel = "/images/vmlinux-6.1";
  spec.initrd = "/images/initrd";
  spec.rootfs = "/pool/ione/disk.img";
  spec.cmdline = "tinderbox.agent=1";
  spec.memory_mib = 512;
  spec.cpus = 2;
  spec.netns = "/run/netns/tb-1";
  spec.tap = "tap0";
  spec.mac = "02:fc:00:00:00:05";
  spec.uid = 1900000001;
  spec.gid = 1900000002;
  spec.run_dir = "/run/tinderbox/vm/ione";
  spec.cgroup = "tinderbox/ione";
  spec.limits = {.memory_bytes = 1 << 30, .cpus = 2, .pids = 64};
  return spec;
}

std::vector<std::string> FullArgv() {
  return {
      "qemu-system-x86_64",
      "-M",
      "microvm,acpi=on,pit=off,pic=off,rtc=on,x-option-roms=off,isa-serial=on,"
      "auto-kernel-cmdline=off,suppress-vmdesc=on,memory-backend=memory,"
      "mem-merge=off,dump-guest-core=off",
      "-accel",
      "tcg,tb-size=128",
      "-cpu",
      "max,la57=off,smap=off,smep=off,umip=off,pku=off,erms=off,fsrm=off",
      "-smp",
      "2",
      "-m",
      "512M",
      "-object",
      "memory-backend-ram,id=memory,size=512M",
      "-nodefaults",
      "-no-user-config",
      "-display",
      "none",
      "-sandbox",
      "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
      "-no-reboot",
      "-chardev",
      "stdio,id=console,signal=off",
      "-serial",
      "chardev:console",
      "-chardev",
      "socket,id=events,path=/run/events.sock,server=on,wait=off",
      "-mon",
      "chardev=events,mode=control",
      "-chardev",
      "socket,id=qmp,path=/run/api.sock,server=on,wait=off",
      "-mon",
      "chardev=qmp,mode=control",
      "-S",
      "-kernel",
      "/vmlinux",
      "-initrd",
      "/initrd.img",
      "-append",
      "console=ttyS0 quiet reboot=t panic=-1 random.trust_cpu=on tsc_early_khz=2500123 "
      "tsc=reliable mitigations=off nokaslr norandmaps init_on_alloc=0 cryptomgr.notests "
      "tinderbox.agent=1",
      "-drive",
      "if=none,id=rootfs,file=/rootfs.ext4,format=raw,cache=unsafe,discard=unmap,read-only=off",
      "-device",
      "virtio-blk-device,drive=rootfs",
      "-netdev",
      "tap,id=net0,ifname=tap0,script=no,downscript=no,vhost=off",
      "-device",
      "virtio-net-device,netdev=net0,mac=02:fc:00:00:00:05",
      "-object",
      "rng-builtin,id=rng0",
      "-device",
      "virtio-rng-device,rng=rng0",
  };
}

TEST(QemuPlan, FullSpecUnderTcg) {
  const auto plan = MakePlan(Full(), kPrograms, kHost, Accelerator::kTcg);
  ASSERT_TRUE(plan) << plan.error().ToString();
  EXPECT_EQ(plan->launch.argv, FullArgv());
  EXPECT_EQ(plan->launch.vmm, "/usr/bin/qemu-system-x86_64");
  EXPECT_EQ(plan->launch.warden, "/opt/warden");
  EXPECT_EQ(plan->launch.binds,
            (std::vector<JailBind>{kQemu,
                                   {"/lib64", "/lib64", true},
                                   {"/images/vmlinux-6.1", "/vmlinux", true},
                                   {"/images/initrd", "/initrd.img", true},
                                   {"/pool/ione/disk.img", "/rootfs.ext4", false}}));
  EXPECT_FALSE(plan->launch.kvm);
  EXPECT_TRUE(plan->launch.tun);
  EXPECT_EQ(plan->launch.uid, 1900000001U);
  EXPECT_EQ(plan->launch.gid, 1900000002U);
  EXPECT_EQ(plan->launch.netns, "/run/netns/tb-1");
  EXPECT_EQ(plan->launch.cgroup, "tinderbox/ione");
  EXPECT_EQ(plan->launch.limits, Full().limits);
  EXPECT_TRUE(plan->requests.empty());
}

TEST(QemuPlan, LimitsOfTheDisk) {
  Programs programs = kPrograms;
  programs.disk = {.bytes_per_second = 1000, .operations_per_second = 50};
  const auto plan = MakePlan(Full(), programs, kHost, Accelerator::kTcg);
  ASSERT_TRUE(plan) << plan.error().ToString();
  EXPECT_THAT(plan->launch.argv,
              Contains(HasSubstr(",throttling.bps-total=1000,throttling.iops-total=50")));
}

TEST(QemuPlan, UnderKvmTheGuestKnowsItsClock) {
  const auto plan = MakePlan(Full(), kPrograms, kHost, Accelerator::kKvm);
  ASSERT_TRUE(plan) << plan.error().ToString();
  EXPECT_TRUE(plan->launch.kvm);
  EXPECT_THAT(plan->launch.argv, Contains("kvm"));
  EXPECT_THAT(plan->launch.argv, Contains("host"));
  for (const std::string& word : plan->launch.argv) {
    EXPECT_THAT(word, Not(HasSubstr("tsc")));
    EXPECT_THAT(word, Not(HasSubstr("tcg")));
    // A guest's own processes are kept apart from each other where the hardware speculates.
    EXPECT_THAT(word, Not(HasSubstr("mitigations")));
  }
}

TEST(QemuPlan, LeastSpecHasNoDevicesButEntropy) {
  VmSpec spec = Full();
  spec.initrd = spec.rootfs = spec.netns = spec.tap = spec.mac = spec.cmdline = "";
  const auto plan = MakePlan(spec, kPrograms, kHost, Accelerator::kTcg);
  ASSERT_TRUE(plan) << plan.error().ToString();
  EXPECT_FALSE(plan->launch.tun);
  for (const char* absent : {"-initrd", "-drive", "-netdev"})
    EXPECT_THAT(plan->launch.argv, Not(Contains(absent)));
  EXPECT_THAT(plan->launch.argv, Contains("virtio-rng-device,rng=rng0"));
}

TEST(QemuPlan, WithoutInitrdTheDiskIsTheRoot) {
  VmSpec spec = Full();
  spec.initrd = "";
  const auto writable = MakePlan(spec, kPrograms, kHost, Accelerator::kTcg);
  EXPECT_THAT(writable->launch.argv, Contains(HasSubstr(" root=/dev/vda rw tinderbox.agent=1")));
  spec.rootfs_read_only = true;
  const auto plan = MakePlan(spec, kPrograms, kHost, Accelerator::kTcg);
  EXPECT_THAT(plan->launch.argv, Contains(HasSubstr(" root=/dev/vda ro tinderbox.agent=1")));
  EXPECT_THAT(plan->launch.argv, Contains(HasSubstr("read-only=on")));
  EXPECT_TRUE(plan->launch.binds.back().read_only);
}

// Of a guest that can be snapshotted: its memory is a private mapping of a file that no VMM can
// write to.
TEST(QemuPlan, MemoryFile) {
  Programs programs = kPrograms;
  programs.memory_opener = "/opt/memory.so";
  programs.preload = "/opt/memory.preload";
  VmSpec spec = Full();
  spec.memory_base = "/pool/t1/memory.img";
  auto plan = MakePlan(spec, programs, kHost, Accelerator::kTcg);
  ASSERT_TRUE(plan) << plan.error().ToString();
  std::vector<std::string> argv = FullArgv();
  std::ranges::replace(argv, std::string("memory-backend-ram,id=memory,size=512M"),
                       std::string("memory-backend-file,id=memory,size=512M,"
                                   "mem-path=/memory.img,share=off"));
  EXPECT_EQ(plan->launch.argv, argv);
  EXPECT_THAT(plan->launch.binds, Contains(JailBind{"/pool/t1/memory.img", "/memory.img", true}));
  EXPECT_THAT(plan->launch.binds,
              Contains(JailBind{"/opt/memory.so", "/qemu-memory.so", true, true}));
  EXPECT_THAT(plan->launch.binds,
              Contains(JailBind{"/opt/memory.preload", "/etc/ld.so.preload", true}));

  // Without what opens it read-only it is the VM's own, and writable.
  plan = MakePlan(spec, kPrograms, kHost, Accelerator::kTcg);
  ASSERT_TRUE(plan) << plan.error().ToString();
  EXPECT_EQ(plan->launch.argv, argv);
  EXPECT_EQ(plan->launch.binds.back(), (JailBind{"/pool/t1/memory.img", "/memory.img", false}));
}

// The same devices, so that the state finds the same machine; no kernel, which the guest has in its
// memory; and it waits for the state.
TEST(QemuPlan, Restore) {
  VmSpec spec = Full();
  spec.memory_base = "/pool/t1/memory.img";
  std::vector<std::string> argv = MakePlan(spec, kPrograms, kHost, Accelerator::kTcg)->launch.argv;
  const auto kernel = std::ranges::find(argv, "-kernel");
  ASSERT_NE(kernel, argv.end());
  argv.erase(kernel, kernel + 6);  // with -initrd and -append
  spec.kernel = spec.initrd = "";
  spec.state = "/pool/t1/vmm.state";
  const auto plan = MakePlan(spec, kPrograms, kHost, Accelerator::kTcg);
  ASSERT_TRUE(plan) << plan.error().ToString();
  for (const char* word : {"-global", "migration.send-configuration=off", "-incoming", "defer"})
    argv.emplace_back(word);
  EXPECT_EQ(plan->launch.argv, argv);
  for (const JailBind& bind : plan->launch.binds) EXPECT_NE(bind.target, kJailKernel);
}

// QEMU's options are comma-separated lists: nothing of the caller's may add to one.
TEST(QemuPlan, NothingOfTheCallerReachesAnOptionUnchecked) {
  const auto refuse = [](auto change) {
    VmSpec spec = Full();
    change(spec);
    const auto plan = MakePlan(spec, kPrograms, kHost, Accelerator::kTcg);
    ASSERT_FALSE(plan);
    EXPECT_EQ(plan.error().code(), base::Code::kInvalidArgument);
  };
  refuse([](VmSpec& s) { s.tap = "tap0,script=/bin/sh"; });
  refuse([](VmSpec& s) { s.mac = "02:fc:00:00:00:05,x=y"; });
  refuse([](VmSpec& s) { s.mac = "02:fc:00:00:0,:05"; });
  refuse([](VmSpec& s) { s.memory_mib = 7; });
  refuse([](VmSpec& s) { s.memory_mib = 8193; });
  refuse([](VmSpec& s) { s.cpus = 0; });
  // Paths never do: they are binds, and QEMU sees the fixed names.
  VmSpec spec = Full();
  spec.kernel = "/a,b=c";
  EXPECT_TRUE(MakePlan(spec, kPrograms, kHost, Accelerator::kTcg));
}

}  // namespace
}  // namespace tinderbox::vmm::qemu
