// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// The HTTP server: heads, framing, limits. However the bytes are split, the same requests come out
// of them.
#include <sys/socket.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <string>
#include <vector>

#include "net/http_connection.h"
#include "tests/fuzz/fuzz.h"

namespace tinderbox {
namespace {

constexpr std::uint64_t kMaxBody = 2000;
constexpr std::size_t kMaxHead = 1024;

net::HttpLimits Limits() {
  net::HttpLimits limits;
  limits.header_bytes = kMaxHead;
  limits.header_count = 20;
  limits.body_bytes = kMaxBody;
  return limits;
}

struct Seen {
  std::vector<std::string> requests;
  std::string answers;
};

// Reads what there is of the body, and answers as the target says: at once, as a stream, not at
// all.
net::Task<> Answer(net::Exchange& exchange, Seen& seen) {
  const net::RequestHead& head = exchange.head();
  fuzz::Require(head.headers.size() <= Limits().header_count, "fields are within their bound");
  std::string request = head.method + " " + head.path + "?" + head.query;
  if (!head.path.starts_with("/unread")) {
    const base::Result<std::string> body = co_await exchange.ReadBody(kMaxBody);
    fuzz::Require(!body || body->size() <= kMaxBody, "a body is within its bound");
    request += body ? " " + *body : " (broken)";
  }
  seen.requests.push_back(std::move(request));
  if (head.path.starts_with("/silent")) co_return;
  if (head.path.starts_with("/stream")) {
    net::HeaderList none;
    (void)co_await exchange.BeginStream(200, std::move(none));
    (void)co_await exchange.Write("some");
    if (!head.path.starts_with("/stream/cut")) (void)co_await exchange.Finish();
    co_return;
  }
  net::HeaderList headers;
  headers.Add("X-Echo", "1");
  (void)co_await exchange.Respond(200, std::move(headers), "answer");
}

class Conversation {
 public:
  Conversation() {
    int ends[2];
    fuzz::Require(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0,
                  "there is a socket pair");
    client_ = sys::UniqueFd(ends[1]);
    net::StreamSocket socket(io_, boost::asio::generic::stream_protocol(AF_UNIX, 0), ends[0]);
    connection_ = std::make_shared<net::internal::HttpConnection>(std::move(socket),
                                                                  net::HttpPeer{}, Limits());
    boost::asio::co_spawn(io_,
                          connection_->Run([this](net::Exchange& e) { return Answer(e, seen_); }),
                          boost::asio::detached);
  }
  void Send(std::string_view bytes) {
    (void)::send(client_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    io_.poll();
    Drain();
  }
  Seen End() {
    ::shutdown(client_.get(), SHUT_WR);
    while (!io_.stopped()) {
      // The server may wait for us to read, and for nothing longer than it waits for a lost client.
      const std::size_t ran = io_.run_one_for(std::chrono::seconds(10));
      fuzz::Require(ran > 0 || io_.stopped(), "a connection whose client has ended ends");
      Drain();
    }
    Drain();
    return std::move(seen_);
  }

 private:
  void Drain() {
    char chunk[4096];
    ssize_t n;
    while ((n = ::recv(client_.get(), chunk, sizeof(chunk), MSG_DONTWAIT)) > 0) {
      seen_.answers.append(chunk, static_cast<std::size_t>(n));
    }
  }

  Seen seen_;
  boost::asio::io_context io_;
  sys::UniqueFd client_;
  std::shared_ptr<net::internal::HttpConnection> connection_;
};

}  // namespace
}  // namespace tinderbox

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace tinderbox;
  fuzz::Pieces pieces(fuzz::Text(data, size));
  Conversation whole, split;
  whole.Send(pieces.whole());
  while (!pieces.done()) split.Send(pieces.Next());
  const Seen first = whole.End();
  const Seen second = split.End();
  fuzz::Require(first.requests == second.requests, "a split changes the requests");
  for (const std::string* answers : {&first.answers, &second.answers}) {
    fuzz::Require(answers->empty() || answers->starts_with("HTTP/1.1 "), "an answer is HTTP");
  }
  return 0;
}
