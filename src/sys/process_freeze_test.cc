// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "sys/process_freeze.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <thread>
#include <vector>

#include "sys/file.h"

namespace tinderbox::sys {
namespace {

using base::Code;
using base::Deadline;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr int kWorkers = 4;

// The child's progress, in memory that this process sees.
struct Shared {
  std::atomic<unsigned> counts[kWorkers];
  std::atomic<unsigned> threads;  // started and ended
  std::atomic<unsigned> signals;
};

class ProcessFreeze : public testing::Test {
 protected:
  void SetUp() override {
    void* const at =
        ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(at, MAP_FAILED);
    shared_ = new (at) Shared();
    child_ = ::fork();
    if (child_ == 0) Child();
    directory_ = Open(fmt::format("/proc/{}", child_), O_RDONLY | O_DIRECTORY).value();
    ASSERT_TRUE(Eventually([this] { return Goes(); }));
  }
  void TearDown() override {
    ::kill(child_, SIGKILL);
    ::waitpid(child_, nullptr, 0);
    ::munmap(shared_, sizeof(Shared));
  }

  [[noreturn]] void Child() {
    static Shared* seen;
    seen = shared_;
    ::signal(SIGUSR1, [](int) { ++seen->signals; });
    std::vector<std::thread> threads;
    for (int i = 0; i < kWorkers; ++i) {
      threads.emplace_back([i] {
        for (;;) {
          ++seen->counts[i];
          if (seen->counts[i] % 1000 == 0) std::this_thread::yield();
        }
      });
    }
    for (;;) {  // new threads all the time
      std::thread([] { ++seen->threads; }).join();
    }
  }

  std::vector<unsigned> Counts() const {
    std::vector<unsigned> counts{shared_->threads};
    for (const auto& count : shared_->counts) counts.push_back(count);
    return counts;
  }
  // Whether every thread has done something since this was called last.
  bool Goes() {
    const auto now = Counts();
    if (last_.empty()) last_ = now;
    for (std::size_t i = 0; i < now.size(); ++i) {
      if (now[i] == last_[i]) return false;
    }
    last_.clear();
    return true;
  }
  static bool Eventually(const std::function<bool()>& done) {
    const auto deadline = Deadline::After(seconds(20));
    while (!done()) {
      if (deadline.passed()) return false;
      std::this_thread::sleep_for(milliseconds(1));
    }
    return true;
  }

  Shared* shared_ = nullptr;
  pid_t child_ = 0;
  UniqueFd directory_;
  std::vector<unsigned> last_;
};

TEST_F(ProcessFreeze, NoThreadRunsUntilItIsLetGo) {
  for (int round = 0; round < 20; ++round) {
    {
      const auto frozen = FrozenProcess::Freeze(directory_, Deadline::After(seconds(20)));
      ASSERT_TRUE(frozen) << frozen.error().ToString();
      const auto before = Counts();
      ::kill(child_, SIGCONT);
      std::this_thread::sleep_for(milliseconds(10));
      EXPECT_EQ(Counts(), before);
    }
    ASSERT_TRUE(Eventually([this] { return Goes(); })) << round;
  }
}

TEST_F(ProcessFreeze, NoSignalIsLost) {
  constexpr unsigned kSignals = 200;
  for (unsigned sent = 1; sent <= kSignals; ++sent) {
    ::kill(child_, SIGUSR1);
    {
      const auto frozen = FrozenProcess::Freeze(directory_, Deadline::After(seconds(20)));
      ASSERT_TRUE(frozen) << frozen.error().ToString();
    }
    ASSERT_TRUE(Eventually([&] { return shared_->signals == sent; })) << shared_->signals;
  }
}

TEST_F(ProcessFreeze, ItGoesOnWhenItsTracerIsKilled) {
  const pid_t tracer = ::fork();
  if (tracer == 0) {
    const auto frozen = FrozenProcess::Freeze(directory_, Deadline::After(seconds(20)));
    if (frozen) ::raise(SIGSTOP);
    ::_exit(1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(tracer, &status, WUNTRACED), tracer);
  ASSERT_TRUE(WIFSTOPPED(status)) << "the other process could not freeze it";
  const auto before = Counts();
  std::this_thread::sleep_for(milliseconds(10));
  EXPECT_EQ(Counts(), before);
  // Only one can.
  EXPECT_EQ(FrozenProcess::Freeze(directory_, Deadline::After(seconds(20))).error().code(),
            Code::kPermissionDenied);
  ASSERT_EQ(::kill(tracer, SIGKILL), 0);
  ASSERT_EQ(::waitpid(tracer, &status, 0), tracer);
  EXPECT_TRUE(Eventually([this] { return Goes(); }));
}

TEST_F(ProcessFreeze, AFrozenProcessCanBeKilled) {
  const auto frozen = FrozenProcess::Freeze(directory_, Deadline::After(seconds(20)));
  ASSERT_TRUE(frozen) << frozen.error().ToString();
  ASSERT_EQ(::kill(child_, SIGKILL), 0);
  const auto other = Open(fmt::format("/proc/{}/stat", child_), O_RDONLY);
  EXPECT_TRUE(Eventually([&] {
    const auto stat = ReadFile(fmt::format("/proc/{}/stat", child_));
    return !stat || stat->find(") Z ") != std::string::npos;
  }));
}

TEST_F(ProcessFreeze, AProcessThatHasEndedIsNotFound) {
  ASSERT_EQ(::kill(child_, SIGKILL), 0);
  ASSERT_EQ(::waitpid(child_, nullptr, 0), child_);
  const auto frozen = FrozenProcess::Freeze(directory_, Deadline::After(seconds(20)));
  ASSERT_FALSE(frozen);
  EXPECT_EQ(frozen.error().code(), Code::kNotFound) << frozen.error().ToString();
}

}  // namespace
}  // namespace tinderbox::sys
