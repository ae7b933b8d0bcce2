// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "vmm/firecracker/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tinderbox::vmm::firecracker {
namespace {

using ::testing::ElementsAre;

const HostFacts kHost = {.memory_mib = 8192, .cpus = 2, .tsc_khz = 2500000};
const Programs kPrograms = {.firecracker = "/opt/firecracker", .warden = "/opt/warden"};

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
  spec.stop_grace = std::chrono::milliseconds(1500);
  return spec;
}

TEST(FirecrackerPlan, FullSpec) {
  const auto plan = MakePlan(Full(), kPrograms, kHost);
  ASSERT_TRUE(plan) << plan.error().ToString();

  LaunchSpec launch;
  launch.id = "ione";
  launch.run_dir = "/run/tinderbox/vm/ione";
  launch.warden = "/opt/warden";
  launch.vmm = "/opt/firecracker";
  launch.argv = {"firecracker", "--api-sock", "/run/api.sock", "--id", "vm", "--level", "Error"};
  launch.binds = {{"/images/vmlinux-6.1", "/vmlinux", true},
                  {"/images/initrd", "/initrd.img", true},
                  {"/pool/ione/disk.img", "/rootfs.ext4", false}};
  launch.netns = "/run/netns/tb-1";
  launch.uid = 1900000001;
  launch.gid = 1900000002;
  launch.file_bytes = 512 << 20;
  launch.kvm = true;
  launch.tun = true;
  launch.cgroup = "tinderbox/ione";
  launch.limits = {.memory_bytes = 1 << 30, .cpus = 2, .pids = 64};
  launch.stop_grace = std::chrono::milliseconds(1500);
  EXPECT_EQ(plan->launch, launch);

  EXPECT_THAT(
      plan->requests,
      ElementsAre(
          PlannedRequest{"PUT", "/machine-config",
                         R"({"vcpu_count":2,"mem_size_mib":512,"smt":false,)"
                         R"("track_dirty_pages":false})"},
          PlannedRequest{"PUT", "/boot-source",
                         R"({"kernel_image_path":"/vmlinux","boot_args":"console=ttyS0 quiet )"
                         R"(reboot=k panic=-1 i8042.noaux i8042.nomux i8042.dumbkbd )"
                         R"(random.trust_cpu=on rcupdate.rcu_cpu_stall_suppress=1 )"
                         R"(tinderbox.agent=1","initrd_path":"/initrd.img"})"},
          PlannedRequest{"PUT", "/drives/rootfs",
                         R"({"drive_id":"rootfs","path_on_host":"/rootfs.ext4",)"
                         R"("is_root_device":false,"is_read_only":false,"cache_type":"Unsafe",)"
                         R"("io_engine":"Sync"})"},
          PlannedRequest{"PUT", "/network-interfaces/eth0",
                         R"({"iface_id":"eth0","host_dev_name":"tap0",)"
                         R"("guest_mac":"02:fc:00:00:00:05"})"},
          PlannedRequest{"PUT", "/entropy", "{}"},
          PlannedRequest{"PUT", "/actions", R"({"action_type":"InstanceStart"})"}));
}

TEST(FirecrackerPlan, LeastSpec) {
  VmSpec spec = Full();
  spec.initrd = spec.rootfs = spec.netns = spec.tap = spec.mac = spec.cmdline = "";
  const auto plan = MakePlan(spec, kPrograms, kHost);
  ASSERT_TRUE(plan) << plan.error().ToString();
  EXPECT_EQ(plan->launch.binds, (std::vector<JailBind>{{"/images/vmlinux-6.1", "/vmlinux", true}}));
  EXPECT_FALSE(plan->launch.tun);
  ASSERT_EQ(plan->requests.size(), 4U);
  // Boot arguments are always passed: Firecracker's own default breaks distributions' kernels.
  EXPECT_EQ(plan->requests[1].body,
            R"({"kernel_image_path":"/vmlinux","boot_args":"console=ttyS0 quiet reboot=k panic=-1 )"
            R"(i8042.noaux i8042.nomux i8042.dumbkbd random.trust_cpu=on )"
            R"(rcupdate.rcu_cpu_stall_suppress=1"})");
}

TEST(FirecrackerPlan, WithoutInitrdTheDiskIsTheRoot) {
  VmSpec spec = Full();
  spec.initrd = "";
  spec.rootfs_read_only = true;
  const auto plan = MakePlan(spec, kPrograms, kHost);
  ASSERT_TRUE(plan) << plan.error().ToString();
  EXPECT_EQ(plan->requests[2].body,
            R"({"drive_id":"rootfs","path_on_host":"/rootfs.ext4","is_root_device":true,)"
            R"("is_read_only":true,"cache_type":"Unsafe","io_engine":"Sync"})");
  EXPECT_TRUE(plan->launch.binds[1].read_only);
}

TEST(FirecrackerPlan, ToBeSnapshotted) {
  VmSpec spec = Full();
  spec.snapshots = true;
  spec.snapshot_dir = "/pool/ione/work";
  const auto plan = MakePlan(spec, kPrograms, kHost);
  ASSERT_TRUE(plan) << plan.error().ToString();
  EXPECT_EQ(plan->requests[0].body,
            R"({"vcpu_count":2,"mem_size_mib":512,"smt":false,"track_dirty_pages":true})");
  EXPECT_EQ(plan->launch.binds.back(), (JailBind{"/pool/ione/work", "/snapshots", false}));
}

// Everything else stands in the state: one request. Nothing of the snapshot can be written.
TEST(FirecrackerPlan, Restore) {
  VmSpec spec = Full();
  spec.memory_base = "/pool/t1/memory.img";
  spec.state = "/pool/t1/vmm.state";
  auto plan = MakePlan(spec, kPrograms, kHost);
  ASSERT_TRUE(plan) << plan.error().ToString();
  EXPECT_THAT(plan->requests,
              ElementsAre(PlannedRequest{
                  "PUT", "/snapshot/load",
                  R"({"snapshot_path":"/vmm.state","mem_backend":{"backend_type":"File",)"
                  R"("backend_path":"/memory.img"},"enable_diff_snapshots":false,)"
                  R"("resume_vm":true})"}));
  // No kernel: the guest has it in its memory.
  ASSERT_EQ(plan->launch.binds.size(), 3U);
  EXPECT_EQ(plan->launch.binds[1], (JailBind{"/pool/t1/memory.img", "/memory.img", true}));
  EXPECT_EQ(plan->launch.binds[2], (JailBind{"/pool/t1/vmm.state", "/vmm.state", true}));

  spec.start_paused = spec.snapshots = true;
  spec.snapshot_dir = "/pool/ione/work";
  plan = MakePlan(spec, kPrograms, kHost);
  ASSERT_TRUE(plan) << plan.error().ToString();
  EXPECT_THAT(plan->requests[0].body,
              testing::EndsWith(R"("enable_diff_snapshots":true,"resume_vm":false})"));
}

TEST(FirecrackerPlan, LimitsOfTheDisk) {
  Programs programs = kPrograms;
  programs.disk = {.bytes_per_second = 1000, .operations_per_second = 0};
  auto plan = MakePlan(Full(), programs, kHost);
  ASSERT_TRUE(plan) << plan.error().ToString();
  EXPECT_THAT(
      plan->requests[2].body,
      testing::EndsWith(R"("rate_limiter":{"bandwidth":{"size":1000,"refill_time":1000}}})"));

  // A restored guest has the limits that it was saved with: they change before it goes on.
  programs.disk.operations_per_second = 50;
  VmSpec spec = Full();
  spec.memory_base = "/pool/t1/memory.img";
  spec.state = "/pool/t1/vmm.state";
  plan = MakePlan(spec, programs, kHost);
  ASSERT_TRUE(plan) << plan.error().ToString();
  ASSERT_EQ(plan->requests.size(), 3U);
  EXPECT_THAT(plan->requests[0].body, testing::EndsWith(R"("resume_vm":false})"));
  EXPECT_EQ(plan->requests[1],
            (PlannedRequest{"PATCH", "/drives/rootfs",
                            R"({"drive_id":"rootfs","rate_limiter":{"bandwidth":{"size":1000,)"
                            R"("refill_time":1000},"ops":{"size":50,"refill_time":1000}}})"}));
  EXPECT_EQ(plan->requests[2], (PlannedRequest{"PATCH", "/vm", R"({"state":"Resumed"})"}));
  spec.start_paused = true;
  EXPECT_EQ(MakePlan(spec, programs, kHost)->requests.size(), 2U) << "it stands still";
}

TEST(FirecrackerPlan, TextIsEscapedInJson) {
  VmSpec spec = Full();
  spec.cmdline = R"(a="b\c")";
  const auto plan = MakePlan(spec, kPrograms, kHost);
  ASSERT_TRUE(plan);
  EXPECT_THAT(plan->requests[1].body, testing::HasSubstr(R"( a=\"b\\c\"")"));
}

TEST(FirecrackerPlan, RefusesWhatCannotWork) {
  const auto refuse = [](auto change) {
    VmSpec spec = Full();
    change(spec);
    const auto plan = MakePlan(spec, kPrograms, kHost);
    ASSERT_FALSE(plan);
    EXPECT_EQ(plan.error().code(), base::Code::kInvalidArgument);
    EXPECT_NE(plan.error().remedy(), "");
  };
  refuse([](VmSpec& s) { s.memory_mib = 0; });
  refuse([](VmSpec& s) { s.memory_mib = 8193; });
  refuse([](VmSpec& s) { s.cpus = 0; });
  refuse([](VmSpec& s) { s.cpus = 33; });
  refuse([](VmSpec& s) { s.uid = 0; });
  refuse([](VmSpec& s) { s.mac = "02:fc:00:00:00"; });
  refuse([](VmSpec& s) { s.mac = "02-fc-00-00-00-05"; });
  refuse([](VmSpec& s) { s.tap = "a/b"; });
  refuse([](VmSpec& s) { s.netns = ""; });
  refuse([](VmSpec& s) { s.snapshots = true; });
  refuse([](VmSpec& s) { s.initrd = "initrd"; });
  refuse([](VmSpec& s) { s.cmdline = "bell\a"; });
  refuse([](VmSpec& s) { s.cmdline = std::string(1537, 'x'); });
}

}  // namespace
}  // namespace tinderbox::vmm::firecracker
