// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// The HTTP server with TLS, over real sockets and OpenSSL's own client.
#include <arpa/inet.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_future.hpp>
#include <filesystem>
#include <future>
#include <thread>
#include <vector>

#include "net/http_server.h"
#include "tls/server.h"
#include "tls/test_certificate.h"

namespace tinderbox::tls {
namespace {

namespace asio = boost::asio;
using std::chrono_literals::operator""s;
using std::chrono_literals::operator""ms;
using testing::HasSubstr;
using testing::StartsWith;

// Bytes whose place shows in them.
std::string Pattern(std::size_t count) {
  std::string text(count, '\0');
  for (std::size_t i = 0; i < count; ++i) text[i] = static_cast<char>((i * 2654435761u) >> 13);
  return text;
}

class TlsServerTest : public testing::Test {
 protected:
  void SetUp() override {
    dir_ = testing::TempDir() + "tb-tls-XXXXXX";
    ASSERT_NE(mkdtemp(dir_.data()), nullptr);
    auto tls = Server::Open(MakeCertificate(dir_), 0ms);
    ASSERT_TRUE(tls) << tls.error().ToString();
    tls_ = std::move(*tls);
  }
  void TearDown() override {
    if (thread_.joinable()) {
      asio::co_spawn(io_, server_->Stop(base::Deadline::After(0s)), asio::use_future).get();
      work_.reset();
      thread_.join();
      EXPECT_EQ(server_->connections(), 0u);
    }
    std::filesystem::remove_all(dir_);
  }
  void Start(net::HttpHandler handler, net::HttpLimits limits = {}) {
    server_ = std::make_unique<net::HttpServer>(io_, limits, std::move(handler));
    const auto port =
        server_->ListenTcp("127.0.0.1", 0, [this](int fd) { return tls_->Accept(fd); });
    ASSERT_TRUE(port) << port.error().ToString();
    port_ = *port;
    thread_ = std::thread([this] { io_.run(); });
  }
  std::size_t Connections() {
    std::promise<std::size_t> count;
    asio::post(io_, [&] { count.set_value(server_->connections()); });
    return count.get_future().get();
  }
  // A connection that sends `text` as it is, without TLS.
  sys::UniqueFd Plain(std::string_view text) const {
    sys::UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port_);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    const timeval limit{10, 0};
    ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    if (!text.empty()) {
      EXPECT_EQ(::send(fd.get(), text.data(), text.size(), MSG_NOSIGNAL), std::ssize(text));
    }
    return fd;
  }
  static std::string ReadAll(const sys::UniqueFd& fd) {
    std::string seen;
    char chunk[4096];
    for (ssize_t n = 0; (n = ::recv(fd.get(), chunk, sizeof(chunk), 0)) > 0;) {
      seen.append(chunk, static_cast<std::size_t>(n));
    }
    return seen;
  }

  std::string dir_;
  std::unique_ptr<Server> tls_;
  asio::io_context io_;
  asio::executor_work_guard<asio::io_context::executor_type> work_ = asio::make_work_guard(io_);
  std::unique_ptr<net::HttpServer> server_;
  std::uint16_t port_ = 0;
  std::thread thread_;
};

net::Task<> Echo(net::Exchange& exchange) {
  auto body = co_await exchange.ReadBody(64 << 20);
  std::string text = body ? std::move(*body) : body.error().ToString();
  net::HeaderList headers;
  (void)co_await exchange.Respond(200, std::move(headers), std::move(text));
}

net::Task<> TwoPieces(net::Exchange& exchange, std::shared_future<void> told) {
  net::HeaderList headers;
  (void)co_await exchange.BeginStream(200, std::move(headers));
  (void)co_await exchange.Write("first");
  // On the loop's thread: the client has "first" already.
  told.wait();
  (void)co_await exchange.Write("second");
  (void)co_await exchange.Finish();
}

net::Task<> TellWhenGone(net::Exchange& exchange, std::promise<void>& gone) {
  co_await exchange.AwaitDisconnect();
  gone.set_value();
}

net::HttpLimits BigBodies() {
  net::HttpLimits limits;
  limits.body_bytes = 64 << 20;
  return limits;
}

constexpr char kGet[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";

TEST_F(TlsServerTest, RequestsPassAndTheConnectionIsKept) {
  Start(Echo);
  TlsSocket client = TlsSocket::Connect(port_);
  ASSERT_TRUE(client.ok());
  EXPECT_EQ(client.protocol(), "http/1.1");
  EXPECT_EQ(client.version(), "TLSv1.3");
  EXPECT_EQ(client.subject(), "server");
  for (const std::string body : {"abc", "defgh"}) {
    client.Send(fmt::format("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{}",
                            body.size(), body));
    EXPECT_THAT(client.ReadUntil("\r\n\r\n"), StartsWith("HTTP/1.1 200"));
    EXPECT_EQ(client.ReadBytes(body.size()), body);
  }
}

TEST_F(TlsServerTest, VersionsAndProtocols) {
  Start(Echo);
  EXPECT_TRUE(TlsSocket::Connect(port_, {.max_version = TLS1_2_VERSION}).ok());
  EXPECT_FALSE(TlsSocket::Connect(port_, {.max_version = TLS1_1_VERSION}).ok());
  EXPECT_TRUE(TlsSocket::Connect(port_, {.alpn = ""}).ok());
  const auto both = TlsSocket::Connect(port_, {.alpn = "\x02h2\x08http/1.1"});
  EXPECT_EQ(both.protocol(), "http/1.1");
  EXPECT_FALSE(TlsSocket::Connect(port_, {.alpn = "\x02h2"}).ok());
}

TEST_F(TlsServerTest, LargeBodiesPassBothWaysToASlowReader) {
  Start(Echo, BigBodies());
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    TlsSocket client = TlsSocket::Connect(port_, {.max_version = version});
    const std::string body = Pattern(20 << 20);
    client.Send(
        fmt::format("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.size()));
    client.Send(body);
    std::this_thread::sleep_for(300ms);  // the answer fills every buffer on its way
    client.ReadUntil("\r\n\r\n");
    EXPECT_TRUE(client.ReadBytes(body.size()) == body) << version;
  }
}

TEST_F(TlsServerTest, KeysThatAreRenewedAmidTheBodiesDisturbNothing) {
  Start(Echo, BigBodies());
  TlsSocket client = TlsSocket::Connect(port_);
  const std::string body = Pattern(4 << 20);
  client.Send(fmt::format("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.size()));
  for (std::size_t at = 0; at < body.size(); at += 1 << 20) {
    EXPECT_TRUE(client.RenewKeys());
    client.Send(std::string_view(body).substr(at, 1 << 20));
  }
  client.ReadUntil("\r\n\r\n");
  EXPECT_TRUE(client.ReadBytes(body.size()) == body);
}

TEST_F(TlsServerTest, StreamsComePieceByPiece) {
  std::promise<void> go_on;
  auto told = go_on.get_future().share();
  Start([told](net::Exchange& exchange) { return TwoPieces(exchange, told); });
  TlsSocket client = TlsSocket::Connect(port_);
  client.Send(kGet);
  EXPECT_THAT(client.ReadUntil("first\r\n"), HasSubstr("5\r\nfirst"));
  go_on.set_value();
  EXPECT_EQ(client.ReadUntil("0\r\n\r\n"), "6\r\nsecond\r\n0\r\n\r\n");
}

TEST_F(TlsServerTest, APlainRequestIsToldSo) {
  Start(Echo);
  for (const char* request : {kGet, "DELETE /x HTTP/1.1\r\nHost: x\r\n\r\n"}) {
    const std::string answer = ReadAll(Plain(request));
    EXPECT_THAT(answer, StartsWith("HTTP/1.1 400 "));
    EXPECT_THAT(answer, testing::EndsWith("\r\n\r\nThis port speaks TLS: use https\n"));
  }
  EXPECT_EQ(ReadAll(Plain("\x01 nonsense")).find("HTTP"), std::string::npos);
}

TEST_F(TlsServerTest, AHandshakeHasItsTime) {
  net::HttpLimits limits;
  limits.handshake_timeout = 1s;
  Start(Echo, limits);
  // Nothing at all, a method's first letter, and the head of a record that never comes.
  for (const std::string_view begun :
       {std::string_view(), std::string_view("\x16\x03\x01\x02", 4)}) {
    const auto before = std::chrono::steady_clock::now();
    EXPECT_EQ(ReadAll(Plain(begun)), "");
    const auto took = std::chrono::steady_clock::now() - before;
    EXPECT_GE(took, 900ms);
    EXPECT_LT(took, 6s);
  }
}

TEST_F(TlsServerTest, UnfinishedHandshakesAreConnectionsThatMakeRoom) {
  net::HttpLimits limits;
  limits.connections = 20;
  Start(Echo, limits);
  std::vector<sys::UniqueFd> hoard;
  for (int i = 0; i < 60; ++i) hoard.push_back(Plain("\x16\x03\x01"));
  EXPECT_LE(Connections(), 20u);
  std::this_thread::sleep_for(1200ms);
  EXPECT_TRUE(TlsSocket::Connect(port_).ok());
  EXPECT_LE(Connections(), 20u);
}

TEST_F(TlsServerTest, ManyHandshakesAtOnceEndTheOldest) {
  net::HttpLimits limits;
  limits.handshakes = 8;
  Start(Echo, limits);
  TlsSocket served = TlsSocket::Connect(port_);
  std::vector<sys::UniqueFd> hoard;
  for (int i = 0; i < 100; ++i) hoard.push_back(Plain("\x16\x03\x01"));
  EXPECT_TRUE(TlsSocket::Connect(port_).ok());
  EXPECT_EQ(ReadAll(hoard.front()), "");
  EXPECT_LE(Connections(), 10u);
  served.Send(kGet);
  EXPECT_THAT(served.ReadUntil("\r\n"), StartsWith("HTTP/1.1 200"));
}

TEST_F(TlsServerTest, TheClientsLeavingIsSeenHoweverItLeaves) {
  std::promise<void> gone[2];
  std::atomic<int> which = 0;
  Start([&](net::Exchange& exchange) { return TellWhenGone(exchange, gone[which]); });
  for (const bool orderly : {true, false}) {
    TlsSocket client = TlsSocket::Connect(port_);
    client.Send(kGet);
    std::this_thread::sleep_for(50ms);
    if (orderly) client.EndSending();
    if (!orderly) ::shutdown(client.fd(), SHUT_WR);
    EXPECT_EQ(gone[which].get_future().wait_for(5s), std::future_status::ready) << orderly;
    ++which;
  }
}

TEST_F(TlsServerTest, WhatIsWholeEndsInOrderAndWhatIsNotDoesNot) {
  Start([](net::Exchange& exchange) -> net::Task<> {
    net::HeaderList headers;
    const bool whole = exchange.head().path == "/whole";
    (void)co_await exchange.BeginStream(200, std::move(headers));
    (void)co_await exchange.Write("x");
    if (whole) (void)co_await exchange.Finish();
  });
  for (const bool whole : {true, false}) {
    TlsSocket client = TlsSocket::Connect(port_);
    client.Send(fmt::format("GET /{} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
                            whole ? "whole" : "half"));
    client.ReadToEnd();
    EXPECT_EQ(client.ended_in_order(), whole);
  }
}

TEST_F(TlsServerTest, ARenewedCertificateCountsAtOnceAndABadOneNot) {
  Start(Echo);
  TlsSocket before = TlsSocket::Connect(port_);
  EXPECT_EQ(before.subject(), "server");
  MakeCertificate(dir_, {.stem = "renewed"});
  // Half in place: the key is not the certificate's.
  std::filesystem::rename(dir_ + "/renewed.pem", dir_ + "/server.pem");
  EXPECT_EQ(TlsSocket::Connect(port_).subject(), "server");
  std::filesystem::rename(dir_ + "/renewed.key", dir_ + "/server.key");
  EXPECT_EQ(TlsSocket::Connect(port_).subject(), "renewed");
  std::filesystem::remove(dir_ + "/server.pem");
  EXPECT_EQ(TlsSocket::Connect(port_).subject(), "renewed");
  before.Send(kGet);
  EXPECT_THAT(before.ReadUntil("\r\n"), StartsWith("HTTP/1.1 200"));
}

}  // namespace
}  // namespace tinderbox::tls
