// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <charconv>
#include <cstring>

#include "net/http_client.h"

namespace tinderbox::net {
namespace {

using base::Code;

// Whoever cannot be connected to is unavailable, whatever the kernel's reason, except where the
// caller lacks the right to try.
base::Error ConnectError(int err, const Endpoint& endpoint) {
  const Code code = err == EACCES || err == EPERM ? Code::kPermissionDenied : Code::kUnavailable;
  return base::Error(code, fmt::format("connect to {}", endpoint.ToString())).WithErrno(err);
}

base::Result<> WaitConnected(int fd, const Endpoint& endpoint, base::Deadline deadline) {
  for (;;) {
    pollfd entry{.fd = fd, .events = POLLOUT, .revents = 0};
    const int ready = ::poll(&entry, 1, deadline.poll_timeout());
    if (ready > 0) break;
    if (ready < 0 && errno != EINTR) return base::FailErrno(errno, "wait for a connection");
    if (deadline.passed()) {
      return base::Fail(Code::kDeadlineExceeded,
                        fmt::format("connect to {}: no answer in time", endpoint.ToString()));
    }
  }
  int err = 0;
  socklen_t size = sizeof err;
  ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &size);
  if (err != 0) return std::unexpected(ConnectError(err, endpoint));
  return {};
}

base::Result<sys::UniqueFd> ConnectAddress(const sockaddr* address, socklen_t size,
                                           const Endpoint& endpoint, base::Deadline deadline) {
  sys::UniqueFd fd(::socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return base::FailErrno(errno, "create a socket");
  while (::connect(fd.get(), address, size) != 0) {
    if (errno == EINPROGRESS) {
      TRY(WaitConnected(fd.get(), endpoint, deadline));
      break;
    }
    // A unix socket whose backlog is full has no event to wait for.
    if (errno == EAGAIN && !deadline.passed()) {
      ::poll(nullptr, 0, 1);
      continue;
    }
    if (errno != EINTR) return std::unexpected(ConnectError(errno, endpoint));
  }
  return fd;
}

base::Result<sys::UniqueFd> ConnectUnixSocket(const Endpoint& endpoint, base::Deadline deadline) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (endpoint.unix_path.size() >= sizeof address.sun_path) {
    return base::Fail(Code::kInvalidArgument,
                      fmt::format("connect to {}: path of a unix socket longer than {} bytes",
                                  endpoint.unix_path, sizeof address.sun_path - 1));
  }
  std::memcpy(address.sun_path, endpoint.unix_path.data(), endpoint.unix_path.size());
  return ConnectAddress(reinterpret_cast<const sockaddr*>(&address), sizeof address, endpoint,
                        deadline);
}

base::Result<std::uint16_t> ParsePort(std::string_view text) {
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc() || end != text.data() + text.size() || port == 0) {
    return base::Fail(Code::kInvalidArgument, fmt::format("'{}' is not a port (1-65535)", text));
  }
  return port;
}

}  // namespace

std::string Endpoint::ToString() const {
  if (!unix_path.empty()) return unix_path;
  if (host.find(':') != std::string::npos) return fmt::format("[{}]:{}", host, port);
  return fmt::format("{}:{}", host, port);
}

base::Result<Endpoint> ParseEndpoint(std::string_view text) {
  const std::string_view whole = text;
  const auto take = [&text](std::string_view prefix) {
    const bool found = text.starts_with(prefix);
    if (found) text.remove_prefix(prefix.size());
    return found;
  };
  if (take("unix://") || take("unix:") || text.starts_with('/')) {
    if (text.empty() || text.front() != '/') {
      return base::Fail(Code::kInvalidArgument,
                        fmt::format("'{}' names no absolute socket path", whole));
    }
    return Endpoint{.unix_path = std::string(text)};
  }
  if (text.starts_with("https://")) {
    return base::Fail(Code::kUnimplemented, fmt::format("'{}': https is not supported", whole));
  }
  const bool scheme = take("http://");
  while (text.ends_with('/')) text.remove_suffix(1);
  Endpoint endpoint{.port = 80};
  std::string_view port;
  if (text.starts_with('[')) {
    const auto close = text.find(']');
    if (close == std::string_view::npos) {
      return base::Fail(Code::kInvalidArgument, fmt::format("'{}' lacks the closing ']'", whole));
    }
    endpoint.host = text.substr(1, close - 1);
    text.remove_prefix(close + 1);
    if (text.starts_with(':')) port = text.substr(1);
  } else {
    const auto colon = text.rfind(':');
    endpoint.host = text.substr(0, colon);
    if (colon != std::string_view::npos) port = text.substr(colon + 1);
  }
  if (endpoint.host.empty() || endpoint.host.find('/') != std::string::npos ||
      (!scheme && port.empty())) {
    return base::Fail(
        Code::kInvalidArgument,
        fmt::format("'{}' is not unix:///path, http://host:port or host:port", whole));
  }
  if (!port.empty()) endpoint.port = TRY(ParsePort(port));
  return endpoint;
}

base::Result<sys::UniqueFd> ConnectTo(const Endpoint& endpoint, base::Deadline deadline) {
  if (!endpoint.unix_path.empty()) return ConnectUnixSocket(endpoint, deadline);

  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int failed =
      ::getaddrinfo(endpoint.host.c_str(), std::to_string(endpoint.port).c_str(), &hints, &found);
  if (failed != 0) {
    return base::Fail(Code::kUnavailable,
                      fmt::format("resolve host '{}': {}", endpoint.host, ::gai_strerror(failed)));
  }
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> list(found, &::freeaddrinfo);
  base::Result<sys::UniqueFd> fd =
      base::Fail(Code::kUnavailable, fmt::format("connect to {}: no address", endpoint.ToString()));
  for (const addrinfo* each = found; each != nullptr; each = each->ai_next) {
    fd = ConnectAddress(each->ai_addr, each->ai_addrlen, endpoint, deadline);
    if (!fd) continue;
    // Small requests must not wait for the acknowledgement of the one before.
    const int on = 1;
    ::setsockopt(fd->get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
  }
  return fd;
}

}  // namespace tinderbox::net
