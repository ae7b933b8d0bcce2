// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// What every driver does, whichever VMM it drives: one suite over Firecracker, QEMU and the fake.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <poll.h>
#include <signal.h>

#include <filesystem>
#include <thread>

#include "base/id.h"
#include "sys/file.h"
#include "sys/netlink_tap.h"
#include "sys/netns.h"
#include "vmm/driver_test_fixture.h"

namespace tinderbox::vmm {
namespace {

using base::Code;
using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::HasSubstr;

class DriverContract : public DriverTest, public testing::WithParamInterface<DriverKind> {
 protected:
  void SetUp() override {
    DriverTest::SetUp();
    if (IsSkipped()) return;
    driver_ = Open(GetParam());
  }
  VmSpec Guest(const std::string& name, const std::string& id = "one") {
    return GuestSpec(GetParam(), name, "", id);
  }
  // Launches a guest and waits for its first words.
  std::unique_ptr<Vm> BeginAndHear(const std::string& name, const std::string& words) {
    auto vm = Begin(*driver_, Guest(name));
    if (vm) AwaitConsole(vm->process(), words);
    return vm;
  }
  // Launching `spec` fails with that code, tells a remedy, and leaves nothing.
  void ExpectRefused(const VmSpec& spec, Code code, const std::string& words) {
    const auto vm = driver_->Launch(spec, Soon());
    ASSERT_FALSE(vm) << words;
    EXPECT_EQ(vm.error().code(), code) << vm.error().ToString();
    EXPECT_THAT(vm.error().ToString(), HasSubstr(words));
    EXPECT_NE(vm.error().remedy(), "") << vm.error().ToString();
    ExpectNothingLeft(spec);
  }

  Driver* driver_ = nullptr;
};

TEST_P(DriverContract, HelloPrintsItsLineAndEndsWithZero) {
  const auto vm = Begin(*driver_, Guest("hello"));
  ASSERT_TRUE(vm);
  const auto status = vm->process().Wait(Soon());
  ASSERT_TRUE(status) << status.error().ToString();
  EXPECT_FALSE(status->signalled);
  EXPECT_EQ(status->code, 0);
  EXPECT_EQ(status->stopped_by, "");
  const std::string console = vm->process().ConsoleTail(1 << 16).value_or("");
  EXPECT_THAT(console, HasSubstr("hello from a tiny guest\n"));
  if (!IsFake(GetParam())) {
    EXPECT_THAT(console, HasSubstr(" tinderbox-test"));
  }
  EXPECT_EQ(vm->State(Soon()).value(), VmState::kEnded);
}

TEST_P(DriverContract, SpinningGuestIsRunningUntilStopped) {
  const auto vm = BeginAndHear("spin", "spinning");
  ASSERT_TRUE(vm);
  EXPECT_EQ(vm->State(Soon()).value(), VmState::kRunning);
  const auto early = vm->process().Wait(base::Deadline::After(milliseconds(20)));
  ASSERT_FALSE(early);
  EXPECT_EQ(early.error().code(), Code::kDeadlineExceeded);

  const auto status = vm->process().Stop(std::nullopt);
  ASSERT_TRUE(status) << status.error().ToString();
  EXPECT_EQ(status->stopped_by, "term");
  // Again is the same answer, not an error.
  EXPECT_EQ(vm->process().Stop(std::nullopt).value(), *status);
  EXPECT_EQ(vm->State(Soon()).value(), VmState::kEnded);
}

TEST_P(DriverContract, PauseIsIdempotentAndReallyPauses) {
  const auto vm = BeginAndHear("counter", "count 3\n");
  ASSERT_TRUE(vm);
  ASSERT_TRUE(vm->Pause(Soon()));
  ASSERT_TRUE(vm->Pause(Soon()));
  EXPECT_EQ(vm->State(Soon()).value(), VmState::kPaused);
  // What was on its way to the console may still arrive.
  std::this_thread::sleep_for(milliseconds(50));
  const int paused_at = LastCount(*vm);
  std::this_thread::sleep_for(milliseconds(150));
  EXPECT_EQ(LastCount(*vm), paused_at);

  ASSERT_TRUE(vm->Resume(Soon()));
  ASSERT_TRUE(vm->Resume(Soon()));
  EXPECT_EQ(vm->State(Soon()).value(), VmState::kRunning);
  EXPECT_TRUE(Eventually([&] { return LastCount(*vm) > paused_at + 3; }));
}

TEST_P(DriverContract, PausedGuestCanBeStopped) {
  const auto vm = BeginAndHear("spin", "spinning");
  ASSERT_TRUE(vm);
  ASSERT_TRUE(vm->Pause(Soon()));
  const auto status = vm->process().Stop(seconds(5));
  ASSERT_TRUE(status) << status.error().ToString();
  EXPECT_EQ(status->stopped_by, "term");
}

TEST_P(DriverContract, KillEndsAtOnce) {
  const auto vm = BeginAndHear("spin", "spinning");
  ASSERT_TRUE(vm);
  const auto begin = std::chrono::steady_clock::now();
  const auto status = vm->process().Kill();
  ASSERT_TRUE(status) << status.error().ToString();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, seconds(1));
  EXPECT_EQ(vm->State(Soon()).value(), VmState::kEnded);
  EXPECT_FALSE(vm->Pause(Soon()));
}

TEST_P(DriverContract, DeathIsNoticedAtOnceWithItsStatus) {
  const auto vm = BeginAndHear("spin", "spinning");
  ASSERT_TRUE(vm);
  ASSERT_EQ(::kill(vm->process().vmm_pid(), SIGKILL), 0);
  pollfd entry{.fd = vm->process().pidfd().get(), .events = POLLIN, .revents = 0};
  EXPECT_EQ(::poll(&entry, 1, 1000), 1) << "not noticed within a second";
  const auto status = vm->process().Wait(Soon());
  ASSERT_TRUE(status) << status.error().ToString();
  EXPECT_TRUE(status->signalled);
  EXPECT_EQ(status->code, SIGKILL);
  EXPECT_EQ(status->stopped_by, "");
  EXPECT_EQ(vm->State(Soon()).value(), VmState::kEnded);
}

TEST_P(DriverContract, CrashingGuestEndsTheVmm) {
  // With which status differs: a triple fault is a reset to both VMMs, and an internal error to
  // some KVMs. What counts is that it ends by itself and its console is kept.
  const auto vm = Begin(*driver_, Guest("crash"));
  ASSERT_TRUE(vm);
  const auto status = vm->process().Wait(Soon());
  ASSERT_TRUE(status) << status.error().ToString();
  EXPECT_EQ(status->stopped_by, "");
  EXPECT_THAT(vm->process().ConsoleTail(4096).value_or(""), HasSubstr("crashing"));
}

TEST_P(DriverContract, VmOutlivesItsHandleAndIsAdopted) {
  const VmSpec spec = Guest("counter");
  auto first = Begin(*driver_, spec);
  ASSERT_TRUE(first);
  const pid_t pid = first->process().vmm_pid();
  first.reset();

  auto adopted = driver_->Adopt(spec.run_dir);
  ASSERT_TRUE(adopted) << adopted.error().ToString();
  Vm& vm = **adopted;
  EXPECT_EQ(vm.process().vmm_pid(), pid);
  EXPECT_EQ(vm.process().id(), spec.id);
  EXPECT_EQ(vm.State(Soon()).value(), VmState::kRunning);
  ASSERT_TRUE(vm.Pause(Soon()));
  EXPECT_EQ(vm.State(Soon()).value(), VmState::kPaused);
  ASSERT_TRUE(vm.Resume(Soon()));
  EXPECT_EQ(vm.process().Stop(std::nullopt).value().stopped_by, "term");

  // Adopted again after its end: the status is kept.
  auto ended = driver_->Adopt(spec.run_dir);
  ASSERT_TRUE(ended) << ended.error().ToString();
  EXPECT_EQ((*ended)->State(Soon()).value(), VmState::kEnded);
  EXPECT_EQ((*ended)->process().Wait(Soon()).value().stopped_by, "term");
}

TEST_P(DriverContract, AdoptingNothingIsNotFound) {
  const auto vm = driver_->Adopt(dir_ + "/nothing");
  ASSERT_FALSE(vm);
  EXPECT_EQ(vm.error().code(), Code::kNotFound);
}

TEST_P(DriverContract, KernelThatIsNoKernel) {
  VmSpec spec = Guest("hello");
  spec.kernel = WriteFile("text", "This is no kernel.\n");
  ExpectRefused(spec, Code::kInvalidArgument, "is no kernel");
  spec.kernel = WriteFile("empty", "");
  ExpectRefused(spec, Code::kInvalidArgument, "is empty");
  spec.kernel = files_;
  ExpectRefused(spec, Code::kInvalidArgument, "is no file");
  spec.kernel = files_ + "/not-there";
  ExpectRefused(spec, Code::kNotFound, "not-there");
}

// The head of a kernel with nothing behind it: only the VMM itself can find out.
TEST_P(DriverContract, KernelThatOnlyLooksLikeOne) {
  if (IsFake(GetParam())) GTEST_SKIP() << "a fake reads no kernel";
  VmSpec spec = Guest("hello");
  const std::string good = sys::ReadFile(spec.kernel).value();
  spec.kernel = WriteFile("truncated", good.substr(0, 200));
  ExpectRefused(spec, Code::kInvalidArgument, "start VM 'one'");
}

TEST_P(DriverContract, SpecsThatCannotWorkAreRefusedBeforeAnythingHappens) {
  const auto refuse = [this](auto change) {
    VmSpec spec = Guest("hello");
    change(spec);
    const auto plan = driver_->Plan(spec);
    ASSERT_FALSE(plan);
    EXPECT_EQ(plan.error().code(), Code::kInvalidArgument) << plan.error().ToString();
    EXPECT_NE(plan.error().remedy(), "") << plan.error().ToString();
    ExpectRefused(spec, Code::kInvalidArgument, "start VM");
  };
  refuse([](VmSpec& spec) { spec.memory_mib = 0; });
  refuse([](VmSpec& spec) { spec.memory_mib = 1U << 30; });
  refuse([](VmSpec& spec) { spec.cpus = 0; });
  refuse([](VmSpec& spec) { spec.cpus = 1000; });
  refuse([](VmSpec& spec) { spec.uid = 0; });
  refuse([](VmSpec& spec) { spec.gid = 0; });
  refuse([](VmSpec& spec) { spec.kernel = ""; });
  refuse([](VmSpec& spec) { spec.kernel = "vmlinux"; });
  refuse([](VmSpec& spec) { spec.id = "../up"; });
  refuse([](VmSpec& spec) { spec.cmdline = std::string(5000, 'x'); });
  refuse([](VmSpec& spec) { spec.cmdline = "two\nlines"; });
  refuse([](VmSpec& spec) { spec.tap = "tap0,script=/bin/sh"; });
  refuse([](VmSpec& spec) { spec.tap = "tap0"; });  // without a namespace
}

TEST_P(DriverContract, MissingRootFileSystemIsNotFound) {
  VmSpec spec = Guest("hello");
  spec.rootfs = files_ + "/no-disk";
  ExpectRefused(spec, Code::kNotFound, "no-disk");
}

TEST_P(DriverContract, SecondVmInTheSameRunDirectoryIsRefusedAndTheFirstLives) {
  const auto first = BeginAndHear("spin", "spinning");
  ASSERT_TRUE(first);
  VmSpec spec;
  spec = GuestSpec(GetParam(), "spin");
  const auto second = driver_->Launch(spec, Soon());
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code(), Code::kAlreadyExists) << second.error().ToString();
  EXPECT_EQ(first->State(Soon()).value(), VmState::kRunning);
}

TEST_P(DriverContract, DeadlineThatHasPassedLeavesNothing) {
  const VmSpec spec = Guest("spin");
  const auto vm = driver_->Launch(spec, base::Deadline::After(seconds(0)));
  ASSERT_FALSE(vm);
  EXPECT_EQ(vm.error().code(), Code::kDeadlineExceeded) << vm.error().ToString();
  ExpectNothingLeft(spec);
}

TEST_P(DriverContract, DiskAndInitrdAreTaken) {
  VmSpec spec = Guest("hello");
  spec.rootfs = WriteFile("disk", std::string(1 << 20, '\0'));
  std::filesystem::permissions(spec.rootfs, std::filesystem::perms(0666));
  if (spec.initrd.empty()) spec.initrd = WriteFile("initrd", std::string(4096, 'i'));
  const auto vm = Begin(*driver_, spec);
  ASSERT_TRUE(vm);
  EXPECT_EQ(vm->process().Wait(Soon()).value().code, 0);

  spec.rootfs_read_only = true;
  ASSERT_TRUE(Remove(spec.run_dir));
  const auto again = Begin(*driver_, spec);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->process().Wait(Soon()).value().code, 0);
}

TEST_P(DriverContract, NetworkDeviceInANamespaceOfItsOwn) {
  VmSpec spec = Guest("hello");
  const std::string name = "tinderbox-driver-test-" + base::RandomHex(4);
  const auto netns = sys::NewNetNs();
  ASSERT_TRUE(netns) << netns.error().ToString();
  ASSERT_TRUE(sys::NameNetNs(*netns, name));
  const std::unique_ptr<const std::string, void (*)(const std::string*)> unname(
      &name, [](const std::string* n) { EXPECT_TRUE(sys::UnnameNetNs(*n)); });
  const auto added =
      sys::RunInNetNs(*netns, [&] { return sys::AddTap("tap0", spec.uid, spec.gid); });
  ASSERT_TRUE(added) << added.error().ToString();

  spec.netns = sys::NetNsPath(name);
  spec.tap = "tap0";
  spec.mac = "02:fc:00:00:00:05";
  const auto vm = Begin(*driver_, spec);
  ASSERT_TRUE(vm);
  const auto status = vm->process().Wait(Soon());
  ASSERT_TRUE(status) << status.error().ToString();
  EXPECT_EQ(status->code, 0) << vm->process().ConsoleTail(4096).value_or("");

  if (IsFake(GetParam())) return;  // which opens no TAP
  ASSERT_TRUE(Remove(spec.run_dir));
  spec.tap = "tap1";
  const auto without = driver_->Launch(spec, Soon());
  ASSERT_FALSE(without);
  EXPECT_EQ(without.error().code(), Code::kFailedPrecondition) << without.error().ToString();
  EXPECT_THAT(without.error().ToString(), HasSubstr("tap1"));
}

TEST_P(DriverContract, FourAtOnce) {
  std::vector<VmSpec> specs;
  for (int i = 0; i < 4; ++i) specs.push_back(Guest("hello", fmt::format("many-{}", i)));
  std::vector<std::unique_ptr<Vm>> vms(specs.size());
  {
    std::vector<std::jthread> threads;
    for (std::size_t i = 0; i < specs.size(); ++i)
      threads.emplace_back([&, i] { vms[i] = Begin(*driver_, specs[i]); });
  }
  for (const auto& vm : vms) {
    ASSERT_TRUE(vm);
    EXPECT_EQ(vm->process().Wait(Soon()).value().code, 0);
    EXPECT_THAT(vm->process().ConsoleTail(4096).value_or(""), HasSubstr("hello"));
  }
}

// As seen from the host: every thread of the VMM, once its guest runs.
TEST_P(DriverContract, VmmHasNoPowers) {
  const auto vm = BeginAndHear("spin", "spinning");
  ASSERT_TRUE(vm);
  const pid_t pid = vm->process().vmm_pid();
  int threads = 0;
  for (const auto& task : std::filesystem::directory_iterator(fmt::format("/proc/{}/task", pid))) {
    auto status = Status(std::atoi(task.path().filename().c_str()));
    EXPECT_EQ(status["CapEff"], "0000000000000000");
    EXPECT_EQ(status["CapPrm"], "0000000000000000");
    EXPECT_EQ(status["CapBnd"], "0000000000000000");
    EXPECT_EQ(status["NoNewPrivs"], "1");
    EXPECT_EQ(status["Uid"], fmt::format("{0}\t{0}\t{0}\t{0}", uid_));
    // The filters are the VMM's own, hence not the fake's.
    if (!IsFake(GetParam())) {
      EXPECT_EQ(status["Seccomp"], "2") << status["Name"];
    }
    ++threads;
  }
  EXPECT_GE(threads, IsFake(GetParam()) ? 1 : 2);
  for (const char* name : {"mnt", "net", "pid", "ipc", "uts"}) {
    const auto link = [name](const std::string& of) {
      return std::filesystem::read_symlink(fmt::format("/proc/{}/ns/{}", of, name));
    };
    EXPECT_NE(link(std::to_string(pid)), link("self")) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(AllDrivers, DriverContract,
                         testing::Values(DriverKind::kFirecracker, DriverKind::kQemu,
                                         DriverKind::kFakeHttp, DriverKind::kFakeQmp),
                         [](const auto& kind) { return DriverKindName(kind.param); });

}  // namespace
}  // namespace tinderbox::vmm
