// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// Snapshots, over every driver that takes them: what is saved comes back, byte by byte, any number
// of times in a row and in any number of clones, and what cannot be saved or restored leaves
// everything as it was.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <sys/mount.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "sys/file.h"
#include "vmm/driver_test_fixture.h"

namespace tinderbox::vmm {
namespace {

using base::Code;
using std::chrono::milliseconds;
using ::testing::HasSubstr;
using ::testing::Not;

// The number after the last whole "memory good"; -1 once the guest has found a wrong byte.
int GoodRounds(Vm& vm) {
  const std::string console = vm.process().ConsoleTail(4096).value_or("");
  if (console.find("BAD") != std::string::npos) return -1;
  const auto end = console.rfind('\n');
  if (end == std::string::npos) return 0;
  const auto begin = console.rfind("memory good ", end);
  return begin == std::string::npos ? 0 : std::atoi(console.c_str() + begin + 12);
}

class DriverSnapshot : public DriverTest, public testing::WithParamInterface<DriverKind> {
 protected:
  void SetUp() override {
    DriverTest::SetUp();
    if (IsSkipped()) return;
    driver_ = Open(GetParam());
    if (driver_ == nullptr) return;
    zeros_ = WriteFile("zeros", "");
    ASSERT_EQ(::truncate(zeros_.c_str(), off_t{32} << 20), 0);
  }
  // A guest that can be snapshotted. Boots, or comes out of `from`.
  VmSpec Guest(const std::string& name, const std::string& id, const SnapshotPaths& from = {}) {
    VmSpec spec = GuestSpec(GetParam(), name, "", id);
    spec.memory_base = from.memory.empty() ? zeros_ : from.memory;
    spec.state = from.state;
    if (!from.state.empty()) spec.kernel = spec.initrd = "";  // they are in the guest's memory
    spec.snapshots = true;
    spec.snapshot_dir = fmt::format("{}/{}.snapshots", files_, id);
    EXPECT_TRUE(sys::MakeDirs(spec.snapshot_dir, 0700));  // as the storage pool makes it
    return spec;
  }
  SnapshotPaths Paths(const std::string& name) const {
    return {.memory = fmt::format("{}/{}.memory", files_, name),
            .state = fmt::format("{}/{}.state", files_, name)};
  }
  // Saves a guest, which is paused then.
  // Every other time a part of it is saved while the guest still runs.
  SnapshotPaths Save(Vm& vm, const std::string& name, const std::string& base) {
    const SnapshotPaths to = Paths(name);
    if (++saves_ % 2 == 0) {
      const auto prepared = vm.PrepareSnapshot({.to = to, .base = base}, Soon());
      EXPECT_TRUE(prepared) << prepared.error().ToString();
      std::this_thread::sleep_for(milliseconds(20));
    }
    const auto paused = vm.Pause(Soon());
    EXPECT_TRUE(paused) << paused.error().ToString();
    const auto saved = vm.Snapshot({.to = to, .base = base}, Soon());
    EXPECT_TRUE(saved) << saved.error().ToString();
    return to;
  }
  void End(std::unique_ptr<Vm>& vm) {
    if (!vm) return;
    const std::string run_dir = vm->process().run_dir();
    EXPECT_TRUE(vm->process().Kill());
    vm.reset();
    EXPECT_TRUE(Remove(run_dir));
  }
  void ExpectGoesOn(Vm& vm, int rounds) {
    const int before = GoodRounds(vm);
    EXPECT_TRUE(Eventually([&] {
      const int now = GoodRounds(vm);
      return now < 0 || now >= before + rounds;
    })) << vm.process().ConsoleTail(300).value_or("");
    EXPECT_GE(GoodRounds(vm), 0) << vm.process().ConsoleTail(300).value_or("");
  }
  void ExpectSame(const std::string& one, const std::string& other) const {
    EXPECT_TRUE(sys::ReadFile(one, 64 << 20).value() == sys::ReadFile(other, 64 << 20).value())
        << one << " and " << other << " differ";
  }

  Driver* driver_ = nullptr;
  std::string zeros_;
  int saves_ = 0;
};

TEST_P(DriverSnapshot, CounterCountsOn) {
  auto vm = Begin(*driver_, Guest("counter", "one"));
  ASSERT_TRUE(vm);
  AwaitConsole(vm->process(), "count 20\n");
  const SnapshotPaths saved = Save(*vm, "saved", zeros_);
  EXPECT_EQ(vm->State(Soon()).value(), VmState::kPaused);
  std::this_thread::sleep_for(milliseconds(50));  // what is on its way to the console
  const int at = LastCount(*vm);
  EXPECT_EQ(sys::Stat(saved.memory)->st_mode & 07777, 0444U);
  EXPECT_EQ(sys::Stat(saved.state)->st_mode & 07777, 0444U);
  EXPECT_EQ(sys::Stat(saved.memory)->st_uid, 0U);
  // The source goes on.
  ASSERT_TRUE(vm->Resume(Soon()));
  EXPECT_TRUE(Eventually([&] { return LastCount(*vm) > at; }));
  End(vm);

  VmSpec spec = Guest("counter", "two", saved);
  vm = Begin(*driver_, spec);
  ASSERT_TRUE(vm);
  AwaitConsole(vm->process(), fmt::format("count {}\n", at + 2));
  EXPECT_THAT(vm->process().ConsoleTail(4096).value_or(""), Not(HasSubstr("count 1\n")));
  End(vm);

  spec.start_paused = true;
  vm = Begin(*driver_, spec);
  ASSERT_TRUE(vm);
  EXPECT_EQ(vm->State(Soon()).value(), VmState::kPaused);
  EXPECT_EQ(LastCount(*vm), 0);
  ASSERT_TRUE(vm->Resume(Soon()));
  AwaitConsole(vm->process(), fmt::format("count {}\n", at + 2));
}

TEST_P(DriverSnapshot, MemoryIsRightOverTwentyRounds) {
  SnapshotPaths last;
  for (int round = 0; round < 20; ++round) {
    auto vm = Begin(*driver_, Guest("memory", "one", last));
    ASSERT_TRUE(vm);
    ExpectGoesOn(*vm, 1);
    if (GoodRounds(*vm) < 0) return;
    const std::string base = last.memory.empty() ? zeros_ : last.memory;
    const SnapshotPaths next = Save(*vm, fmt::format("round-{}", round), base);
    if (HasFailure()) return;
    End(vm);
    if (!last.memory.empty()) {
      EXPECT_TRUE(sys::RemoveFile(last.memory));
      EXPECT_TRUE(sys::RemoveFile(last.state));
    }
    last = next;
  }
}

TEST_P(DriverSnapshot, IncrementalIsWhatIsInMemory) {
  auto vm = Begin(*driver_, Guest("memory", "one"));
  ASSERT_TRUE(vm);
  ExpectGoesOn(*vm, 2);
  SnapshotPaths last{.memory = zeros_, .state = ""};
  // Several of one VM in a row, then of one that was restored.
  for (int i = 0; i < 3; ++i) {
    const SnapshotPaths next = Save(*vm, fmt::format("part-{}", i), last.memory);
    if (HasFailure()) return;
    last = next;
    ASSERT_TRUE(vm->Resume(Soon()));
    ExpectGoesOn(*vm, 3);
  }
  SnapshotPaths part = Save(*vm, "part", last.memory);
  SnapshotPaths whole = Save(*vm, "whole", "");
  ExpectSame(part.memory, whole.memory);
  End(vm);

  vm = Begin(*driver_, Guest("memory", "two", whole));
  ASSERT_TRUE(vm);
  ExpectGoesOn(*vm, 3);
  const SnapshotPaths part2 = Save(*vm, "part2", whole.memory);
  const SnapshotPaths whole2 = Save(*vm, "whole2", "");
  ExpectSame(part2.memory, whole2.memory);
  // And its zeros are there: the whole one, too, is a snapshot to go on from.
  End(vm);
  vm = Begin(*driver_, Guest("memory", "three", part2));
  ASSERT_TRUE(vm);
  ExpectGoesOn(*vm, 3);
}

TEST_P(DriverSnapshot, ThreeClonesAtOnceDoNotAffectEachOtherNorTheBase) {
  auto vm = Begin(*driver_, Guest("memory", "one"));
  ASSERT_TRUE(vm);
  ExpectGoesOn(*vm, 2);
  const SnapshotPaths saved = Save(*vm, "saved", zeros_);
  ASSERT_FALSE(HasFailure());
  const std::string before = sys::ReadFile(saved.memory, 64 << 20).value();

  std::vector<std::unique_ptr<Vm>> clones;
  for (int i = 0; i < 3; ++i) {
    clones.push_back(Begin(*driver_, Guest("memory", fmt::format("clone-{}", i), saved)));
    ASSERT_TRUE(clones.back());
  }
  ASSERT_TRUE(vm->Resume(Soon()));
  for (auto& clone : clones) ExpectGoesOn(*clone, 5);
  ExpectGoesOn(*vm, 1);
  EXPECT_TRUE(sys::ReadFile(saved.memory, 64 << 20).value() == before) << "the base has changed";
  // A clone of a clone.
  const SnapshotPaths second = Save(*clones[1], "second", saved.memory);
  auto grandchild = Begin(*driver_, Guest("memory", "grandchild", second));
  ASSERT_TRUE(grandchild);
  ExpectGoesOn(*grandchild, 3);
  ASSERT_TRUE(clones[1]->Resume(Soon()));
  for (auto& clone : clones) ExpectGoesOn(*clone, 2);
}

// What was prepared and is not taken up leaves no file, and is no part of another snapshot.
TEST_P(DriverSnapshot, WhatWasPreparedForAnotherIsDropped) {
  auto vm = Begin(*driver_, Guest("memory", "one"));
  ASSERT_TRUE(vm);
  ExpectGoesOn(*vm, 2);
  ASSERT_TRUE(vm->PrepareSnapshot({.to = Paths("dropped"), .base = zeros_}, Soon()));
  ExpectGoesOn(*vm, 3);
  const SnapshotPaths part = Save(*vm, "part", zeros_);
  EXPECT_FALSE(sys::Exists(Paths("dropped").memory));
  const SnapshotPaths whole = Save(*vm, "whole", "");
  ASSERT_FALSE(HasFailure());
  ExpectSame(part.memory, whole.memory);
  ASSERT_TRUE(vm->PrepareSnapshot({.to = Paths("again"), .base = part.memory}, Soon()));
  End(vm);
  EXPECT_FALSE(sys::Exists(Paths("again").memory));
}

TEST_P(DriverSnapshot, DamagedSnapshotIsRefusedAndNothingIsLeft) {
  auto vm = Begin(*driver_, Guest("counter", "source"));
  ASSERT_TRUE(vm);
  AwaitConsole(vm->process(), "count 3\n");
  const SnapshotPaths saved = Save(*vm, "saved", zeros_);
  ASSERT_FALSE(HasFailure());
  End(vm);
  const std::string good = sys::ReadFile(saved.state).value();
  const auto refuse = [&](const std::string& what, const SnapshotPaths& from) {
    const VmSpec spec = Guest("counter", "damaged", from);
    const auto launched = driver_->Launch(spec, Soon());
    ASSERT_FALSE(launched) << what;
    EXPECT_EQ(launched.error().code(), Code::kDataLoss) << launched.error().ToString();
    EXPECT_NE(launched.error().remedy(), "") << launched.error().ToString();
    ExpectNothingLeft(spec);
  };
  const auto refuse_state = [&](const std::string& what, const std::string& state) {
    refuse(what, {.memory = saved.memory, .state = WriteFile("bad.state", state)});
  };
  refuse_state("half", good.substr(0, good.size() / 2));
  refuse_state("one byte short", good.substr(0, good.size() - 1));
  refuse_state("three bytes", good.substr(0, 3));
  for (const std::size_t at : {std::size_t{0}, std::size_t{9}, std::size_t{21}, good.size() / 3,
                               good.size() / 2, good.size() - 1}) {
    std::string flipped = good;
    flipped[at] = static_cast<char>(flipped[at] ^ 4);
    refuse_state(fmt::format("byte {}", at), flipped);
  }
  const std::string memory = WriteFile("short.memory", "");
  ASSERT_EQ(::truncate(memory.c_str(), (32 << 20) - 4096), 0);
  refuse("memory too short", {.memory = memory, .state = saved.state});
}

TEST_P(DriverSnapshot, FullDiskLeavesTheGuestRunningAndNoFile) {
  const std::string small = files_ + "/small";
  ASSERT_TRUE(sys::MakeDirs(small));
  ASSERT_EQ(::mount("tinderbox-test", small.c_str(), "tmpfs", 0, "size=4m"), 0);
  const std::unique_ptr<const std::string, void (*)(const std::string*)> unmount(
      &small, [](const std::string* at) { EXPECT_EQ(::umount2(at->c_str(), MNT_DETACH), 0); });
  VmSpec spec = Guest("memory", "one");
  spec.snapshot_dir = small + "/work";
  ASSERT_TRUE(sys::MakeDirs(spec.snapshot_dir));
  auto vm = Begin(*driver_, spec);
  ASSERT_TRUE(vm);
  ExpectGoesOn(*vm, 1);
  ASSERT_TRUE(vm->Pause(Soon()));
  for (const std::string& base : {zeros_, std::string()}) {
    const SnapshotPaths to{.memory = small + "/memory", .state = small + "/state"};
    const auto saved = vm->Snapshot({.to = to, .base = base}, Soon());
    ASSERT_FALSE(saved);
    EXPECT_EQ(saved.error().code(), Code::kResourceExhausted) << saved.error().ToString();
    int files = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(small))
      files += entry.is_directory() ? 0 : 1;
    EXPECT_EQ(files, 0);
  }
  EXPECT_EQ(vm->State(Soon()).value(), VmState::kPaused);
  ASSERT_TRUE(vm->Resume(Soon()));
  ExpectGoesOn(*vm, 2);
  // With room again, what changed before the failures is known still.
  ASSERT_TRUE(vm->Pause(Soon()));
  ASSERT_EQ(::mount(nullptr, small.c_str(), nullptr, MS_REMOUNT, "size=128m"), 0);
  const SnapshotPaths part = Save(*vm, "part", zeros_);
  const SnapshotPaths whole = Save(*vm, "whole", "");
  ASSERT_FALSE(HasFailure());
  ExpectSame(part.memory, whole.memory);
  End(vm);
}

// A snapshot that the VMM took but that could not be kept must not be missing from the next one.
TEST_P(DriverSnapshot, AfterOneThatWasNotKeptTheNextIsRefusedOrRight) {
  const std::string small = files_ + "/small";
  ASSERT_TRUE(sys::MakeDirs(small));
  ASSERT_EQ(::mount("tinderbox-test", small.c_str(), "tmpfs", 0, "size=1m"), 0);
  const std::unique_ptr<const std::string, void (*)(const std::string*)> unmount(
      &small, [](const std::string* at) { EXPECT_EQ(::umount2(at->c_str(), MNT_DETACH), 0); });
  auto vm = Begin(*driver_, Guest("memory", "one"));
  ASSERT_TRUE(vm);
  ExpectGoesOn(*vm, 1);
  const SnapshotPaths first = Save(*vm, "first", zeros_);
  ASSERT_FALSE(HasFailure());
  ASSERT_TRUE(vm->Resume(Soon()));
  ExpectGoesOn(*vm, 2);
  ASSERT_TRUE(vm->Pause(Soon()));
  const SnapshotPaths nowhere{.memory = small + "/memory", .state = small + "/state"};
  const auto lost = vm->Snapshot({.to = nowhere, .base = first.memory}, Soon());
  ASSERT_FALSE(lost);
  EXPECT_EQ(lost.error().code(), Code::kResourceExhausted) << lost.error().ToString();

  const auto next = vm->Snapshot({.to = Paths("next"), .base = first.memory}, Soon());
  const SnapshotPaths whole = Save(*vm, "whole", "");
  ASSERT_FALSE(HasFailure());
  if (next) {
    ExpectSame(Paths("next").memory, whole.memory);
  } else {
    EXPECT_EQ(next.error().code(), Code::kFailedPrecondition) << next.error().ToString();
    EXPECT_NE(next.error().remedy(), "");
  }
  // From the whole one it goes on as ever.
  ASSERT_TRUE(vm->Resume(Soon()));
  ExpectGoesOn(*vm, 2);
  const SnapshotPaths part = Save(*vm, "part", whole.memory);
  const SnapshotPaths again = Save(*vm, "again", "");
  ASSERT_FALSE(HasFailure());
  ExpectSame(part.memory, again.memory);
  End(vm);
}

TEST_P(DriverSnapshot, WhatCannotBeSavedIsRefused) {
  const VmSpec spec = Guest("spin", "one");
  auto vm = Begin(*driver_, spec);
  ASSERT_TRUE(vm);
  AwaitConsole(vm->process(), "spinning");
  const auto expect = [&](const SnapshotRequest& request, Code code) {
    const auto saved = vm->Snapshot(request, Soon());
    ASSERT_FALSE(saved);
    EXPECT_EQ(saved.error().code(), code) << saved.error().ToString();
    EXPECT_THAT(saved.error().ToString(), HasSubstr("snapshot VM 'one'"));
  };
  const SnapshotPaths to = Paths("saved");
  expect({.to = to, .base = zeros_}, Code::kFailedPrecondition);  // it runs
  ASSERT_TRUE(vm->Pause(Soon()));
  expect({.to = to, .base = files_ + "/not-there"}, Code::kNotFound);
  EXPECT_FALSE(sys::Exists(to.memory));
  EXPECT_FALSE(sys::Exists(to.state));
  WriteFile("saved.memory", "precious");
  expect({.to = to, .base = zeros_}, Code::kAlreadyExists);
  EXPECT_EQ(sys::ReadFile(to.memory).value(), "precious");
  ASSERT_TRUE(vm->Resume(Soon()));
  EXPECT_EQ(vm->State(Soon()).value(), VmState::kRunning);
  End(vm);

  // One that was not launched for it.
  VmSpec plain = GuestSpec(GetParam(), "spin", "", "plain");
  vm = Begin(*driver_, plain);
  ASSERT_TRUE(vm);
  ASSERT_TRUE(vm->Pause(Soon()));
  const auto saved = vm->Snapshot({.to = Paths("plain"), .base = zeros_}, Soon());
  ASSERT_FALSE(saved);
  EXPECT_EQ(saved.error().code(), Code::kFailedPrecondition) << saved.error().ToString();
  EXPECT_NE(saved.error().remedy(), "");
  EXPECT_FALSE(sys::Exists(Paths("plain").state));
}

TEST_P(DriverSnapshot, SpecsThatCannotBeRestored) {
  const auto refuse = [this](auto change) {
    VmSpec spec = Guest("counter", "one", {.memory = zeros_, .state = zeros_});
    change(spec);
    const auto plan = driver_->Plan(spec);
    ASSERT_FALSE(plan);
    EXPECT_EQ(plan.error().code(), Code::kInvalidArgument) << plan.error().ToString();
    EXPECT_NE(plan.error().remedy(), "");
  };
  refuse([](VmSpec& spec) { spec.memory_base = ""; });
  refuse([](VmSpec& spec) { spec.memory_base = "memory.img"; });
  refuse([](VmSpec& spec) { spec.state = "vmm.state"; });
  refuse([](VmSpec& spec) {
    spec.state = "";
    spec.start_paused = true;
  });
}

INSTANTIATE_TEST_SUITE_P(BothDrivers, DriverSnapshot,
                         testing::Values(DriverKind::kFirecracker, DriverKind::kQemu),
                         [](const auto& kind) { return DriverKindName(kind.param); });

}  // namespace
}  // namespace tinderbox::vmm
