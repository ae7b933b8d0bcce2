// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// Freezing a real file system: XFS in a file, by a loop device, as the pool is one.
#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <unistd.h>

#include <atomic>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_future.hpp>
#include <filesystem>

#include "agent/freeze.h"
#include "sys/file.h"
#include "sys/loop.h"
#include "sys/tool.h"

namespace tinderbox::agent {
namespace {

using std::chrono_literals::operator""s;
using std::chrono_literals::operator""ms;

class FreezeTest : public testing::Test {
 protected:
  void SetUp() override {
    dir_ = fmt::format("/tmp/freeze-root-test-{}", ::getpid());
    std::filesystem::create_directories(dir_ + "/mnt");
    const sys::UniqueFd image(
        ::open((dir_ + "/image").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    ASSERT_EQ(::ftruncate(image.get(), 512 << 20), 0);
    const auto made =
        sys::RunTool({.argv = {"mkfs.xfs", "-q", "-s", "size=4096", dir_ + "/image"}});
    ASSERT_TRUE(made.has_value() && made->exit_code == 0);
    auto loop = sys::AttachLoop(image, dir_ + "/image");
    ASSERT_TRUE(loop.has_value()) << loop.error().ToString();
    loop_ = *std::move(loop);
    ASSERT_EQ(::mount(loop_.path.c_str(), Mount().c_str(), "xfs", 0, nullptr), 0);
  }
  void TearDown() override {
    ::umount2(Mount().c_str(), 0);
    if (loop_.fd) (void)sys::DetachLoop(std::move(loop_));
    std::filesystem::remove_all(dir_);
  }

  std::string Mount() const { return dir_ + "/mnt"; }

  // Runs the loop until `task` is done.
  template <typename T>
  T Run(boost::asio::awaitable<T> task) {
    auto future = boost::asio::co_spawn(io_, std::move(task), boost::asio::use_future);
    io_.restart();
    while (future.wait_for(0s) != std::future_status::ready) io_.run_one();
    return future.get();
  }

  // A writer of its own: true when its file is there.
  std::thread Writer() {
    return std::thread([this] {
      (void)sys::WriteFileAtomic(Mount() + "/late", "x");
      written_ = true;
    });
  }

  std::string dir_;
  sys::LoopDevice loop_;
  boost::asio::io_context io_;
  std::atomic<bool> written_ = false;
};

TEST_F(FreezeTest, WritersStandStillUntilTheThaw) {
  Freeze freeze(io_.get_executor(), FreezableFilesystem(Mount()));
  ASSERT_TRUE(Run(freeze.Begin()).has_value());
  EXPECT_TRUE(Run(freeze.Begin()).has_value()) << "a second time";
  std::thread writer = Writer();
  std::this_thread::sleep_for(100ms);
  EXPECT_FALSE(written_);
  EXPECT_TRUE(Run(freeze.End()).has_value());
  writer.join();
  EXPECT_TRUE(written_);
  EXPECT_TRUE(Run(freeze.End()).has_value()) << "a second time";
  Run(freeze.AwaitThaw());
  EXPECT_TRUE(Run(freeze.Begin()).has_value()) << "and once more";
  EXPECT_TRUE(Run(freeze.End()).has_value());
}

TEST_F(FreezeTest, ThawsByItselfWhileTheLoopStandsStill) {
  Freeze freeze(io_.get_executor(), FreezableFilesystem(Mount()), 200ms);
  ASSERT_TRUE(Run(freeze.Begin()).has_value());
  // This thread is the loop's, and waits for the writer: nobody handles anything.
  Writer().join();
  EXPECT_TRUE(written_);
  EXPECT_TRUE(Run(freeze.End()).has_value());
}

TEST_F(FreezeTest, WhatCannotBeFrozenIsAnError) {
  Freeze none(io_.get_executor(), nullptr);
  EXPECT_EQ(Run(none.Begin()).error().code(), base::Code::kFailedPrecondition);
  EXPECT_TRUE(Run(none.End()).has_value());
  Freeze proc(io_.get_executor(), FreezableFilesystem("/proc"));
  EXPECT_FALSE(Run(proc.Begin()).has_value());
  Run(proc.AwaitThaw());
}

// As processes are in a copy that cannot be reseeded.
TEST_F(FreezeTest, WhatMayNotThawByItselfStaysFrozenUntilItIsAsked) {
  class Stubborn : public Freezable {
   public:
    explicit Stubborn(std::atomic<int>& asked, std::atomic<bool>& gone)
        : asked_(asked), gone_(gone) {}
    base::Result<> Stop() override { return {}; }
    base::Result<> GoOn() override {
      gone_ = true;
      return {};
    }
    base::Result<> PrepareOwnThaw() override {
      ++asked_;
      return base::Fail(base::Code::kUnavailable, "no random numbers");
    }

   private:
    std::atomic<int>& asked_;
    std::atomic<bool>& gone_;
  };
  std::atomic<int> asked = 0;
  std::atomic<bool> gone = false;
  Freeze freeze(io_.get_executor(), std::make_unique<Stubborn>(asked, gone), 20ms);
  ASSERT_TRUE(Run(freeze.Begin()).has_value());
  while (asked == 0) std::this_thread::sleep_for(1ms);
  std::this_thread::sleep_for(50ms);
  EXPECT_FALSE(gone);
  EXPECT_FALSE(freeze.thawed());
  EXPECT_TRUE(Run(freeze.End()).has_value());
  EXPECT_TRUE(gone);
  EXPECT_TRUE(freeze.thawed());
}

TEST_F(FreezeTest, AnAgentThatEndsThaws) {
  {
    Freeze freeze(io_.get_executor(), FreezableFilesystem(Mount()));
    ASSERT_TRUE(Run(freeze.Begin()).has_value());
  }
  Writer().join();
  EXPECT_TRUE(written_);
}

}  // namespace
}  // namespace tinderbox::agent
