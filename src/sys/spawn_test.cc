// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "sys/spawn.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "sys/file.h"
#include "sys/pidfd.h"

namespace tinderbox::sys {
namespace {

using base::Deadline;
using std::chrono::seconds;

// Runs a program to its end with stdout in a pipe; yields what it printed.
std::string Output(SpawnSpec spec) {
  int ends[2];
  EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const UniqueFd output(ends[0]);
  UniqueFd theirs(ends[1]);
  spec.fds.push_back({1, theirs});
  const auto child = Spawn(spec);
  EXPECT_TRUE(child) << child.error().ToString();
  theirs.Reset();
  if (!child) return {};
  auto text = ReadAll(output, 1 << 20).value();
  EXPECT_TRUE(WaitPidFd(child->pidfd, Deadline::After(seconds(10))).value());
  ReapPidFd(child->pidfd);
  return text;
}

TEST(SpawnTest, ChildGetsWhatIsNamedAndNothingElse) {
  // A descriptor without close-on-exec, as a careless library leaves one.
  const UniqueFd leak(::open("/dev/null", O_RDONLY));  // NOLINT(android-cloexec-open)
  const UniqueFd null = Open("/dev/null", O_RDWR).value();
  const auto listing = Output({.path = "/bin/ls",
                               .argv = {"ls", "/proc/self/fd"},
                               .fds = {{0, null}, {2, null}, {7, null}}});
  // The directory itself is open in ls, at the lowest free number.
  EXPECT_EQ(listing, "0\n1\n2\n3\n7\n");
  EXPECT_EQ(Output({.path = "/usr/bin/env", .argv = {"env"}, .env = {"A=b"}}), "A=b\n");
}

TEST(SpawnTest, SourcesAndTargetsMayCross) {
  const UniqueFd null = Open("/dev/null", O_RDWR).value();
  const UniqueFd zero = Open("/dev/zero", O_RDWR).value();
  // Each one's target is the other's source.
  const auto text = Output({.path = "/bin/ls",
                            .argv = {"ls", "-l", "/proc/self/fd"},
                            .fds = {{null.get(), zero}, {zero.get(), null}}});
  EXPECT_THAT(text, testing::HasSubstr(fmt::format(" {} -> /dev/zero", null.get())));
  EXPECT_THAT(text, testing::HasSubstr(fmt::format(" {} -> /dev/null", zero.get())));
}

TEST(SpawnTest, FailedExecIsTheCallsError) {
  const auto child = Spawn({.path = "/nonexistent/program", .argv = {"program"}});
  ASSERT_FALSE(child);
  EXPECT_EQ(child.error().errno_value(), ENOENT);
  EXPECT_THAT(child.error().message(), testing::HasSubstr("/nonexistent/program"));
  EXPECT_EQ(::waitpid(-1, nullptr, __WALL | WNOHANG), -1) << "a child was left";
}

TEST(SpawnTest, SignalsAreAsAtTheBeginning) {
  sigset_t blocked;
  ::sigemptyset(&blocked);
  ::sigaddset(&blocked, SIGUSR1);
  ::pthread_sigmask(SIG_BLOCK, &blocked, nullptr);
  const auto before = ::signal(SIGPIPE, SIG_IGN);
  const auto text = Output({.path = "/bin/cat", .argv = {"cat", "/proc/self/status"}});
  ::signal(SIGPIPE, before);
  ::pthread_sigmask(SIG_UNBLOCK, &blocked, nullptr);
  EXPECT_THAT(text, testing::HasSubstr("SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n"));
}

TEST(SpawnTest, BesideOtherThreads) {
  std::atomic<bool> done = false;
  std::thread busy([&] {
    while (!done) std::string(5000, 'x').append(3000, 'y');
  });
  std::vector<std::thread> threads;
  std::atomic<int> right = 0;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 20; ++i) {
        const auto word = fmt::format("{}", i);
        if (Output({.path = "/bin/echo", .argv = {"echo", word}}) == word + "\n") ++right;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  done = true;
  busy.join();
  EXPECT_EQ(right, 80);
}

TEST(PidFdTest, CpuTimeGrows) {
  const auto before = ProcessCpuTime(::getpid()).value();
  while (ProcessCpuTime(::getpid()).value() < before + std::chrono::milliseconds(5)) {
  }
  // Above the largest pid that the kernel gives.
  EXPECT_EQ(ProcessCpuTime((1 << 22) + 1).error().code(), base::Code::kNotFound);
}

TEST(PidFdTest, StartTimeIsTheTwentySecondField) {
  // A command's name can hold anything.
  EXPECT_EQ(
      ParseStartTime("5 (a) b) 1 (c) S 1 5 5 0 -1 4 0 0 0 0 0 0 0 0 20 0 1 0 4711 99 1\n").value(),
      4711u);
  EXPECT_FALSE(ParseStartTime(""));
  EXPECT_FALSE(ParseStartTime("5 (a) S 1 2"));
  EXPECT_TRUE(ProcessStartTime(::getpid()));
  EXPECT_EQ(ProcessStartTime(0x7fffffff).error().code(), base::Code::kNotFound);
}

TEST(PidFdTest, WaitsAndReaps) {
  const auto child = Spawn({.path = "/bin/sleep", .argv = {"sleep", "60"}});
  ASSERT_TRUE(child);
  EXPECT_FALSE(WaitPidFd(child->pidfd, Deadline::After(std::chrono::milliseconds(10))).value());
  ASSERT_TRUE(SignalPidFd(child->pidfd, SIGKILL));
  EXPECT_TRUE(WaitPidFd(child->pidfd, Deadline::After(seconds(10))).value());
  EXPECT_TRUE(Exists(fmt::format("/proc/{}", child->pid))) << "a zombie so far";
  ReapPidFd(child->pidfd);
  EXPECT_FALSE(Exists(fmt::format("/proc/{}", child->pid)));
  EXPECT_EQ(SignalPidFd(child->pidfd, SIGKILL).error().code(), base::Code::kNotFound);
  ReapPidFd(child->pidfd);  // nothing to do
}

}  // namespace
}  // namespace tinderbox::sys
