// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "api/guest_tunnel.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <string_view>

#include "api/sandbox_address.h"

namespace tinderbox::api {
namespace {

using base::Code;

// The agent is the guest's: its answer is bounded like everything that a guest says.
constexpr std::size_t kMaxHead = 4096;

bool Await(const sys::UniqueFd& fd, short events, base::Deadline deadline) {
  pollfd ready{fd.get(), events, 0};
  while (!deadline.passed()) {
    const int n = ::poll(&ready, 1, deadline.poll_timeout());
    if (n > 0) return true;
    if (n < 0 && errno != EINTR) return false;
  }
  return false;
}

bool SendAll(const sys::UniqueFd& fd, std::string_view text, base::Deadline deadline) {
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

// The answer's head and not one byte more: what follows is the tunnel's.
std::string ReadHead(const sys::UniqueFd& fd, base::Deadline deadline) {
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

base::Result<sys::UniqueFd> DialLoopback(sandbox::Manager& manager, const std::string& id,
                                         std::uint16_t port, base::Deadline deadline) {
  const sandbox::SandboxInfo info = TRY(manager.Get(id));
  sys::UniqueFd fd = TRY(manager.Dial(id, kAgentPort, deadline));
  const std::string request = fmt::format(
      "POST /tunnel?port={} HTTP/1.1\r\nHost: agent\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
      "X-Access-Token: {}\r\nContent-Length: 0\r\n\r\n",
      port, info.access_token);
  if (!SendAll(fd, request, deadline) || !ReadHead(fd, deadline).starts_with("HTTP/1.1 101 ")) {
    return base::Fail(Code::kUnavailable,
                      fmt::format("port {} of sandbox '{}' is not open", port, id));
  }
  return fd;
}

}  // namespace tinderbox::api
