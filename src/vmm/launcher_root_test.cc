// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "sys/cgroup.h"
#include "sys/file.h"
#include "sys/pidfd.h"
#include "vmm/launch_test_fixture.h"
#include "vmm/launcher.h"

namespace tinderbox::vmm {
namespace {

using base::Code;
using base::Deadline;
using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;
using testing::HasSubstr;
using testing::Not;

using ROOT_LaunchTest = LaunchTest;

TEST_F(ROOT_LaunchTest, ExitCodeIsKept) {
  const auto vm = StartDoing({"exit", "7"});
  ASSERT_TRUE(vm);
  const ExitStatus expected{false, 7, ""};
  EXPECT_EQ(vm->Wait(Deadline::After(seconds(10))).value(), expected);
  EXPECT_EQ(vm->Wait(Deadline::After(seconds(10))).value(), expected) << "again";
  EXPECT_EQ(Adopt(vm->run_dir()).value()->Wait(Deadline::After({})).value(), expected)
      << "by a later process";
  EXPECT_EQ(vm->Stop(std::nullopt).value(), expected) << "stop after the end is harmless";
  EXPECT_EQ(vm->Kill().value(), expected);
}

TEST_F(ROOT_LaunchTest, SignalIsKept) {
  const auto vm = StartDoing({"abort"});
  ASSERT_TRUE(vm);
  EXPECT_EQ(vm->Wait(Deadline::After(seconds(10))).value(), (ExitStatus{true, SIGABRT, ""}));
}

// The daemon's unit protects the daemon. If a VM inherited that, the kernel would kill the host's
// other services before any VM.
TEST_F(ROOT_LaunchTest, VmIsKilledBeforeTheHostAndTheDaemonIfMemoryRunsOut) {
  const auto score = [](const std::string& process) {
    return std::stoi(sys::ReadFile(fmt::format("/proc/{}/oom_score_adj", process), 64).value());
  };
  const int before = score("self");
  // Refused without CAP_SYS_RESOURCE: then there is nothing to inherit either.
  const bool lowered = sys::WriteExisting("/proc/self/oom_score_adj", "-300").has_value();
  const auto vm = StartDoing({"spin"});
  EXPECT_EQ(score("self"), lowered ? -300 : before);
  ASSERT_TRUE(sys::WriteExisting("/proc/self/oom_score_adj", std::to_string(before)));
  ASSERT_TRUE(vm);
  EXPECT_EQ(score(std::to_string(vm->warden_pid())), 0);
  EXPECT_EQ(score(std::to_string(vm->vmm_pid())), 500);
}

TEST_F(ROOT_LaunchTest, VmKeepsAScoreThatIsHigherAlready) {
  const auto score = [](pid_t pid) {
    return std::stoi(sys::ReadFile(fmt::format("/proc/{}/oom_score_adj", pid), 64).value());
  };
  const int before = score(::getpid());
  ASSERT_TRUE(sys::WriteExisting("/proc/self/oom_score_adj", "700"));
  const auto vm = StartDoing({"spin"});
  ASSERT_TRUE(sys::WriteExisting("/proc/self/oom_score_adj", std::to_string(before)));
  ASSERT_TRUE(vm);
  EXPECT_EQ(score(vm->warden_pid()), 700);
  EXPECT_EQ(score(vm->vmm_pid()), 700);
}

TEST_F(ROOT_LaunchTest, WaitHonoursItsDeadline) {
  const auto vm = StartDoing({"spin"});
  ASSERT_TRUE(vm);
  EXPECT_EQ(vm->Wait(Deadline::After(milliseconds(20))).error().code(), Code::kDeadlineExceeded);
}

TEST_F(ROOT_LaunchTest, VmmSeesNothingButItsJail) {
  auto spec = Spec({"look"});
  const std::string data = dir_ + "/data";
  ASSERT_TRUE(sys::WriteFileAtomic(data, "kernel", 0644));
  spec.binds = {{data, kJailKernel, true}};
  spec.tun = true;
  spec.open_files = 512;
  const auto vm = Start(spec);
  ASSERT_TRUE(vm);
  const auto console = AwaitConsole(*vm, "\nend\n");
  ASSERT_TRUE(sys::RemoveFile(data));

  EXPECT_THAT(console, HasSubstr("pid 2\n"));
  EXPECT_THAT(console, HasSubstr(fmt::format("uid {0} {0}\ngid {0} {0}\ngroups 0\n", uid_)));
  EXPECT_THAT(console, HasSubstr("session 1\n"));
  EXPECT_THAT(console, Not(HasSubstr("env ")));
  EXPECT_THAT(
      console,
      HasSubstr("nofile 512\ncore 1\nfsize 67108864\numask 77\nodd-signals 0\nhostname vm\n"));
  // stdin is /dev/null, stdout and stderr the console's pipe; no other descriptor.
  EXPECT_THAT(console, HasSubstr("fd 0 mode=20000\nfd 1 mode=10000\nfd 2 mode=10000\nnofile"));
  std::vector<std::string> files;
  std::istringstream lines(console);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("file ")) files.push_back(line.substr(5, line.find(" mode") - 5));
  }
  EXPECT_THAT(files, testing::UnorderedElementsAre("/run", "/dev", "/dev/null", "/dev/urandom",
                                                   "/dev/net", "/dev/net/tun", "/vmlinux", "/vmm"));
  EXPECT_THAT(console,
              HasSubstr(fmt::format("file /dev/net/tun mode=20600 uid={} rdev=ac8", uid_)));
  EXPECT_THAT(console, HasSubstr(fmt::format("file /run mode=40700 uid={}", uid_)));
}

TEST_F(ROOT_LaunchTest, VmmCannotReachBeyondItsJail) {
  const auto vm = StartDoing({"escape"});
  ASSERT_TRUE(vm);
  EXPECT_THAT(AwaitConsole(*vm, "end\n"), Not(HasSubstr("escaped")));
}

TEST_F(ROOT_LaunchTest, CredentialsAndNamespacesAsSeenFromTheHost) {
  const auto vm = StartDoing({"hello"});
  ASSERT_TRUE(vm);
  AwaitConsole(*vm, "hello");
  auto status = Status(vm->vmm_pid());
  for (const char* set : {"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"}) {
    EXPECT_EQ(status[set], "0000000000000000") << set;
  }
  EXPECT_EQ(status["NoNewPrivs"], "1");
  EXPECT_EQ(status["Seccomp"], "2") << "from the first instruction, whatever the VMM does itself";
  EXPECT_EQ(status["Uid"], fmt::format("{0}\t{0}\t{0}\t{0}", uid_));
  EXPECT_EQ(status["Gid"], fmt::format("{0}\t{0}\t{0}\t{0}", uid_));
  EXPECT_EQ(status["Groups"], " ");
  for (const char* kind : {"mnt", "net", "pid", "ipc", "uts"}) {
    const auto link = [&](const std::string& pid) {
      return std::filesystem::read_symlink("/proc/" + pid + "/ns/" + kind);
    };
    EXPECT_NE(link(std::to_string(vm->vmm_pid())), link("self")) << kind;
  }
  // The jail's mounts: the workspace as root, its binds, /dev; nothing of the host's.
  const auto mounts = sys::ReadFile(fmt::format("/proc/{}/mountinfo", vm->vmm_pid())).value();
  EXPECT_EQ(std::ranges::count(mounts, '\n'), 3) << mounts;
  EXPECT_THAT(mounts, HasSubstr(" / / rw,nosuid,nodev,noexec,"));
  EXPECT_THAT(mounts, HasSubstr(" /vmm ro,nosuid,nodev,"));
  EXPECT_THAT(mounts, HasSubstr(" /dev ro,nosuid,noexec,"));
  EXPECT_THAT(mounts, Not(HasSubstr("shared:")));
}

TEST_F(ROOT_LaunchTest, WardenKeepsOnlyWhatItNeeds) {
  const auto vm = StartDoing({"hello"});
  ASSERT_TRUE(vm);
  AwaitConsole(*vm, "hello");
  ASSERT_TRUE(Eventually([&] { return Status(vm->warden_pid())["NoNewPrivs"] == "1"; }));
  ASSERT_TRUE(Eventually([&] { return Status(vm->warden_pid())["CapEff"] == "0000000000000020"; }));
  auto status = Status(vm->warden_pid());
  EXPECT_EQ(status["CapPrm"], "0000000000000020") << "CAP_KILL";
  EXPECT_EQ(status["CapBnd"], "0000000000000000");
  EXPECT_EQ(std::filesystem::read_symlink(fmt::format("/proc/{}/root", vm->warden_pid())),
            std::filesystem::read_symlink(fmt::format("/proc/{}/root", vm->vmm_pid())));
}

TEST_F(ROOT_LaunchTest, LimitsAreInForce) {
  const auto vm = StartDoing({"hello"});
  ASSERT_TRUE(vm);
  const auto groups = CgroupsOfVm();
  ASSERT_FALSE(groups.empty()) << "this host has no cgroups at all";
  for (const auto& group : groups) {
    const auto procs = sys::ReadFile(group + "/cgroup.procs").value();
    EXPECT_THAT(procs, HasSubstr(std::to_string(vm->vmm_pid()))) << group;
    EXPECT_THAT(procs, HasSubstr(std::to_string(vm->warden_pid()))) << group;
    const auto expect = [&](const std::string& file, const std::string& value) {
      if (sys::Exists(group + "/" + file)) {
        EXPECT_EQ(sys::ReadFile(group + "/" + file).value(), value + "\n") << group << "/" << file;
      }
    };
    expect("memory.limit_in_bytes", "268435456");
    expect("memory.max", "268435456");
    expect("cpu.cfs_quota_us", "150000");
    expect("cpu.max", "150000 100000");
    if (group.find("/pids/") != std::string::npos) expect("pids.max", "64");
  }
}

TEST_F(ROOT_LaunchTest, MissingLimitsAreTold) {
  auto spec = Spec({"exit", "0"});
  spec.cgroup.clear();
  const auto launched = Launch(spec, Deadline::After(seconds(10)));
  ASSERT_TRUE(launched) << launched.error().ToString();
  EXPECT_EQ(launched->report.missing_limits.size(), 1u);
}

TEST_F(ROOT_LaunchTest, WorkspaceIsCapped) {
  auto spec = Spec({"fill"});
  spec.workspace_bytes = 2 << 20;
  const auto vm = Start(spec);
  ASSERT_TRUE(vm);
  const auto console = AwaitConsole(*vm, "filled ");
  EXPECT_LE(std::stol(console.substr(console.find("filled ") + 7)), 2 << 20);
}

TEST_F(ROOT_LaunchTest, DiskDoesNotGrow) {
  auto spec = Spec({"grow"});
  spec.workspace_bytes = 1 << 20;
  const std::string disk = dir_ + "/disk";
  ASSERT_TRUE(sys::WriteFileAtomic(disk, "", 0600));
  ASSERT_EQ(::truncate(disk.c_str(), 8 << 20), 0);
  ASSERT_EQ(::chown(disk.c_str(), spec.uid, spec.gid), 0);
  spec.binds = {{disk, kJailRootfs, false}};
  const auto vm = Start(spec);
  ASSERT_TRUE(vm);
  // It lives: a write beyond the limit fails and does not end it by SIGXFSZ.
  EXPECT_THAT(AwaitConsole(*vm, "end\n"), Not(HasSubstr("escaped")));
  EXPECT_EQ(sys::Stat(disk)->st_size, 8 << 20);
  ASSERT_TRUE(sys::RemoveFile(disk));
}

TEST_F(ROOT_LaunchTest, StopByTerm) {
  const auto vm = StartDoing({"polite", "5"});
  ASSERT_TRUE(vm);
  AwaitConsole(*vm, "ready");
  EXPECT_EQ(vm->Stop(seconds(10)).value(), (ExitStatus{false, 5, "term"}));
}

TEST_F(ROOT_LaunchTest, StopByKill) {
  const auto vm = StartDoing({"stubborn"});
  ASSERT_TRUE(vm);
  AwaitConsole(*vm, "ready");
  const auto began = steady_clock::now();
  EXPECT_EQ(vm->Stop(milliseconds(200)).value(), (ExitStatus{true, SIGKILL, "kill"}));
  const auto took = steady_clock::now() - began;
  EXPECT_GE(took, milliseconds(200));
  EXPECT_LT(took, seconds(2));
}

TEST_F(ROOT_LaunchTest, StopReachesTheWholeVm) {
  const auto vm = StartDoing({"family"});
  ASSERT_TRUE(vm);
  AwaitConsole(*vm, "ready");
  EXPECT_EQ(ProcessesOfVm().size(), 4u) << "warden, VMM, two children";
  EXPECT_EQ(vm->Stop(seconds(10)).value(), (ExitStatus{true, SIGTERM, "term"}));
  EXPECT_EQ(ProcessesOfVm().size(), 0u);
}

TEST_F(ROOT_LaunchTest, TermToTheWardenStartsTheLadder) {
  const auto vm = StartDoing({"polite", "6"});
  ASSERT_TRUE(vm);
  AwaitConsole(*vm, "ready");
  ASSERT_EQ(::kill(vm->warden_pid(), SIGTERM), 0);
  EXPECT_EQ(vm->Wait(Deadline::After(seconds(10))).value(), (ExitStatus{false, 6, "term"}));
}

TEST_F(ROOT_LaunchTest, LaterStopShortensTheGrace) {
  const auto vm = StartDoing({"stubborn"});
  ASSERT_TRUE(vm);
  AwaitConsole(*vm, "ready");
  std::thread patient([&] { EXPECT_EQ(vm->Stop(seconds(30)).value().stopped_by, "kill"); });
  const auto other = Adopt(vm->run_dir());
  ASSERT_TRUE(other);
  EXPECT_EQ((*other)->Stop(milliseconds(50)).value().stopped_by, "kill");
  patient.join();
}

TEST_F(ROOT_LaunchTest, OrphansAreReaped) {
  const auto vm = StartDoing({"orphans"});
  ASSERT_TRUE(vm);
  EXPECT_EQ(vm->Wait(Deadline::After(seconds(10))).value(), (ExitStatus{false, 3, ""}));
}

TEST_F(ROOT_LaunchTest, ManyWaiters) {
  const auto vm = StartDoing({"polite", "4"});
  ASSERT_TRUE(vm);
  AwaitConsole(*vm, "ready");
  std::vector<std::thread> waiters;
  std::atomic<int> right = 0;
  for (int i = 0; i < 50; ++i) {
    waiters.emplace_back([&] {
      const auto handle = Adopt(vm->run_dir());
      if (handle && (*handle)->Wait(Deadline::After(seconds(10))) == ExitStatus{false, 4, "term"}) {
        ++right;
      }
    });
  }
  EXPECT_TRUE(vm->Stop(seconds(10)));
  for (auto& waiter : waiters) waiter.join();
  EXPECT_EQ(right, 50);
}

TEST_F(ROOT_LaunchTest, PidfdTellsTheEnd) {
  const auto vm = StartDoing({"polite", "0"});
  ASSERT_TRUE(vm);
  AwaitConsole(*vm, "ready");
  pollfd entry{vm->pidfd().get(), POLLIN, 0};
  EXPECT_EQ(::poll(&entry, 1, 0), 0);
  ASSERT_EQ(::kill(vm->vmm_pid(), SIGKILL), 0);
  EXPECT_EQ(::poll(&entry, 1, 5000), 1);
  EXPECT_EQ(vm->Wait(Deadline::After({})).value(), (ExitStatus{true, SIGKILL, ""}));
}

TEST_F(ROOT_LaunchTest, KillLeavesAStatus) {
  const auto vm = StartDoing({"stubborn"});
  ASSERT_TRUE(vm);
  EXPECT_EQ(vm->Kill().value(), (ExitStatus{true, SIGKILL, "kill"}));
  EXPECT_EQ(vm->Wait(Deadline::After({})).value(), (ExitStatus{true, SIGKILL, "kill"}));
  EXPECT_EQ(ProcessesOfVm().size(), 0u);
}

TEST_F(ROOT_LaunchTest, KillingTheWardenTakesEverythingAlong) {
  const auto vm = StartDoing({"family"});
  ASSERT_TRUE(vm);
  AwaitConsole(*vm, "ready");
  ASSERT_EQ(::kill(vm->warden_pid(), SIGKILL), 0);
  EXPECT_EQ(vm->Wait(Deadline::After(seconds(10))).value(), (ExitStatus{true, SIGKILL, "warden"}));
  EXPECT_EQ(ProcessesOfVm().size(), 0u);
}

TEST_F(ROOT_LaunchTest, NoZombieStays) {
  const auto vm = StartDoing({"exit", "0"});
  ASSERT_TRUE(vm);
  const pid_t warden = vm->warden_pid();
  ASSERT_TRUE(vm->Wait(Deadline::After(seconds(10))));
  EXPECT_FALSE(sys::Exists(fmt::format("/proc/{}", warden)));
}

TEST_F(ROOT_LaunchTest, VmOutlivesItsLauncher) {
  const auto spec = Spec({"polite", "8"});
  const pid_t launcher = ::fork();
  if (launcher == 0) {
    const auto launched = Launch(spec, Deadline::After(seconds(10)));
    if (launched) ::raise(SIGKILL);
    ::_exit(1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(launcher, &status, 0), launcher);
  ASSERT_TRUE(WIFSIGNALED(status)) << "the launch failed in the child";
  const auto vm = Adopt(spec.run_dir);
  ASSERT_TRUE(vm) << vm.error().ToString();
  AwaitConsole(**vm, "ready");
  EXPECT_EQ((*vm)->Wait(Deadline::After(milliseconds(20))).error().code(), Code::kDeadlineExceeded);
  EXPECT_EQ((*vm)->Stop(seconds(10)).value(), (ExitStatus{false, 8, "term"}));
}

TEST_F(ROOT_LaunchTest, LivingVmIsNeitherRelaunchedNorRemoved) {
  const auto spec = Spec({"spin"});
  const auto vm = Start(spec);
  ASSERT_TRUE(vm);
  EXPECT_EQ(Launch(spec, Deadline::After(seconds(10))).error().code(), Code::kAlreadyExists);
  EXPECT_EQ(Remove(spec.run_dir).error().code(), Code::kFailedPrecondition);
  ASSERT_TRUE(vm->Kill());
  const auto again = Start(spec);
  ASSERT_TRUE(again) << "an ended one is replaced";
  ASSERT_TRUE(again->Kill());
  EXPECT_TRUE(Remove(spec.run_dir));
  EXPECT_TRUE(Remove(spec.run_dir)) << "idempotent";
  EXPECT_EQ(Adopt(spec.run_dir).error().code(), Code::kNotFound);
}

TEST_F(ROOT_LaunchTest, WaiterLearnsTheStatusAfterTheRemoval) {
  const auto vm = StartDoing({"polite", "9"});
  ASSERT_TRUE(vm);
  AwaitConsole(*vm, "ready");
  const auto late = Adopt(vm->run_dir());
  ASSERT_TRUE(late);
  ASSERT_TRUE(vm->Stop(seconds(10)));
  ASSERT_TRUE(Remove(vm->run_dir()));
  EXPECT_EQ((*late)->Wait(Deadline::After({})).value(), (ExitStatus{false, 9, "term"}));
}

TEST_F(ROOT_LaunchTest, ForeignDirectoryIsLeftAlone) {
  const auto spec = Spec({"spin"});
  ASSERT_EQ(::mkdir(spec.run_dir.c_str(), 0755), 0);
  ASSERT_TRUE(sys::WriteFileAtomic(spec.run_dir + "/precious", "x"));
  EXPECT_EQ(Launch(spec, Deadline::After(seconds(10))).error().code(), Code::kAlreadyExists);
  EXPECT_FALSE(Remove(spec.run_dir));
  EXPECT_TRUE(sys::Exists(spec.run_dir + "/precious"));
  ASSERT_TRUE(sys::RemoveTree(spec.run_dir));
}

TEST_F(ROOT_LaunchTest, RecycledPidIsNotAdopted) {
  // Start times are told in ticks of 10 ms; a pid is not recycled within one, but this process may
  // have been started in the very tick in which the warden is.
  std::this_thread::sleep_for(std::chrono::milliseconds(30));
  const auto spec = Spec({"exit", "3"});
  const auto vm = Start(spec);
  ASSERT_TRUE(vm);
  ASSERT_TRUE(vm->Wait(Deadline::After(seconds(10))));
  // As if the warden's number had been given to this process since.
  auto record = sys::ReadFile(spec.run_dir + "/vm.json").value();
  const auto key = record.find("\"wardenPID\":");
  record.replace(key, record.find(',', key) - key, fmt::format("\"wardenPID\":{}", ::getpid()));
  ASSERT_TRUE(sys::WriteFileAtomic(spec.run_dir + "/vm.json", record));
  const auto adopted = Adopt(spec.run_dir);
  ASSERT_TRUE(adopted);
  EXPECT_EQ((*adopted)->Kill().value(), (ExitStatus{false, 3, ""})) << "and we still live";
  pollfd entry{(*adopted)->pidfd().get(), POLLIN, 0};
  EXPECT_EQ(::poll(&entry, 1, 0), 1);
}

TEST_F(ROOT_LaunchTest, TwentyAtOnce) {
  std::vector<std::thread> threads;
  std::vector<LaunchSpec> specs;
  for (int i = 0; i < 20; ++i) specs.push_back(Spec({"serve"}, fmt::format("vm{}", i)));
  std::atomic<int> answered = 0;
  for (const auto& spec : specs) {
    threads.emplace_back([&] {
      const auto launched = Launch(spec, Deadline::After(seconds(20)));
      if (!launched) return;
      const auto api = launched->vm->ConnectApi(Deadline::After(seconds(20)));
      char word[5] = {};
      if (api && ::read(api->get(), word, 4) == 4 && std::string(word) == "pong") ++answered;
      EXPECT_EQ(launched->vm->Stop(seconds(10)).value().stopped_by, "term");
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(answered, 20);
}

}  // namespace
}  // namespace tinderbox::vmm
