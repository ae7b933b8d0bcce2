// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// The program itself, as users start it, against a daemon that the test plays.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <chrono>
#include <csignal>
#include <fstream>

#include "cli/cli_fixture.h"

namespace tinderbox::cli {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;

TEST_F(CliTest, RunKeepsStreamsApartAndPassesTheExitCode) {
  const Outcome outcome =
      Run({"run", "--rm", "-u", "root", "-e", "A=b", "-w", "/w", "--", "streams"});
  EXPECT_EQ(outcome.status, 7);
  EXPECT_EQ(outcome.out, "out\n");
  EXPECT_EQ(outcome.err, "err\n");
  EXPECT_THAT(daemon_->sandboxes(), IsEmpty());

  const auto starts = daemon_->Seen("/process.Process/Start");
  ASSERT_THAT(starts, SizeIs(1));
  const auto& headers = starts[0].headers;
  EXPECT_EQ(headers.at("x-access-token"), "secret");
  EXPECT_EQ(headers.at("e2b-sandbox-port"), "49983");
  EXPECT_EQ(headers.at("authorization"), "Basic cm9vdDo=");
  EXPECT_EQ(headers.at("keepalive-ping-interval"), "50");
  EXPECT_FALSE(headers.contains("connect-timeout-ms"));
  EXPECT_EQ(starts[0].body.substr(5),
            R"({"process":{"cmd":"streams","args":[],"envs":{"A":"b"},"cwd":"/w"},"stdin":false})");
}

TEST_F(CliTest, WithoutRmTheSandboxStays) {
  const Outcome outcome =
      Run({"run", "--id-file", directory_ + "/id", "--memory", "512", "--", "streams"});
  EXPECT_EQ(outcome.status, 7);
  EXPECT_EQ(outcome.err, "err\n");  // no chatter where nobody sits
  ASSERT_THAT(daemon_->sandboxes(), SizeIs(1));
  EXPECT_EQ(sys::ReadFile(directory_ + "/id").value_or(""), daemon_->sandboxes()[0] + "\n");
  EXPECT_EQ(daemon_->Seen("/v2/sandboxes")[0].body,
            R"({"templateID":"base","timeout":300,"memoryMB":512})");
}

TEST_F(CliTest, StdinIsForwardedToItsEnd) {
  std::string input;
  for (int i = 0; i < 300000; ++i) input += static_cast<char>(i * 7 + i / 256);
  const Outcome outcome = Run({"run", "--rm", "-i", "--", "cat"}, input);
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_TRUE(outcome.out == input);
}

TEST_F(CliTest, AStatusTellsOfSignalsAndOfCommandsThatAreNotThere) {
  EXPECT_EQ(Run({"run", "--rm", "--", "killed"}).status, 137);
  const Outcome missing = Run({"run", "--rm", "--", "missing"});
  EXPECT_EQ(missing.status, 127);
  EXPECT_EQ(missing.err, "tinderbox: cannot execute 'missing'\n");
  EXPECT_EQ(Run({"run", "--rm", "--", "forbidden"}).status, 126);
  EXPECT_THAT(daemon_->sandboxes(), IsEmpty());
}

TEST_F(CliTest, OurOwnFailuresAre125WithARemedy) {
  const Outcome unknown = Run({"run", "-T", "none", "--", "streams"});
  EXPECT_EQ(unknown.status, 125);
  EXPECT_EQ(unknown.err, "tinderbox: template 'none' not found\n  See tinderbox templates.\n");
  EXPECT_EQ(Run({"run", "--bad"}).status, 125);
  EXPECT_EQ(Run({"ls", "--bad"}).status, 2);
  const Outcome vanished = Run({"run", "--rm", "--", "vanish"});
  EXPECT_EQ(vanished.status, 125);
  EXPECT_EQ(vanished.out, "there\n");
  EXPECT_THAT(vanished.err, HasSubstr("lost the command's stream"));
}

TEST_F(CliTest, ADaemonThatIsNotThereIsSaidSo) {
  const Outcome outcome = Run({"ls", "--host", "unix://" + directory_ + "/none.sock"});
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.err, HasSubstr("the daemon is not running"));
  EXPECT_THAT(outcome.err, HasSubstr("\n  Start it: "));
}

TEST_F(CliTest, CarriesManyMegabytes) {
  Pipe out;
  const auto begun = std::chrono::steady_clock::now();
  const Program program({"run", "--rm", "--", "big", "1000"}, STDIN_FILENO, out.write.get(), 2);
  out.write.Reset();
  std::string block(1 << 20, '\0');
  std::size_t total = 0;
  for (ssize_t n; (n = ::read(out.read.get(), block.data(), block.size())) > 0;) {
    for (ssize_t i = 0; i < n; ++i) {
      const std::size_t at = (total + static_cast<std::size_t>(i)) % (32 << 10);
      ASSERT_EQ(block[static_cast<std::size_t>(i)], static_cast<char>(at * 31 + at / 256));
    }
    total += static_cast<std::size_t>(n);
  }
  EXPECT_EQ(program.Wait(), 0);
  EXPECT_EQ(total, std::size_t{1000} * (32 << 10));
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begun;
  RecordProperty("MBps", std::to_string(static_cast<double>(total) / 1e6 / taken.count()));
}

TEST_F(CliTest, AReaderThatStopsEndsTheCommandQuietly) {
  Pipe out, err;
  const Program program({"run", "--rm", "--", "endless"}, STDIN_FILENO, out.write.get(),
                        err.write.get());
  out.write.Reset();
  err.write.Reset();
  char buffer[10];
  EXPECT_EQ(::read(out.read.get(), buffer, sizeof buffer), 10);
  out.read.Reset();
  EXPECT_EQ(program.Wait(), 141);
  EXPECT_EQ(sys::ReadAll(err.read, 1000).value_or("?"), "");
  const auto signals = daemon_->Seen("/process.Process/SendSignal");
  ASSERT_THAT(signals, SizeIs(1));
  EXPECT_THAT(signals[0].body, HasSubstr("SIGNAL_SIGKILL"));
  EXPECT_THAT(daemon_->sandboxes(), IsEmpty());
}

TEST_F(CliTest, AnInterruptEndsTheCommandAndRemovesTheSandbox) {
  Pipe out;
  const Program program({"run", "--rm", "--", "signalled"}, STDIN_FILENO, out.write.get(), 2);
  out.write.Reset();
  EXPECT_EQ(ReadUntil(out.read.get(), "ready\n"), "ready\n");
  program.Signal(SIGINT);
  EXPECT_EQ(program.Wait(), 130);
  EXPECT_THAT(daemon_->Seen("/process.Process/SendSignal")[0].body, HasSubstr("SIGNAL_SIGTERM"));
  EXPECT_THAT(daemon_->sandboxes(), IsEmpty());
}

TEST_F(CliTest, AnInterruptWhileCreatingLeavesNoSandbox) {
  daemon_->set_create_delay_ms(500);
  Pipe err;
  const Program program({"create"}, STDIN_FILENO, STDOUT_FILENO, err.write.get());
  err.write.Reset();
  while (daemon_->Seen("/v2/sandboxes").empty()) ::usleep(1000);
  program.Signal(SIGTERM);
  EXPECT_EQ(program.Wait(), 128 + SIGTERM);
  EXPECT_EQ(sys::ReadAll(err.read, 1000).value_or("?"),
            "tinderbox: interrupted; no sandbox was left behind\n");
  EXPECT_THAT(daemon_->sandboxes(), IsEmpty());
  EXPECT_THAT(daemon_->Seen("/sandboxes/"), SizeIs(1));
}

TEST_F(CliTest, ATerminalIsRawWhileTheCommandRunsAndAsBeforeAfterwards) {
  int master = -1;
  int slave = -1;
  const winsize small{.ws_row = 30, .ws_col = 100, .ws_xpixel = 0, .ws_ypixel = 0};
  ASSERT_EQ(::openpty(&master, &slave, nullptr, nullptr, &small), 0);
  const sys::UniqueFd ours(master);
  const sys::UniqueFd theirs(slave);
  termios before{};
  ASSERT_EQ(::tcgetattr(slave, &before), 0);

  const Program program({"run", "--rm", "-it", "--", "terminal"}, slave, slave, slave);
  EXPECT_THAT(ReadUntil(master, "}}"), HasSubstr(R"({"size":{"cols":100,"rows":30}})"));
  termios during{};
  ASSERT_EQ(::tcgetattr(slave, &during), 0);
  EXPECT_EQ(during.c_lflag & (ICANON | ECHO | ISIG), 0U);

  const winsize large{.ws_row = 41, .ws_col = 121, .ws_xpixel = 0, .ws_ypixel = 0};
  ASSERT_EQ(::ioctl(master, TIOCSWINSZ, &large), 0);
  program.Signal(SIGWINCH);  // it has no controlling terminal here that would
  EXPECT_THAT(ReadUntil(master, "}"), HasSubstr(R"({"cols":121,"rows":41})"));
  ASSERT_TRUE(sys::WriteAll(ours, "\x03"));
  EXPECT_THAT(ReadUntil(master, "interrupted"), HasSubstr("interrupted"));
  EXPECT_EQ(program.Wait(), 3);
  termios after{};
  ASSERT_EQ(::tcgetattr(slave, &after), 0);
  EXPECT_EQ(after.c_lflag, before.c_lflag);
  EXPECT_EQ(after.c_iflag, before.c_iflag);
  EXPECT_EQ(after.c_oflag, before.c_oflag);
  EXPECT_THAT(daemon_->sandboxes(), IsEmpty());
}

TEST_F(CliTest, LogsCommandNoTerminal) {
  daemon_->AddSandbox("i3kabc", "web", "running");
  EXPECT_EQ(Run({"logs", "web"}).out, "boot\r\n\x1b]0;owned\x07 done\n")
      << "a pipe gets it as it is";
  int master = -1;
  int slave = -1;
  ASSERT_EQ(::openpty(&master, &slave, nullptr, nullptr, nullptr), 0);
  const sys::UniqueFd ours(master);
  const sys::UniqueFd theirs(slave);
  const Program program({"logs", "web"}, slave, slave, slave);
  const std::string shown = ReadUntil(master, "done");
  EXPECT_THAT(shown, HasSubstr("?]0;owned? done"));
  EXPECT_THAT(shown, Not(HasSubstr("\x1b")));
  EXPECT_EQ(program.Wait(), 0);
}

TEST_F(CliTest, SandboxesAreFoundByNameAndByTheBeginningOfTheirIds) {
  daemon_->AddSandbox("i3kabc", "web", "running");
  daemon_->AddSandbox("i3kxyz", "db", "dead");
  EXPECT_THAT(Run({"inspect", "web"}).out, HasSubstr("\"i3kabc\""));
  EXPECT_THAT(Run({"inspect", "i3kx"}).out, HasSubstr("\"i3kxyz\""));
  EXPECT_THAT(Run({"inspect", "i3k"}).err, HasSubstr("may mean 2 sandboxes: i3kabc, i3kxyz"));
  EXPECT_THAT(Run({"inspect", "nope"}).err, HasSubstr("no sandbox 'nope'"));
  EXPECT_THAT(Run({"exec", "db", "--", "streams"}).err, HasSubstr("is dead, not running"));
  EXPECT_EQ(Run({"exec", "web", "streams"}).status, 7);
  EXPECT_EQ(Run({"ls", "-q", "--state", "dead"}).out, "i3kxyz\n");
  EXPECT_EQ(Run({"ls", "-q", "-m", "name=web"}).out, "i3kabc\n");
  EXPECT_THAT(Run({"ls"}).out, HasSubstr("ID       NAME   TEMPLATE   STATE     CPUS   MEMORY"));
  const auto list = boost::json::parse(Run({"ls", "--json"}).out);
  EXPECT_EQ(list.as_array().size(), 2U);
  EXPECT_EQ(Run({"rm", "web"}).out, "i3kabc\n");
  EXPECT_EQ(Run({"rm", "web"}).status, 1);
  EXPECT_EQ(Run({"rm", "-f", "web"}).status, 0);
  EXPECT_EQ(Run({"rm", "--all", "--json"}).status, 0);
  EXPECT_EQ(Run({"ls", "--json"}).out, "[]\n");
}

TEST_F(CliTest, CreatePrintsTheId) {
  const Outcome outcome = Run({"create", "--name", "n", "-e", "A=b", "--timeout", "1h"});
  EXPECT_EQ(outcome.out, "i00000000000000000001\n");
  EXPECT_EQ(daemon_->Seen("/v2/sandboxes")[0].body,
            R"({"templateID":"base","timeout":3600,"metadata":{"name":"n"},"envVars":{"A":"b"}})");
}

TEST_F(CliTest, EnvMakesOneKeyAndKeepsItForItsOwnerAlone) {
  const std::string first = Run({"env"}).out;
  EXPECT_THAT(first, testing::StartsWith("export E2B_API_KEY=e2b_" + std::string(39, '0') +
                                         "1\n"
                                         "export E2B_API_URL="));
  EXPECT_THAT(first, HasSubstr("\nexport E2B_SANDBOX_URL="));
  EXPECT_EQ(Run({"env"}).out, first);
  EXPECT_THAT(daemon_->Seen("/tinderbox/v1/api-keys"), SizeIs(1));
  const auto permissions =
      std::filesystem::status(directory_ + "/.local/state/tinderbox/keys.json").permissions();
  EXPECT_EQ(permissions, std::filesystem::perms(0600));
  // One that the daemon no longer knows is replaced.
  daemon_->RevokeKeys();
  const std::string second = Run({"env"}).out;
  EXPECT_NE(second, first);
  EXPECT_NE(Run({"env", "--new-key"}).out, second);
  const auto object = boost::json::parse(Run({"env", "--json"}).out);
  EXPECT_THAT(std::string(object.at("E2B_API_KEY").as_string()), testing::EndsWith("3"));
}

TEST_F(CliTest, TheThirdInterruptLeavesAtOnce) {
  Pipe out;
  const Program program({"run", "--rm", "--", "deaf"}, STDIN_FILENO, out.write.get(), 2);
  out.write.Reset();
  ReadUntil(out.read.get(), "ready\n");
  for (std::size_t sent = 1; sent <= 2; ++sent) {
    program.Signal(SIGINT);
    while (daemon_->Seen("/process.Process/SendSignal").size() < sent) ::usleep(1000);
  }
  program.Signal(SIGINT);
  EXPECT_EQ(program.Wait(), 130);
  EXPECT_THAT(daemon_->sandboxes(), IsEmpty());
}

TEST_F(CliTest, FilesAreCopiedInAndOut) {
  daemon_->AddSandbox("i3kabc", "web", "running");
  const std::string local = directory_ + "/f";
  std::ofstream(local) << "content";
  EXPECT_EQ(Run({"cp", local, "web:there"}).status, 0);
  EXPECT_EQ(daemon_->file("there"), "content");
  EXPECT_EQ(Run({"cp", "web:there", directory_ + "/g"}).status, 0);
  EXPECT_EQ(sys::ReadFile(directory_ + "/g").value_or("?"), "content");
  EXPECT_EQ(Run({"cp", "web:there", "-"}).out, "content");
  EXPECT_EQ(Run({"cp", "-", "web:piped"}, "from a pipe").status, 0);
  EXPECT_EQ(daemon_->file("piped"), "from a pipe");
  const Outcome missing = Run({"cp", "web:nope", directory_ + "/h"});
  EXPECT_EQ(missing.status, 1);
  EXPECT_THAT(missing.err, HasSubstr("'nope' does not exist"));
  EXPECT_FALSE(sys::Exists(directory_ + "/h"));
  EXPECT_THAT(Run({"cp", "a", "b"}).err, HasSubstr("neither FROM nor TO"));
}

}  // namespace
}  // namespace tinderbox::cli
