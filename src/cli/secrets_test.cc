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

// A terminal: what the user types goes into `screen`, and what the program shows comes out of it.
struct Terminal {
  Terminal() {
    int leader = -1;
    int follower = -1;
    EXPECT_EQ(::openpty(&leader, &follower, nullptr, nullptr, nullptr), 0);
    ::fcntl(leader, F_SETFD, FD_CLOEXEC);
    ::fcntl(follower, F_SETFD, FD_CLOEXEC);
    screen.Reset(leader);
    keyboard.Reset(follower);
  }
  void Type(std::string_view text) const { ASSERT_TRUE(sys::WriteAll(screen, text).has_value()); }
  std::string ShownUntil(const std::string& mark) const { return ReadUntil(screen.get(), mark); }
  bool Echoes() const {
    termios mode{};
    EXPECT_EQ(::tcgetattr(keyboard.get(), &mode), 0);
    return (mode.c_lflag & ECHO) != 0;
  }
  sys::UniqueFd screen, keyboard;
};

class SecretsTerminalTest : public SecretsTest {
 protected:
  Program Set() const {
    const int keyboard = terminal_.keyboard.get();
    return Program({"secret", "set", "key"}, keyboard, out_.write.get(), keyboard);
  }
  Terminal terminal_;
  Pipe out_;
  const std::string prompt_ = "(not shown): ";
  const std::string body_ = R"({"value":"typed-value","name":"key"})";
};

TEST_F(SecretsTerminalTest, DoesNotShowWhatIsTyped) {
  const Program program = Set();
  std::string seen = terminal_.ShownUntil(prompt_);
  ASSERT_THAT(seen, HasSubstr(prompt_));
  terminal_.Type("typed-value\n");
  EXPECT_EQ(program.Wait(), 0);
  seen += terminal_.ShownUntil("\n");
  EXPECT_THAT(seen, Not(HasSubstr("typed")));
  EXPECT_EQ(LastBody("/secrets"), body_);
  EXPECT_TRUE(terminal_.Echoes());
}

// The worst moment to type: the program has only just begun to write its prompt.
TEST_F(SecretsTerminalTest, DoesNotShowWhatIsTypedBeforeThePrompt) {
  // The terminal's output stands still, as after Ctrl-S, so the program cannot get past the prompt.
  ASSERT_EQ(::tcflow(terminal_.keyboard.get(), TCOOFF), 0);
  const Program program = Set();
  for (int tries = 0; terminal_.Echoes() && tries < 1000; ++tries) ::usleep(10'000);
  EXPECT_FALSE(terminal_.Echoes()) << "the prompt comes before the terminal is quiet";
  terminal_.Type("typed-value\n");
  ASSERT_EQ(::tcflow(terminal_.keyboard.get(), TCOON), 0);
  EXPECT_EQ(program.Wait(), 0);
  const std::string seen = terminal_.ShownUntil("\n");
  EXPECT_THAT(seen, HasSubstr(prompt_));
  EXPECT_THAT(seen, Not(HasSubstr("typed")));
  EXPECT_EQ(LastBody("/secrets"), body_);
}

TEST_F(SecretsTerminalTest, KeepsWhatWasTypedBeforeItStarted) {
  terminal_.Type("typed-value\n");
  EXPECT_EQ(Set().Wait(), 0);
  EXPECT_EQ(LastBody("/secrets"), body_);
}

TEST_F(SecretsTerminalTest, ASignalEndsItAndTheTerminalShowsInputAgain) {
  const Program interrupted = Set();
  ASSERT_THAT(terminal_.ShownUntil(prompt_), HasSubstr(prompt_));
  interrupted.Signal(SIGINT);
  EXPECT_EQ(interrupted.Wait(), 1000 + SIGINT);
  EXPECT_TRUE(terminal_.Echoes());
}

}  // namespace
}  // namespace tinderbox::cli
