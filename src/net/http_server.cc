// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "net/http_server.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <cstring>
#include <set>
#include <vector>

#include "base/log.h"
#include "net/http_connection.h"

namespace tinderbox::net {
namespace {

namespace asio = boost::asio;
using internal::HttpConnection;

constexpr std::chrono::seconds kSweep{1};
constexpr std::chrono::milliseconds kAcceptPause{100};
constexpr int kBacklog = 1024;
// A client that means to send a request does so at once; who has waited for less is left alone.
constexpr std::chrono::seconds kIdleEnough{1};

union Address {
  sockaddr base;
  sockaddr_in v4;
  sockaddr_in6 v6;
  sockaddr_un local;
};

void DescribePeer(HttpPeer& peer, int fd, const Address& address) {
  char text[INET6_ADDRSTRLEN] = "";
  if (address.base.sa_family == AF_INET) {
    inet_ntop(AF_INET, &address.v4.sin_addr, text, sizeof(text));
    peer.port = ntohs(address.v4.sin_port);
  } else if (address.base.sa_family == AF_INET6) {
    inet_ntop(AF_INET6, &address.v6.sin6_addr, text, sizeof(text));
    peer.port = ntohs(address.v6.sin6_port);
  } else {
    peer.is_unix = true;
    ucred credentials{};
    socklen_t length = sizeof(credentials);
    if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length) == 0) {
      peer.uid = credentials.uid;
      peer.pid = credentials.pid;
    }
  }
  peer.address = text;
}

// Best effort: the client that is one too many learns why, if its socket takes the answer at once.
void RefuseBusy(int fd) {
  static constexpr std::string_view kBusy =
      "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: 46\r\n"
      "Retry-After: 1\r\nConnection: close\r\n\r\n"
      R"({"code":503,"message":"too many connections"})"
      "\n";
  (void)::send(fd, kBusy.data(), kBusy.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  ::shutdown(fd, SHUT_WR);
}

// True where somebody accepts on the unix socket at `address`.
bool SomebodyListens(const sockaddr_un& address) {
  sys::UniqueFd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  return probe && (::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address),
                             sizeof(address)) == 0 ||
                   errno == EAGAIN);
}

}  // namespace

struct HttpServer::State : std::enable_shared_from_this<HttpServer::State> {
  State(asio::io_context& context, HttpLimits l, HttpHandler h)
      : io(context),
        limits(l),
        handler(std::move(h)),
        sweep(context),
        ended(context, std::chrono::steady_clock::time_point::max()) {}

  void Listen(sys::UniqueFd fd, TlsAcceptor tls = {});
  Task<> AcceptFrom(std::shared_ptr<asio::posix::stream_descriptor> listener, TlsAcceptor tls);
  bool AcceptOne(int listening, const TlsAcceptor& tls);
  bool MakeRoom();
  void LimitHandshakes();
  void Serve(sys::UniqueFd fd, const Address& address, const TlsAcceptor& tls);
  Task<> RunConnection(std::shared_ptr<HttpConnection> connection);
  void ScheduleSweep();
  void CloseListeners();
  void CloseAll();

  asio::io_context& io;
  const HttpLimits limits;
  const HttpHandler handler;
  std::vector<std::shared_ptr<asio::posix::stream_descriptor>> listeners;
  std::set<std::shared_ptr<HttpConnection>> connections;
  asio::steady_timer sweep;
  asio::steady_timer ended;  // cancelled when the last connection has gone
  bool sweeping = false;
  bool stopping = false;
};

void HttpServer::State::Listen(sys::UniqueFd fd, TlsAcceptor tls) {
  auto listener = std::make_shared<asio::posix::stream_descriptor>(io);
  listener->assign(fd.Release());
  listeners.push_back(listener);
  asio::co_spawn(io, AcceptFrom(listener, std::move(tls)), asio::detached);
}

Task<> HttpServer::State::AcceptFrom(std::shared_ptr<asio::posix::stream_descriptor> listener,
                                     TlsAcceptor tls) {
  const auto self = shared_from_this();
  asio::steady_timer pause(io);
  while (!stopping) {
    boost::system::error_code ec;
    co_await listener->async_wait(asio::posix::stream_descriptor::wait_read,
                                  asio::redirect_error(asio::use_awaitable, ec));
    if (ec || !listener->is_open()) co_return;
    while (!stopping && AcceptOne(listener->native_handle(), tls)) {
    }
    if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
      base::LogWarning("accept connection: ignoring", {{"error", std::strerror(errno)}});
      pause.expires_after(kAcceptPause);
      co_await pause.async_wait(asio::redirect_error(asio::use_awaitable, ec));
    }
  }
}

// True where there may be more; else errno says why not.
bool HttpServer::State::AcceptOne(int listening, const TlsAcceptor& tls) {
  Address address{};
  socklen_t length = sizeof(address);
  sys::UniqueFd fd(::accept4(listening, &address.base, &length, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!fd) return errno == EINTR || errno == ECONNABORTED || errno == EPROTO;
  if (connections.size() >= limits.connections && !MakeRoom()) {
    if (!tls) RefuseBusy(fd.get());  // with TLS, words would be no words
    return true;
  }
  Serve(std::move(fd), address, tls);
  return true;
}

// Closes a connection that does nothing, so that whoever hoards them locks nobody out: one that has
// never sent a request before one that has, and of those the one that has waited longest.
bool HttpServer::State::MakeRoom() {
  std::shared_ptr<HttpConnection> chosen;
  auto rank = std::pair(true, HttpConnection::Clock::now() - kIdleEnough);
  for (const auto& connection : connections) {
    const auto since = connection->WaitingSince();
    if (!since || *since > HttpConnection::Clock::now() - kIdleEnough) continue;
    const auto mine = std::pair(connection->HasServed(), *since);
    if (mine >= rank) continue;
    rank = mine;
    chosen = connection;
  }
  if (chosen) chosen->Close();
  return chosen != nullptr;
}

// The oldest is the one least likely to come to an end.
void HttpServer::State::LimitHandshakes() {
  if (connections.size() < limits.handshakes) return;
  std::size_t count = 0;
  std::shared_ptr<HttpConnection> oldest;
  auto least = HttpConnection::Clock::time_point::max();
  for (const auto& connection : connections) {
    const auto since = connection->HandshakingSince();
    if (!since) continue;
    ++count;
    if (*since > least) continue;
    least = *since;
    oldest = connection;
  }
  if (oldest && count >= limits.handshakes) oldest->Close();
}

void HttpServer::State::Serve(sys::UniqueFd fd, const Address& address, const TlsAcceptor& tls) {
  const int family = address.base.sa_family;
  HttpPeer peer;
  DescribePeer(peer, fd.get(), address);
  if (!peer.is_unix) {
    const int on = 1;
    ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    ::setsockopt(fd.get(), SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
  }
  if (tls) LimitHandshakes();
  std::unique_ptr<TlsEngine> engine;
  if (tls && !(engine = tls(fd.get()))) return;
  StreamSocket socket(io);
  boost::system::error_code ec;
  socket.assign(asio::generic::stream_protocol(family, peer.is_unix ? 0 : IPPROTO_TCP), fd.get(),
                ec);
  if (ec) return;
  (void)fd.Release();
  auto connection = std::make_shared<HttpConnection>(Stream(std::move(socket), std::move(engine)),
                                                     std::move(peer), limits);
  connections.insert(connection);
  asio::co_spawn(io, RunConnection(connection), asio::detached);
  ScheduleSweep();
}

Task<> HttpServer::State::RunConnection(std::shared_ptr<HttpConnection> connection) {
  const auto self = shared_from_this();
  co_await connection->Run(handler);
  connections.erase(connection);
  if (!connections.empty()) co_return;
  ended.cancel();
  sweep.cancel();
}

// One timer for the limits of all connections; it rests while there are none, so that an idle
// guest's processor stays idle.
void HttpServer::State::ScheduleSweep() {
  if (sweeping || connections.empty()) return;
  sweeping = true;
  sweep.expires_after(kSweep);
  sweep.async_wait([weak = weak_from_this()](boost::system::error_code) {
    const auto self = weak.lock();
    if (!self) return;
    self->sweeping = false;
    const auto now = std::chrono::steady_clock::now();
    for (const auto& connection : self->connections) connection->CheckDeadlines(now);
    self->ScheduleSweep();
  });
}

void HttpServer::State::CloseListeners() {
  stopping = true;
  boost::system::error_code ignored;
  for (const auto& listener : listeners) listener->close(ignored);
  listeners.clear();
}

void HttpServer::State::CloseAll() {
  // A copy: closing runs callbacks of handlers, and they may end connections.
  const auto all = connections;
  for (const auto& connection : all) connection->Close();
}

HttpServer::HttpServer(asio::io_context& io, HttpLimits limits, HttpHandler handler)
    : state_(std::make_shared<State>(io, limits, std::move(handler))) {}

HttpServer::~HttpServer() {
  state_->CloseListeners();
  state_->CloseAll();
}

base::Result<std::uint16_t> HttpServer::ListenTcp(const std::string& address, std::uint16_t port,
                                                  TlsAcceptor tls) {
  const std::string name = fmt::format("{}:{}", address, port);
  Address bound{};
  socklen_t length = sizeof(bound.v4);
  if (inet_pton(AF_INET, address.c_str(), &bound.v4.sin_addr) == 1) {
    bound.v4.sin_family = AF_INET;
    bound.v4.sin_port = htons(port);
  } else if (inet_pton(AF_INET6, address.c_str(), &bound.v6.sin6_addr) == 1) {
    bound.v6.sin6_family = AF_INET6;
    bound.v6.sin6_port = htons(port);
    length = sizeof(bound.v6);
  } else {
    return base::Fail(base::Code::kInvalidArgument,
                      fmt::format("listen on '{}': not an IP address", name));
  }
  sys::UniqueFd fd(
      ::socket(bound.base.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP));
  if (!fd) return base::FailErrno(errno, fmt::format("make socket for '{}'", name));
  const int on = 1;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (::bind(fd.get(), &bound.base, length) != 0 || ::listen(fd.get(), kBacklog) != 0) {
    const int err = errno;
    base::Error error = base::Error::FromErrno(err, fmt::format("listen on '{}'", name));
    if (err != EADDRINUSE) return std::unexpected(std::move(error));
    return std::unexpected(
        std::move(error).WithRemedy("Stop the program that has the port, or choose another."));
  }
  length = sizeof(bound);
  if (::getsockname(fd.get(), &bound.base, &length) != 0) {
    return base::FailErrno(errno, fmt::format("read address of '{}'", name));
  }
  state_->Listen(std::move(fd), std::move(tls));
  return ntohs(bound.base.sa_family == AF_INET ? bound.v4.sin_port : bound.v6.sin6_port);
}

base::Result<> HttpServer::ListenUnix(const std::string& path, mode_t mode) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof(address.sun_path)) {
    return base::Fail(base::Code::kInvalidArgument,
                      fmt::format("listen on '{}': a socket's path has 1 to 107 bytes", path));
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  sys::UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return base::FailErrno(errno, fmt::format("make socket for '{}'", path));
  struct stat found{};
  if (::lstat(path.c_str(), &found) == 0 && S_ISSOCK(found.st_mode)) {
    if (SomebodyListens(address)) {
      return base::Fail(base::Code::kAlreadyExists,
                        fmt::format("listen on '{}': another process listens there", path));
    }
    ::unlink(path.c_str());
  }
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return base::FailErrno(errno, fmt::format("listen on '{}'", path));
  }
  // The mode comes before the first listener can be met.
  if (::chmod(path.c_str(), mode) != 0 || ::listen(fd.get(), kBacklog) != 0) {
    return base::FailErrno(errno, fmt::format("listen on '{}'", path));
  }
  state_->Listen(std::move(fd));
  return {};
}

base::Result<> HttpServer::Adopt(sys::UniqueFd listening) {
  int accepting = 0;
  socklen_t length = sizeof(accepting);
  if (::getsockopt(listening.get(), SOL_SOCKET, SO_ACCEPTCONN, &accepting, &length) != 0) {
    return base::FailErrno(errno, "adopt listening socket");
  }
  if (accepting == 0) {
    return base::Fail(base::Code::kInvalidArgument, "adopt listening socket: it does not listen");
  }
  state_->Listen(std::move(listening));
  return {};
}

Task<> HttpServer::Stop(base::Deadline deadline) {
  const auto state = state_;
  state->CloseListeners();
  const auto all = state->connections;
  for (const auto& connection : all) connection->CloseWhenIdle();
  boost::system::error_code ignored;
  asio::steady_timer limit(state->io, deadline.when());
  limit.async_wait([state](boost::system::error_code ec) {
    if (!ec) state->CloseAll();
  });
  while (!state->connections.empty()) {
    co_await state->ended.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
}

std::size_t HttpServer::connections() const { return state_->connections.size(); }

}  // namespace tinderbox::net
