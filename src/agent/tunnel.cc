// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "agent/tunnel.h"

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <charconv>
#include <memory>

#include "agent/init.h"
#include "agent/rpc.h"
#include "net/relay.h"

namespace tinderbox::agent {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;

std::optional<std::uint16_t> PortOf(const net::RequestHead& head) {
  for (const auto& [name, value] : net::ParseQuery(head.query)) {
    std::uint16_t port = 0;
    const char* end = value.data() + value.size();
    if (name == "port" && std::from_chars(value.data(), end, port).ptr == end && port != 0) {
      return port;
    }
  }
  return std::nullopt;
}

net::AsyncResult<net::StreamSocket> ConnectLoopback(asio::any_io_executor executor,
                                                    std::uint16_t port) {
  boost::system::error_code ec;
  const asio::ip::address addresses[] = {asio::ip::address_v4::loopback(),
                                         asio::ip::address_v6::loopback()};
  for (const asio::ip::address& address : addresses) {
    tcp::socket socket(executor);
    co_await socket.async_connect(tcp::endpoint(address, port),
                                  asio::redirect_error(asio::use_awaitable, ec));
    if (!ec) co_return net::StreamSocket(std::move(socket));
  }
  co_return base::FailErrno(ec.value(), "connect to the guest's loopback");
}

}  // namespace

net::Task<> ServeTunnel(net::Exchange& exchange, const AgentState& state) {
  if (!co_await AdmitHost(exchange, state)) co_return;
  const net::RequestHead& head = exchange.head();
  const std::optional<std::uint16_t> port = PortOf(head);
  if (!port || !net::EqualsIgnoreCase(head.headers.Get("Upgrade"), "tcp")) {
    co_return co_await RespondError(exchange, 400, "port or 'Upgrade: tcp' is missing");
  }
  base::Result<net::StreamSocket> inner = co_await ConnectLoopback(exchange.executor(), *port);
  if (!inner) co_return co_await RespondError(exchange, 502, inner.error().ToString());
  net::HeaderList headers;
  headers.Add("Connection", "Upgrade");
  headers.Add("Upgrade", "tcp");
  base::Result<net::UpgradedSocket> outer = co_await exchange.Upgrade(std::move(headers));
  if (!outer) co_return;
  net::UpgradedSocket server{*std::move(inner), {}};
  const auto relay = std::make_shared<net::Relay>(*std::move(outer), std::move(server));
  co_await relay->Run();
}

}  // namespace tinderbox::agent
