// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// tinderbox secret, against a daemon that the test plays.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pty.h>

#include "cli/cli_fixture.h"

namespace tinderbox::cli {
namespace {

using testing::HasSubstr;
using testing::Not;

class SecretsTest : public CliTest {
 protected:
  std::string LastBody(const std::string& prefix) {
    const auto seen = daemon_->Seen(prefix);
    return seen.empty() ? "" : seen.back().body;
  }
};

TEST_F(SecretsTest, SetReadsTheValueFromStandardInputOrAFile) {
  const Outcome made = Run({"secret", "set", "key"}, "sk-1\n");
  EXPECT_EQ(made.out, "key\n") << made.err;
  EXPECT_EQ(LastBody("/secrets"), R"({"value":"sk-1","name":"key"})");
  ASSERT_TRUE(sys::WriteFileAtomic(directory_ + "/value", "sk-2\r\n\n", 0600).has_value());
  const Outcome again =
      Run({"secret", "set", "--file", directory_ + "/value", "-m", "a=b", "--json", "key"}, "no");
  EXPECT_EQ(again.status, 0) << again.err;
  EXPECT_THAT(again.out, HasSubstr("\"currentVersion\": 2"));
  EXPECT_THAT(again.out, Not(HasSubstr("sk-2")));
  EXPECT_EQ(LastBody("/secrets/key"), R"({"value":"sk-2\r\n","metadata":{"a":"b"}})");
}

TEST_F(SecretsTest, NoValueOnTheCommandLine) {
  const Outcome refused = Run({"secret", "set", "key", "sk-1"}, "x");
  EXPECT_EQ(refused.status, 2);
  EXPECT_TRUE(daemon_->Seen("/secrets").empty());
}

TEST_F(SecretsTest, WhatCannotBeReadIsAnError) {
  const Outcome missing = Run({"secret", "set", "key", "--file", directory_ + "/none"});
  EXPECT_EQ(missing.status, 1);
  EXPECT_THAT(missing.err, HasSubstr("none"));
  EXPECT_EQ(Run({"secret", "set", "key"}, std::string(70000, 'x')).status, 1);
  EXPECT_TRUE(daemon_->Seen("/secrets").empty());
}

TEST_F(SecretsTest, ListsAndRemoves) {
  Run({"secret", "set", "b"}, "x");
  Run({"secret", "set", "a"}, "x");
  EXPECT_EQ(Run({"secret", "ls", "-q"}).out, "a\nb\n");
  const Outcome table = Run({"secret", "ls"});
  EXPECT_THAT(table.out, HasSubstr("VERSION"));
  EXPECT_THAT(table.out, HasSubstr("sec_a"));
  EXPECT_EQ(Run({"secret", "rm", "a"}).out, "a\n");
  const Outcome gone = Run({"secret", "rm", "a", "b"});
  EXPECT_EQ(gone.status, 1);
  EXPECT_EQ(gone.out, "b\n");
  EXPECT_EQ(Run({"secret", "rm", "-f", "a"}).status, 0);
  EXPECT_EQ(Run({"secret", "ls", "-q"}).out, "");
}

TEST_F(SecretsTest, ATerminalDoesNotShowWhatIsTyped) {
  int leader = -1;
  int follower = -1;
  ASSERT_EQ(::openpty(&leader, &follower, nullptr, nullptr, nullptr), 0);
  sys::UniqueFd screen(leader);
  sys::UniqueFd keyboard(follower);
  ::fcntl(leader, F_SETFD, FD_CLOEXEC);
  ::fcntl(follower, F_SETFD, FD_CLOEXEC);
  Pipe out;
  const Program program({"secret", "set", "key"}, follower, out.write.get(), follower);
  std::string seen = ReadUntil(leader, "(not shown): ");
  ASSERT_TRUE(sys::WriteAll(screen, "typed-value\n").has_value());
  EXPECT_EQ(program.Wait(), 0);
  seen += ReadUntil(leader, "\n");
  EXPECT_THAT(seen, Not(HasSubstr("typed")));
  EXPECT_EQ(LastBody("/secrets"), R"({"value":"typed-value","name":"key"})");
  termios after{};
  ASSERT_EQ(::tcgetattr(follower, &after), 0);
  EXPECT_NE(after.c_lflag & ECHO, 0u);

  const Program interrupted({"secret", "set", "key"}, follower, out.write.get(), follower);
  ReadUntil(leader, "(not shown): ");
  interrupted.Signal(SIGINT);
  EXPECT_EQ(interrupted.Wait(), 1000 + SIGINT);
  ASSERT_EQ(::tcgetattr(follower, &after), 0);
  EXPECT_NE(after.c_lflag & ECHO, 0u);
}

}  // namespace
}  // namespace tinderbox::cli
