// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// The program against a real agent, which runs here as an ordinary process (as root: it switches
// users). No VM, no daemon: the test plays that.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include <boost/json.hpp>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <optional>

#include "cli/cli_fixture.h"

namespace tinderbox::cli {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

class AgentTest : public CliTest {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root: the agent switches users";
    Pipe ready;
    agent_ = ::fork();
    ASSERT_GE(agent_, 0);
    if (agent_ == 0) {
      // It shall not outlive a test that is killed, nor hold its standard error open.
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      ::dup2(ready.write.get(), 1);
      ::dup2(::open("/dev/null", O_WRONLY | O_CLOEXEC), 2);
      ::execl(TINDERBOX_AGENT, TINDERBOX_AGENT, "--port", "0", nullptr);
      ::_exit(127);
    }
    ready.write.Reset();
    const std::string line = ReadUntil(ready.read.get(), "\n");
    const auto at = line.find("port ");
    ASSERT_NE(at, line.npos) << line;
    daemon_->set_agent_port(static_cast<std::uint16_t>(std::stoi(line.substr(at + 5))));
    daemon_->AddSandbox("i3kabc", "web", "running");
  }
  void TearDown() override {
    if (agent_ <= 0) return;
    ::kill(agent_, SIGTERM);
    ::waitpid(agent_, nullptr, 0);
  }
  // `exec` as root, in whatever home root has.
  std::vector<std::string> Exec(std::vector<std::string> command,
                                std::vector<std::string> flags = {}) {
    std::vector<std::string> words = {"exec", "-u", "root"};
    words.insert(words.end(), flags.begin(), flags.end());
    words.insert(words.end(), {"web", "--"});
    words.insert(words.end(), command.begin(), command.end());
    return words;
  }

  pid_t agent_ = -1;
};

TEST_F(AgentTest, ROOT_StreamsStatusEnvironmentAndDirectory) {
  const Outcome outcome = Run(Exec({"sh", "-c", "echo out; echo err >&2; echo \"$A\"; pwd; exit 7"},
                                   {"-e", "A=b c", "-w", "/usr"}));
  EXPECT_EQ(outcome.status, 7);
  EXPECT_EQ(outcome.out, "out\nb c\n/usr\n");
  EXPECT_EQ(outcome.err, "err\n");
  EXPECT_EQ(Run(Exec({"sh", "-c", "kill -9 $$"})).status, 137);
  EXPECT_EQ(Run(Exec({"sh", "-c", "kill -15 $$"})).status, 143);
  EXPECT_EQ(Run(Exec({"no-such-program"})).status, 127);
  EXPECT_EQ(Run(Exec({"/etc/passwd"})).status, 126);
  const Outcome nowhere = Run(Exec({"true"}, {"-w", "/no/such"}));
  EXPECT_EQ(nowhere.status, 125);
  EXPECT_THAT(nowhere.err, HasSubstr("/no/such"));
  EXPECT_EQ(Run(Exec({"wc", "-c"}), "never seen").out, "0\n");
}

TEST_F(AgentTest, ROOT_StdinIsForwardedToItsEnd) {
  std::string input;
  for (int i = 0; i < 5'000'000; ++i) input += static_cast<char>(i * 7 + i / 256);
  const Outcome outcome = Run(Exec({"cat"}, {"-i"}), input);
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_TRUE(outcome.out == input) << outcome.out.size();
  // One that stops reading is no reason to hang.
  EXPECT_EQ(Run(Exec({"head", "-c", "3"}, {"-i"}), input).out.size(), 3U);
  EXPECT_EQ(Run(Exec({"sleep", "0.1"}, {"-i"}), input).status, 0);
}

TEST_F(AgentTest, ROOT_CarriesManyMegabytes) {
  constexpr std::size_t kSize = 64'000'000;
  Pipe out;
  const auto begun = std::chrono::steady_clock::now();
  const Program program(Exec({"sh", "-c", "seq 1 100000000 | head -c 64000000"}), STDIN_FILENO,
                        out.write.get(), 2);
  out.write.Reset();
  std::string all = sys::ReadAll(out.read, 2 * kSize).value_or("");
  EXPECT_EQ(program.Wait(), 0);
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begun;
  ASSERT_EQ(all.size(), kSize);
  std::size_t at = 0;
  for (int i = 1; at + 16 < all.size(); ++i) {
    const std::string line = std::to_string(i) + "\n";
    ASSERT_EQ(all.compare(at, line.size(), line), 0) << "line " << i;
    at += line.size();
  }
  const double rate = static_cast<double>(kSize) / 1e6 / taken.count();
  RecordProperty("MBps", std::to_string(rate));
  std::printf("%.0f MB/s\n", rate);
}

TEST_F(AgentTest, ROOT_ATerminalWithResizeAndInterrupt) {
  int master = -1;
  int slave = -1;
  const winsize small{.ws_row = 30, .ws_col = 100, .ws_xpixel = 0, .ws_ypixel = 0};
  ASSERT_EQ(::openpty(&master, &slave, nullptr, nullptr, &small), 0);
  const sys::UniqueFd ours(master);
  const sys::UniqueFd theirs(slave);
  const Program program(Exec({"bash", "--norc"}, {"-it"}), slave, slave, slave);
  const auto say = [&](std::string_view text) { ASSERT_TRUE(sys::WriteAll(ours, text)); };
  ReadUntil(master, "# ");
  say("stty size\n");
  EXPECT_THAT(ReadUntil(master, "30 100\r\n"), HasSubstr("30 100\r\n"));
  const winsize large{.ws_row = 41, .ws_col = 121, .ws_xpixel = 0, .ws_ypixel = 0};
  ::ioctl(master, TIOCSWINSZ, &large);
  program.Signal(SIGWINCH);
  say("sleep 0.3; stty size\n");
  EXPECT_THAT(ReadUntil(master, "41 121\r\n"), HasSubstr("41 121\r\n"));
  say("sleep 1000\n");
  ReadUntil(master, "sleep 1000\r\n");
  ::usleep(300'000);
  say("\x03");
  ReadUntil(master, "# ");
  say("echo after-$((40+2))\n");
  EXPECT_THAT(ReadUntil(master, "after-42"), HasSubstr("after-42"));
  say("exit 3\n");
  EXPECT_EQ(program.Wait(), 3);
}

TEST_F(AgentTest, ROOT_AnInterruptEndsTheCommand) {
  Pipe out;
  const Program program(Exec({"sh", "-c", "echo ready; exec sleep 1000"}), STDIN_FILENO,
                        out.write.get(), 2);
  out.write.Reset();
  ReadUntil(out.read.get(), "ready\n");
  EXPECT_THAT(Run({"ps", "web"}).out, HasSubstr("sh -c 'echo ready; exec sleep 1000'"));
  program.Signal(SIGINT);
  EXPECT_EQ(program.Wait(), 130);
}

TEST_F(AgentTest, ROOT_TreesAreCopiedInAndOut) {
  namespace fs = std::filesystem;
  const std::string tree = directory_ + "/tree";
  const std::string guest = directory_ + "/guest";
  fs::create_directories(tree + "/a/b");
  fs::create_directories(tree + "/empty");
  for (const char* name : {"x", "a/y y", "a/b/z"}) std::ofstream(tree + "/" + name) << name;
  ::chmod((tree + "/x").c_str(), 0750);
  fs::create_symlink("a", tree + "/link");

  const Outcome in = Run({"cp", "-u", "root", tree, "web:" + guest});
  EXPECT_EQ(in.status, 1);  // the link to a directory
  EXPECT_THAT(in.err, HasSubstr("tree/link: a link to a directory"));
  EXPECT_EQ(sys::ReadFile(guest + "/a/y y").value_or("?"), "a/y y");
  EXPECT_TRUE(fs::is_directory(guest + "/empty"));
  EXPECT_EQ(fs::status(guest + "/x").permissions(), fs::perms(0750));

  fs::create_symlink("/etc", guest + "/etc");
  const Outcome out = Run({"cp", "-u", "root", "web:" + guest, directory_ + "/back"});
  EXPECT_EQ(out.status, 1) << out.err;
  EXPECT_EQ(sys::ReadFile(directory_ + "/back/a/b/z").value_or("?"), "a/b/z");
  EXPECT_TRUE(fs::is_directory(directory_ + "/back/empty"));
  EXPECT_FALSE(fs::exists(directory_ + "/back/etc"));
  EXPECT_EQ(fs::status(directory_ + "/back/x").permissions(), fs::perms(0750));
  // Once more: now into the directory that is there.
  EXPECT_EQ(Run({"cp", "-u", "root", "web:" + guest + "/a", directory_ + "/back"}).status, 0);
  EXPECT_EQ(sys::ReadFile(directory_ + "/back/a/y y").value_or("?"), "a/y y");
  const Outcome missing = Run({"cp", "-u", "root", "web:/no/such", directory_ + "/none"});
  EXPECT_NE(missing.status, 0);
  EXPECT_THAT(missing.err, HasSubstr("/no/such"));
  EXPECT_NE(Run({"cp", "-u", "root", tree + "/x", "web:/proc/nothing"}).status, 0);
}

TEST_F(AgentTest, ROOT_ALargeFileIsCopiedWhole) {
  std::string data;
  for (int i = 0; i < 20'000'000; ++i) data += static_cast<char>(i * 7 + i / 256);
  std::ofstream(directory_ + "/in") << data;
  EXPECT_EQ(Run({"cp", "-u", "root", directory_ + "/in", "web:" + directory_ + "/guest"}).status,
            0);
  EXPECT_EQ(Run({"cp", "-u", "root", "web:" + directory_ + "/guest", directory_ + "/out"}).status,
            0);
  EXPECT_TRUE(sys::ReadFile(directory_ + "/out", 64 << 20).value_or("") == data);
  EXPECT_TRUE(Run({"cp", "-u", "root", "web:" + directory_ + "/guest", "-"}).out == data);
}

}  // namespace
}  // namespace tinderbox::cli
