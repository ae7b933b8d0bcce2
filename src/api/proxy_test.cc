// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// The proxy over real sockets, to guests that behave and guests that do not.
#include "api/proxy.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <fstream>
#include <future>
#include <latch>

#include "api/api_test_fixture.h"
#include "api/proxy_test_guest.h"

namespace tinderbox::api {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

constexpr std::size_t kBig = 200 << 20;
// How much more memory a flow may take. Sanitizers keep what was freed for a while.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define TINDERBOX_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define TINDERBOX_SANITIZED 1
#endif
#endif
#ifdef TINDERBOX_SANITIZED
constexpr std::size_t kMostMemory = 96 << 20;
#else
constexpr std::size_t kMostMemory = 8 << 20;
#endif

std::size_t ResidentBytes() {
  std::ifstream file("/proc/self/statm");
  std::size_t total = 0, resident = 0;
  file >> total >> resident;
  return resident * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}

// Bytes whose place shows in them, so that none can be lost, doubled or swapped unseen.
std::string Pattern(std::size_t count) {
  std::string text(count, '\0');
  for (std::size_t i = 0; i < count; ++i) text[i] = static_cast<char>((i * 2654435761u) >> 13);
  return text;
}

class ProxyTest : public ApiTest {
 protected:
  void SetUp() override {
    ApiTest::SetUp();
    manager_.Put(Running("i1"));
  }
  void Serve(std::function<void(RawSocket&)> serve, std::uint16_t guest_port = 8000) {
    guest_ = std::make_unique<RawGuest>(std::move(serve));
    const std::lock_guard lock(manager_.mutex);
    manager_.ports[guest_port] = guest_->port();
  }
  // The server goes first, so that no guest waits for ever.
  void TearDown() override {
    ApiTest::TearDown();
    guest_.reset();
  }
  RawSocket Raw() { return RawSocket::Connect(port_); }
  static std::string Head(std::string_view request_line, std::string_view more = "",
                          int port = 8000) {
    return fmt::format(
        "{} HTTP/1.1\r\nHost: 127.0.0.1\r\nE2b-Sandbox-Id: i1\r\nE2b-Sandbox-Port: {}\r\n{}\r\n",
        request_line, port, more);
  }
  net::HttpResponse Get(const std::string& path, int port = 8000, const std::string& id = "i1") {
    return CallWithoutKey("GET", path,
                          {{"E2b-Sandbox-Id", id}, {"E2b-Sandbox-Port", std::to_string(port)}});
  }
  std::size_t Flows() {
    std::size_t count = 0;
    OnLoop([&] { count = server_->proxy().flows(); });
    return count;
  }
  std::unique_ptr<RawGuest> guest_;
};

TEST_F(ProxyTest, RequestAndAnswerPassWithoutWhatConcernsOneConnection) {
  std::string seen;
  Serve([&seen](RawSocket& socket) {
    seen = socket.ReadUntil("\r\n\r\n") + socket.ReadBytes(5);
    socket.Send(
        "HTTP/1.1 418 Short And Stout\r\nX-Guest: yes\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n"
        "Connection: X-Secret, close\r\nX-Secret: s\r\nKeep-Alive: timeout=5\r\n"
        "Content-Length: 5\r\n\r\nhello");
  });
  RawSocket client = Raw();
  client.Send(Head("POST /p%20q/a?x=1&y=%2F",
                   "X-API-KEY: secret\r\nX-Mine: 1\r\nConnection: keep-alive, X-Hop\r\nX-Hop: h\r\n"
                   "TE: trailers\r\nContent-Length: 5\r\n") +
              "abcde");
  const std::string head = client.ReadUntil("\r\n\r\n");
  EXPECT_THAT(head, StartsWith("HTTP/1.1 418 "));
  EXPECT_THAT(head, HasSubstr("X-Guest: yes\r\n"));
  EXPECT_THAT(head, HasSubstr("Set-Cookie: a=1\r\n"));
  EXPECT_THAT(head, HasSubstr("Set-Cookie: b=2\r\n"));
  EXPECT_THAT(head, HasSubstr("Content-Length: 5\r\n"));
  EXPECT_THAT(head, Not(HasSubstr("X-Secret")));
  EXPECT_THAT(head, Not(HasSubstr("Keep-Alive")));
  EXPECT_EQ(client.ReadBytes(5), "hello");
  EXPECT_THAT(seen, StartsWith("POST /p%20q/a?x=1&y=%2F HTTP/1.1\r\n"));
  EXPECT_THAT(seen, HasSubstr("X-Mine: 1\r\n"));
  EXPECT_THAT(seen, HasSubstr("Host: 127.0.0.1\r\n"));
  EXPECT_THAT(seen, HasSubstr("Content-Length: 5\r\n"));
  EXPECT_THAT(seen, testing::EndsWith("abcde"));
  for (const char* gone : {"secret", "X-Hop", "TE:", "Transfer-Encoding"}) {
    EXPECT_THAT(seen, Not(HasSubstr(gone)));
  }
}

TEST_F(ProxyTest, AHostNameNamesPortAndSandbox) {
  Serve([](RawSocket& socket) {
    socket.ReadUntil("\r\n\r\n");
    socket.Send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
  });
  const auto get = [this](const std::string& host) {
    RawSocket client = Raw();
    client.Send("GET /tinderbox/v1/info HTTP/1.1\r\nConnection: close\r\nHost: " + host +
                "\r\n\r\n");
    return client.ReadToEnd();
  };
  EXPECT_THAT(get("8000-i1.sandboxes.test:3000"), StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(get("8000-I1.Sandboxes.TEST"), StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(get("8000-i1-anything.sandboxes.test"), StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(get("8000-ix.sandboxes.test"), HasSubstr("The sandbox was not found"));
  for (const char* bad :
       {"i1.sandboxes.test", "x-i1.sandboxes.test", "0-i1.sandboxes.test",
        "70000-i1.sandboxes.test", "8000-.sandboxes.test", "8000-i1.more.sandboxes.test"}) {
    EXPECT_THAT(get(bad), StartsWith("HTTP/1.1 400")) << bad;
    EXPECT_THAT(get(bad), HasSubstr("text/plain")) << bad;
  }
  for (const char* ours :
       {"api.sandboxes.test", "sandboxes.test", "127.0.0.1", "[::1]:3000", "8000-i1.localhost"}) {
    EXPECT_THAT(get(ours), StartsWith("HTTP/1.1 401")) << ours;
  }
  EXPECT_THAT(get("8000-i1.elsewhere"), StartsWith("HTTP/1.1 403"));
}

TEST_F(ProxyTest, ProblemsAreToldInE2bsWords) {
  const auto missing = Get("/", 49983, "inope");
  EXPECT_EQ(missing.status, 502);
  EXPECT_EQ(missing.body,
            R"({"sandboxId":"inope","message":"The sandbox was not found","code":502})");
  const auto closed = Get("/", 9);
  EXPECT_EQ(closed.status, 502);
  EXPECT_EQ(
      closed.body,
      R"({"sandboxId":"i1","message":"The sandbox is running but port is not open","port":9,"code":502})");
  // A refused port is tried again for a moment, and each time on the guest's loopback too.
  EXPECT_EQ(manager_.dials, 1 + 5 * 2);
  EXPECT_EQ(CallWithoutKey("GET", "/", {{"E2b-Sandbox-Id", "A B"}}).status, 400);
  EXPECT_EQ(Get("/", 0).status, 400);
  const auto page =
      CallWithoutKey("GET", "/", {{"E2b-Sandbox-Id", "inope"}, {"Sec-Fetch-Mode", "navigate"}});
  EXPECT_EQ(page.status, 502);
  EXPECT_THAT(Header(page, "Content-Type"), HasSubstr("text/html"));
}

TEST_F(ProxyTest, ASandboxThatWaitsForDiskSpaceSaysSo) {
  auto info = *manager_.Get("i1");
  info.no_space = true;
  manager_.Put(info);
  const auto response = Get("/", 9);
  EXPECT_EQ(response.status, 507);
  EXPECT_THAT(response.body, HasSubstr("no free disk space"));
  const auto body = Json(Call("GET", "/tinderbox/v1/sandboxes/i1")).as_object();
  EXPECT_EQ(body.at("state").as_string(), "no-space");
  EXPECT_THAT(std::string(body.at("cause").as_string()), HasSubstr("free space"));
}

TEST_F(ProxyTest, HostOnlyRoutesOfTheAgentAreHidden) {
  Serve(
      [](RawSocket& socket) {
        while (!socket.ReadUntil("\r\n\r\n").empty()) {
          socket.Send("HTTP/1.1 204 No Content\r\n\r\n");
        }
      },
      49983);
  {
    const std::lock_guard lock(manager_.mutex);
    manager_.ports[8000] = guest_->port();
  }
  for (const char* path :
       {"/init", "/init/", "//init", "/./init", "/x/../init", "/%69nit", "/%2569nit", "/INIT",
        "/init?x=1", "/init;x", "/freeze", "/unfreeze", "/fsfreeze", "/fsthaw", "/collapse",
        "/volume?id=x", "/upgrade", "/tunnel", "/x/%2e%2e/init"}) {
    const auto response = Get(path, 49983);
    EXPECT_EQ(response.status, 404) << path;
    EXPECT_EQ(Json(response).at("code").as_int64(), 404);
  }
  EXPECT_EQ(guest_->connections(), 0);
  EXPECT_EQ(Get("/health", 49983).status, 204);
  EXPECT_EQ(Get("/initial", 49983).status, 204);
  EXPECT_EQ(Get("/files/init", 49983).status, 204);
  EXPECT_EQ(Get("/init", 8000).status, 204);
}

TEST_F(ProxyTest, ServersOnTheGuestsLoopbackAreReachedThroughItsAgent) {
  std::string asked;
  Serve(
      [&](RawSocket& socket) {
        asked = socket.ReadUntil("\r\n\r\n");
        // What comes at once behind the head is the inner server's.
        socket.Send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: tcp\r\n\r\n");
        socket.ReadUntil("\r\n\r\n");
        socket.Send("HTTP/1.1 201 Created\r\nContent-Length: 5\r\n\r\ninner");
      },
      49983);
  const auto response = Get("/", 5173);
  EXPECT_EQ(response.status, 201);
  EXPECT_EQ(response.body, "inner");
  EXPECT_THAT(asked, HasSubstr("POST /tunnel?port=5173 HTTP/1.1\r\n"));
  EXPECT_THAT(asked, HasSubstr("\r\nUpgrade: tcp\r\n"));
}

TEST_F(ProxyTest, AnAgentThatTunnelsNothingLeavesThePortClosed) {
  for (const char* answer :
       {"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", "nonsense", "HTTP/1.1 101 "}) {
    Serve(
        [&](RawSocket& socket) {
          socket.ReadUntil("\r\n\r\n");
          socket.Send(answer);
        },
        49983);
    const auto response = Get("/", 5173);
    EXPECT_EQ(response.status, 502) << answer;
    EXPECT_THAT(response.body, HasSubstr("port is not open")) << answer;
  }
}

TEST_F(ProxyTest, AnswersOfEveryFraming) {
  const std::vector<std::pair<std::string, std::string>> answers = {
      {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", "abc"},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n2;x=y\r\nbc\r\n0\r\n"
       "X-Trailer: t\r\n\r\n",
       "abc"},
      {"HTTP/1.1 200 OK\r\n\r\nabc", "abc"},
      {"HTTP/1.0 200 OK\r\n\r\nabc", "abc"},
      {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
       "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
       "abc"},
      {"HTTP/1.1 204 No Content\r\n\r\n", ""},
      {"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n", ""},
      {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", ""},
  };
  std::atomic<std::size_t> which = 0;
  Serve([&](RawSocket& socket) {
    socket.ReadUntil("\r\n\r\n");
    // Byte by byte, as the worst of networks would.
    for (const char c : answers[which].first) socket.Send({&c, 1});
  });
  for (which = 0; which < answers.size(); ++which) {
    const auto response = Get("/");
    EXPECT_EQ(response.body, answers[which].second) << answers[which].first;
    EXPECT_EQ(Header(response, "X-Trailer"), "");
    EXPECT_LT(response.status, 400) << answers[which].first;
  }
}

TEST_F(ProxyTest, HeadHasNoBodyButItsLength) {
  Serve([](RawSocket& socket) {
    socket.ReadUntil("\r\n\r\n");
    socket.Send("HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n");
    socket.ReadToEnd();
  });
  RawSocket client = Raw();
  client.Send(Head("HEAD /"));
  EXPECT_THAT(client.ReadUntil("\r\n\r\n"), HasSubstr("Content-Length: 12345\r\n"));
  client.Send(Head("GET /health", "", 9));
  EXPECT_THAT(client.ReadUntil("\r\n\r\n"), StartsWith("HTTP/1.1 502"));  // no body was in between
}

// --- Size and speed

TEST_F(ProxyTest, TwoHundredMegabytesPassDownInBoundedMemory) {
  const std::string block = Pattern(1 << 20);
  Serve([&](RawSocket& socket) {
    socket.ReadUntil("\r\n\r\n");
    socket.Send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (std::size_t sent = 0; sent < kBig; sent += block.size()) {
      socket.Send(fmt::format("{:x}\r\n", block.size()));
      socket.Send(block);
      socket.Send("\r\n");
    }
    socket.Send("0\r\n\r\n");
  });
  net::HttpClient client = Client();
  const auto deadline = base::Deadline::After(std::chrono::seconds(60));
  const std::size_t before = ResidentBytes();
  const auto begin = std::chrono::steady_clock::now();
  ASSERT_TRUE(client.Start(
      {"GET", "/", {{"E2b-Sandbox-Id", "i1"}, {"E2b-Sandbox-Port", "8000"}}, ""}, deadline));
  ASSERT_EQ(client.ReadHead(deadline)->status, 200);
  std::string buffer(64 << 10, '\0');
  std::size_t total = 0;
  std::size_t wrong = 0;
  std::size_t most = before;
  while (true) {
    const auto n = client.ReadSome(buffer, deadline);
    ASSERT_TRUE(n) << n.error().ToString();
    if (*n == 0) break;
    for (std::size_t i = 0; i < *n;) {
      const std::size_t at = (total + i) % block.size();
      const std::size_t run = std::min(*n - i, block.size() - at);
      wrong += std::string_view(buffer).substr(i, run) != std::string_view(block).substr(at, run);
      i += run;
    }
    total += *n;
    most = std::max(most, ResidentBytes());
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  EXPECT_EQ(total, kBig);
  EXPECT_EQ(wrong, 0u);
  EXPECT_LT(most - before, kMostMemory);
  RecordProperty("down_mb_per_s", static_cast<int>(static_cast<double>(kBig >> 20) / took.count()));
  fmt::print("down: {:.0f} MB/s, {} KB more resident\n",
             static_cast<double>(kBig >> 20) / took.count(), (most - before) >> 10);
}

TEST_F(ProxyTest, TwoHundredMegabytesPassUpInBoundedMemory) {
  std::atomic<std::size_t> received = 0;
  Serve([&](RawSocket& socket) {
    socket.ReadUntil("\r\n\r\n");
    received = socket.Discard(kBig);
    socket.Send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
  });
  RawSocket client = Raw();
  const std::string block = Pattern(1 << 20);
  const std::size_t before = ResidentBytes();
  const auto begin = std::chrono::steady_clock::now();
  client.Send(Head("PUT /", fmt::format("Content-Length: {}\r\n", kBig)));
  std::size_t most = before;
  for (std::size_t sent = 0; sent < kBig; sent += block.size()) {
    ASSERT_TRUE(client.Send(block));
    most = std::max(most, ResidentBytes());
  }
  EXPECT_THAT(client.ReadUntil("\r\n\r\n"), StartsWith("HTTP/1.1 200"));
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  EXPECT_EQ(received, kBig);
  EXPECT_LT(most - before, kMostMemory);
  fmt::print("up: {:.0f} MB/s, {} KB more resident\n",
             static_cast<double>(kBig >> 20) / took.count(), (most - before) >> 10);
}

TEST_F(ProxyTest, ASlowReaderHoldsUpItsWriter) {
  std::atomic<std::size_t> sent = 0;
  Serve([&](RawSocket& socket) {
    socket.ReadUntil("\r\n\r\n");
    socket.Send("HTTP/1.1 200 OK\r\n\r\n");
    const std::string block(64 << 10, 'x');
    while (sent < kBig && socket.Send(block)) sent += block.size();
  });
  RawSocket client = Raw();
  client.Send(Head("GET /"));
  client.ReadUntil("\r\n\r\n");
  // What the kernel's buffers hold goes, and no more.
  std::size_t last = 0;
  for (int quiet = 0; quiet < 5;) {
    usleep(50'000);
    quiet = sent == last ? quiet + 1 : 0;
    last = sent;
  }
  EXPECT_LT(sent, kBig / 4);
  client.Close();  // the guest's write fails now, and its thread ends
  guest_.reset();
}

TEST_F(ProxyTest, BothWaysAtOnce) {
  Serve([](RawSocket& socket) {
    EXPECT_THAT(socket.ReadUntil("\r\n\r\n"), HasSubstr("Transfer-Encoding: chunked"));
    socket.Send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    while (true) {
      const std::string line = socket.ReadUntil("\r\n");
      const std::size_t size = std::strtoul(line.c_str(), nullptr, 16);
      const std::string data = socket.ReadBytes(size + 2);
      if (size == 0) break;
      socket.Send(line + data);
    }
    socket.Send("0\r\n\r\n");
    socket.ReadToEnd();
  });
  RawSocket client = Raw();
  client.Send(Head("POST /process.Process/StreamInput", "Transfer-Encoding: chunked\r\n"));
  EXPECT_THAT(client.ReadUntil("\r\n\r\n"), StartsWith("HTTP/1.1 200"));
  for (const std::string word : {"one", "two", "three"}) {
    client.Send(fmt::format("{:x}\r\n{}\r\n", word.size(), word));
    EXPECT_EQ(client.ReadUntil("\r\n"), fmt::format("{:x}\r\n", word.size()));
    EXPECT_EQ(client.ReadUntil("\r\n"), word + "\r\n");
  }
  client.Send("0\r\n\r\n");
  EXPECT_EQ(client.ReadUntil("\r\n\r\n"), "0\r\n\r\n");
  // The connection goes on.
  client.Send(Head("GET /", "", 9));
  EXPECT_THAT(client.ReadUntil("\r\n\r\n"), StartsWith("HTTP/1.1 502"));
}

TEST_F(ProxyTest, TheHeadOfAStreamComesBeforeItsBody) {
  std::latch go(1);
  Serve([&](RawSocket& socket) {
    socket.ReadUntil("\r\n\r\n");
    socket.Send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    go.wait();
    socket.Send("5\r\nevent\r\n0\r\n\r\n");
  });
  RawSocket client = Raw();
  client.Send(Head("GET /"));
  EXPECT_THAT(client.ReadUntil("\r\n\r\n"), StartsWith("HTTP/1.1 200"));
  go.count_down();
  EXPECT_EQ(client.ReadChunked(), "event");
}

// --- Ends

TEST_F(ProxyTest, KillingASandboxResetsItsFlows) {
  Serve([](RawSocket& socket) {
    socket.ReadUntil("\r\n\r\n");
    socket.Send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
    socket.ReadToEnd();
  });
  RawSocket streaming = Raw();
  streaming.Send(Head("GET /"));
  streaming.ReadUntil("hello\r\n");
  RawSocket uploading = Raw();
  uploading.Send(Head("POST /", "Transfer-Encoding: chunked\r\n"));
  uploading.ReadUntil("hello\r\n");
  EXPECT_EQ(Flows(), 2u);
  EXPECT_EQ(Call("DELETE", "/sandboxes/i1").status, 204);
  EXPECT_EQ(streaming.ReadToEnd(), "");
  EXPECT_EQ(streaming.last_errno(), ECONNRESET);
  EXPECT_EQ(uploading.ReadToEnd(), "");
  EXPECT_EQ(uploading.last_errno(), ECONNRESET);
  // What the SDKs ask next.
  EXPECT_THAT(Get("/health", 49983).body, HasSubstr("The sandbox was not found"));
  for (int i = 0; i < 100 && Flows() > 0; ++i) usleep(10'000);
  EXPECT_EQ(Flows(), 0u);
}

TEST_F(ProxyTest, AConnectionDialledForALifeThatEndedIsNotUsed) {
  std::atomic<bool> heard = false;
  Serve([&](RawSocket& socket) { heard = !socket.ReadToEnd().empty(); });
  manager_.before_dial_returns = [this] {
    manager_.Gone("i1");
    manager_.Put(Running("i1"));  // the same name, another life
    OnLoop([] {});                // the loop has heard of it
  };
  RawSocket client = Raw();
  client.Send(Head("GET /"));
  EXPECT_EQ(client.ReadToEnd(), "");
  EXPECT_EQ(client.last_errno(), ECONNRESET);
  guest_.reset();  // its thread is done with our variables
  EXPECT_FALSE(heard);
}

TEST_F(ProxyTest, TheClientsLeavingReachesTheGuestAtOnce) {
  std::promise<double> seconds;
  std::latch answering(1);
  std::atomic<std::chrono::steady_clock::time_point> left;
  Serve([&](RawSocket& socket) {
    socket.ReadUntil("\r\n\r\n");
    answering.count_down();
    socket.ReadToEnd();
    seconds.set_value(
        std::chrono::duration<double>(std::chrono::steady_clock::now() - left.load()).count());
  });
  RawSocket client = Raw();
  client.Send(Head("GET /"));
  answering.wait();
  usleep(50'000);
  left = std::chrono::steady_clock::now();
  client.Close();
  EXPECT_LT(seconds.get_future().get(), 0.5);
  guest_.reset();
}

TEST_F(ProxyTest, TheClientsLeavingAmidItsBodyReachesTheGuest) {
  std::promise<double> seconds;
  std::atomic<std::chrono::steady_clock::time_point> left;
  std::latch begun(1);
  Serve([&](RawSocket& socket) {
    socket.ReadUntil("\r\n\r\n");
    socket.ReadUntil("3\r\nabc\r\n");
    begun.count_down();
    socket.ReadToEnd();
    seconds.set_value(
        std::chrono::duration<double>(std::chrono::steady_clock::now() - left.load()).count());
  });
  RawSocket client = Raw();
  client.Send(Head("POST /", "Transfer-Encoding: chunked\r\n") + "3\r\nabc\r\n");
  begun.wait();
  left = std::chrono::steady_clock::now();
  client.Close();
  EXPECT_LT(seconds.get_future().get(), 0.5);
  guest_.reset();
}

TEST_F(ProxyTest, AnAnswerBeforeTheRequestsEndIsPassedOn) {
  Serve([](RawSocket& socket) {
    socket.ReadUntil("\r\n\r\n");
    socket.Send("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno!");
    socket.ReadToEnd();
  });
  RawSocket client = Raw();
  client.Send(Head("POST /", "Content-Length: 1000000000\r\n") + "a few bytes");
  EXPECT_THAT(client.ReadUntil("\r\n\r\n"), StartsWith("HTTP/1.1 413"));
  EXPECT_EQ(client.ReadBytes(3), "no!");
}

TEST_F(ProxyTest, ABodyOfBrokenFramingIs400) {
  Serve([](RawSocket& socket) { socket.ReadToEnd(); });
  RawSocket client = Raw();
  client.Send(Head("POST /", "Transfer-Encoding: chunked\r\n") + "zz\r\n");
  EXPECT_THAT(client.ReadUntil("\r\n\r\n"), StartsWith("HTTP/1.1 400"));
}

// --- Guests that misbehave

TEST_F(ProxyTest, NonsenseIs502) {
  const std::string many = [] {
    std::string text = "HTTP/1.1 200 OK\r\n";
    for (int i = 0; i < 300; ++i) text += fmt::format("X-{}: y\r\n", i);
    return text + "\r\n";
  }();
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"SSH-2.0-OpenSSH_9.2\r\n", "not HTTP"},
      {"\r\n\r\n\r\n", "not HTTP"},
      {std::string(300, '\0'), "not HTTP"},
      {"HTTP/1.1 200 OK\r\nX: " + std::string(200'000, 'x'), "not HTTP"},
      {many, "not HTTP"},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "not HTTP"},
      {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", "not HTTP"},
      {"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "not HTTP"},
      {"HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n", "not HTTP"},
      {"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "not HTTP"},
      {"HTTP/1.1 200 OK\r\nX: y", "not HTTP"},
      {"", "without an answer"},
  };
  std::atomic<std::size_t> which = 0;
  Serve([&](RawSocket& socket) {
    socket.ReadUntil("\r\n\r\n");
    socket.Send(cases[which].first);
  });
  for (which = 0; which < cases.size(); ++which) {
    const auto response = Get("/");
    EXPECT_EQ(response.status, 502) << cases[which].first.substr(0, 80);
    EXPECT_THAT(response.body, HasSubstr(cases[which].second)) << cases[which].first.substr(0, 80);
  }
  guest_.reset();
}

TEST_F(ProxyTest, InterimAnswersWithoutEndAreCutOff) {
  Serve([](RawSocket& socket) {
    socket.ReadUntil("\r\n\r\n");
    while (socket.Send("HTTP/1.1 103 Early Hints\r\nX: " + std::string(1000, 'x') + "\r\n\r\n")) {
    }
  });
  EXPECT_EQ(Get("/").status, 502);
}

TEST_F(ProxyTest, HalfAnAnswerIsNeverTakenForAWholeOne) {
  std::atomic<bool> chunked = false;
  Serve([&](RawSocket& socket) {
    socket.ReadUntil("\r\n\r\n");
    socket.Send(chunked ? "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
                        : "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello");
  });
  for (int i = 0; i < 2; ++i) {
    chunked = i == 1;
    RawSocket client = Raw();
    client.Send(Head("GET /"));
    const std::string all = client.ReadToEnd();
    EXPECT_EQ(client.last_errno(), ECONNRESET) << all;
    EXPECT_THAT(all, Not(HasSubstr("\r\n0\r\n\r\n")));
  }
}

TEST_F(ProxyTest, FieldsOfAGuestCannotForgeOurs) {
  Serve([](RawSocket& socket) {
    socket.ReadUntil("\r\n\r\n");
    socket.Send("HTTP/1.1 200 OK\r\nA: b\rSet-Cookie: x\r\nContent-Length: 0\r\n\r\n");
  });
  RawSocket client = Raw();
  client.Send(Head("GET /", "Connection: close\r\n"));
  EXPECT_THAT(client.ReadToEnd(), Not(HasSubstr("\rSet-Cookie")));
}

class ImpatientProxyTest : public ProxyTest {
 protected:
  ServerOptions Options() override {
    ServerOptions options = ProxyTest::Options();
    options.proxy.head_deadline = std::chrono::milliseconds(200);
    options.proxy.dial.per_sandbox = 2;
    return options;
  }
};

TEST_F(ImpatientProxyTest, AGuestThatNeverAnswersIs504) {
  Serve([](RawSocket& socket) { socket.ReadToEnd(); });
  const auto response = Get("/");
  EXPECT_EQ(response.status, 504);
  EXPECT_THAT(response.body, HasSubstr("in time"));
}

TEST_F(ImpatientProxyTest, ASandboxThatTakesNoConnectionHoldsUpItsOwnCallersOnly) {
  Serve([](RawSocket& socket) {
    socket.ReadUntil("\r\n\r\n");
    socket.Send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
  });
  manager_.Put(Running("i2"));
  std::latch may_go(1);
  std::atomic<int> stuck = 0;
  manager_.before_dial_returns = [&] {
    if (stuck++ < 2) may_go.wait();
  };
  std::vector<std::future<int>> first;
  for (int i = 0; i < 4; ++i) {
    first.push_back(std::async(std::launch::async, [this] { return Get("/").status; }));
  }
  while (stuck < 2) usleep(1000);
  usleep(50'000);
  EXPECT_EQ(manager_.dials, 2);  // the other two wait for their turn
  EXPECT_EQ(Get("/", 8000, "i2").status, 200);
  may_go.count_down();
  for (auto& call : first) EXPECT_EQ(call.get(), 200);
}

// --- Kept connections

TEST_F(ProxyTest, ConnectionsToTheAgentAreKept) {
  Serve(
      [](RawSocket& socket) {
        while (!socket.ReadUntil("\r\n\r\n").empty()) {
          socket.Send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
      },
      49983);
  for (int i = 0; i < 10; ++i) EXPECT_EQ(Get("/health", 49983).body, "ok");
  EXPECT_EQ(manager_.dials, 1);
  manager_.Gone("i1");
  OnLoop([this] { EXPECT_EQ(server_->proxy().idle_upstreams(), 0u); });
}

TEST_F(ProxyTest, AKeptConnectionThatTheGuestClosedIsReplaced) {
  Serve(
      [](RawSocket& socket) {
        socket.ReadUntil("\r\n\r\n");
        socket.Send(
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");  // keep-alive, says it; and closes
      },
      49983);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(Get("/health", 49983).body, "ok");
}

TEST_F(ProxyTest, WhatAGuestSaysUnaskedAnswersNobodysRequest) {
  Serve(
      [](RawSocket& socket) {
        socket.ReadUntil("\r\n\r\n");
        socket.Send(
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nevil!");
        socket.ReadToEnd();
      },
      49983);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(Get("/health", 49983).body, "ok");
}

// --- Upgrades

TEST_F(ProxyTest, UpgradedConnectionsPassBothWays) {
  std::string seen;
  Serve([&seen](RawSocket& socket) {
    seen = socket.ReadUntil("\r\n\r\n");
    socket.Send(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Accept: a\r\n\r\nwelcome");
    EXPECT_EQ(socket.ReadBytes(8), "earlybir");
    std::string data = socket.ReadBytes(1 << 20);
    socket.Send(data);
    socket.ReadToEnd();
  });
  RawSocket client = Raw();
  client.Send(
      Head("GET /ws", "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n") +
      "earlybir");
  const std::string head = client.ReadUntil("\r\n\r\n");
  EXPECT_THAT(head, StartsWith("HTTP/1.1 101"));
  EXPECT_THAT(head, HasSubstr("Sec-WebSocket-Accept: a\r\n"));
  EXPECT_THAT(head, HasSubstr("Upgrade: websocket\r\n"));
  EXPECT_EQ(client.ReadBytes(7), "welcome");
  const std::string data = Pattern(1 << 20);
  auto echoed = std::async(std::launch::async, [&] { return client.ReadBytes(data.size()); });
  client.Send(data);
  EXPECT_EQ(echoed.get(), data);
  EXPECT_THAT(seen, HasSubstr("Connection: Upgrade\r\n"));
  EXPECT_THAT(seen, HasSubstr("Upgrade: websocket\r\n"));
  EXPECT_THAT(seen, HasSubstr("Sec-WebSocket-Key: k\r\n"));
  EXPECT_EQ(Flows(), 1u);
  client.Close();
  for (int i = 0; i < 200 && Flows() > 0; ++i) usleep(10'000);
  EXPECT_EQ(Flows(), 0u);
}

TEST_F(ProxyTest, UpgradedConnectionsAreResetWithTheirSandbox) {
  Serve([](RawSocket& socket) {
    socket.ReadUntil("\r\n\r\n");
    socket.Send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\nhi");
    socket.ReadToEnd();
  });
  RawSocket client = Raw();
  client.Send(Head("GET /", "Connection: Upgrade\r\nUpgrade: x\r\n"));
  client.ReadUntil("\r\n\r\n");
  EXPECT_EQ(client.ReadBytes(2), "hi");
  manager_.Gone("i1");
  EXPECT_EQ(client.ReadToEnd(), "");
  EXPECT_EQ(client.last_errno(), ECONNRESET);
}

TEST_F(ProxyTest, ARefusedUpgradeIsAnAnswerLikeAnother) {
  Serve([](RawSocket& socket) {
    socket.ReadUntil("\r\n\r\n");
    socket.Send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
  });
  RawSocket client = Raw();
  client.Send(Head("GET /ws", "Connection: Upgrade\r\nUpgrade: websocket\r\n"));
  EXPECT_THAT(client.ReadUntil("\r\n\r\n"), StartsWith("HTTP/1.1 403"));
  EXPECT_EQ(client.ReadBytes(2), "no");
}

TEST_F(ProxyTest, TheServerStopsWhileFlowsStream) {
  Serve([](RawSocket& socket) {
    socket.ReadUntil("\r\n\r\n");
    socket.Send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
    socket.ReadToEnd();
  });
  RawSocket client = Raw();
  client.Send(Head("GET /"));
  client.ReadUntil("hello\r\n");
  const auto begin = std::chrono::steady_clock::now();
  TearDown();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(3));
  EXPECT_EQ(client.ReadToEnd(), "");
  // For the fixture's own TearDown.
  io_.restart();
  SetUp();
}

}  // namespace
}  // namespace tinderbox::api
