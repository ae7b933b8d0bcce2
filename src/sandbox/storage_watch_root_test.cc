// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <sys/eventfd.h>

#include <atomic>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "sandbox/manager_fakes.h"
#include "sandbox/storage_watch.h"
#include "sys/file.h"

namespace tinderbox::sandbox {
namespace {

using base::Result;
using std::chrono::milliseconds;

// A VM whose VMM is played by the test. Shared with the watch, which owns only the handle.
struct Vm {
  std::atomic<bool> no_room = false;
  std::atomic<bool> gone = false;
  std::atomic<int> continued = 0;
  sys::UniqueFd ready{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};

  void Say(bool stopped) {
    no_room = stopped;
    static_cast<void>(::eventfd_write(ready.get(), 1));
  }
};

class FakeEvents final : public vmm::IoEvents {
 public:
  explicit FakeEvents(std::shared_ptr<Vm> vm) : vm_(std::move(vm)) {}
  sys::FdRef fd() const override { return vm_->ready; }
  Result<> Read() override {
    eventfd_t value = 0;
    static_cast<void>(::eventfd_read(vm_->ready.get(), &value));
    no_room_ = vm_->no_room;
    if (vm_->gone) return base::Fail(base::Code::kUnavailable, "it has ended");
    return {};
  }
  bool no_room() const override { return no_room_; }
  Result<> Continue() override {
    ++vm_->continued;
    return {};
  }

 private:
  std::shared_ptr<Vm> vm_;
  bool no_room_ = false;
};

class StorageWatchTest : public testing::Test {
 protected:
  void SetUp() override {
    library_.free_bytes = 0;
    watch_ = std::make_unique<StorageWatch>(
        StorageWatch::Options{.library = library_,
                              .on_change =
                                  [this](const std::string& id, bool no_space) {
                                    if (cannot_record) return false;
                                    const std::lock_guard lock(mutex_);
                                    told_.push_back(id + (no_space ? " stopped" : " runs"));
                                    return true;
                                  },
                              .if_idle =
                                  [this](const std::string&, const std::function<void()>& work) {
                                    if (!busy) work();
                                  },
                              .on_space = {},
                              .interval = milliseconds(5)});
    ASSERT_TRUE(watch_->Start());
  }
  std::shared_ptr<Vm> Add(const std::string& id) {
    auto vm = std::make_shared<Vm>();
    watch_->Add(id, std::make_unique<FakeEvents>(vm));
    return vm;
  }
  std::vector<std::string> Told() {
    const std::lock_guard lock(mutex_);
    return told_;
  }
  static bool Eventually(const std::function<bool()>& done) {
    for (int i = 0; i < 1000; ++i) {
      if (done()) return true;
      std::this_thread::sleep_for(milliseconds(10));
    }
    return false;
  }

  std::atomic<bool> cannot_record = false;
  std::atomic<bool> busy = false;
  std::mutex mutex_;
  std::vector<std::string> told_;
  FakeLibrary library_{"/nowhere"};
  std::unique_ptr<StorageWatch> watch_;
};

using Lines = std::vector<std::string>;

TEST_F(StorageWatchTest, AStoppedVmIsToldOfAndContinuesOnceThereIsSpace) {
  const auto vm = Add("one");
  const auto other = Add("other");
  vm->Say(true);
  ASSERT_TRUE(Eventually([&] { return Told() == Lines{"one stopped"}; }));
  EXPECT_EQ(vm->continued, 0) << "there is no space yet";
  library_.free_bytes = 1ull << 30;
  ASSERT_TRUE(Eventually([&] { return vm->continued == 1; }));
  vm->Say(false);
  ASSERT_TRUE(Eventually([&] { return Told() == Lines{"one stopped", "one runs"}; }));
  EXPECT_EQ(other->continued, 0);
}

TEST_F(StorageWatchTest, WhatCouldNotBeRecordedIsToldAgain) {
  cannot_record = true;
  Add("one")->Say(true);
  std::this_thread::sleep_for(milliseconds(30));
  cannot_record = false;
  EXPECT_TRUE(Eventually([&] { return Told() == Lines{"one stopped"}; }));
}

TEST_F(StorageWatchTest, NothingContinuesInTheMiddleOfAnOperation) {
  busy = true;
  library_.free_bytes = 1ull << 30;
  const auto vm = Add("one");
  vm->Say(true);
  ASSERT_TRUE(Eventually([&] { return !Told().empty(); }));
  std::this_thread::sleep_for(milliseconds(30));
  EXPECT_EQ(vm->continued, 0);
  busy = false;
  EXPECT_TRUE(Eventually([&] { return vm->continued == 1; }));
}

TEST_F(StorageWatchTest, AVmThatEndsIsForgottenAndItsIdMayComeBack) {
  const auto vm = Add("one");
  vm->Say(true);
  ASSERT_TRUE(Eventually([&] { return !Told().empty(); }));
  vm->gone = true;
  vm->Say(true);
  const auto next = Add("one");
  next->Say(true);
  EXPECT_TRUE(Eventually([&] { return Told() == Lines{"one stopped", "one stopped"}; }));
}

}  // namespace
}  // namespace tinderbox::sandbox
