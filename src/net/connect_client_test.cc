// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "net/connect_client.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <boost/json.hpp>
#include <chrono>
#include <string>
#include <thread>

namespace tinderbox::net {
namespace {

namespace json = boost::json;
using base::Code;
using base::Deadline;

Deadline Soon() { return Deadline::After(std::chrono::seconds(10)); }

// A server that says one text to whoever asks, then closes or stays.
class Script {
 public:
  explicit Script(std::string answer, bool close = true) {
    int ends[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    client_.Reset(ends[0]);
    server_.Reset(ends[1]);
    thread_ = std::thread([this, answer = std::move(answer), close] {
      char buffer[4096];
      const ssize_t n = ::recv(server_.get(), buffer, sizeof buffer, 0);
      if (n > 0) heard_.assign(buffer, static_cast<std::size_t>(n));
      std::string_view left = answer;
      while (!left.empty()) {
        const ssize_t sent = ::send(server_.get(), left.data(), left.size(), MSG_NOSIGNAL);
        if (sent <= 0) return;
        left.remove_prefix(static_cast<std::size_t>(sent));
      }
      if (close) server_.Reset();
    });
  }
  ~Script() { thread_.join(); }
  HttpClient client() { return HttpClient(std::move(client_), "test"); }
  const std::string& heard() const { return heard_; }

 private:
  sys::UniqueFd client_;
  sys::UniqueFd server_;
  std::string heard_;
  std::thread thread_;
};

std::string Whole(int status, std::string_view type, std::string_view body) {
  return fmt::format("HTTP/1.1 {} X\r\nContent-Type: {}\r\nContent-Length: {}\r\n\r\n{}", status,
                     type, body.size(), body);
}

base::Result<ConnectStream> Open(Script& script) {
  return ConnectStream::Start(script.client(), "/a.B/C", {}, json::object(), Soon());
}

TEST(CallConnectTest, YieldsTheAnswer) {
  Script script(Whole(200, "application/json", R"({"pid":7})"));
  HttpClient client = script.client();
  const auto answer = CallConnect(client, "/process.Process/List", {{"X-Access-Token", "t"}},
                                  json::object{{"a", 1}}, Soon());
  ASSERT_TRUE(answer) << answer.error().ToString();
  EXPECT_EQ(answer->at("pid").as_int64(), 7);
  EXPECT_THAT(script.heard(), testing::HasSubstr("POST /process.Process/List HTTP/1.1\r\n"));
  EXPECT_THAT(script.heard(), testing::HasSubstr("X-Access-Token: t\r\n"));
  EXPECT_THAT(script.heard(), testing::HasSubstr("Content-Type: application/json\r\n"));
  EXPECT_THAT(script.heard(), testing::EndsWith("\r\n\r\n{\"a\":1}"));
}

TEST(CallConnectTest, YieldsConnectErrors) {
  Script script(Whole(404, "application/json", R"({"code":"not_found","message":"no pid 9"})"));
  HttpClient client = script.client();
  const auto answer = CallConnect(client, "/a.B/C", {}, json::object(), Soon());
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code(), Code::kNotFound);
  EXPECT_EQ(answer.error().message(), "no pid 9");
}

TEST(CallConnectTest, RefusesWhatIsNoJson) {
  Script script(Whole(200, "application/json", "{\"half"));
  HttpClient client = script.client();
  EXPECT_EQ(CallConnect(client, "/a.B/C", {}, json::object(), Soon()).error().code(),
            Code::kDataLoss);
}

TEST(ErrorFromResponseTest, UnderstandsBothShapesAndNone) {
  const auto proxy = ErrorFromResponse(
      502, R"({"sandboxId":"i1","message":"The sandbox was not found","code":502})");
  EXPECT_EQ(proxy.code(), Code::kUnavailable);
  EXPECT_EQ(proxy.message(), "The sandbox was not found");
  const auto rest = ErrorFromResponse(
      404, R"({"code":404,"message":"template 'x' not found","remedy":"Build it."})");
  EXPECT_EQ(rest.code(), Code::kNotFound);
  EXPECT_EQ(rest.remedy(), "Build it.");
  const auto text = ErrorFromResponse(500, "oh\x1b[31m no");
  EXPECT_EQ(text.code(), Code::kInternal);
  EXPECT_EQ(text.message(), "the server answered with HTTP status 500: oh [31m no");
}

TEST(ConnectStreamTest, YieldsMessagesAndTheCleanEnd) {
  Script script(Whole(200, "application/connect+json",
                      EncodeConnectFrame(0, R"({"a":1})") + EncodeConnectFrame(0, R"({"b":2})") +
                          EncodeConnectEnd()));
  auto stream = Open(script);
  ASSERT_TRUE(stream) << stream.error().ToString();
  EXPECT_EQ(*stream->Next(Soon()), R"({"a":1})");
  EXPECT_EQ(*stream->Next(Soon()), R"({"b":2})");
  EXPECT_EQ(*stream->Next(Soon()), std::nullopt);
  EXPECT_EQ(*stream->Next(Soon()), std::nullopt);
}

TEST(ConnectStreamTest, YieldsTheErrorAtTheEnd) {
  Script script(Whole(
      200, "application/connect+json",
      EncodeConnectEnd(ConnectError{.code = ConnectCode::kUnauthenticated, .message = "who?"})));
  auto stream = Open(script);
  ASSERT_TRUE(stream);
  const auto end = stream->Next(Soon());
  ASSERT_FALSE(end);
  EXPECT_EQ(end.error().code(), Code::kUnauthenticated);
  EXPECT_EQ(end.error().message(), "who?");
}

TEST(ConnectStreamTest, AnEndWithoutEndStreamFrameIsAnError) {
  Script script(Whole(200, "application/connect+json", EncodeConnectFrame(0, "{}")));
  auto stream = Open(script);
  ASSERT_TRUE(stream);
  EXPECT_TRUE(stream->Next(Soon()));
  EXPECT_EQ(stream->Next(Soon()).error().code(), Code::kUnavailable);
}

TEST(ConnectStreamTest, ARefusedStreamSaysWhy) {
  Script script(Whole(502, "application/json", R"({"message":"The sandbox was not found"})"));
  const auto stream = Open(script);
  ASSERT_FALSE(stream);
  EXPECT_EQ(stream.error().code(), Code::kUnavailable);
  EXPECT_EQ(stream.error().message(), "The sandbox was not found");
}

TEST(ConnectStreamTest, AFrameTooLargeIsRefused) {
  Script script(Whole(200, "application/connect+json", std::string("\0\x7f\xff\xff\xff", 5)));
  auto stream = Open(script);
  ASSERT_TRUE(stream);
  EXPECT_EQ(stream->Next(Soon()).error().code(), Code::kResourceExhausted);
}

TEST(ConnectStreamTest, ASilentStreamStaysUsable) {
  Script script(
      "HTTP/1.1 200 OK\r\nContent-Type: application/connect+json\r\n"
      "Transfer-Encoding: chunked\r\n\r\n7\r\n" +
          EncodeConnectFrame(0, "{}") + "\r\n",
      false);
  auto stream = Open(script);
  ASSERT_TRUE(stream) << stream.error().ToString();
  EXPECT_EQ(*stream->Next(Soon()), "{}");
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(stream->Next(Deadline::After({})).error().code(), Code::kDeadlineExceeded);
  }
}

}  // namespace
}  // namespace tinderbox::net
