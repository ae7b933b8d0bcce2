// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "net/upgrade.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

namespace tinderbox::net {

using base::Code;
using base::Fail;
using base::Result;

namespace {

// Whoever answers may be hostile: what it says is bounded.
constexpr std::size_t kMaxHead = 4096;
constexpr std::size_t kMaxReason = 500;

bool Await(sys::FdRef fd, short events, base::Deadline deadline) {
  pollfd ready{fd.get(), events, 0};
  while (!deadline.passed()) {
    const int n = ::poll(&ready, 1, deadline.poll_timeout());
    if (n > 0) return true;
    if (n < 0 && errno != EINTR) return false;
  }
  return false;
}

bool SendAll(sys::FdRef fd, std::string_view text, base::Deadline deadline) {
  while (!text.empty()) {
    const ssize_t n = ::send(fd.get(), text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n > 0) {
      text.remove_prefix(static_cast<std::size_t>(n));
    } else if (errno != EINTR && (errno != EAGAIN || !Await(fd, POLLOUT, deadline))) {
      return false;
    }
  }
  return true;
}

std::string ReadHead(sys::FdRef fd, base::Deadline deadline) {
  std::string head;
  while (head.size() < kMaxHead && !head.ends_with("\r\n\r\n")) {
    char c = 0;
    const ssize_t n = ::recv(fd.get(), &c, 1, MSG_DONTWAIT);
    if (n == 1) {
      head += c;
    } else if (n == 0 || (errno != EINTR && (errno != EAGAIN || !Await(fd, POLLIN, deadline)))) {
      return "";
    }
  }
  return head;
}

}  // namespace

Result<> RequestUpgrade(sys::FdRef socket, std::string_view request, base::Deadline deadline) {
  const std::string head =
      SendAll(socket, request, deadline) ? ReadHead(socket, deadline) : std::string();
  if (head.empty()) return Fail(Code::kUnavailable, "no answer");
  if (head.starts_with("HTTP/1.1 101 ")) return {};
  char reason[kMaxReason];
  ssize_t size = 0;
  if (Await(socket, POLLIN, deadline)) {
    size = std::max<ssize_t>(::recv(socket.get(), reason, sizeof reason, MSG_DONTWAIT), 0);
  }
  return Fail(Code::kUnavailable,
              fmt::format("{}: {}", head.substr(0, head.find('\r')),
                          std::string_view(reason, static_cast<std::size_t>(size))));
}

}  // namespace tinderbox::net
