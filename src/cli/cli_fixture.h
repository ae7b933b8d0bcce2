// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "cli/fake_daemon.h"
#include "sys/file.h"

// For tests: the program as users start it (TINDERBOX_PROGRAM), and a daemon that the test plays.
namespace tinderbox::cli {

struct Outcome {
  int status = -1;
  std::string out;
  std::string err;
};

// A started `tinderbox`.
class Program {
 public:
  Program(const std::vector<std::string>& arguments, int in, int out, int err) {
    std::vector<char*> argv = {const_cast<char*>(TINDERBOX_PROGRAM)};
    for (const std::string& each : arguments) argv.push_back(const_cast<char*>(each.c_str()));
    argv.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in, 0);
    posix_spawn_file_actions_adddup2(&actions, out, 1);
    posix_spawn_file_actions_adddup2(&actions, err, 2);
    posix_spawnattr_t attributes;
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID);
    EXPECT_EQ(::posix_spawn(&pid_, TINDERBOX_PROGRAM, &actions, &attributes, argv.data(), environ),
              0);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
  }
  // Never a pid of -1, which a failed spawn leaves: that would be every process of the host.
  void Signal(int number) const {
    if (pid_ > 0) ::kill(pid_, number);
  }
  // The exit status, or 1000 + the signal that ended it. Kills the program after 30 s: a test fails
  // then, and does not hang.
  int Wait() const {
    if (pid_ <= 0) return -1;
    const sys::UniqueFd process(static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0)));
    pollfd ended{.fd = process.get(), .events = POLLIN, .revents = 0};
    if (::poll(&ended, 1, 30'000) != 1) {
      ADD_FAILURE() << "the program has not ended after 30 s";
      Signal(SIGKILL);
    }
    int status = 0;
    ::waitpid(pid_, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
  }

 private:
  pid_t pid_ = -1;
};

struct Pipe {
  Pipe() {
    int ends[2];
    EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    read.Reset(ends[0]);
    write.Reset(ends[1]);
  }
  sys::UniqueFd read, write;
};

class CliTest : public testing::Test {
 protected:
  CliTest() {
    ::signal(SIGPIPE, SIG_IGN);  // a program may end before it has read its input
    std::string pattern = testing::TempDir() + "tinderbox-cli-XXXXXX";
    directory_ = ::mkdtemp(pattern.data());
    daemon_ = std::make_unique<FakeDaemon>(directory_ + "/d.sock");
    ::setenv("TINDERBOX_HOST", ("unix://" + directory_ + "/d.sock").c_str(), 1);
    ::setenv("HOME", directory_.c_str(), 1);
  }
  ~CliTest() override {
    daemon_.reset();
    std::filesystem::remove_all(directory_);
  }

  Outcome Run(const std::vector<std::string>& arguments, std::string_view input = "") {
    Pipe in, out, err;
    const Program program(arguments, in.read.get(), out.write.get(), err.write.get());
    in.read.Reset();
    out.write.Reset();
    err.write.Reset();
    // In a thread: the program may write more than a pipe holds before it reads.
    std::thread writer([&in, input] {
      static_cast<void>(sys::WriteAll(in.write, input));
      in.write.Reset();
    });
    Outcome outcome;
    outcome.out = sys::ReadAll(out.read, 1 << 30).value_or("?");
    outcome.err = sys::ReadAll(err.read, 1 << 30).value_or("?");
    outcome.status = program.Wait();
    writer.join();
    return outcome;
  }

  std::string directory_;
  std::unique_ptr<FakeDaemon> daemon_;
};

inline std::string ReadUntil(int fd, const std::string& mark) {
  std::string text;
  while (!text.contains(mark)) {
    pollfd entry{.fd = fd, .events = POLLIN, .revents = 0};
    if (::poll(&entry, 1, 10000) <= 0) break;
    char buffer[4096];
    const ssize_t n = ::read(fd, buffer, sizeof buffer);
    if (n <= 0) break;
    text.append(buffer, static_cast<std::size_t>(n));
  }
  return text;
}

}  // namespace tinderbox::cli
