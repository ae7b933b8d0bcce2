// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "net/http_server.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>
#include <future>
#include <thread>
#include <vector>

namespace tinderbox::net {
namespace {

namespace asio = boost::asio;
using std::chrono_literals::operator""s;
using std::chrono_literals::operator""ms;

// A raw client, so that tests can send what no client library would.
class RawClient {
 public:
  explicit RawClient(std::uint16_t port) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    const timeval limit{10, 0};
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  }
  void Send(std::string_view text) {
    while (!text.empty()) {
      const ssize_t n = ::send(fd_.get(), text.data(), text.size(), MSG_NOSIGNAL);
      if (n <= 0) return;
      text.remove_prefix(static_cast<std::size_t>(n));
    }
  }
  // Reads until `text` has come or the connection ends.
  std::string ReadUntil(std::string_view text) {
    while (seen_.find(text) == seen_.npos && ReadMore()) {
    }
    const auto end = seen_.find(text);
    std::string out = seen_.substr(0, end == seen_.npos ? seen_.npos : end + text.size());
    seen_.erase(0, out.size());
    return out;
  }
  std::string ReadToEnd() {
    while (ReadMore()) {
    }
    return std::exchange(seen_, {});
  }
  int last_errno() const { return errno_; }
  void Close() { fd_.Reset(); }
  int fd() const { return fd_.get(); }

 private:
  bool ReadMore() {
    char chunk[65536];
    const ssize_t n = ::recv(fd_.get(), chunk, sizeof(chunk), 0);
    errno_ = n < 0 ? errno : 0;
    if (n > 0) seen_.append(chunk, static_cast<std::size_t>(n));
    return n > 0;
  }
  sys::UniqueFd fd_;
  std::string seen_;
  int errno_ = 0;
};

// The server on a thread of its own.
class HttpServerTest : public testing::Test {
 protected:
  void Start(HttpHandler handler, HttpLimits limits = {}) {
    server_ = std::make_unique<HttpServer>(io_, limits, std::move(handler));
    auto port = server_->ListenTcp("127.0.0.1", 0);
    ASSERT_TRUE(port.has_value()) << port.error().ToString();
    port_ = *port;
    thread_ = std::thread([this] { io_.run(); });
  }
  void StopNow() {
    if (!thread_.joinable()) return;
    asio::co_spawn(io_, server_->Stop(base::Deadline::After(0s)), asio::use_future).get();
    work_.reset();
    thread_.join();
    EXPECT_EQ(server_->connections(), 0U);
  }
  ~HttpServerTest() override { StopNow(); }

  // One request on a connection of its own, answered and closed.
  std::string Ask(std::string_view request) {
    RawClient client(port_);
    client.Send(request);
    return client.ReadToEnd();
  }

  asio::io_context io_;
  asio::executor_work_guard<asio::io_context::executor_type> work_ = asio::make_work_guard(io_);
  std::unique_ptr<HttpServer> server_;
  std::uint16_t port_ = 0;
  std::thread thread_;
};

Task<> Echo(Exchange& exchange) {
  exchange.SetBodyLimit(1 << 20);
  auto body = co_await exchange.ReadBody(1 << 20);
  if (!body) {
    const bool large = body.error().code() == base::Code::kResourceExhausted;
    (void)co_await exchange.Respond(large ? 413 : 400, {}, body.error().message());
    co_return;
  }
  HeaderList headers{{"X-Path", exchange.head().path}, {"X-Query", exchange.head().query}};
  (void)co_await exchange.Respond(200, std::move(headers), exchange.head().method + ":" + *body);
}

TEST_F(HttpServerTest, AnswersAndKeepsTheConnection) {
  Start(Echo);
  RawClient client(port_);
  client.Send("POST /a/b?c=d HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc");
  const std::string first = client.ReadUntil("POST:abc");
  EXPECT_NE(first.find("HTTP/1.1 200 OK\r\n"), first.npos) << first;
  EXPECT_NE(first.find("X-Path: /a/b\r\n"), first.npos);
  EXPECT_NE(first.find("X-Query: c=d\r\n"), first.npos);
  EXPECT_NE(first.find("Content-Length: 8\r\n"), first.npos);
  client.Send(
      "DELETE /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n");
  EXPECT_NE(client.ReadUntil("DELETE:hi").find("200 OK"), std::string::npos);
}

TEST_F(HttpServerTest, CommonHeadersGoWithEveryResponseOfOneExchange) {
  Start([](Exchange& exchange) -> Task<> {
    const std::string& path = exchange.head().path;
    if (path != "/plain") exchange.SetCommonHeaders({{"X-Common", "1"}, {"X-Own", "common"}});
    HeaderList headers{{"x-own", "response"}};
    if (path == "/stream") {
      (void)co_await exchange.BeginStream(200, std::move(headers));
      (void)co_await exchange.Finish();
    } else {
      (void)co_await exchange.Respond(200, std::move(headers), "end");
    }
  });
  RawClient client(port_);
  for (const char* path : {"/whole", "/stream"}) {
    client.Send(fmt::format("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", path));
    const std::string head = client.ReadUntil("\r\n\r\n");
    EXPECT_NE(head.find("X-Common: 1\r\n"), head.npos) << head;
    EXPECT_NE(head.find("x-own: response\r\n"), head.npos) << head;
    EXPECT_EQ(head.find("X-Own: common"), head.npos) << head;
    client.ReadUntil(path == std::string("/whole") ? "end" : "0\r\n\r\n");
  }
  client.Send("GET /plain HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_EQ(client.ReadUntil("end").find("X-Common"), std::string::npos);
}

TEST_F(HttpServerTest, PipelinedRequestsAreAnsweredInOrder) {
  Start(Echo);
  RawClient client(port_);
  client.Send("GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_NE(client.ReadUntil("GET:").find("X-Path: /1"), std::string::npos);
  EXPECT_NE(client.ReadUntil("GET:").find("X-Path: /2"), std::string::npos);
}

TEST_F(HttpServerTest, BytesThatTrickleInAreUnderstood) {
  Start(Echo);
  RawClient client(port_);
  const std::string_view request =
      "POST /slow HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: "
      "chunked\r\n\r\n3;x=y\r\nabc\r\n1\r\nd\r\n0"
      "\r\n\r\n";
  for (const char c : request) {
    client.Send(std::string_view(&c, 1));
    std::this_thread::sleep_for(1ms);
  }
  EXPECT_NE(client.ReadUntil("POST:abcd").find("200 OK"), std::string::npos);
}

TEST_F(HttpServerTest, GarbageIsRefusedAndClosed) {
  Start(Echo);
  EXPECT_NE(Ask("hello there\r\n\r\n").find("HTTP/1.1 400"), std::string::npos);
  EXPECT_NE(Ask(std::string("\x16\x03\x01\0\0", 5) + "\r\n\r\n").find("HTTP/1.1 400"),
            std::string::npos);
  EXPECT_NE(Ask("GET / HTTP/1.1\r\n\r\n").find("HTTP/1.1 400"), std::string::npos) << "no Host";
  EXPECT_NE(Ask("GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n")
                .find("HTTP/1.1 501"),
            std::string::npos);
  EXPECT_NE(Ask("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked"
                "\r\n\r\nabc")
                .find("HTTP/1.1 400"),
            std::string::npos);
  EXPECT_NE(Ask("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
                .find("HTTP/1.1 400"),
            std::string::npos);
}

// RFC 9112: another proxy may understand these in another way.
TEST_F(HttpServerTest, AmbiguousHeadsAreRefused) {
  Start(Echo);
  const auto status = [this](const std::string& fields, const std::string& body = "") {
    return Ask("POST / HTTP/1.1\r\n" + fields + "Connection: close\r\n\r\n" + body).substr(9, 3);
  };
  EXPECT_EQ(status("Host: x\r\nContent-Length: 4\r\n", "abcd"), "200");
  EXPECT_EQ(status("Host: x\r\nA: b\r\nContent-Length: 6\r\n", "a\r\n bc"), "200")
      << "a body may hold what a head may not";
  EXPECT_EQ(status("Host: x\r\nHost: y\r\n"), "400");
  EXPECT_EQ(status("Host: x\r\nhost: x\r\n"), "400");
  EXPECT_EQ(status("Host: x\r\nContent-Length: 4, 4\r\n", "abcd"), "400");
  EXPECT_EQ(status("Host: x\r\nContent-Length: 4\r\nContent-Length: 4\r\n", "abcd"), "400");
  EXPECT_EQ(status("Host: x\r\nContent-Length: +4\r\n", "abcd"), "400");
  EXPECT_EQ(status("Host: x\r\nA: b\r\n c\r\n"), "400");
  EXPECT_EQ(status("Host: x\r\nA: b\r\n\tContent-Length: 4\r\n", "abcd"), "400");
}

TEST_F(HttpServerTest, AFoldThatTricklesInIsRefused) {
  Start(Echo);
  RawClient client(port_);
  for (const char c : std::string_view("GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n")) {
    client.Send(std::string_view(&c, 1));
    std::this_thread::sleep_for(1ms);
  }
  EXPECT_NE(client.ReadToEnd().find("HTTP/1.1 400"), std::string::npos);
}

TEST_F(HttpServerTest, LimitsHold) {
  HttpLimits limits;
  limits.header_bytes = 4096;
  limits.header_count = 10;
  Start(Echo, limits);
  const std::string head = "GET / HTTP/1.1\r\nHost: x\r\n";
  EXPECT_NE(Ask(head + "A: " + std::string(8192, 'a') + "\r\n\r\n").find("HTTP/1.1 431"),
            std::string::npos);
  std::string many = head;
  for (int i = 0; i < 20; ++i) many += fmt::format("A{}: b\r\n", i);
  EXPECT_NE(Ask(many + "\r\n").find("HTTP/1.1 431"), std::string::npos);
  EXPECT_NE(
      Ask("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\nabc").find("HTTP/1.1 413"),
      std::string::npos);
  EXPECT_NE(Ask("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n200000\r\n" +
                std::string(0x200000, 'x') + "\r\n0\r\n\r\n")
                .find("HTTP/1.1 413"),
            std::string::npos);
}

TEST_F(HttpServerTest, OneConnectionTooManyGets503) {
  HttpLimits limits;
  limits.connections = 2;
  Start(Echo, limits);
  RawClient a(port_);
  a.Send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  a.ReadUntil("GET:");
  RawClient b(port_);
  b.Send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  b.ReadUntil("GET:");
  RawClient c(port_);
  EXPECT_NE(c.ReadToEnd().find("HTTP/1.1 503"), std::string::npos);
}

TEST_F(HttpServerTest, ConnectionsThatDoNothingMakeRoomForNewOnes) {
  HttpLimits limits;
  limits.connections = 2;
  Start(Echo, limits);
  RawClient kept(port_);
  kept.Send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  kept.ReadUntil("GET:");
  RawClient silent(port_);
  silent.Send("GET / HT");
  std::this_thread::sleep_for(1200ms);
  // One that never asked for anything goes first, then one that did.
  EXPECT_NE(Ask("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").find("GET:"),
            std::string::npos);
  EXPECT_EQ(silent.ReadToEnd(), "");
  EXPECT_NE(silent.last_errno(), EAGAIN);
  kept.Send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_NE(kept.ReadUntil("GET:").find("200 OK"), std::string::npos);
}

TEST_F(HttpServerTest, AHeadsTimeBeginsWithItsFirstByte) {
  HttpLimits limits;
  limits.head_timeout = 1s;
  Start(Echo, limits);
  RawClient client(port_);
  std::this_thread::sleep_for(1500ms);
  client.Send("GET / HTTP/1.1\r\nHos");
  std::this_thread::sleep_for(50ms);
  client.Send("t: x\r\n\r\n");
  EXPECT_NE(client.ReadUntil("GET:").find("200 OK"), std::string::npos);
}

TEST_F(HttpServerTest, SlowHeadIsCutOff) {
  HttpLimits limits;
  limits.head_timeout = 1s;
  Start(Echo, limits);
  RawClient client(port_);
  client.Send("GET / HTTP/1.1\r\nHos");
  const auto begin = std::chrono::steady_clock::now();
  client.ReadToEnd();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 5s);
  EXPECT_NE(client.last_errno(), EAGAIN);
}

TEST_F(HttpServerTest, ExpectContinueIsAnsweredOnlyWhenTheBodyIsWanted) {
  Start(Echo);
  RawClient client(port_);
  client.Send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(client.ReadUntil("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  client.Send("ok");
  EXPECT_NE(client.ReadUntil("POST:ok").find("200 OK"), std::string::npos);
}

TEST_F(HttpServerTest, EmptyAnswersHaveNoChunks) {
  Start([](Exchange& exchange) -> Task<> {
    (void)co_await exchange.Respond(exchange.head().path == "/204" ? 204 : 202, {}, "");
  });
  const std::string none = Ask("GET /204 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(none.find("Content-Length"), none.npos) << none;
  const std::string zero = Ask("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  EXPECT_NE(zero.find("Content-Length: 0\r\n"), zero.npos) << zero;
  EXPECT_EQ(zero.find("chunked"), zero.npos) << zero;
}

TEST_F(HttpServerTest, ResponseFieldsCannotBeSplit) {
  Start([](Exchange& exchange) -> Task<> {
    HeaderList headers{{"X-A", "a\r\nX-Evil: 1"}};
    (void)co_await exchange.Respond(200, std::move(headers), "x");
  });
  const std::string answer = Ask("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(answer.find("X-Evil"), answer.npos) << answer;
}

Task<> FullDuplex(Exchange& exchange) {
  (void)co_await exchange.BeginStream(200, {});
  std::string chunk(1024, '\0');
  while (true) {
    auto n = co_await exchange.ReadSome(chunk);
    if (!n || *n == 0) break;
    (void)co_await exchange.Write(std::string_view(chunk).substr(0, *n));
  }
  (void)co_await exchange.Finish();
}

// However the bytes of a body's end come: the parser must not be shown some of them twice.
TEST_F(HttpServerTest, LastChunkMayComeByteByByte) {
  Start([](Exchange& exchange) -> Task<> {
    const auto body = co_await exchange.ReadBody(100);
    (void)co_await exchange.Respond(body ? 200 : 400, {}, "");
  });
  for (const std::string end : {"0\r\n\r\n", "0\r\nA: b\r\n\r\n", "1\r\nx\r\n0\r\n\r\n"}) {
    RawClient client(port_);
    client.Send("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (const char byte : end) {
      client.Send(std::string(1, byte));
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    EXPECT_NE(client.ReadUntil("\r\n\r\n").find("HTTP/1.1 200"), std::string::npos) << end;
  }
}

TEST_F(HttpServerTest, BodyIsReadWhileTheResponseIsWritten) {
  Start(FullDuplex);
  RawClient client(port_);
  client.Send("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
  client.ReadUntil("\r\n\r\n");
  client.Send("3\r\none\r\n");
  EXPECT_EQ(client.ReadUntil("one\r\n"), "3\r\none\r\n");
  client.Send("3\r\ntwo\r\n0\r\n\r\n");
  EXPECT_EQ(client.ReadUntil("0\r\n\r\n"), "3\r\ntwo\r\n0\r\n\r\n");
}

TEST_F(HttpServerTest, FilesAreWrittenBehindTheFirstWrite) {
  std::string content(3 << 20, 'x');
  for (std::size_t i = 0; i < content.size(); i += 1000) content[i] = static_cast<char>(i / 1000);
  const sys::UniqueFd file(::memfd_create("content", MFD_CLOEXEC));
  ASSERT_EQ(::write(file.get(), content.data(), content.size()),
            static_cast<ssize_t>(content.size()));
  std::vector<std::uint64_t> written;
  Start([&](Exchange& exchange) -> Task<> {
    const bool chunked = exchange.head().path == "/chunked";
    std::optional<std::uint64_t> length;
    if (!chunked) length = 5 + content.size();
    (void)co_await exchange.BeginStream(200, {}, length, false);
    written.push_back((co_await exchange.WriteFile(file, 0, 5)).value_or(99));
    (void)co_await exchange.Write("first");
    written.push_back((co_await exchange.WriteFile(file, 0, content.size())).value_or(99));
    written.push_back((co_await exchange.WriteFile(file, content.size(), 0)).value_or(99));
    if (!chunked) {
      EXPECT_FALSE(co_await exchange.WriteFile(file, 0, 1)) << "more than announced";
    }
    (void)co_await exchange.Finish();
  });
  const std::string answer = Ask("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  EXPECT_TRUE(answer.ends_with("\r\n\r\nfirst" + content));
  EXPECT_EQ(written, (std::vector<std::uint64_t>{0, content.size(), 0}));
  written.clear();
  Ask("GET /chunked HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(written, (std::vector<std::uint64_t>{0, 0, 0}));
}

TEST_F(HttpServerTest, FilesThatEndEarlyAreWrittenToTheirEnd) {
  const sys::UniqueFd file(::memfd_create("content", MFD_CLOEXEC));
  ASSERT_EQ(::write(file.get(), "12345", 5), 5);
  std::uint64_t written = 0;
  Start([&](Exchange& exchange) -> Task<> {
    (void)co_await exchange.BeginStream(200, {}, 100, false);
    (void)co_await exchange.Write("first");
    written = (co_await exchange.WriteFile(file, 2, 95)).value_or(99);
  });
  RawClient client(port_);
  client.Send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  client.ReadToEnd();
  EXPECT_EQ(client.last_errno(), ECONNRESET);
  EXPECT_EQ(written, 3U);
}

TEST_F(HttpServerTest, UnfinishedStreamIsReset) {
  Start([](Exchange& exchange) -> Task<> {
    (void)co_await exchange.BeginStream(200, {});
    (void)co_await exchange.Write("half");
  });
  RawClient client(port_);
  client.Send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  const std::string answer = client.ReadToEnd();
  EXPECT_EQ(answer.find("0\r\n\r\n"), answer.npos) << answer;
  EXPECT_EQ(client.last_errno(), ECONNRESET);
}

TEST_F(HttpServerTest, DisconnectIsSeenWhileTheHandlerIsIdle) {
  std::promise<void> gone;
  std::promise<void> called;
  Start([&](Exchange& exchange) -> Task<> {
    exchange.OnDisconnect([&] { called.set_value(); });
    co_await exchange.AwaitDisconnect();
    EXPECT_TRUE(exchange.disconnected());
    gone.set_value();
  });
  RawClient client(port_);
  client.Send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  std::this_thread::sleep_for(50ms);
  client.Close();
  EXPECT_EQ(gone.get_future().wait_for(5s), std::future_status::ready);
  EXPECT_EQ(called.get_future().wait_for(5s), std::future_status::ready);
}

TEST_F(HttpServerTest, ClientThatNeverReadsHoldsUpTheWriterOnly) {
  HttpLimits limits;
  limits.write_timeout = 1s;
  std::promise<base::Code> ended;
  std::atomic<std::size_t> written = 0;
  Start(
      [&](Exchange& exchange) -> Task<> {
        if (exchange.head().path != "/big") {
          (void)co_await exchange.Respond(200, {}, "small");
          co_return;
        }
        (void)co_await exchange.BeginStream(200, {});
        const std::string chunk(1 << 20, 'x');
        while (true) {
          const base::Result<> wrote = co_await exchange.Write(chunk);
          if (!wrote) {
            ended.set_value(wrote.error().code());
            co_return;
          }
          written += chunk.size();
        }
      },
      limits);
  RawClient stuck(port_);
  stuck.Send("GET /big HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_NE(Ask("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").find("small"),
            std::string::npos);
  auto future = ended.get_future();
  ASSERT_EQ(future.wait_for(10s), std::future_status::ready);
  EXPECT_EQ(future.get(), base::Code::kDeadlineExceeded);
  EXPECT_LT(written.load(), 64U << 20);
}

TEST_F(HttpServerTest, UpgradeHandsTheSocketOver) {
  Start([](Exchange& exchange) -> Task<> {
    HeaderList headers{{"Connection", "Upgrade"}, {"Upgrade", "x"}};
    auto taken = co_await exchange.Upgrade(std::move(headers));
    EXPECT_TRUE(taken.has_value());
    if (!taken) co_return;
    std::string answer = "got:" + taken->buffered;
    (void)::send(taken->stream.socket().native_handle(), answer.data(), answer.size(),
                 MSG_NOSIGNAL);
  });
  RawClient client(port_);
  client.Send("GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nraw");
  const std::string answer = client.ReadToEnd();
  EXPECT_NE(answer.find("HTTP/1.1 101"), answer.npos);
  EXPECT_NE(answer.find("\r\n\r\ngot:raw"), answer.npos) << answer;
}

TEST_F(HttpServerTest, StopWaitsForARunningHandler) {
  Start([&](Exchange& exchange) -> Task<> {
    asio::steady_timer timer(exchange.executor(), 300ms);
    co_await timer.async_wait(asio::use_awaitable);
    (void)co_await exchange.Respond(200, {}, "late");
  });
  RawClient idle(port_);
  RawClient client(port_);
  client.Send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  std::this_thread::sleep_for(100ms);
  asio::co_spawn(io_, server_->Stop(base::Deadline::After(5s)), asio::use_future).get();
  const std::string answer = client.ReadToEnd();
  EXPECT_NE(answer.find("late"), answer.npos);
  EXPECT_NE(answer.find("Connection: close"), answer.npos);
}

TEST_F(HttpServerTest, UnixPeerIsNamedByTheKernel) {
  const std::string path = fmt::format("/tmp/net-http-server-test-{}.sock", ::getpid());
  server_ = std::make_unique<HttpServer>(io_, HttpLimits{}, [](Exchange& exchange) -> Task<> {
    (void)co_await exchange.Respond(
        200, {}, fmt::format("{} {}", exchange.peer().is_unix, exchange.peer().uid));
  });
  ASSERT_TRUE(server_->ListenUnix(path, 0600).has_value());
  EXPECT_EQ(HttpServer(io_, HttpLimits{}, Echo).ListenUnix(path, 0600).error().code(),
            base::Code::kAlreadyExists);
  thread_ = std::thread([this] { io_.run(); });
  sys::UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof(address.sun_path) - 1);
  ASSERT_EQ(::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  const std::string_view ask = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
  ASSERT_EQ(::send(fd.get(), ask.data(), ask.size(), 0), static_cast<ssize_t>(ask.size()));
  std::string answer(4096, '\0');
  answer.resize(static_cast<std::size_t>(
      std::max<ssize_t>(0, ::recv(fd.get(), answer.data(), answer.size(), MSG_WAITALL))));
  EXPECT_NE(answer.find(fmt::format("true {}", ::getuid())), answer.npos) << answer;
  StopNow();
  ::unlink(path.c_str());
}

TEST(HttpMessage, Decodes) {
  EXPECT_EQ(PercentDecode("a%20b%2Fc"), "a b/c");
  EXPECT_EQ(PercentDecode("a+b", true), "a b");
  EXPECT_EQ(PercentDecode("a%2"), std::nullopt);
  EXPECT_EQ(PercentDecode("a%zz"), std::nullopt);
  const auto query = ParseQuery("path=%2Fa+b&x&y=%C3%A9&z=%");
  ASSERT_EQ(query.size(), 4U);
  EXPECT_EQ(query[0].second, "/a b");
  EXPECT_EQ(query[1], (HeaderList::Field{"x", ""}));
  EXPECT_EQ(query[2].second, "é");
  EXPECT_EQ(query[3].second, "%");
  HeaderList list{{"Accept-Encoding", "deflate, GZIP"}};
  EXPECT_TRUE(list.HasToken("accept-encoding", "gzip"));
  EXPECT_FALSE(list.HasToken("accept-encoding", "zip"));
}

}  // namespace
}  // namespace tinderbox::net
