// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "intercept/http_head.h"

#include <gtest/gtest.h>

namespace tinderbox::intercept {
namespace {

using base::Code;
using Kind = Framing::Kind;

RequestText Request(const std::string& head) {
  auto request = ParseRequest(head);
  EXPECT_TRUE(request.has_value()) << head << (request ? "" : request.error().ToString());
  return request.value_or(RequestText{});
}

TEST(HttpHead, LengthOfAHead) {
  EXPECT_EQ(HeadLength("GET / HTTP/1.1\r\n\r\nrest").value(), 18u);
  EXPECT_EQ(HeadLength("GET / HTTP/1.1\r\n\r").value(), 0u);
  EXPECT_EQ(HeadLength("GET / HTTP/1.1\r\n\r\n", 17).value(), 18u);
  EXPECT_EQ(HeadLength(std::string(kMostHead - 1, 'x')).value(), 0u);
  EXPECT_EQ(HeadLength(std::string(kMostHead, 'x')).error().code(), Code::kInvalidArgument);
}

TEST(HttpHead, ARequestAsItCame) {
  const auto request = Request(
      "POST /v1/x?q=1 HTTP/1.1\r\nHost: api.example.com\r\nX-Empty:\r\nContent-Length: 12\r\n"
      "Cookie:  a=b; c \r\n\r\n");
  EXPECT_EQ(request.method, "POST");
  EXPECT_EQ(request.target, "/v1/x?q=1");
  EXPECT_EQ(request.body.kind, Kind::kLength);
  EXPECT_EQ(request.body.length, 12u);
  EXPECT_FALSE(request.close);
  EXPECT_FALSE(request.upgrade);
  EXPECT_EQ(request.headers.Get("cookie"), "a=b; c");
  EXPECT_EQ(Rewrite(request, {}),
            "POST /v1/x?q=1 HTTP/1.1\r\nHost: api.example.com\r\nX-Empty: \r\nContent-Length: "
            "12\r\nCookie: a=b; c\r\n\r\n");
}

TEST(HttpHead, WhatIsSetTakesTheCallersPlace) {
  const auto request = Request(
      "GET / HTTP/1.1\r\nauthorization: mine\r\nHost: x\r\nAuthorization: mine too\r\n"
      "AUTHORIZATION: and mine\r\n\r\n");
  EXPECT_EQ(Rewrite(request, {{"Authorization", "Bearer s"}, {"X-New", "1"}}),
            "GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer s\r\nX-New: 1\r\n\r\n");
}

TEST(HttpHead, WhatTwoReadersCouldTakeForDifferentThingsIsRefused) {
  const std::string line = "POST / HTTP/1.1\r\nHost: x\r\n";
  for (const std::string& head :
       {std::string("GET / HTTP/1.1\nHost: x\r\n\r\n"),
        std::string("GET / HTTP/2.0\r\n\r\n"),
        std::string("GET  HTTP/1.1\r\n\r\n"),
        std::string("GET /\r\n\r\n"),
        std::string("\r\n\r\n"),
        std::string("GET /a b HTTP/1.1\r\n\r\n"),
        std::string("GET /\t HTTP/1.1\r\n\r\n"),
        std::string("G@T / HTTP/1.1\r\n\r\n"),
        std::string("GET /\x7f HTTP/1.1\r\n\r\n"),
        line + "Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
        line + "Content-Length: 1\r\nContent-Length: 1\r\n\r\n",
        line + "Content-Length: 1, 1\r\n\r\n",
        line + "Content-Length: +1\r\n\r\n",
        line + "Content-Length: 0x1\r\n\r\n",
        line + "Content-Length:\r\n\r\n",
        line + "Content-Length: 99999999999999999999\r\n\r\n",
        line + "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        line + "Transfer-Encoding: gzip, chunked\r\n\r\n",
        line + "Transfer-Encoding: chunked, identity\r\n\r\n",
        line + "Transfer-Encoding: xchunked\r\n\r\n",
        line + "Transfer-Encoding:\r\n\r\n",
        line + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        line + "Transfer-Encoding : chunked\r\n\r\n",
        line + " folded: x\r\n\r\n",
        line + "X: a\r\n b\r\n\r\n",
        line + "X: a\rb\r\n\r\n",
        line + "X: a\nY: b\r\n\r\n",
        line + std::string("X: a\0b\r\n\r\n", 10),
        line + "X\x01: a\r\n\r\n",
        line + ": a\r\n\r\n",
        line + "no colon\r\n\r\n",
        line + "X: \x1b\r\n\r\n",
        line + "\r\nmore\r\n\r\n",
        std::string("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n")}) {
    const auto request = ParseRequest(head);
    EXPECT_FALSE(request.has_value()) << head;
  }
  std::string many = line;
  for (int i = 0; i < 200; ++i) many += "X: y\r\n";
  EXPECT_FALSE(ParseRequest(many + "\r\n").has_value());
}

TEST(HttpHead, WhomARequestIsFor) {
  const auto is_for = [](const std::string& line, const std::string& hosts,
                         std::uint16_t port = 443) {
    return IsFor(Request(line + "\r\n" + hosts + "\r\n"), "api.example.com", port);
  };
  const std::string get = "GET /x HTTP/1.1";
  EXPECT_TRUE(is_for(get, "Host: api.example.com\r\n"));
  EXPECT_TRUE(is_for(get, "HOST: API.Example.COM.:443\r\n"));
  EXPECT_TRUE(is_for(get, "Host: api.example.com:80\r\n", 80));
  EXPECT_TRUE(is_for("OPTIONS * HTTP/1.1", "Host: api.example.com\r\n"));
  EXPECT_TRUE(is_for("GET https://api.example.com/x HTTP/1.1", "Host: api.example.com\r\n"));
  EXPECT_FALSE(is_for(get, ""));
  EXPECT_FALSE(is_for(get, "Host:\r\n"));
  EXPECT_FALSE(is_for(get, "Host: other.example.com\r\n"));
  EXPECT_FALSE(is_for(get, "Host: api.example.com:80\r\n"));
  EXPECT_FALSE(is_for(get, "Host: api.example.com, x\r\n"));
  EXPECT_FALSE(is_for(get, "Host: api.example.com\r\nHost: api.example.com\r\n"));
  EXPECT_FALSE(is_for("GET * HTTP/1.1", "Host: api.example.com\r\n"));
  EXPECT_FALSE(is_for("GET x HTTP/1.1", "Host: api.example.com\r\n"));
  EXPECT_FALSE(is_for("GET https://evil.example/x HTTP/1.1", "Host: api.example.com\r\n"));
  EXPECT_FALSE(is_for("GET http://api.example.com/x HTTP/1.1", "Host: api.example.com\r\n"));
  EXPECT_FALSE(is_for("GET https://u@api.example.com/ HTTP/1.1", "Host: api.example.com\r\n"));
}

TEST(HttpHead, WhatEndsAConnectionAndWhatLeavesHttp) {
  EXPECT_TRUE(Request("GET / HTTP/1.1\r\nConnection: x, Close\r\n\r\n").close);
  EXPECT_TRUE(Request("GET / HTTP/1.0\r\n\r\n").close);
  EXPECT_FALSE(Request("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").close);
  EXPECT_TRUE(
      Request("GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n").upgrade);
  EXPECT_FALSE(Request("GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n").upgrade);
  EXPECT_EQ(Request("PUT / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n").body.kind,
            Kind::kChunked);
}

TEST(HttpHead, WhereAnAnswerEnds) {
  const auto answer = [](const std::string& text, bool to_head = false) {
    auto response = ParseResponse(text + "\r\n", to_head);
    EXPECT_TRUE(response.has_value()) << text;
    return response.value_or(ResponseText{});
  };
  EXPECT_EQ(answer("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n").body.length, 3u);
  EXPECT_EQ(answer("HTTP/1.1 200\r\nContent-Length: 3\r\nContent-Length: 3\r\n").body.length, 3u);
  EXPECT_EQ(answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n").body.kind, Kind::kChunked);
  const auto both =
      answer("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n");
  EXPECT_EQ(both.body.kind, Kind::kChunked);
  EXPECT_TRUE(both.close);
  const auto open = answer("HTTP/1.1 200 OK\r\n");
  EXPECT_EQ(open.body.kind, Kind::kUntilClose);
  EXPECT_TRUE(open.close);
  EXPECT_EQ(answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n").body.kind, Kind::kUntilClose);
  for (const char* bodyless :
       {"HTTP/1.1 204 x", "HTTP/1.1 304 x", "HTTP/1.1 100 x", "HTTP/1.1 101 x"}) {
    EXPECT_EQ(answer(std::string(bodyless) + "\r\nContent-Length: 3\r\n").body.kind, Kind::kNone);
  }
  EXPECT_EQ(answer("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n", true).body.kind, Kind::kNone);
  EXPECT_TRUE(answer("HTTP/1.0 200 OK\r\nContent-Length: 3\r\n").close);
  for (const char* broken :
       {"HTTP/1.1 20 OK\r\n\r\n", "HTTP/1.1 2000 OK\r\n\r\n", "HTTP/1.1 abc\r\n\r\n",
        "HTTP/2 200 OK\r\n\r\n", "ICY 200 OK\r\n\r\n", "HTTP/1.1 099 x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"}) {
    EXPECT_FALSE(ParseResponse(broken, false).has_value()) << broken;
  }
}

}  // namespace
}  // namespace tinderbox::intercept
