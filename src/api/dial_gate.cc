// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "api/dial_gate.h"

#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "api/guest_tunnel.h"
#include "api/sandbox_address.h"

namespace tinderbox::api {
namespace {

namespace asio = boost::asio;
using base::Code;

constexpr int kAttempts = 5;
constexpr std::chrono::milliseconds kFirstPause{16};  // doubled each time: 240 ms in all

}  // namespace

DialGate::DialGate(asio::io_context& io, sandbox::Manager& manager, Options options)
    : io_(io),
      manager_(manager),
      options_(options),
      workers_("connection", options.threads, 8192) {}

net::AsyncResult<> DialGate::Enter(std::string id) {
  Gate& gate = gates_[id];
  if (gate.active < options_.per_sandbox) {
    ++gate.active;
    co_return base::Result<>{};
  }
  if (gate.waiting.size() >= options_.waiting_per_sandbox) {
    co_return base::Fail(Code::kResourceExhausted,
                         fmt::format("too many connections to sandbox '{}' wait already", id));
  }
  auto turn =
      std::make_shared<asio::steady_timer>(io_, std::chrono::steady_clock::time_point::max());
  gate.waiting.push_back(turn);
  boost::system::error_code ignored;
  co_await turn->async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  co_return base::Result<>{};  // whoever left passed the place on
}

void DialGate::Leave(const std::string& id) {
  const auto found = gates_.find(id);
  if (found == gates_.end()) return;
  Gate& gate = found->second;
  if (!gate.waiting.empty()) {
    gate.waiting.front()->cancel();
    gate.waiting.pop_front();
  } else if (--gate.active == 0) {
    gates_.erase(found);
  }
}

net::AsyncResult<int> DialGate::DialFd(std::string id, std::uint16_t port) {
  asio::steady_timer pause(io_);
  const auto end = base::Deadline::After(options_.deadline);
  auto wait = kFirstPause;
  for (int attempt = 1;; ++attempt) {
    CO_TRY_VOID(co_await Enter(id));
    auto fd = co_await workers_.Run([this, id, port, end]() -> base::Result<int> {
      auto dialled = manager_.Dial(id, port, end);
      const bool refused = !dialled && dialled.error().code() == Code::kUnavailable;
      // Servers of the guest that only listen on its loopback are reached from inside.
      if (refused && port != kAgentPort) dialled = DialLoopback(manager_, id, port, end);
      if (!dialled) return std::unexpected(std::move(dialled).error());
      return dialled->Release();
    });
    Leave(id);
    const bool again = !fd && fd.error().code() == Code::kUnavailable && attempt < kAttempts &&
                       port != kAgentPort && !end.passed();
    if (!again) co_return fd;
    pause.expires_after(wait);
    wait *= 2;
    boost::system::error_code ignored;
    co_await pause.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
}

net::AsyncResult<net::StreamSocket> DialGate::Dial(std::string id, std::uint16_t port) {
  CO_TRY(const int fd, co_await DialFd(std::move(id), port));
  sockaddr_storage address{};
  socklen_t length = sizeof(address);
  ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length);
  const bool is_tcp = address.ss_family == AF_INET || address.ss_family == AF_INET6;
  if (is_tcp) {
    const int on = 1;
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    ::setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
  }
  net::StreamSocket socket(io_);
  boost::system::error_code ec;
  socket.assign(asio::generic::stream_protocol(address.ss_family, is_tcp ? IPPROTO_TCP : 0), fd,
                ec);
  if (ec) {
    ::close(fd);
    co_return base::Fail(Code::kInternal, fmt::format("watch a connection: {}", ec.message()));
  }
  co_return socket;
}

}  // namespace tinderbox::api
