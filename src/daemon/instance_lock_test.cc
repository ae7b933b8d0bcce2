// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "daemon/instance_lock.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace tinderbox::daemon {
namespace {

class InstanceLockTest : public testing::Test {
 protected:
  void SetUp() override {
    dir_ = testing::TempDir() + "tb-lock-XXXXXX";
    ASSERT_NE(mkdtemp(dir_.data()), nullptr);
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }
  std::string dir_;
};

TEST_F(InstanceLockTest, TheSecondIsRefusedByTheFirstsPid) {
  {
    const auto first = InstanceLock::Take(dir_);
    ASSERT_TRUE(first) << first.error().ToString();
    std::ifstream pid_file(dir_ + "/tinderboxd.pid");
    pid_t pid = 0;
    pid_file >> pid;
    EXPECT_EQ(pid, getpid());
    const auto second = InstanceLock::Take(dir_);
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code(), base::Code::kAlreadyExists);
    EXPECT_THAT(second.error().message(), testing::HasSubstr("already"));
    EXPECT_THAT(second.error().message(), testing::HasSubstr(std::to_string(getpid())));
    EXPECT_FALSE(second.error().remedy().empty());
    EXPECT_TRUE(std::filesystem::exists(dir_ + "/tinderboxd.pid"));
  }
  EXPECT_FALSE(std::filesystem::exists(dir_ + "/tinderboxd.pid"));
  EXPECT_TRUE(InstanceLock::Take(dir_));
}

TEST_F(InstanceLockTest, AKilledOwnerLeavesItFree) {
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const auto lock = InstanceLock::Take(dir_);
    if (!lock || write(ready[1], "x", 1) != 1) _exit(1);
    pause();
    _exit(0);
  }
  char byte;
  ASSERT_EQ(read(ready[0], &byte, 1), 1);
  EXPECT_FALSE(InstanceLock::Take(dir_));
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  EXPECT_TRUE(InstanceLock::Take(dir_));
}

}  // namespace
}  // namespace tinderbox::daemon
