// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/id.h"
#include "sandbox/manager.h"
#include "sandbox/manager_fakes.h"
#include "sys/cgroup.h"

// A manager on the fakes of manager_fakes.h, and what every test of it checks at its end.
namespace tinderbox::sandbox {

class ManagerTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(::geteuid(), 0u) << "these tests need root: the launcher makes namespaces";
    std::string pattern = "/run/tinderbox-manager-XXXXXX";
    dir_ = ::mkdtemp(pattern.data());
    store_ = std::move(store::OpenStore(dir_ + "/db").value());
    library_ = std::make_unique<FakeLibrary>(dir_ + "/disks");
    Open();
  }
  void TearDown() override {
    for (const SandboxInfo& info : manager_->List()) EXPECT_TRUE(manager_->Kill(info.id));
    ExpectNothingLeft();
    EXPECT_EQ(slots_.double_releases, 0);
    EXPECT_EQ(gateway_.counts().slots, 0U);
    manager_.reset();
    store_.reset();
    EXPECT_TRUE(sys::RemoveTree(dir_));
    for (const auto& hierarchy : sys::HostCgroups()) {
      // Absent where the test launched nothing; not to be removed while a sandbox's is in it.
      const bool removed = ::rmdir((hierarchy.path + "/" + cgroup_).c_str()) == 0;
      EXPECT_TRUE(removed || errno == ENOENT) << hierarchy.path << ": " << errno;
    }
  }

  // A daemon's start; a second call is its restart, with the sandboxes of the first living on.
  void Open() {
    manager_.reset();
    capacity_ = std::make_unique<Capacity>(limits_);
    auto opened = OpenManager(ManagerOptions{
        .store = *store_,
        .library = *library_,
        .slots = slots_,
        .gateway = gateway_,
        .capacity = capacity_.get(),
        .driver = driver_,
        .choice_reason = "a test",
        .run_dir = dir_ + "/" + run_,
        .former_run_dirs = former_run_dirs_,
        .state_dir = dir_ + "/state",
        .cgroup_prefix = cgroup_,
        .max_sandboxes = 8,
        .boot_deadline = boot_deadline_,
        .warm_vms = warm_vms_,
        .most_warm_vms = most_warm_vms_,
        .warm_templates = warm_templates_,
        .available_mib = [this] { return available_mib_.load(); },
        .idle_cores = [this] { return idle_cores_.load(); },
        .pool_clock =
            [this] { return std::chrono::steady_clock::now() + pool_clock_ahead_.load(); }});
    ASSERT_TRUE(opened) << opened.error().ToString();
    manager_ = std::move(*opened);
    manager_->OnGone([this](const std::string& id) { gone_.push_back(id); });
  }

  SandboxInfo Create(std::chrono::seconds timeout = std::chrono::seconds(300)) {
    auto created = manager_->Create({.template_id = "base", .timeout = timeout});
    EXPECT_TRUE(created) << (created ? "" : created.error().ToString());
    return created.value_or(SandboxInfo{});
  }

  void ExpectNothingLeft() {
    EXPECT_TRUE(slots_.used().empty());
    EXPECT_TRUE(library_->SandboxDirs().value().empty());
    EXPECT_EQ(::rmdir((dir_ + "/" + run_ + "/vm").c_str()), 0) << "a run directory stayed";
    EXPECT_TRUE(sys::MakeDirs(dir_ + "/" + run_ + "/vm"));
    EXPECT_TRUE(store_->ListSandboxes().value().empty());
    EXPECT_EQ(capacity_->Reserved(), Resources{});
  }

  // Where the manager's VMs run: a name in dir_.
  std::string run_ = "run";
  std::vector<std::string> former_run_dirs_;

  bool Eventually(const std::function<bool()>& done) {
    for (int i = 0; i < 500; ++i) {
      if (done()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return false;
  }

  std::string dir_;
  // Several test programs run on one host at once.
  const std::string cgroup_ = "tinderbox-manager-test-" + base::RandomHex(4);
  std::unique_ptr<store::Store> store_;
  FakeSlots slots_;
  FakeGateway gateway_;
  std::unique_ptr<FakeLibrary> library_;
  JailedDriver driver_{{"hello"}};
  std::chrono::seconds boot_deadline_{20};
  std::uint32_t warm_vms_ = 0;
  std::vector<std::string> warm_templates_ = {"base"};
  std::uint32_t most_warm_vms_ = 0;
  std::atomic<std::uint64_t> available_mib_ = 100'000;
  std::atomic<double> idle_cores_ = 0;
  std::atomic<std::chrono::seconds> pool_clock_ahead_{};
  CapacityLimits limits_;  // none
  std::unique_ptr<Capacity> capacity_;
  std::unique_ptr<Manager> manager_;
  std::vector<std::string> gone_;
};

}  // namespace tinderbox::sandbox
