// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// Freezing real processes, below a cgroup of the host that stands for the guest's root.
#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_future.hpp>
#include <thread>
#include <vector>

#include "agent/spawn.h"
#include "agent/user_processes.h"
#include "agent/users.h"
#include "sys/file.h"

namespace tinderbox::agent {
namespace {

using std::chrono_literals::operator""s;
using std::chrono_literals::operator""ms;

using Counter = std::atomic<std::uint64_t>;

class UserProcessesTest : public testing::Test {
 protected:
  void SetUp() override {
    const sys::UniqueFd context(::fsopen("cgroup2", FSOPEN_CLOEXEC));
    ASSERT_TRUE(context);
    ASSERT_EQ(::fsconfig(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0), 0);
    hierarchy_.Reset(::fsmount(context.get(), FSMOUNT_CLOEXEC, 0));
    ASSERT_TRUE(hierarchy_);
    const std::string own = sys::ReadFile("/proc/self/cgroup").value_or("");
    const auto at = own.find("0::/");
    ASSERT_NE(at, own.npos);
    home_ = "." + own.substr(at + 3, own.find('\n', at) - at - 3);
    name_ = fmt::format("tinderbox-agent-test-{}", ::getpid());
    ASSERT_EQ(::mkdirat(hierarchy_.get(), name_.c_str(), 0755), 0);
    root_.Reset(::openat(hierarchy_.get(), name_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    Write("cgroup.procs", "0");
    counters_ = static_cast<Counter*>(
        ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    processes_ = std::make_unique<UserProcesses>(Root());
  }
  void TearDown() override {
    for (const pid_t pid : children_) {
      ::kill(pid, SIGKILL);
      ::waitpid(pid, nullptr, 0);
    }
    processes_.reset();
    const sys::UniqueFd back(
        ::openat(hierarchy_.get(), (home_ + "/cgroup.procs").c_str(), O_WRONLY | O_CLOEXEC));
    EXPECT_EQ(::write(back.get(), "0", 1), 1);
    for (const char* each : {"other/deeper", "other", "init", "sandbox"}) {
      ::unlinkat(root_.get(), each, AT_REMOVEDIR);
    }
    EXPECT_EQ(::unlinkat(hierarchy_.get(), name_.c_str(), AT_REMOVEDIR), 0);
    ::munmap(counters_, 4096);
  }

  sys::UniqueFd Root() const { return sys::UniqueFd(::fcntl(root_.get(), F_DUPFD_CLOEXEC, 0)); }

  bool Write(const std::string& file, const std::string& text) const {
    const sys::UniqueFd fd(::openat(root_.get(), file.c_str(), O_WRONLY | O_CLOEXEC));
    return fd && ::write(fd.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
  }
  std::string Read(const std::string& file) const {
    const auto fd = sys::OpenAt(root_, file, O_RDONLY | O_CLOEXEC);
    return fd ? sys::ReadAll(*fd, 1 << 16).value_or("") : "";
  }

  // A process that counts for ever, in that cgroup.
  pid_t Count(std::size_t counter, const std::string& cgroup) {
    const pid_t pid = ::fork();
    if (pid == 0) {
      ::setsid();
      if (!Write(cgroup + "cgroup.procs", "0")) ::_exit(1);
      while (true) ++counters_[counter];
    }
    children_.push_back(pid);
    AwaitCounting(counter);
    return pid;
  }
  void AwaitCounting(std::size_t counter) const {
    const std::uint64_t before = counters_[counter];
    for (int i = 0; i < 20000 && counters_[counter] == before; ++i) {
      std::this_thread::sleep_for(1ms);
    }
    EXPECT_NE(counters_[counter], before) << "counter " << counter << " stands still";
  }
  void ExpectStill(std::size_t counter) const {
    const std::uint64_t before = counters_[counter];
    std::this_thread::sleep_for(50ms);
    EXPECT_EQ(counters_[counter], before) << "counter " << counter << " goes on";
  }

  sys::UniqueFd hierarchy_;
  sys::UniqueFd root_;
  std::string name_;
  std::string home_;
  Counter* counters_ = nullptr;
  std::vector<pid_t> children_;
  std::unique_ptr<UserProcesses> processes_;
};

TEST_F(UserProcessesTest, EverythingStandsStillWhereverItIs) {
  ASSERT_EQ(::mkdirat(root_.get(), "other", 0755), 0);
  ASSERT_EQ(::mkdirat(root_.get(), "other/deeper", 0755), 0);
  Count(0, "sandbox/");
  Count(1, "");
  Count(2, "other/deeper/");
  ASSERT_TRUE(processes_->Stop().has_value());
  for (std::size_t i = 0; i < 3; ++i) ExpectStill(i);
  ASSERT_TRUE(processes_->GoOn().has_value());
  for (std::size_t i = 0; i < 3; ++i) AwaitCounting(i);
  EXPECT_EQ(Read("cgroup.procs"), fmt::format("{}\n", ::getpid()));
}

TEST_F(UserProcessesTest, ProcessesThatForkAllTheTimeAreCaught) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::setsid();
    // Each generation counts once, makes the next one, and ends.
    while (true) {
      ++counters_[0];
      const pid_t next = ::fork();
      if (next > 0) ::_exit(0);
    }
  }
  ::waitpid(pid, nullptr, 0);
  AwaitCounting(0);
  ASSERT_TRUE(processes_->Stop().has_value());
  ExpectStill(0);
  ASSERT_TRUE(processes_->GoOn().has_value());
  AwaitCounting(0);
  ASSERT_TRUE(processes_->Stop().has_value());
  ASSERT_TRUE(Write("sandbox/cgroup.kill", "1"));
  ASSERT_TRUE(processes_->GoOn().has_value());
  for (int i = 0;
       i < 5000 && Read("sandbox/cgroup.events").find("populated 0") == std::string::npos; ++i) {
    std::this_thread::sleep_for(1ms);
  }
}

// As the start scripts of some images do: "move everything to /init".
TEST_F(UserProcessesTest, AnAgentThatWasMovedDoesNotFreezeItself) {
  ASSERT_EQ(::mkdirat(root_.get(), "init", 0755), 0);
  ASSERT_TRUE(Write("init/cgroup.procs", std::to_string(::getpid())));
  Count(0, "init/");
  ASSERT_TRUE(processes_->Stop().has_value());
  ExpectStill(0);
  ASSERT_TRUE(processes_->GoOn().has_value());
  AwaitCounting(0);
}

TEST_F(UserProcessesTest, WhatTheGuestFrozeItselfStaysFrozen) {
  ASSERT_EQ(::mkdirat(root_.get(), "other", 0755), 0);
  Count(0, "other/");
  ASSERT_TRUE(Write("other/cgroup.freeze", "1"));
  ASSERT_TRUE(processes_->Stop().has_value());
  ASSERT_TRUE(processes_->GoOn().has_value());
  EXPECT_EQ(Read("other/cgroup.freeze"), "1\n");
  EXPECT_EQ(Read("sandbox/cgroup.freeze"), "0\n");
  ASSERT_TRUE(Write("other/cgroup.freeze", "0"));
  AwaitCounting(0);
}

TEST_F(UserProcessesTest, NewProcessesBeginInTheCgroup) {
  const auto start = [this] {
    auto spawned = Spawn({.argv = {"sleep", "100"},
                          .env = {},
                          .cwd = "/",
                          .user = *FindUser("root"),
                          .terminal = {},
                          .cgroup = processes_->cgroup()});
    ASSERT_TRUE(spawned.has_value()) << spawned.error().ToString();
    children_.push_back(spawned->pid);
  };
  start();
  EXPECT_EQ(Read("sandbox/cgroup.procs"), fmt::format("{}\n", children_[0]));
  ::kill(children_[0], SIGKILL);
  ::waitpid(children_[0], nullptr, 0);
  children_.clear();
  // A guest that removes it: processes start beside us, and the next freeze finds them.
  ASSERT_EQ(::unlinkat(root_.get(), "sandbox", AT_REMOVEDIR), 0);
  start();
  ASSERT_TRUE(processes_->Stop().has_value());
  EXPECT_EQ(Read("sandbox/cgroup.procs"), fmt::format("{}\n", children_[0]));
  ASSERT_TRUE(processes_->GoOn().has_value());
}

TEST_F(UserProcessesTest, TheyGoOnByThemselvesOnceTheGeneratorIsReseeded) {
  Count(0, "sandbox/");
  boost::asio::io_context io;
  Freeze freeze(io.get_executor(), std::make_unique<UserProcesses>(Root()), 300ms);
  auto begun = boost::asio::co_spawn(io, freeze.Begin(), boost::asio::use_future);
  while (begun.wait_for(0s) != std::future_status::ready) io.run_one();
  ASSERT_TRUE(begun.get().has_value());
  EXPECT_FALSE(freeze.thawed());
  // No thread runs the loop, and no request comes.
  AwaitCounting(0);
}

}  // namespace
}  // namespace tinderbox::agent
