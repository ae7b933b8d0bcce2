// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "cli/terminal.h"

#include <pthread.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <utility>

namespace tinderbox::cli {

bool IsTerminal(int fd) { return ::isatty(fd) == 1; }

WindowSize TerminalSize(int fd) {
  winsize size{};
  if (::ioctl(fd, TIOCGWINSZ, &size) != 0 || size.ws_col == 0 || size.ws_row == 0) return {};
  return {.cols = size.ws_col, .rows = size.ws_row};
}

base::Result<RawTerminal> RawTerminal::Enter(int fd) {
  termios before{};
  if (::tcgetattr(fd, &before) != 0) return base::FailErrno(errno, "read the terminal's mode");
  RawTerminal raw(fd, before);
  raw.Renew();
  return raw;
}

RawTerminal::RawTerminal(RawTerminal&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), before_(other.before_) {}

RawTerminal::~RawTerminal() {
  // TCSADRAIN: what the command wrote last still appears as it was meant.
  if (fd_ >= 0) ::tcsetattr(fd_, TCSADRAIN, &before_);
}

void RawTerminal::Renew() {
  termios raw = before_;
  ::cfmakeraw(&raw);
  ::tcsetattr(fd_, TCSADRAIN, &raw);
}

base::Result<QuietTerminal> QuietTerminal::Enter(int fd) {
  termios before{};
  if (::tcgetattr(fd, &before) != 0) return base::FailErrno(errno, "read the terminal's mode");
  termios quiet = before;
  quiet.c_lflag &= ~static_cast<tcflag_t>(ECHO);
  // TCSADRAIN keeps what the user typed ahead; TCSAFLUSH would discard it.
  if (::tcsetattr(fd, TCSADRAIN, &quiet) != 0) {
    return base::FailErrno(errno, "set the terminal's mode");
  }
  return QuietTerminal(fd, before);
}

QuietTerminal::QuietTerminal(QuietTerminal&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), before_(other.before_) {}

QuietTerminal::~QuietTerminal() {
  // TCSAFLUSH discards unread input: the rest of a pasted or interrupted secret. A shell would show
  // and run it.
  if (fd_ >= 0) ::tcsetattr(fd_, TCSAFLUSH, &before_);
}

base::Result<SignalQueue> SignalQueue::Open() {
  // A reader that goes away must be seen as EPIPE, after which there is still work to do.
  ::signal(SIGPIPE, SIG_IGN);
  sigset_t wanted;
  sigemptyset(&wanted);
  for (const int each : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH, SIGCONT}) {
    sigaddset(&wanted, each);
  }
  sigset_t before;
  ::pthread_sigmask(SIG_BLOCK, &wanted, &before);
  sys::UniqueFd fd(::signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!fd) {
    const int err = errno;
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return base::FailErrno(err, "open a descriptor for signals");
  }
  return SignalQueue(std::move(fd), before);
}

SignalQueue::~SignalQueue() {
  if (!fd_) return;
  // What came last and nobody took must not kill the program between its work and its exit.
  while (Take()) {
  }
  ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

std::optional<int> SignalQueue::Take() {
  signalfd_siginfo info;
  if (::read(fd_.get(), &info, sizeof info) != sizeof info) return std::nullopt;
  return static_cast<int>(info.ssi_signo);
}

}  // namespace tinderbox::cli
