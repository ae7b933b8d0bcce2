// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/signalfd.h>
#include <termios.h>

#include <cstdint>
#include <optional>

#include "base/error.h"
#include "sys/fd.h"

namespace tinderbox::cli {

bool IsTerminal(int fd);

struct WindowSize {
  std::uint16_t cols = 80;
  std::uint16_t rows = 24;
  bool operator==(const WindowSize&) const = default;
};
// Of the terminal at `fd`; 80×24 where it is none or does not know.
WindowSize TerminalSize(int fd);

// Puts a terminal into raw mode, and back on destruction. Every way out of the program runs it,
// because signals arrive by SignalQueue and end nothing by themselves.
class RawTerminal {
 public:
  static base::Result<RawTerminal> Enter(int fd);
  RawTerminal(RawTerminal&& other) noexcept;
  RawTerminal& operator=(RawTerminal&&) = delete;
  ~RawTerminal();
  // Raw mode once more, after a stop (SIGTSTP, SIGCONT) in which a shell changed it.
  void Renew();

 private:
  RawTerminal(int fd, const termios& before) : fd_(fd), before_(before) {}
  int fd_;
  termios before_;
};

// While it lives, a terminal does not show what is typed. Enter keeps unread input; the destructor
// discards it.
class QuietTerminal {
 public:
  static base::Result<QuietTerminal> Enter(int fd);
  QuietTerminal(QuietTerminal&& other) noexcept;
  QuietTerminal& operator=(QuietTerminal&&) = delete;
  ~QuietTerminal();

 private:
  QuietTerminal(int fd, const termios& before) : fd_(fd), before_(before) {}
  int fd_;
  termios before_;
};

// While it lives, SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH and SIGCONT are read from a descriptor
// instead of acting, in this thread and those it starts. SIGPIPE is ignored from then on.
class SignalQueue {
 public:
  static base::Result<SignalQueue> Open();
  SignalQueue(SignalQueue&&) noexcept = default;
  SignalQueue& operator=(SignalQueue&&) = delete;
  ~SignalQueue();

  sys::FdRef fd() const { return fd_; }  // readable while a signal waits
  std::optional<int> Take();             // never blocks

 private:
  SignalQueue(sys::UniqueFd fd, const sigset_t& before) : fd_(std::move(fd)), before_(before) {}
  sys::UniqueFd fd_;
  sigset_t before_;
};

}  // namespace tinderbox::cli
