// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "net/http_client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <chrono>
#include <functional>
#include <string>
#include <thread>

namespace tinderbox::net {
namespace {

using base::Code;
using base::Deadline;
using std::chrono::milliseconds;
using std::chrono::seconds;

// A client and the other end of its socket, which a script plays in a thread of its own.
class HttpClientTest : public testing::Test {
 protected:
  HttpClientTest() {
    int ends[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    client_ = HttpClient(sys::UniqueFd(ends[0]), "test");
    server_.Reset(ends[1]);
  }
  ~HttpClientTest() override {
    if (script_.joinable()) script_.join();
  }

  void Script(std::function<void()> script) { script_ = std::thread(std::move(script)); }
  // Answers one request, whatever it is, as soon as its head is there.
  void Answer(std::string answer, bool close = false) {
    Script([this, answer, close] {
      ReadUntil("\r\n\r\n");
      Say(answer);
      if (close) server_.Reset();
    });
  }
  void Say(std::string_view text) {
    while (!text.empty()) {
      const ssize_t n = ::send(server_.get(), text.data(), text.size(), MSG_NOSIGNAL);
      if (n <= 0) return;
      text.remove_prefix(static_cast<std::size_t>(n));
    }
  }
  // Everything received up to and including `mark`.
  std::string ReadUntil(std::string_view mark) {
    while (heard_.find(mark) == std::string::npos) {
      char buffer[4096];
      const ssize_t n = ::recv(server_.get(), buffer, sizeof buffer, 0);
      if (n <= 0) break;
      heard_.append(buffer, static_cast<std::size_t>(n));
    }
    return heard_;
  }

  Deadline Soon() { return Deadline::After(seconds(10)); }

  HttpClient client_{sys::UniqueFd()};
  sys::UniqueFd server_;
  std::string heard_;
  std::thread script_;
};

TEST_F(HttpClientTest, ReadsAnAnswerWithContentLength) {
  Answer("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-One: a\r\n\r\nhello");
  const auto response = client_.Request({.target = "/x?y=1"}, Soon());
  ASSERT_TRUE(response) << response.error().ToString();
  EXPECT_EQ(response->status, 200);
  EXPECT_EQ(response->body, "hello");
  EXPECT_EQ(FindHeader(response->headers, "x-one"), "a");
  EXPECT_TRUE(client_.reusable());
  script_.join();
  EXPECT_THAT(heard_, testing::StartsWith("GET /x?y=1 HTTP/1.1\r\nHost: test\r\n"));
}

TEST_F(HttpClientTest, TakesFirecrackersStatusLines) {
  Answer("HTTP/1.1 204 \r\nServer: Firecracker API\r\nConnection: keep-alive\r\n\r\n");
  auto response = client_.Request({.method = "PUT", .target = "/a", .body = "{}"}, Soon());
  ASSERT_TRUE(response) << response.error().ToString();
  EXPECT_EQ(response->status, 204);
  script_.join();
  EXPECT_THAT(heard_, testing::HasSubstr("Content-Length: 2\r\n\r\n{}"));

  // The same connection again, now even without the space.
  heard_.clear();
  Answer("HTTP/1.1 400\r\nContent-Length: 2\r\n\r\nno");
  response = client_.Request({.method = "PUT", .target = "/b", .body = "{}"}, Soon());
  ASSERT_TRUE(response) << response.error().ToString();
  EXPECT_EQ(response->status, 400);
  EXPECT_EQ(response->body, "no");
}

TEST_F(HttpClientTest, ReadsChunksThatArriveByteByByte) {
  Script([this] {
    ReadUntil("\r\n\r\n");
    const std::string answer =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        "5;x=y\r\nhello\r\n1\r\n \r\n5\r\nworld\r\n0\r\n\r\n";
    for (const char c : answer) Say({&c, 1});
  });
  const auto response = client_.Request({}, Soon());
  ASSERT_TRUE(response) << response.error().ToString();
  EXPECT_EQ(response->body, "hello world");
  EXPECT_TRUE(client_.reusable());
}

TEST_F(HttpClientTest, SkipsInterimAnswers) {
  Answer("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx");
  const auto response = client_.Request({}, Soon());
  ASSERT_TRUE(response) << response.error().ToString();
  EXPECT_EQ(response->status, 200);
  EXPECT_EQ(response->body, "x");
}

TEST_F(HttpClientTest, ReadsABodyThatEndsWithTheConnection) {
  Answer("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall of it", true);
  const auto response = client_.Request({}, Soon());
  ASSERT_TRUE(response) << response.error().ToString();
  EXPECT_EQ(response->body, "all of it");
  EXPECT_FALSE(client_.reusable());
}

TEST_F(HttpClientTest, HeadHasNoBody) {
  Answer("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n");
  const auto response = client_.Request({.method = "HEAD"}, Soon());
  ASSERT_TRUE(response) << response.error().ToString();
  EXPECT_EQ(response->body, "");
  EXPECT_TRUE(client_.reusable());
}

TEST_F(HttpClientTest, GarbageIsDataLoss) {
  Answer("SSH-2.0-OpenSSH_9.2\r\n\r\n");
  const auto response = client_.Request({}, Soon());
  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().code(), Code::kDataLoss);
  EXPECT_FALSE(client_.reusable());
}

TEST_F(HttpClientTest, AnEarlyEndIsUnavailable) {
  Answer("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", true);
  const auto response = client_.Request({}, Soon());
  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().code(), Code::kUnavailable);
}

TEST_F(HttpClientTest, ASilentEndIsUnavailable) {
  Answer("", true);
  const auto response = client_.Request({}, Soon());
  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().code(), Code::kUnavailable);
}

TEST_F(HttpClientTest, AnOversizeHeadIsRefused) {
  Answer("HTTP/1.1 200 OK\r\nX: " + std::string(100 << 10, 'x') + "\r\n\r\n", true);
  const auto response = client_.Request({}, Soon());
  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().code(), Code::kResourceExhausted);
}

TEST_F(HttpClientTest, AnOversizeStatusLineIsRefused) {
  Answer(std::string(100 << 10, 'x'), true);
  const auto response = client_.Request({}, Soon());
  ASSERT_FALSE(response);
}

TEST_F(HttpClientTest, AnOversizeBodyIsRefused) {
  Answer("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + std::string(1000, 'x'));
  const auto response = client_.Request({}, Soon(), 999);
  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().code(), Code::kResourceExhausted);
  EXPECT_FALSE(client_.reusable());
}

TEST_F(HttpClientTest, ASilentServerMeetsTheDeadline) {
  const auto begun = std::chrono::steady_clock::now();
  const auto response = client_.Request({}, Deadline::After(milliseconds(50)));
  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().code(), Code::kDeadlineExceeded);
  EXPECT_LT(std::chrono::steady_clock::now() - begun, seconds(5));
}

TEST_F(HttpClientTest, AServerThatDripsMeetsTheDeadlineToo) {
  Script([this] {
    ReadUntil("\r\n\r\n");  // an answer before the request is another fault
    Say("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
    for (int i = 0; i < 1000; ++i) {
      if (::send(server_.get(), "x", 1, MSG_NOSIGNAL) <= 0) return;
      pollfd ended{.fd = server_.get(), .events = POLLRDHUP, .revents = 0};
      if (::poll(&ended, 1, 5) > 0) return;
    }
  });
  const auto begun = std::chrono::steady_clock::now();
  const auto response = client_.Request({}, Deadline::After(milliseconds(100)));
  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().code(), Code::kDeadlineExceeded);
  EXPECT_LT(std::chrono::steady_clock::now() - begun, seconds(4));
  client_ = HttpClient(sys::UniqueFd());
}

TEST_F(HttpClientTest, AServerThatDoesNotReadMeetsTheDeadline) {
  const auto response = client_.Request({.method = "POST", .body = std::string(8 << 20, 'x')},
                                        Deadline::After(milliseconds(50)));
  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().code(), Code::kDeadlineExceeded);
  EXPECT_FALSE(client_.reusable());
}

TEST_F(HttpClientTest, AnEarlyRefusalIsHeardAlthoughTheBodyCouldNotBeSent) {
  Script([this] {
    ReadUntil("\r\n\r\n");
    Say("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig");
    server_.Reset();
  });
  const auto response =
      client_.Request({.method = "POST", .body = std::string(8 << 20, 'x')}, Soon());
  // A unix socket closed with unread data may lose the answer; then the failure is the peer's end.
  if (response) {
    EXPECT_EQ(response->status, 413);
  } else {
    EXPECT_EQ(response.error().code(), Code::kUnavailable);
  }
}

TEST_F(HttpClientTest, NeverShutsItsSendingSideDown) {
  Script([this] {
    ReadUntil("\r\n\r\n");
    pollfd entry{.fd = server_.get(), .events = POLLRDHUP, .revents = 0};
    EXPECT_EQ(::poll(&entry, 1, 50), 0) << "the client closed its side";
    Say("HTTP/1.1 204 \r\n\r\n");
  });
  EXPECT_TRUE(client_.Request({}, Soon()));
}

TEST_F(HttpClientTest, RefusesHeadersThatForgeLines) {
  EXPECT_EQ(client_.Request({.headers = {{"A", "b\r\nC: d"}}}, Soon()).error().code(),
            Code::kInvalidArgument);
  EXPECT_EQ(client_.Request({.headers = {{"A b", "c"}}}, Soon()).error().code(),
            Code::kInvalidArgument);
  EXPECT_EQ(client_.Request({.target = "/a b"}, Soon()).error().code(), Code::kInvalidArgument);
  EXPECT_TRUE(client_.reusable());
}

TEST_F(HttpClientTest, StreamsARequestAndItsAnswerAtOnce) {
  // The script echoes each chunk as soon as it has come.
  Script([this] {
    ReadUntil("\r\n\r\n");
    Say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    ReadUntil("3\r\none\r\n");
    Say("3\r\none\r\n");
    ReadUntil("3\r\ntwo\r\n");
    Say("3\r\ntwo\r\n");
    ReadUntil("0\r\n\r\n");
    Say("0\r\n\r\n");
  });
  ASSERT_TRUE(client_.Start({.method = "POST"}, StreamedBody{}, Soon()));
  const auto head = client_.ReadHead(Soon());
  ASSERT_TRUE(head);
  char buffer[64];
  for (const std::string word : {"one", "two"}) {
    ASSERT_TRUE(client_.Write(word, Soon()));
    const auto got = client_.ReadSome(buffer, Soon());
    ASSERT_TRUE(got) << got.error().ToString();
    EXPECT_EQ(std::string(buffer, *got), word);
    // Nothing more for now: said at once, and no harm done.
    EXPECT_EQ(client_.ReadSome(buffer, Deadline::After({})).error().code(),
              Code::kDeadlineExceeded);
  }
  EXPECT_FALSE(client_.reusable());
  ASSERT_TRUE(client_.FinishBody(Soon()));
  EXPECT_EQ(client_.ReadSome(buffer, Soon()).value_or(99), 0U);
  EXPECT_TRUE(client_.reusable());
}

TEST_F(HttpClientTest, KeepsThePromisedLength) {
  Answer("HTTP/1.1 204 \r\n\r\n");
  ASSERT_TRUE(client_.Start({.method = "PUT"}, StreamedBody{.length = 4}, Soon()));
  EXPECT_EQ(client_.Write("12345", Soon()).error().code(), Code::kInvalidArgument);
  ASSERT_TRUE(client_.Write("123", Soon()));
  EXPECT_EQ(client_.FinishBody(Soon()).error().code(), Code::kFailedPrecondition);
  ASSERT_TRUE(client_.Write("4", Soon()));
  ASSERT_TRUE(client_.FinishBody(Soon()));
  EXPECT_EQ(client_.ReadHead(Soon())->status, 204);
}

TEST_F(HttpClientTest, CarriesManyMegabytes) {
  const std::string big(32 << 20, 'x');
  Script([this, &big] {
    ReadUntil("\r\n\r\n");
    Say("HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(big.size()) + "\r\n\r\n");
    Say(big);
  });
  const auto response = client_.Request({}, Soon(), big.size());
  ASSERT_TRUE(response) << response.error().ToString();
  EXPECT_TRUE(response->body == big);
  script_.join();
}

TEST_F(HttpClientTest, AConnectionClosedWhileIdleIsNotReusable) {
  Answer("HTTP/1.1 204 \r\n\r\n", true);
  ASSERT_TRUE(client_.Request({}, Soon()));
  script_.join();
  EXPECT_FALSE(client_.reusable());
  EXPECT_EQ(client_.Request({}, Soon()).error().code(), Code::kUnavailable);
}

TEST(ConnectTest, NobodyThereIsUnavailable) {
  const auto client = HttpClient::ConnectUnix("/nonexistent/tinderbox.sock", Deadline::Never());
  ASSERT_FALSE(client);
  EXPECT_EQ(client.error().code(), Code::kUnavailable);
  EXPECT_THAT(client.error().ToString(), testing::HasSubstr("/nonexistent/tinderbox.sock"));
  EXPECT_EQ(HttpClient::ConnectUnix(std::string(200, 'x'), Deadline::Never()).error().code(),
            Code::kInvalidArgument);
}

TEST(EndpointTest, Parses) {
  EXPECT_EQ(ParseEndpoint("unix:///run/a.sock")->unix_path, "/run/a.sock");
  EXPECT_EQ(ParseEndpoint("/run/a.sock")->unix_path, "/run/a.sock");
  EXPECT_EQ(ParseEndpoint("http://127.0.0.1:3000/")->ToString(), "127.0.0.1:3000");
  EXPECT_EQ(ParseEndpoint("http://host")->port, 80);
  EXPECT_EQ(ParseEndpoint("localhost:81")->port, 81);
  EXPECT_EQ(ParseEndpoint("http://[::1]:3000")->host, "::1");
  EXPECT_EQ(ParseEndpoint("http://[::1]:3000")->ToString(), "[::1]:3000");
  EXPECT_EQ(ParseEndpoint("https://x").error().code(), Code::kUnimplemented);
  for (const char* bad : {"", "host", "http://", "host:0", "host:70000", "host:x", "unix://x",
                          "http://a/b", "http://[::1"}) {
    EXPECT_FALSE(ParseEndpoint(bad)) << bad;
  }
}

}  // namespace
}  // namespace tinderbox::net
