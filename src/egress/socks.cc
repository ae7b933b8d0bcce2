// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "egress/socks.h"

#include <fmt/format.h>

#include <array>
#include <boost/asio/read.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <string_view>
#include <utility>

#include "sys/netlink_address.h"

namespace tinderbox::egress {
namespace {

namespace asio = boost::asio;
using base::Code;
using base::Fail;
using net::StreamSocket;

constexpr char kVersion = 5;
constexpr char kNoAuthentication = 0;
constexpr char kUserAndPassword = 2;
constexpr char kConnect = 1;
constexpr char kIpv4 = 1, kName = 3, kIpv6 = 4;

net::AsyncResult<> Send(StreamSocket& socket, std::string bytes) {
  boost::system::error_code ec;
  co_await asio::async_write(socket, asio::buffer(bytes),
                             asio::redirect_error(asio::use_awaitable, ec));
  if (ec) co_return Fail(Code::kUnavailable, fmt::format("write to the proxy: {}", ec.message()));
  co_return base::Result<>{};
}

net::AsyncResult<std::string> Read(StreamSocket& socket, std::size_t count) {
  std::string bytes(count, '\0');
  boost::system::error_code ec;
  co_await asio::async_read(socket, asio::buffer(bytes),
                            asio::redirect_error(asio::use_awaitable, ec));
  if (ec) co_return Fail(Code::kUnavailable, fmt::format("read from the proxy: {}", ec.message()));
  co_return bytes;
}

std::unexpected<base::Error> NoSocks() {
  return Fail(Code::kDataLoss, "the proxy does not speak SOCKS 5");
}

// RFC 1928 §6.
std::string_view WhyNot(char reply) {
  constexpr std::array<std::string_view, 9> kReasons = {"",
                                                        "general failure",
                                                        "not allowed by its rules",
                                                        "network unreachable",
                                                        "host unreachable",
                                                        "connection refused",
                                                        "time to live expired",
                                                        "command not supported",
                                                        "address type not supported"};
  const auto index = static_cast<std::size_t>(static_cast<unsigned char>(reply));
  return index < kReasons.size() ? kReasons[index] : "unknown reason";
}

std::string Counted(std::string_view text) {
  return std::string(1, static_cast<char>(text.size())) + std::string(text);
}

// Out of the coroutines: g++ 12 takes no initializer lists inside an expression that awaits.
std::string Greeting(char method) { return {kVersion, 1, method}; }
std::string Credentials(const Proxy& proxy) {
  return std::string(1, '\1') + Counted(proxy.username) + Counted(proxy.password);
}

net::AsyncResult<> Authenticate(StreamSocket& socket, const Proxy& proxy) {
  const bool known = !proxy.username.empty();
  const char wanted = known ? kUserAndPassword : kNoAuthentication;
  CO_TRY_VOID(co_await Send(socket, Greeting(wanted)));
  CO_TRY(const std::string method, co_await Read(socket, 2));
  if (method[0] != kVersion) co_return NoSocks();
  if (method[1] != wanted) {
    co_return Fail(Code::kPermissionDenied,
                   known ? "the proxy takes no user name and password"
                         : "the proxy wants another authentication than none");
  }
  if (!known) co_return base::Result<>{};
  CO_TRY_VOID(co_await Send(socket, Credentials(proxy)));
  CO_TRY(const std::string status, co_await Read(socket, 2));
  if (status[1] != 0) {
    co_return Fail(Code::kPermissionDenied, "the proxy does not accept user name and password");
  }
  co_return base::Result<>{};
}

std::string Request(std::string_view host, std::uint16_t port) {
  std::string request{kVersion, kConnect, 0};
  if (const auto address = sys::Ipv4::Parse(host)) {
    request += kIpv4;
    for (int shift = 24; shift >= 0; shift -= 8) {
      request += static_cast<char>(address->value >> shift & 0xff);
    }
  } else {
    request += kName;
    request += Counted(host);
  }
  request += static_cast<char>(port >> 8);
  request += static_cast<char>(port & 0xff);
  return request;
}

}  // namespace

net::AsyncResult<> ConnectThrough(StreamSocket& socket, const Proxy& proxy, std::string host,
                                  std::uint16_t port) {
  CO_TRY_VOID(co_await Authenticate(socket, proxy));
  CO_TRY_VOID(co_await Send(socket, Request(host, port)));
  CO_TRY(const std::string head, co_await Read(socket, 4));
  if (head[0] != kVersion) co_return NoSocks();
  if (head[1] != 0) {
    co_return Fail(Code::kUnavailable, fmt::format("the proxy cannot connect to {}:{}: {}", host,
                                                   port, WhyNot(head[1])));
  }
  // Where it is bound, which is of no interest, but stands in front of the first byte.
  std::size_t address = 0;
  switch (head[3]) {
    case kIpv4: address = 4; break;
    case kIpv6: address = 16; break;
    case kName: {
      CO_TRY(const std::string length, co_await Read(socket, 1));
      address = static_cast<unsigned char>(length[0]);
      break;
    }
    default: co_return NoSocks();
  }
  CO_TRY(const std::string bound, co_await Read(socket, address + 2));
  co_return base::Result<>{};
}

}  // namespace tinderbox::egress
