// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "egress/socks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "sys/fd.h"

namespace tinderbox::egress {
namespace {

using base::Code;
using ::testing::HasSubstr;

struct Outcome {
  base::Result<> result;
  std::string heard;  // what the proxy was told
  std::string rest;   // what came after the handshake
};

// A proxy that reads so many bytes and answers so much, step by step; then it says "hello".
Outcome Try(const Proxy& proxy, const std::string& host,
            const std::vector<std::pair<std::size_t, std::string>>& steps) {
  int ends[2];
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  Outcome outcome{.result = base::Fail(Code::kInternal, "it did not end"), .heard = {}, .rest = {}};
  std::thread peer([&, fd = sys::UniqueFd(ends[1])] {
    for (const auto& [count, answer] : steps) {
      std::string bytes(count, '\0');
      if (::recv(fd.get(), bytes.data(), count, MSG_WAITALL) != static_cast<ssize_t>(count)) return;
      outcome.heard += bytes;
      // In pieces: nothing may rely on how the bytes come.
      for (const char byte : answer) (void)::send(fd.get(), &byte, 1, MSG_NOSIGNAL);
    }
    (void)::send(fd.get(), "hello", 5, MSG_NOSIGNAL);
  });
  boost::asio::io_context io;
  net::StreamSocket socket(io, boost::asio::generic::stream_protocol(AF_UNIX, 0), ends[0]);
  boost::asio::co_spawn(
      io,
      [&]() -> net::Task<> { outcome.result = co_await ConnectThrough(socket, proxy, host, 443); },
      boost::asio::detached);
  io.run();
  if (outcome.result) {
    outcome.rest.resize(5);
    EXPECT_EQ(::recv(socket.native_handle(), outcome.rest.data(), 5, MSG_WAITALL), 5);
  }
  socket.close();
  peer.join();
  return outcome;
}

std::string Bytes(std::initializer_list<int> values) {
  std::string bytes;
  for (const int value : values) bytes += static_cast<char>(value);
  return bytes;
}

const std::string kBound = Bytes({5, 0, 0, 1, 10, 0, 0, 1, 0x1f, 0x90});

TEST(Socks, ConnectsByName) {
  const Outcome outcome = Try({}, "example.com", {{3, Bytes({5, 0})}, {18, kBound}});
  EXPECT_TRUE(outcome.result) << outcome.result.error().ToString();
  EXPECT_EQ(outcome.heard,
            Bytes({5, 1, 0}) + Bytes({5, 1, 0, 3, 11}) + "example.com" + Bytes({0x01, 0xbb}));
  EXPECT_EQ(outcome.rest, "hello") << "not a byte of the connection is lost";
}

TEST(Socks, ConnectsByAddress) {
  const Outcome outcome = Try(
      {}, "203.0.113.7", {{3, Bytes({5, 0})}, {10, Bytes({5, 0, 0, 3, 2}) + "ab" + Bytes({0, 1})}});
  EXPECT_TRUE(outcome.result);
  EXPECT_EQ(outcome.heard.substr(3), Bytes({5, 1, 0, 1, 203, 0, 113, 7, 0x01, 0xbb}));
  EXPECT_EQ(outcome.rest, "hello");
}

TEST(Socks, TellsUserAndPassword) {
  const Proxy proxy{.username = "me", .password = "secret"};
  const Outcome outcome =
      Try(proxy, "203.0.113.7", {{3, Bytes({5, 2})}, {11, Bytes({1, 0})}, {10, kBound}});
  EXPECT_TRUE(outcome.result);
  EXPECT_EQ(outcome.heard.substr(0, 14), Bytes({5, 1, 2, 1, 2}) + "me" + Bytes({6}) + "secret");
}

TEST(Socks, RefusalsAreTold) {
  const Proxy proxy{.username = "me", .password = "wrong"};
  const Outcome wrong = Try(proxy, "203.0.113.7", {{3, Bytes({5, 2})}, {10, Bytes({1, 1})}});
  ASSERT_FALSE(wrong.result);
  EXPECT_EQ(wrong.result.error().code(), Code::kPermissionDenied);
  EXPECT_EQ(wrong.result.error().message().find("wrong"), std::string::npos);

  const Outcome unknown = Try({}, "203.0.113.7", {{3, Bytes({5, 0xff})}});
  EXPECT_EQ(unknown.result.error().code(), Code::kPermissionDenied);
  const Outcome unreachable =
      Try({}, "203.0.113.7", {{3, Bytes({5, 0})}, {10, Bytes({5, 4, 0, 1, 0, 0, 0, 0, 0, 0})}});
  EXPECT_EQ(unreachable.result.error().code(), Code::kUnavailable);
  EXPECT_THAT(unreachable.result.error().message(), HasSubstr("203.0.113.7:443: host unreachable"));
}

TEST(Socks, SomethingElseIsNoProxy) {
  EXPECT_EQ(Try({}, "203.0.113.7", {{3, "HTTP/1.1 400 Bad Request"}}).result.error().code(),
            Code::kDataLoss);
  EXPECT_EQ(
      Try({}, "203.0.113.7", {{3, Bytes({5, 0})}, {10, Bytes({5, 0, 0, 9})}}).result.error().code(),
      Code::kDataLoss);
}

}  // namespace
}  // namespace tinderbox::egress
