// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include "sys/file.h"
#include "sys/oom_score.h"
#include "sys/pidfd.h"
#include "sys/spawn.h"
#include "sys/tool.h"

namespace tinderbox::sys {
namespace {

int ScoreOf(pid_t pid) {
  const auto text = ReadFile(fmt::format("/proc/{}/oom_score_adj", pid), 64);
  return text ? std::stoi(*text) : -2000;
}

TEST(ROOT_OomScore, IsRaisedAndNeverLowered) {
  const int own = ScoreOf(::getpid());
  const Child child =
      Spawn({.path = "/bin/sleep", .argv = {"sleep", "60"}, .env = {}, .fds = {}}).value();
  EXPECT_EQ(ScoreOf(child.pid), own) << "inherited";
  EXPECT_TRUE(RaiseOomScore(child.pid, 500));
  EXPECT_EQ(ScoreOf(child.pid), 500);
  EXPECT_TRUE(RaiseOomScore(child.pid, 0));
  EXPECT_EQ(ScoreOf(child.pid), 500);
  EXPECT_EQ(ScoreOf(::getpid()), own) << "the parent's own is another";
  EXPECT_TRUE(SignalPidFd(child.pidfd, SIGKILL));
  EXPECT_TRUE(WaitPidFd(child.pidfd, base::Deadline::Never()));
  ReapPidFd(child.pidfd);
}

TEST(ROOT_OomScore, ToolsDoNotInheritTheDaemons) {
  const int own = ScoreOf(::getpid());
  if (!WriteExisting("/proc/self/oom_score_adj", "-300")) {
    GTEST_SKIP() << "this needs CAP_SYS_RESOURCE, to have a score that could be inherited";
  }
  const auto ran = RunTool({.argv = {"cat", "/proc/self/oom_score_adj"}});
  ASSERT_TRUE(WriteExisting("/proc/self/oom_score_adj", std::to_string(own)));
  ASSERT_TRUE(ran) << ran.error().ToString();
  EXPECT_EQ(ran->output, "0\n");
}

}  // namespace
}  // namespace tinderbox::sys
