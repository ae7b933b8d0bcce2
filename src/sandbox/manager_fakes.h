// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fmt/format.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/id.h"
#include "sandbox/open.h"
#include "sys/directory.h"
#include "sys/file.h"
#include "sys/netns.h"

// For the manager's tests: everything below it is a fake that fails where it is told to, but for
// the launcher and the store, which are the real ones. The VMM's place is taken by
// tests/programs/jailed.
namespace tinderbox::sandbox {

// All requests to the agents and to the VMs' driver of a test, in their order.
class Asked {
 public:
  void Add(std::string what) {
    const std::lock_guard lock(mutex_);
    all_.push_back(std::move(what));
  }
  // All since the last call.
  std::vector<std::string> Take() {
    const std::lock_guard lock(mutex_);
    return std::exchange(all_, {});
  }

 private:
  std::mutex mutex_;
  std::vector<std::string> all_;
};

struct AgentStatus {
  int init = 204;
  int freeze = 204;
};

// Answers 204 to everything on the far end of a socket pair, once per connection.
inline void PlayAgent(sys::UniqueFd socket, AgentStatus statuses,
                      const std::shared_ptr<Asked>& asked) {
  std::string request;
  char buffer[4096];
  const auto complete = [&request] {
    const auto head_end = request.find("\r\n\r\n");
    if (head_end == std::string::npos) return false;
    const auto length = request.find("Content-Length: ");
    const std::size_t body =
        length == std::string::npos ? 0 : std::stoul(request.substr(length + 16));
    return request.size() >= head_end + 4 + body;
  };
  while (!complete()) {
    const ssize_t n = ::read(socket.get(), buffer, sizeof buffer);
    if (n <= 0) return;
    request.append(buffer, static_cast<std::size_t>(n));
  }
  int status = 204;
  if (request.starts_with("POST /init")) status = statuses.init;
  if (request.starts_with("POST /freeze")) status = statuses.freeze;
  std::string line = request.substr(0, request.find(" HTTP/"));
  if (request.find("\"entropy\"") != std::string::npos) line += " entropy";
  asked->Add(std::move(line));
  static_cast<void>(
      sys::WriteAll(socket, fmt::format("HTTP/1.1 {} x\r\nContent-Length: 0\r\n\r\n", status)));
}

class FakeSlots final : public network::SlotPool {
 public:
  bool fail_acquire = false;
  std::atomic<bool> fail_policy = false;
  std::atomic<bool> mute = false;  // the agent never answers
  int init_status = 204;
  int freeze_status = 204;
  const std::shared_ptr<Asked> asked = std::make_shared<Asked>();

  base::Result<network::Slot> Acquire(const network::EgressPolicy& policy) override {
    if (fail_acquire) return base::Fail(base::Code::kResourceExhausted, "no slot is free");
    const std::lock_guard lock(mutex_);
    std::uint32_t index = 1;
    while (used_.contains(index)) ++index;
    used_.insert(index);
    policies_[index] = policy;
    network::Slot slot;
    slot.index = index;
    slot.uid = 1900000000 + index;
    return slot;
  }
  base::Result<network::Slot> Adopt(std::uint32_t index) override {
    const std::lock_guard lock(mutex_);
    used_.insert(index);
    network::Slot slot;
    slot.index = index;
    return slot;
  }
  base::Result<> Release(std::uint32_t index) override {
    const std::lock_guard lock(mutex_);
    if (used_.erase(index) == 0) ++double_releases;
    return {};
  }
  base::Result<std::vector<std::string>> Sweep() override { return std::vector<std::string>(); }
  base::Result<> SetPolicy(std::uint32_t index, const network::EgressPolicy& policy) override {
    if (fail_policy) return base::Fail(base::Code::kInternal, "the kernel refuses");
    const std::lock_guard lock(mutex_);
    policies_[index] = policy;
    return {};
  }
  base::Result<sys::UniqueFd> Namespace(std::uint32_t) override { return sys::CurrentNetNs(); }
  base::Result<sys::UniqueFd> Dial(std::uint32_t, std::uint16_t, base::Deadline deadline) override {
    if (mute) return base::Fail(base::Code::kUnavailable, "the guest is silent");
    if (deadline.passed()) return base::Fail(base::Code::kDeadlineExceeded, "too late");
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
      return base::FailErrno(errno, "socketpair");
    }
    const AgentStatus statuses{.init = init_status, .freeze = freeze_status};
    std::thread(PlayAgent, sys::UniqueFd(ends[1]), statuses, asked).detach();
    return sys::UniqueFd(ends[0]);
  }

  std::set<std::uint32_t> used() {
    const std::lock_guard lock(mutex_);
    return used_;
  }
  network::EgressPolicy policy(std::uint32_t index) {
    const std::lock_guard lock(mutex_);
    return policies_[index];
  }
  std::atomic<int> double_releases = 0;

 private:
  std::mutex mutex_;
  std::set<std::uint32_t> used_;
  std::map<std::uint32_t, network::EgressPolicy> policies_;
};

class FakeGateway final : public egress::Gateway {
 public:
  std::atomic<bool> fail_serve = false;

  base::Result<> Serve(std::uint32_t index, sys::UniqueFd, const egress::Rules& rules) override {
    if (fail_serve) return base::Fail(base::Code::kInternal, "the gateway refuses");
    const std::lock_guard lock(mutex_);
    rules_[index] = rules;
    return {};
  }
  void Forget(std::uint32_t index) override {
    const std::lock_guard lock(mutex_);
    rules_.erase(index);
  }
  base::Result<std::string> Certificate() override { return std::string("certificate"); }
  Counts counts() override {
    const std::lock_guard lock(mutex_);
    return {.slots = rules_.size()};
  }
  // What is served by name at a slot.
  egress::DomainPatterns names(std::uint32_t index) {
    const std::lock_guard lock(mutex_);
    const auto found = rules_.find(index);
    return found == rules_.end() ? egress::DomainPatterns{} : found->second.names;
  }

 private:
  std::mutex mutex_;
  std::map<std::uint32_t, egress::Rules> rules_;
};

class FakeLibrary final : public image::Library {
 public:
  explicit FakeLibrary(std::string dir) : dir_(std::move(dir)) {}

  bool fail_kernel = false;
  bool fail_disk = false;
  std::atomic<bool> fail_capture = false;
  std::atomic<bool> fail_commit = false;
  std::atomic<std::uint64_t> free_bytes = 1ull << 30;

  const std::string& pool_dir() const override { return dir_; }
  base::Result<image::Kernel> DefaultKernel() override {
    if (fail_kernel) return base::Fail(base::Code::kFailedPrecondition, "no kernel is prepared");
    return image::Kernel{.version = "6.1", .vmlinux = "/vmlinux", .initrd = "/initrd"};
  }
  base::Result<std::vector<image::Template>> Templates() override {
    return std::vector{TRY(FindTemplate("base"))};
  }
  base::Result<image::Template> FindTemplate(std::string_view name) override {
    if (auto saved = FindSaved(std::string(name))) return saved;
    if (name != "base" && name != "tbase") {
      return base::Fail(base::Code::kNotFound, fmt::format("template '{}' not found", name));
    }
    image::Template base;
    base.id = "tbase";
    base.name = "base";
    base.memory_mib = 256;
    base.disk_bytes = 1 << 30;
    base.default_user = "user";
    return base;
  }
  base::Result<image::Kernel> PrepareKernel(const image::Progress&) override {
    return DefaultKernel();
  }
  base::Result<image::Template> PrepareBaseTemplate(const image::Progress&) override {
    return FindTemplate("base");
  }
  base::Result<image::VmFiles> MakeVmFiles(const image::Template&,
                                           const image::VmFilesOptions& options) override {
    if (fail_disk) return base::Fail(base::Code::kResourceExhausted, "the pool is full");
    const std::string dir = dir_ + "/sandboxes/" + options.sandbox_id;
    TRY(sys::MakeDirs(dir));
    TRY(sys::WriteFileAtomic(dir + "/disk.img", "disk"));
    return image::VmFiles{.disk = dir + "/disk.img",
                          .memory_base = dir + "/memory.base",
                          .state = options.restore ? dir + "/vmm.state" : "",
                          .snapshot_dir = dir};
  }
  base::Result<> RemoveVmFiles(const std::string& id) override {
    return sys::RemoveFile(dir_ + "/sandboxes/" + id + "/disk.img");
  }
  base::Result<std::string> KeepMemory(const std::string&, const std::string& memory) override {
    return memory;
  }
  base::Result<image::Capture> BeginCapture() override {
    if (fail_capture) return base::Fail(base::Code::kResourceExhausted, "the pool is full");
    const std::string dir = dir_ + "/captures/" + base::RandomHex(4);
    TRY(sys::MakeDirs(dir));
    return image::Capture(dir);
  }
  base::Result<> FlushDisk(const std::string&) override { return {}; }
  base::Result<> CaptureDisk(const image::Capture&, const std::string&) override { return {}; }
  base::Result<> CaptureCopy(const image::Capture&, const image::Template&) override { return {}; }
  base::Result<image::Template> Commit(image::Capture, image::Template info, bool) override {
    if (fail_commit) return base::Fail(base::Code::kResourceExhausted, "the pool is full");
    const std::lock_guard lock(mutex_);
    const bool paused = info.kind == image::SavedKind::kPaused;
    saved_[paused ? "paused " + info.source_sandbox : info.id] = info;
    return info;
  }
  base::Result<image::Template> FindPaused(const std::string& id) override {
    return FindSaved("paused " + id);
  }
  base::Result<> RemovePaused(const std::string& id) override { return Forget("paused " + id); }
  base::Result<image::Template> FindBoot(const std::string& id) override { return FindSaved(id); }
  base::Result<std::vector<std::string>> BootIds() override { return std::vector<std::string>(); }
  base::Result<> RemoveBoot(const std::string& id) override { return Forget(id); }
  base::Result<> RemoveFork(const std::string& id) override { return Forget(id); }
  base::Result<std::size_t> SweepCaptures() override { return 0; }
  base::Result<> Seal(const image::Template&) override { return {}; }
  base::Result<> VerifySaved(const image::Template&) override { return {}; }
  base::Result<> VerifyTemplate(const std::string&) override { return {}; }
  std::uint64_t StoredBytes(const image::Template&) override { return 4096; }
  base::Result<> RenameSnapshot(const std::string& id, const std::string& name) override {
    const std::lock_guard lock(mutex_);
    saved_[id].name = name;
    return {};
  }
  base::Result<> RemoveSandbox(const std::string& id) override {
    const std::lock_guard lock(mutex_);
    saved_.erase("paused " + id);
    return sys::RemoveTree(dir_ + "/sandboxes/" + id);
  }
  base::Result<std::vector<std::string>> SandboxDirs() override {
    return sys::NamesIn(dir_ + "/sandboxes");
  }
  base::Result<> RemoveTemplate(const std::string&) override { return {}; }
  base::Result<Space> PoolSpace() override {
    return Space{.free_bytes = free_bytes, .total_bytes = 8ull << 30, .most_bytes = 8ull << 30};
  }
  base::Result<> EnsureRoom(std::uint64_t) override { return {}; }

  void AddOrphanDisk(const std::string& id) {
    const std::string dir = dir_ + "/sandboxes/" + id;
    static_cast<void>(sys::MakeDirs(dir));
    static_cast<void>(sys::WriteFileAtomic(dir + "/disk.img", "nobody's"));
  }

  // As if it had been saved by another version of the VMM.
  void MakeMisfit(const std::string& key) {
    const std::lock_guard lock(mutex_);
    saved_.at(key).vm->vmm_version = "another";
  }
  std::size_t saved_count() {
    const std::lock_guard lock(mutex_);
    return saved_.size();
  }

 private:
  base::Result<image::Template> FindSaved(const std::string& key) {
    const std::lock_guard lock(mutex_);
    const auto found = saved_.find(key);
    if (found == saved_.end()) return base::Fail(base::Code::kNotFound, "there is no " + key);
    return found->second;
  }
  base::Result<> Forget(const std::string& key) {
    const std::lock_guard lock(mutex_);
    saved_.erase(key);
    return {};
  }

  const std::string dir_;
  std::mutex mutex_;
  std::map<std::string, image::Template> saved_;
};

// Launches tests/programs/jailed by the real launcher.
class JailedDriver final : public vmm::Driver {
 public:
  explicit JailedDriver(std::vector<std::string> words) : arguments(std::move(words)) {
    capabilities_.vmm = "fake";
  }

  std::vector<std::string> arguments;
  std::shared_ptr<Asked> asked;  // null: not recorded
  bool fail_launch = false;
  std::atomic<int> fail_launches = 0;  // so many fail, and no more
  std::chrono::milliseconds launch_takes{0};

  const vmm::Capabilities& capabilities() const override { return capabilities_; }
  base::Result<vmm::LaunchPlan> Plan(const vmm::VmSpec&) const override {
    return base::Fail(base::Code::kUnimplemented, "the fake plans nothing");
  }
  base::Result<std::unique_ptr<vmm::Vm>> Launch(const vmm::VmSpec& spec,
                                                base::Deadline deadline) override {
    std::this_thread::sleep_for(launch_takes);
    if (fail_launches > 0 && fail_launches-- > 0)
      return base::Fail(base::Code::kInternal, "failed");
    if (fail_launch) return base::Fail(base::Code::kInternal, "step 'pivot' failed");
    vmm::LaunchSpec launch;
    launch.id = spec.id;
    launch.run_dir = spec.run_dir;
    launch.warden = TINDERBOX_WARDEN;
    launch.vmm = TINDERBOX_JAILED;
    launch.argv = {"jailed"};
    launch.argv.insert(launch.argv.end(), arguments.begin(), arguments.end());
    launch.uid = launch.gid = spec.uid;
    launch.cgroup = spec.cgroup;
    vmm::Launched launched = TRY(vmm::Launch(launch, deadline));
    return std::unique_ptr<vmm::Vm>(std::make_unique<JailedVm>(std::move(launched.vm), asked));
  }
  base::Result<std::unique_ptr<vmm::Vm>> Adopt(const std::string& run_dir) override {
    return std::unique_ptr<vmm::Vm>(std::make_unique<JailedVm>(TRY(vmm::Adopt(run_dir)), asked));
  }

 private:
  class JailedVm final : public vmm::Vm {
   public:
    JailedVm(std::unique_ptr<vmm::LaunchedVm> process, std::shared_ptr<Asked> asked)
        : process_(std::move(process)), asked_(std::move(asked)) {}
    vmm::LaunchedVm& process() override { return *process_; }
    base::Result<vmm::VmState> State(base::Deadline) override { return vmm::VmState::kRunning; }
    base::Result<> Pause(base::Deadline) override {
      if (asked_) asked_->Add("pause");
      return {};
    }
    base::Result<> Resume(base::Deadline) override {
      if (asked_) asked_->Add("resume");
      return {};
    }
    base::Result<vmm::SnapshotReport> Snapshot(const vmm::SnapshotRequest&,
                                               base::Deadline) override {
      if (asked_) asked_->Add("save");
      return vmm::SnapshotReport{};
    }

   private:
    std::unique_ptr<vmm::LaunchedVm> process_;
    std::shared_ptr<Asked> asked_;
  };

  vmm::Capabilities capabilities_;
};

}  // namespace tinderbox::sandbox
