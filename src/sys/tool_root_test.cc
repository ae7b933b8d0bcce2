// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <string>
#include <vector>

#include "sys/fd.h"
#include "sys/file.h"
#include "sys/tool.h"

namespace tinderbox::sys {
namespace {

using base::Code;
using ::testing::ElementsAre;

class ToolRootTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  }
  // The tests' tool is a shell; the programs that we run in earnest are none.
  static ToolSpec Shell(const std::string& script) {
    ToolSpec spec;
    spec.argv = {"/bin/sh", "-c", script};
    spec.deadline = base::Deadline::After(std::chrono::seconds(30));
    return spec;
  }
};

TEST_F(ToolRootTest, GivesOutputLinesAndExitCode) {
  auto spec = Shell("echo out; echo one >&2; printf 'two\\rthree' >&2; exit 7");
  std::vector<std::string> lines;
  spec.on_line = [&](std::string_view line) { lines.emplace_back(line); };
  const auto result = RunTool(spec);
  ASSERT_TRUE(result) << result.error().ToString();
  EXPECT_EQ(result->exit_code, 7);
  EXPECT_EQ(result->output, "out\n");
  EXPECT_EQ(result->error_tail, "one\ntwo\rthree");
  EXPECT_THAT(lines, ElementsAre("one", "two", "three"));
}

TEST_F(ToolRootTest, ReportsSignalsAsAShellDoes) {
  auto spec = Shell("echo started >&2; sleep 60");
  // From outside: within its namespace process 1 cannot be killed.
  spec.on_line = [](std::string_view) {
    const auto children = ReadFile("/proc/thread-self/children").value();
    ::kill(std::stoi(children), SIGKILL);
  };
  EXPECT_EQ(RunTool(spec)->exit_code, 128 + SIGKILL);
}

TEST_F(ToolRootTest, PassesNothingButWhatItIsGiven) {
  ::setenv("TINDERBOX_TEST_SECRET", "1", 1);
  auto spec = Shell("env; pwd; ls /proc/self/fd | wc -l; umask");
  spec.env = {"GIVEN=yes"};
  spec.cwd = "/usr";
  const auto output = RunTool(spec).value().output;
  ::unsetenv("TINDERBOX_TEST_SECRET");
  EXPECT_THAT(output, ::testing::HasSubstr("GIVEN=yes\n"));
  EXPECT_THAT(output, ::testing::HasSubstr("LC_ALL=C.UTF-8\n"));
  EXPECT_THAT(output, ::testing::Not(::testing::HasSubstr("SECRET")));
  EXPECT_THAT(output, ::testing::HasSubstr("\n/usr\n4\n0022\n"));
}

TEST_F(ToolRootTest, SaysThatAProgramIsNotThere) {
  ToolSpec spec;
  spec.argv = {"tinderbox-no-such-program"};
  const auto result = RunTool(spec);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code(), Code::kNotFound);
  EXPECT_FALSE(result.error().remedy().empty());
  spec.argv = {"/etc/passwd"};
  EXPECT_FALSE(RunTool(spec));
}

TEST_F(ToolRootTest, SaysWhichStepFailed) {
  auto spec = Shell("true");
  spec.cwd = "/no/such/directory";
  const auto result = RunTool(spec);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().message(), "run '/bin/sh': change directory");
  EXPECT_EQ(result.error().code(), Code::kNotFound);
}

TEST_F(ToolRootTest, EndsEverythingAtTheDeadline) {
  auto spec = Shell("sleep 60 & sleep 60");
  spec.deadline = base::Deadline::After(std::chrono::milliseconds(200));
  const auto begin = std::chrono::steady_clock::now();
  const auto result = RunTool(spec);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code(), Code::kDeadlineExceeded);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(20));
}

TEST_F(ToolRootTest, BoundsTheOutput) {
  auto spec = Shell("while echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; do :; done");
  spec.max_output = 100'000;
  EXPECT_EQ(RunTool(spec).error().code(), Code::kResourceExhausted);
  const auto result = RunTool(Shell("yes | head -c 100000 >&2")).value();
  EXPECT_EQ(result.error_tail.size(), 8192u);
}

TEST_F(ToolRootTest, KeepsMountsToItself) {
  const auto result = RunTool(Shell("mount -t tmpfs tmpfs /mnt && echo mounted"));
  ASSERT_TRUE(result);
  EXPECT_EQ(result->output, "mounted\n") << result->error_tail;
  EXPECT_EQ(ReadFile("/proc/self/mountinfo")->find(" /mnt "), std::string::npos);
}

TEST_F(ToolRootTest, DiesWithItsCaller) {
  const std::string fifo = "/tmp/tinderbox-tool-test-" + std::to_string(::getpid());
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  const UniqueFd alive = Open(fifo, O_RDONLY | O_NONBLOCK).value();
  const pid_t caller = ::fork();
  if (caller == 0) {
    // The tool and its children hold the fifo open: it is hung up when the last of them is gone.
    auto spec =
        Shell("exec 9>" + fifo + "; sleep 60 & (sleep 60 & sleep 60) & echo started >&2; wait");
    spec.on_line = [](std::string_view) { ::kill(::getpid(), SIGKILL); };
    static_cast<void>(RunTool(spec));
    ::_exit(1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(caller, &status, 0), caller);
  EXPECT_TRUE(WIFSIGNALED(status));
  pollfd fd{.fd = alive.get(), .events = POLLIN, .revents = 0};
  EXPECT_EQ(::poll(&fd, 1, 10'000), 1) << "something of the tool still runs";
  EXPECT_EQ(fd.revents, POLLHUP);
  ::unlink(fifo.c_str());
}

}  // namespace
}  // namespace tinderbox::sys
