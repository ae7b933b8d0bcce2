// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "egress/flow.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <linux/netfilter_ipv4.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <cerrno>
#include <utility>

#include "base/log.h"
#include "egress/changer.h"
#include "egress/first_bytes.h"
#include "sys/netns.h"

namespace tinderbox::egress {
namespace {

namespace asio = boost::asio;
using base::Code;
using base::Fail;
using base::Result;
using net::StreamSocket;
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr std::uint16_t kTlsPort = 443;
constexpr std::uint16_t kHttpPort = 80;
// A client has said its first words in one piece or a few; who needs more of them wants to keep us
// busy with reading the same bytes over and over.
constexpr int kMostReads = 64;
// Where the connection may go on whatever the guest says, it may as well wait for the server's
// word.
constexpr milliseconds kPatienceWithSilence{2000};
constexpr std::size_t kMostAddresses = 4;
constexpr milliseconds kOneAddress{4000};
// After a refusal: until the guest has read it.
constexpr seconds kFarewell{2};
// A side that has ended its sending may go on to read for so long.
constexpr seconds kHalfOpen{3600};

// TLS alerts (RFC 8446 §6): fatal, and why.
constexpr std::string_view kAccessDenied{"\x15\x03\x03\x00\x02\x02\x31", 7};
constexpr std::string_view kInternalError{"\x15\x03\x03\x00\x02\x02\x50", 7};

void Keep(StreamSocket& socket) {
  const int fd = socket.native_handle();
  const int on = 1, idle = 60, interval = 30, count = 4;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  ::setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
  ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
  ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof(interval));
  ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
}

void ResetSocket(StreamSocket& socket) {
  if (!socket.is_open()) return;
  const linger reset{1, 0};
  ::setsockopt(socket.native_handle(), SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
  boost::system::error_code ignored;
  socket.close(ignored);
}

// Where the guest's connection was going to, before the kernel's rules sent it here.
bool FindDialled(Flow& flow) {
  sockaddr_in to{};
  socklen_t size = sizeof(to);
  if (::getsockopt(flow.client.native_handle(), SOL_IP, SO_ORIGINAL_DST, &to, &size) != 0) {
    return false;
  }
  flow.dialled = sys::Ipv4{ntohl(to.sin_addr.s_addr)};
  flow.port = ntohs(to.sin_port);
  return true;
}

// Whether it is of a protocol in which a client says the name of the host first.
bool SaysNames(const Flow& flow) { return flow.port == kTlsPort || flow.port == kHttpPort; }

// Reads until the guest has said what it wants, or will not. The name, where there is one, is in
// the flow then.
net::Task<> Listen(std::shared_ptr<Flow> flow, milliseconds patience) {
  const auto read = flow->port == kTlsPort ? ReadClientHello : ReadHttpHost;
  flow->Arm(patience, [](Flow& f) {
    boost::system::error_code ignored;
    f.late = true;
    f.client.cancel(ignored);
  });
  std::string buffer(kMostFirstBytes, '\0');
  FirstWords words;
  for (int reads = 0; reads < kMostReads && words.said == Said::kMore && !flow->late; ++reads) {
    boost::system::error_code ec;
    const std::size_t n = co_await flow->client.async_read_some(
        asio::buffer(buffer.data(), kMostFirstBytes - flow->in.size()),
        asio::redirect_error(asio::use_awaitable, ec));
    if (ec && !flow->late) flow->gone = true;
    if (ec) break;
    flow->in.append(buffer, 0, n);
    words = read(flow->in);
    if (flow->in.size() >= kMostFirstBytes) break;
  }
  flow->Disarm();
  if (words.said == Said::kName) flow->name = words.name;
}

// What the guest is told, in the language that it spoke.
net::Task<> Refuse(std::shared_ptr<Flow> flow, unsigned status, std::string why) {
  const bool tls = flow->port == kTlsPort;
  const bool spoke = !flow->in.empty();
  if (flow->gone || !spoke || !SaysNames(*flow)) co_return flow->Reset();
  std::string words;
  if (tls) {
    words = status == 403 ? kAccessDenied : kInternalError;
  } else {
    words = fmt::format(
        "HTTP/1.1 {} {}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n"
        "Connection: close\r\n\r\n{}\n",
        status, net::StatusText(status), why.size() + 1, why);
  }
  flow->Arm(kFarewell, [](Flow& f) { f.Reset(); });
  boost::system::error_code ec;
  co_await asio::async_write(flow->client, asio::buffer(words),
                             asio::redirect_error(asio::use_awaitable, ec));
  // Closing with bytes unread would be a reset, which overtakes what was written.
  boost::system::error_code ignored;
  if (!ec) flow->client.shutdown(StreamSocket::shutdown_send, ignored);
  std::string rest(4096, '\0');
  while (!ec && flow->client.is_open()) {
    co_await flow->client.async_read_some(asio::buffer(rest),
                                          asio::redirect_error(asio::use_awaitable, ec));
  }
  flow->Disarm();
  flow->client.close(ignored);
}

net::AsyncResult<std::vector<sys::Ipv4>> LookUp(Service& service, std::shared_ptr<Flow> flow,
                                                std::string name) {
  Place& place = *flow->place;
  if (place.lookups >= service.options.lookups_per_slot) {
    co_return Fail(Code::kResourceExhausted, "too many names are being looked up");
  }
  ++place.lookups;
  Result<std::vector<sys::Ipv4>> found = co_await service.resolver.Resolve(std::move(name));
  --place.lookups;
  co_return found;
}

net::AsyncResult<std::vector<sys::Ipv4>> Addresses(Service& service, std::shared_ptr<Flow> flow) {
  if (*flow->verdict == Verdict::kByAddress) co_return std::vector{flow->dialled};
  Result<std::vector<sys::Ipv4>> found = co_await LookUp(service, flow, flow->name);
  if (!found) co_return found;
  const Place& place = *flow->place;
  const bool checked = *flow->verdict == Verdict::kChecked;
  std::erase_if(*found, [&](sys::Ipv4 address) {
    return !IsPublic(address) ||
           (checked && Decide(place.rules, {}, address) != Verdict::kByAddress);
  });
  if (found->empty()) {
    co_return Fail(Code::kPermissionDenied,
                   fmt::format("'{}' leads to {} addresses alone", flow->name,
                               checked ? "forbidden" : "private"));
  }
  if (found->size() > kMostAddresses) found->resize(kMostAddresses);
  co_return found;
}

// A socket of the guest's namespace, so that the rules that hold for the guest hold for it.
Result<StreamSocket> MakeSocket(asio::io_context& io, sys::FdRef netns) {
  sys::UniqueFd fd;
  const auto make = [&]() -> Result<> {
    fd = sys::UniqueFd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd) return base::FailErrno(errno, "make a socket in the sandbox's namespace");
    return {};
  };
  TRY(sys::RunInNetNs(netns, make));
  StreamSocket socket(io);
  boost::system::error_code ec;
  socket.assign(asio::generic::stream_protocol(AF_INET, IPPROTO_TCP), fd.get(), ec);
  if (ec) return Fail(Code::kInternal, fmt::format("watch a connection: {}", ec.message()));
  static_cast<void>(fd.Release());
  return socket;
}

net::AsyncResult<> Connect(Service& service, std::shared_ptr<Flow> flow, sys::Ipv4 address,
                           std::uint16_t port, milliseconds patience) {
  CO_TRY(flow->upstream, MakeSocket(service.io, flow->place->netns));
  const asio::ip::tcp::endpoint to(asio::ip::address_v4(address.value), port);
  flow->Arm(patience, [](Flow& f) {
    boost::system::error_code ignored;
    f.upstream.close(ignored);
  });
  boost::system::error_code ec;
  co_await flow->upstream.async_connect(to, asio::redirect_error(asio::use_awaitable, ec));
  flow->Disarm();
  if (ec || !flow->upstream.is_open()) {
    boost::system::error_code ignored;
    flow->upstream.close(ignored);
    co_return Fail(Code::kUnavailable, fmt::format("connect to {}:{}: {}", address.ToString(), port,
                                                   ec ? ec.message() : "no answer"));
  }
  co_return Result<>{};
}

net::AsyncResult<> ConnectToAny(Service& service, std::shared_ptr<Flow> flow,
                                std::vector<sys::Ipv4> addresses, std::uint16_t port,
                                Clock::time_point end) {
  Result<> connected = Fail(Code::kDeadlineExceeded, "connect: no time left");
  for (const sys::Ipv4 address : addresses) {
    const auto left = std::chrono::duration_cast<milliseconds>(end - Clock::now());
    if (flow->gone || left.count() <= 0) break;
    connected = co_await Connect(service, flow, address, port, std::min(left, kOneAddress));
    if (connected) break;
  }
  co_return connected;
}

net::AsyncResult<std::vector<sys::Ipv4>> AddressesOf(Service& service, std::shared_ptr<Flow> flow,
                                                     const Proxy& proxy) {
  if (const auto address = sys::Ipv4::Parse(proxy.host)) co_return std::vector{*address};
  Result<std::vector<sys::Ipv4>> found = co_await LookUp(service, flow, proxy.host);
  if (!found) co_return found;
  std::erase_if(*found, [](sys::Ipv4 address) { return !IsPublic(address); });
  if (found->empty()) {
    co_return Fail(Code::kPermissionDenied, "the proxy's name leads to private addresses alone");
  }
  co_return found;
}

// The proxy looks allowed names up itself: it may know them differently.
net::AsyncResult<> DialThrough(Service& service, std::shared_ptr<Flow> flow, Proxy proxy) {
  const auto end = Clock::now() + service.options.dial;
  std::string host = flow->name;
  if (*flow->verdict != Verdict::kByName) {
    CO_TRY(const std::vector<sys::Ipv4> addresses, co_await Addresses(service, flow));
    host = addresses.front().ToString();
  }
  CO_TRY(std::vector<sys::Ipv4> ways, co_await AddressesOf(service, flow, proxy));
  CO_TRY_VOID(co_await ConnectToAny(service, flow, std::move(ways), proxy.port, end));
  flow->Arm(std::chrono::duration_cast<milliseconds>(end - Clock::now()), [](Flow& f) {
    boost::system::error_code ignored;
    f.upstream.close(ignored);
  });
  Result<> connected = co_await ConnectThrough(flow->upstream, proxy, host, flow->port);
  flow->Disarm();
  co_return connected;
}

net::AsyncResult<> Dial(Service& service, std::shared_ptr<Flow> flow) {
  if (flow->place->rules.proxy) {
    co_return co_await DialThrough(service, flow, *flow->place->rules.proxy);
  }
  const auto end = Clock::now() + service.options.dial;
  CO_TRY(std::vector<sys::Ipv4> addresses, co_await Addresses(service, flow));
  co_return co_await ConnectToAny(service, flow, std::move(addresses), flow->port, end);
}

// The requests of a host with a transform.
net::Task<> RunBridge(Service& service, std::shared_ptr<Flow> flow) {
  auto bridge = service.changer.Make(
      {std::move(flow->client), std::move(flow->in), std::move(flow->upstream)}, flow->name,
      flow->port, flow->transform);
  if (!bridge) {
    base::LogWarning("cannot change a sandbox's requests",
                     {{"host", flow->name}, {"error", bridge.error().ToString()}});
    co_return flow->Reset();
  }
  flow->bridge = *std::move(bridge);
  co_await flow->bridge->Run();
}

}  // namespace

void Flow::Arm(milliseconds after, std::function<void(Flow&)> then) {
  timer.expires_after(after);
  timer.async_wait([self = shared_from_this(), turn = ++armed,
                    then = std::move(then)](boost::system::error_code ec) {
    // One that had come due already cannot be cancelled any more.
    if (!ec && turn == self->armed) then(*self);
  });
}

void Flow::Disarm() {
  ++armed;
  timer.cancel();
}

void Flow::Reset() {
  gone = true;
  Disarm();
  if (relay) relay->Reset();
  if (bridge) bridge->Reset();
  ResetSocket(client);
  ResetSocket(upstream);
}

net::Task<> RunFlow(Service& service, std::shared_ptr<Flow> flow) {
  if (!FindDialled(*flow)) co_return flow->Reset();
  Keep(flow->client);
  const Rules& rules = flow->place->rules;
  if (SaysNames(*flow) && (!rules.names.empty() || !rules.transforms.empty())) {
    const bool open = Decide(rules, {}, flow->dialled) == Verdict::kByAddress;
    co_await Listen(flow, open ? kPatienceWithSilence : service.options.first_bytes);
    if (flow->gone) co_return flow->Reset();
  }

  flow->verdict = Decide(flow->place->rules, flow->name, flow->dialled);
  if (const Transform* found = FindTransform(flow->place->rules.transforms, flow->name)) {
    flow->transform = std::make_shared<const Transform>(*found);
  }
  if (*flow->verdict == Verdict::kRefuse) {
    const std::string what =
        flow->name.empty() ? flow->dialled.ToString() : fmt::format("'{}'", flow->name);
    co_return co_await Refuse(
        flow, 403, fmt::format("{} is out of reach by the network rules of this sandbox", what));
  }
  const Result<> dialled = co_await Dial(service, flow);
  if (flow->gone) co_return flow->Reset();
  if (!dialled) {
    const bool inside = dialled.error().code() == Code::kPermissionDenied;
    co_return co_await Refuse(flow, inside ? 403 : 502, dialled.error().message());
  }
  Keep(flow->upstream);
  if (flow->transform) co_return co_await RunBridge(service, flow);
  flow->relay = std::make_shared<net::Relay>(
      net::UpgradedSocket{std::move(flow->client), std::move(flow->in)},
      net::UpgradedSocket{std::move(flow->upstream), {}}, kHalfOpen);
  co_await flow->relay->Run();
}

}  // namespace tinderbox::egress
