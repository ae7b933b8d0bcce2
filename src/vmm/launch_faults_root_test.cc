// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// What goes wrong: failures at every step, hostile VMMs, hostile and silent clients, bad input.
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

#include "sys/file.h"
#include "sys/message.h"
#include "vmm/launch_test_fixture.h"

namespace tinderbox::vmm {
namespace {

using base::Code;
using base::Deadline;
using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;
using testing::HasSubstr;

class ROOT_LaunchFaultTest : public LaunchTest {};

class ROOT_LaunchStepTest : public LaunchTest, public testing::WithParamInterface<std::string> {};

TEST_P(ROOT_LaunchStepTest, FailureIsNamedAndLeavesNothing) {
  const auto spec = Spec({"hello"});
  const auto launched = Launch(spec, Deadline::After(seconds(10)), {.fail_at = GetParam()});
  ASSERT_FALSE(launched);
  EXPECT_THAT(launched.error().ToString(), HasSubstr("step " + GetParam() + ": "));
  EXPECT_EQ(launched.error().errno_value(), EIO);
  EXPECT_EQ(Leftovers(), "");
  // And the same launch, without the fault, is not in the way of anything.
  EXPECT_TRUE(Start(spec));
}

INSTANTIATE_TEST_SUITE_P(EveryStep, ROOT_LaunchStepTest, testing::ValuesIn(LaunchStepNames()),
                         [](const auto& test) {
                           std::string name = test.param;
                           std::erase(name, '-');
                           return name;
                         });

TEST_F(ROOT_LaunchFaultTest, MissingVmm) {
  auto spec = Spec({});
  spec.vmm = "/nonexistent/vmm";
  const auto launched = Launch(spec, Deadline::After(seconds(10)));
  ASSERT_FALSE(launched);
  EXPECT_EQ(launched.error().code(), Code::kNotFound);
  EXPECT_THAT(launched.error().message(), HasSubstr("step binds: stat '/nonexistent/vmm'"));
  EXPECT_NE(launched.error().remedy(), "");
  EXPECT_EQ(Leftovers(), "");
}

TEST_F(ROOT_LaunchFaultTest, VmmThatIsNoProgram) {
  auto spec = Spec({});
  spec.vmm = dir_ + "/text";
  ASSERT_TRUE(sys::WriteFileAtomic(spec.vmm, "no program", 0755));
  const auto launched = Launch(spec, Deadline::After(seconds(10)));
  ASSERT_TRUE(sys::RemoveFile(spec.vmm));
  ASSERT_FALSE(launched);
  EXPECT_EQ(launched.error().errno_value(), ENOEXEC);
  EXPECT_THAT(launched.error().message(), HasSubstr("step exec: on '/vmm'"));
  EXPECT_EQ(Leftovers(), "");
}

TEST_F(ROOT_LaunchFaultTest, MissingWarden) {
  auto spec = Spec({});
  spec.warden = "/nonexistent/warden";
  const auto launched = Launch(spec, Deadline::After(seconds(10)));
  ASSERT_FALSE(launched);
  EXPECT_THAT(launched.error().message(), HasSubstr("step clone"));
  EXPECT_THAT(launched.error().remedy(), HasSubstr("/nonexistent/warden"));
  EXPECT_EQ(Leftovers(), "");
}

TEST_F(ROOT_LaunchFaultTest, UnknownNetns) {
  auto spec = Spec({});
  spec.netns = "/run/netns/tinderbox-no-such";
  const auto launched = Launch(spec, Deadline::After(seconds(10)));
  ASSERT_FALSE(launched);
  EXPECT_THAT(launched.error().message(), HasSubstr("step netns"));
  EXPECT_THAT(launched.error().remedy(), HasSubstr("network namespace"));
  spec.netns = "/etc/passwd";
  EXPECT_EQ(Launch(spec, Deadline::After(seconds(10))).error().code(), Code::kInvalidArgument);
  EXPECT_EQ(Leftovers(), "");
}

TEST_F(ROOT_LaunchFaultTest, NetnsIsEntered) {
  // A namespace of our own, held by a child.
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const pid_t holder = ::fork();
  if (holder == 0) {
    const bool made = ::unshare(CLONE_NEWNET) == 0;
    if (::write(ends[1], made ? "y" : "n", 1) == 1) ::pause();
    ::_exit(1);
  }
  char made = 0;
  ASSERT_EQ(::read(ends[0], &made, 1), 1);
  ASSERT_EQ(made, 'y');
  auto spec = Spec({"hello"});
  spec.netns = fmt::format("/proc/{}/ns/net", holder);
  const auto vm = Start(spec);
  ASSERT_TRUE(vm);
  const auto id = [](pid_t pid) {
    char text[64] = {};
    (void)!::readlink(fmt::format("/proc/{}/ns/net", pid).c_str(), text, sizeof text - 1);
    return std::string(text);
  };
  EXPECT_EQ(id(vm->vmm_pid()), id(holder));
  EXPECT_EQ(id(vm->warden_pid()), id(holder));
  EXPECT_NE(id(holder), id(::getpid()));
  ::kill(holder, SIGKILL);
  ::waitpid(holder, nullptr, 0);
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST_F(ROOT_LaunchFaultTest, LauncherKilledAtAnyMomentLeavesNoUnknownVm) {
  const auto spec = Spec({"hello"});
  for (int delay_us = 100; delay_us < 3000; delay_us += 150) {
    const pid_t launcher = ::fork();
    if (launcher == 0) {
      std::thread killer([delay_us] {
        std::this_thread::sleep_for(std::chrono::microseconds(delay_us));
        ::raise(SIGKILL);
      });
      (void)Launch(spec, Deadline::After(seconds(10)));
      killer.join();
    }
    ::waitpid(launcher, nullptr, 0);
    // Either the VM was noted down, so that it is found now, or it must vanish by itself.
    const auto adopted = Adopt(spec.run_dir);
    if (adopted) {
      EXPECT_TRUE((*adopted)->Kill());
    } else {
      EXPECT_EQ(adopted.error().code(), Code::kNotFound) << adopted.error().ToString();
      // A warden that is in no cgroup yet is seen by Remove alone.
      EXPECT_TRUE(Eventually([&] { return ProcessesOfVm().empty() && Remove(spec.run_dir); }))
          << delay_us;
    }
    EXPECT_TRUE(Remove(spec.run_dir)) << delay_us;
    EXPECT_EQ(Leftovers(), "") << delay_us;
  }
}

// As left by a launcher that was killed between the making of the record and its rename.
TEST_F(ROOT_LaunchFaultTest, UnfinishedRecordHindersNeitherRemovalNorLaunch) {
  const auto spec = Spec({"hello"});
  const auto leave = [&] {
    ASSERT_EQ(::mkdir(spec.run_dir.c_str(), 0700), 0);
    ASSERT_TRUE(sys::WriteFileAtomic(spec.run_dir + "/vm.json.0123abcd", "{\"vers"));
  };
  leave();
  EXPECT_EQ(Adopt(spec.run_dir).error().code(), Code::kNotFound);
  const auto removed = Remove(spec.run_dir);
  EXPECT_TRUE(removed) << removed.error().ToString();
  EXPECT_EQ(Leftovers(), "");
  leave();
  const auto vm = Start(spec);
  ASSERT_TRUE(vm);
  ASSERT_TRUE(vm->Kill());
  EXPECT_TRUE(Remove(spec.run_dir));
  EXPECT_EQ(Leftovers(), "");
}

TEST_F(ROOT_LaunchFaultTest, BadSpecs) {
  const auto code = [&](const std::function<void(LaunchSpec&)>& spoil) {
    auto spec = Spec({"hello"});
    spoil(spec);
    const auto launched = Launch(spec, Deadline::After(seconds(10)));
    return launched ? Code::kInternal : launched.error().code();
  };
  EXPECT_EQ(code([](auto& s) { s.id = "no/slash"; }), Code::kInvalidArgument);
  EXPECT_EQ(code([](auto& s) { s.uid = 0; }), Code::kInvalidArgument);
  EXPECT_EQ(code([](auto& s) { s.gid = 0; }), Code::kInvalidArgument);
  EXPECT_EQ(code([](auto& s) { s.argv.clear(); }), Code::kInvalidArgument);
  EXPECT_EQ(code([](auto& s) { s.argv.push_back(std::string("a\0b", 3)); }),
            Code::kInvalidArgument);
  EXPECT_EQ(code([](auto& s) { s.run_dir = "relative"; }), Code::kInvalidArgument);
  EXPECT_EQ(code([](auto& s) { s.cgroup = "../up"; }), Code::kInvalidArgument);
  EXPECT_EQ(code([](auto& s) { s.binds = {{"/etc/passwd", "/../x"}}; }), Code::kInvalidArgument);
  EXPECT_EQ(code([](auto& s) { s.binds = {{"/etc/passwd", "/dev/null"}}; }),
            Code::kInvalidArgument);
  EXPECT_EQ(code([](auto& s) { s.argv.emplace_back(100000, 'x'); }), Code::kInvalidArgument);
  EXPECT_EQ(Leftovers(), "");
}

TEST_F(ROOT_LaunchFaultTest, ApiSocketIsWaitedFor) {
  const auto vm = StartDoing({"serve-late", "100"});
  ASSERT_TRUE(vm);
  const auto began = steady_clock::now();
  const auto api = vm->ConnectApi(Deadline::After(seconds(10)));
  ASSERT_TRUE(api) << api.error().ToString();
  EXPECT_LT(steady_clock::now() - began, milliseconds(600));
  char word[5] = {};
  EXPECT_EQ(::read(api->get(), word, 4), 4);
  EXPECT_STREQ(word, "pong");
  EXPECT_TRUE(sys::Exists(vm->run_dir() + "/api.sock")) << "the link for people leads there";
}

TEST_F(ROOT_LaunchFaultTest, ApiSocketThatNeverComes) {
  const auto vm = StartDoing({"spin"});
  ASSERT_TRUE(vm);
  EXPECT_EQ(vm->ConnectApi(Deadline::After(milliseconds(50))).error().code(),
            Code::kDeadlineExceeded);
}

TEST_F(ROOT_LaunchFaultTest, ApiSocketThatNobodyListensOn) {
  const auto vm = StartDoing({"deaf"});
  ASSERT_TRUE(vm);
  EXPECT_EQ(vm->ConnectApi(Deadline::After(milliseconds(100))).error().code(),
            Code::kDeadlineExceeded);
}

TEST_F(ROOT_LaunchFaultTest, ApiSocketOfAVmmThatDies) {
  const auto vm = StartDoing({"exit", "152"});
  ASSERT_TRUE(vm);
  const auto began = steady_clock::now();
  const auto api = vm->ConnectApi(Deadline::After(seconds(10)));
  ASSERT_FALSE(api);
  EXPECT_EQ(api.error().code(), Code::kUnavailable);
  EXPECT_THAT(api.error().message(), HasSubstr("exit code 152"));
  EXPECT_LT(steady_clock::now() - began, seconds(2)) << "at once, not at the deadline";
}

TEST_F(ROOT_LaunchFaultTest, HostileLinkIsNotFollowed) {
  const auto vm = StartDoing({"hello"});
  ASSERT_TRUE(vm);
  AwaitConsole(*vm, "hello");
  // The filter refuses symlink(2) to the VMM: as if it had found another way.
  const auto link = fmt::format("/proc/{}/root/run/api.sock", vm->warden_pid());
  ASSERT_EQ(::symlink("/etc/passwd", link.c_str()), 0);
  const auto api = vm->ConnectApi(Deadline::After(seconds(1)));
  ASSERT_FALSE(api);
  EXPECT_EQ(api.error().code(), Code::kPermissionDenied) << api.error().ToString();
}

TEST_F(ROOT_LaunchFaultTest, FloodedConsoleStaysBounded) {
  auto spec = Spec({"flood"});
  spec.console_bytes = 256 * 1024;
  const auto vm = Start(spec);
  ASSERT_TRUE(vm);
  const auto size = [&](const char* name) {
    const auto st = sys::Stat(vm->run_dir() + "/" + name);
    return st ? st->st_size : 0;
  };
  ASSERT_TRUE(Eventually([&] { return size("console.log.1") > 0; }));
  std::this_thread::sleep_for(milliseconds(500));
  EXPECT_LE(size("console.log") + size("console.log.1"), 256 * 1024);
  EXPECT_GE(vm->ConsoleTail(1 << 20).value().size(), 128u * 1024);
  // The flood costs the host at most what the rate allows: far below one second of CPU per second.
  const auto stat = sys::ReadFile(fmt::format("/proc/{}/stat", vm->warden_pid())).value();
  std::istringstream fields(stat.substr(stat.rfind(')') + 2));
  std::string field;
  for (int i = 0; i < 11; ++i) fields >> field;
  long user = 0;
  long system = 0;
  fields >> user >> system;
  EXPECT_LT(user + system, 30) << "ticks of 10 ms after half a second of flood";
  EXPECT_EQ(vm->Stop(seconds(10)).value().stopped_by, "term") << "and it still obeys";
}

TEST_F(ROOT_LaunchFaultTest, SilentAndRudeClientsDoNotBlockTheWarden) {
  const auto vm = StartDoing({"polite", "2"});
  ASSERT_TRUE(vm);
  AwaitConsole(*vm, "ready");
  const auto connect = [&] {
    const auto file = sys::Open(vm->run_dir() + "/warden.sock", O_PATH | O_NOFOLLOW);
    return sys::ConnectUnixFd(*file);
  };
  std::vector<base::Result<sys::UniqueFd>> silent;
  for (int i = 0; i < 100; ++i) silent.push_back(connect());
  const auto say = [&](const std::string& line) {
    const auto client = connect();
    if (!client || !sys::WriteAll(*client, line)) return std::string("unreachable");
    char answer[64] = {};
    (void)!::read(client->get(), answer, sizeof answer - 1);
    return std::string(answer);
  };
  EXPECT_EQ(say("nonsense\n"), "error\n");
  EXPECT_EQ(say("stop -1\n"), "error\n");
  EXPECT_EQ(say("stop 99999999999\n"), "error\n");
  EXPECT_EQ(say(std::string(64, 'x')), "") << "no line end in sight: hung up on";
  EXPECT_EQ(say("status\n"), "running\n");
  EXPECT_EQ(vm->Stop(seconds(10)).value(), (ExitStatus{false, 2, "term"}));
}

TEST_F(ROOT_LaunchFaultTest, StoppedWardenCannotHoldUpStop) {
  const auto vm = StartDoing({"stubborn"});
  ASSERT_TRUE(vm);
  AwaitConsole(*vm, "ready");
  ASSERT_EQ(::kill(vm->warden_pid(), SIGSTOP), 0);
  const auto began = steady_clock::now();
  EXPECT_EQ(vm->Stop(milliseconds(100)).value().stopped_by, "kill");
  EXPECT_LT(steady_clock::now() - began, milliseconds(5100));
}

TEST_F(ROOT_LaunchFaultTest, MountsOfTheJailDoNotLeakIntoSharedPeers) {
  // The host's root is often shared (systemd). In a namespace of our own that has such a root, a
  // launch must add nothing to the mount table.
  const auto spec = Spec({"hello"});
  const pid_t child = ::fork();
  if (child == 0) {
    if (::unshare(CLONE_NEWNS) != 0) ::_exit(2);
    if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) ::_exit(3);
    if (::mount(nullptr, "/", nullptr, MS_REC | MS_SHARED, nullptr) != 0) ::_exit(4);
    const auto before = sys::ReadFile("/proc/self/mountinfo");
    const auto launched = Launch(spec, Deadline::After(seconds(10)));
    if (!launched) ::_exit(5);
    const auto during = sys::ReadFile("/proc/self/mountinfo");
    const bool killed = launched->vm->Kill().has_value();
    ::_exit(killed && before && during && *before == *during ? 0 : 6);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace tinderbox::vmm
