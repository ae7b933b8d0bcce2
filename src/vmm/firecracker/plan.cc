// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "vmm/firecracker/plan.h"

#include <boost/json.hpp>

#include "vmm/check_spec.h"

namespace tinderbox::vmm::firecracker {
namespace {

namespace json = boost::json;

// Firecracker takes 2,048 bytes of command line, of which it appends some itself for each device.
constexpr MachineLimits kLimits = {.min_memory_mib = 1, .max_cpus = 32, .max_cmdline = 1536};

// Always given, since without boot_args Firecracker passes its own, "nomodule" among them, and no
// distribution's kernel boots with that. The caller's part comes last, where the kernel lets it
// win.
//   reboot=k      a guest that reboots resets by the i8042, which ends the process with status 0
//   panic=-1      and one that panics reboots at once
//   i8042.…       there is no mouse and no multiplexer to look for
//   rcupdate.…    a restored guest's clock jumps: if RCU was at work, it would report a stall
std::string BootArgs(const VmSpec& spec) {
  std::string args =
      "console=ttyS0 quiet reboot=k panic=-1 i8042.noaux i8042.nomux i8042.dumbkbd "
      "random.trust_cpu=on rcupdate.rcu_cpu_stall_suppress=1";
  if (!spec.cmdline.empty()) args += " " + spec.cmdline;
  return args;
}

PlannedRequest Put(std::string path, const json::object& body) {
  return {.method = "PUT", .path = std::move(path), .body = json::serialize(body)};
}

PlannedRequest Patch(std::string path, const json::object& body) {
  return {.method = "PATCH", .path = std::move(path), .body = json::serialize(body)};
}

// Token buckets that fill up in a second.
json::object RateLimiter(const DiskLimits& limits) {
  json::object limiter;
  const auto bucket = [](std::uint64_t size) {
    return json::object{{"size", size}, {"refill_time", 1000}};
  };
  if (limits.bytes_per_second != 0) limiter["bandwidth"] = bucket(limits.bytes_per_second);
  if (limits.operations_per_second != 0) limiter["ops"] = bucket(limits.operations_per_second);
  return limiter;
}

// In the order of Firecracker's own documentation; the files are opened at each PUT.
std::vector<PlannedRequest> Requests(const VmSpec& spec, const DiskLimits& disk) {
  std::vector<PlannedRequest> requests;
  requests.push_back(Put("/machine-config", {{"vcpu_count", spec.cpus},
                                             {"mem_size_mib", spec.memory_mib},
                                             {"smt", false},
                                             {"track_dirty_pages", spec.snapshots}}));
  json::object boot = {{"kernel_image_path", kJailKernel}, {"boot_args", BootArgs(spec)}};
  if (!spec.initrd.empty()) boot["initrd_path"] = kJailInitrd;
  requests.push_back(Put("/boot-source", boot));
  if (!spec.rootfs.empty()) {
    // A root device adds root=/dev/vda to the command line. With an initrd, the initrd decides.
    // Unsafe caching: a guest's flush does not reach the host's disk, since a sandbox does not
    // outlive a crash of its host; what must last is synced when it is saved.
    json::object drive = {{"drive_id", "rootfs"},
                          {"path_on_host", kJailRootfs},
                          {"is_root_device", spec.initrd.empty()},
                          {"is_read_only", spec.rootfs_read_only},
                          {"cache_type", "Unsafe"},
                          {"io_engine", "Sync"}};
    if (disk.any()) drive["rate_limiter"] = RateLimiter(disk);
    requests.push_back(Put("/drives/rootfs", drive));
  }
  if (!spec.tap.empty()) {
    json::object nic = {{"iface_id", "eth0"}, {"host_dev_name", spec.tap}};
    if (!spec.mac.empty()) nic["guest_mac"] = spec.mac;
    requests.push_back(Put("/network-interfaces/eth0", nic));
  }
  requests.push_back(Put("/entropy", {}));
  requests.push_back(Put("/actions", {{"action_type", "InstanceStart"}}));
  return requests;
}

// One request and no other before it: all else stands in the state. The last one starts the guest.
// Limits of the disk are those of the saved guest, until they are changed: before it goes on.
std::vector<PlannedRequest> RestoreRequests(const VmSpec& spec, const DiskLimits& disk) {
  const bool limit = disk.any() && !spec.rootfs.empty();
  // The old name of track_dirty_pages: 1.12 knows no other, later ones take both.
  const json::object load = {
      {"snapshot_path", kJailState},
      {"mem_backend", {{"backend_type", "File"}, {"backend_path", kJailMemory}}},
      {"enable_diff_snapshots", spec.snapshots},
      {"resume_vm", !spec.start_paused && !limit}};
  std::vector<PlannedRequest> requests = {Put("/snapshot/load", load)};
  if (!limit) return requests;
  requests.push_back(
      Patch("/drives/rootfs", {{"drive_id", "rootfs"}, {"rate_limiter", RateLimiter(disk)}}));
  if (!spec.start_paused) requests.push_back(Patch("/vm", {{"state", "Resumed"}}));
  return requests;
}

std::vector<JailBind> Binds(const VmSpec& spec) {
  std::vector<JailBind> binds;
  // A restored guest has its kernel in its memory.
  const bool boots = spec.state.empty();
  if (boots) binds.push_back({.source = spec.kernel, .target = kJailKernel, .read_only = true});
  if (boots && !spec.initrd.empty())
    binds.push_back({.source = spec.initrd, .target = kJailInitrd, .read_only = true});
  if (!spec.rootfs.empty())
    binds.push_back(
        {.source = spec.rootfs, .target = kJailRootfs, .read_only = spec.rootfs_read_only});
  if (!boots) {
    binds.push_back({.source = spec.memory_base, .target = kJailMemory, .read_only = true});
    binds.push_back({.source = spec.state, .target = kJailState, .read_only = true});
  }
  if (spec.snapshots)
    binds.push_back({.source = spec.snapshot_dir, .target = kJailSnapshots, .read_only = false});
  return binds;
}

}  // namespace

base::Result<LaunchPlan> MakePlan(const VmSpec& spec, const Programs& programs,
                                  const HostFacts& host) {
  TRY(CheckSpec(spec, host, kLimits));
  if (spec.snapshots && spec.snapshot_dir.empty())
    return std::unexpected(base::Error(base::Code::kInvalidArgument,
                                       "Firecracker needs a directory to write snapshots to")
                               .WithRemedy("Name a snapshot directory."));
  LaunchSpec launch;
  launch.id = spec.id;
  launch.run_dir = spec.run_dir;
  launch.warden = programs.warden;
  launch.vmm = programs.firecracker;
  // The guest's console is the process's standard output; the VMM's own log would be mixed into it,
  // so only errors are. Its seccomp filters are on by default, and stay so.
  launch.argv = {"firecracker", "--api-sock", kJailApiSocket, "--id", "vm", "--level", "Error"};
  launch.binds = Binds(spec);
  launch.netns = spec.netns;
  launch.uid = spec.uid;
  launch.gid = spec.gid;
  // A snapshot's memory; its state is smaller than the workspace.
  launch.file_bytes = std::uint64_t{spec.memory_mib} << 20;
  launch.kvm = true;
  launch.tun = !spec.tap.empty();
  launch.cgroup = spec.cgroup;
  launch.limits = spec.limits;
  launch.stop_grace = spec.stop_grace;
  return LaunchPlan{.launch = std::move(launch),
                    .requests = spec.state.empty() ? Requests(spec, programs.disk)
                                                   : RestoreRequests(spec, programs.disk)};
}

}  // namespace tinderbox::vmm::firecracker
