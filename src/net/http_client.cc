// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "net/http_client.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/beast/core/string.hpp>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <cctype>
#include <cerrno>
#include <cstring>

#include "net/http_message.h"

namespace tinderbox::net {
namespace {

namespace http = boost::beast::http;
using base::Code;
using Parser = http::response_parser<http::buffer_body>;

constexpr std::uint32_t kMaxHead = 32 << 10;
// More than the largest head, so that the parser itself finds a head too large.
constexpr std::size_t kInputSize = 64 << 10;

// "HTTP/1.1 204" and a line end at once: RFC 9112 wants a space there even before an empty reason.
bool LacksReasonSpace(std::string_view line) {
  constexpr std::size_t kSize = 12;
  return line.size() >= kSize && line.starts_with("HTTP/1.") &&
         line.substr(kSize).find_first_not_of("\r\n") == std::string_view::npos;
}

bool IsToken(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) ||
           std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
  });
}

// A socket's path or a caller's own words for the peer are no Host.
bool IsHost(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || std::string_view("-.:[]").contains(c);
  });
}

bool HasControl(std::string_view text) {
  return std::ranges::any_of(text, [](char c) { return c == '\r' || c == '\n' || c == '\0'; });
}

// The head of `request` as bytes; refuses what would let a value forge lines.
base::Result<std::string> ComposeHead(const HttpRequest& request, const std::string& host,
                                      std::string_view framing) {
  if (!IsToken(request.method) || request.target.empty() || HasControl(request.target) ||
      request.target.find(' ') != std::string::npos) {
    return base::Fail(Code::kInvalidArgument,
                      fmt::format("send request: bad method or target '{}'", request.target));
  }
  std::string head = fmt::format("{} {} HTTP/1.1\r\n", request.method, request.target);
  if (!FindHeader(request.headers, "Host")) head += fmt::format("Host: {}\r\n", host);
  for (const HttpHeader& header : request.headers) {
    if (!IsToken(header.name) || HasControl(header.value)) {
      return base::Fail(Code::kInvalidArgument,
                        fmt::format("send request: bad header '{}'", header.name));
    }
    head += fmt::format("{}: {}\r\n", header.name, header.value);
  }
  head += framing;
  head += "\r\n";
  return head;
}

bool TakesBody(std::string_view method) {
  return method == "POST" || method == "PUT" || method == "PATCH";
}

}  // namespace

std::optional<std::string_view> FindHeader(const HttpHeaders& headers, std::string_view name) {
  for (const HttpHeader& header : headers) {
    if (boost::beast::iequals({header.name.data(), header.name.size()},
                              {name.data(), name.size()})) {
      return header.value;
    }
  }
  return std::nullopt;
}

struct HttpClient::State {
  // What is left to send of the request in hand. The writer's side: only the writing thread.
  enum class Sending { kNothing, kLength, kChunked, kFailed };

  State(sys::UniqueFd fd, std::string name) : socket(std::move(fd)), peer(std::move(name)) {
    const int flags = ::fcntl(socket.get(), F_GETFL);
    if (flags >= 0) ::fcntl(socket.get(), F_SETFL, flags | O_NONBLOCK);
  }

  bool Reusable() const {
    if (broken || at_eof || sending != Sending::kNothing || begin != end) return false;
    if (parser && !(parser->is_done() && parser->keep_alive())) return false;
    // An idle connection that has something to read was closed by the peer, or is out of step.
    char byte = 0;
    return ::recv(socket.get(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
  }

  // Makes ready for one more exchange and yields the request's head as bytes.
  base::Result<std::string> Begin(const HttpRequest& request, std::string_view framing) {
    if (!Reusable()) {
      return base::Fail(Code::kUnavailable,
                        fmt::format("send request to {}: the connection is closed", peer));
    }
    std::string head = TRY(ComposeHead(request, IsHost(peer) ? peer : "localhost", framing));
    parser.reset();
    head_request = request.method == "HEAD";
    return head;
  }

  base::Result<> Wait(short events, std::string_view doing, base::Deadline deadline) const {
    for (;;) {
      pollfd entry{.fd = socket.get(), .events = events, .revents = 0};
      const int ready = ::poll(&entry, 1, deadline.poll_timeout());
      if (ready > 0) return {};
      if (ready < 0 && errno != EINTR) return base::FailErrno(errno, "wait for a socket");
      if (deadline.passed()) {
        return base::Fail(Code::kDeadlineExceeded,
                          fmt::format("{} {}: no progress in time", doing, peer));
      }
    }
  }

  base::Result<std::size_t> Send(std::string_view data, base::Deadline deadline) {
    for (;;) {
      const ssize_t sent = ::send(socket.get(), data.data(), data.size(), MSG_NOSIGNAL);
      if (sent >= 0) return static_cast<std::size_t>(sent);
      if (errno == EINTR) continue;
      if (errno != EAGAIN) {
        const int err = errno;
        sending = Sending::kFailed;
        return std::unexpected(
            base::Error(Code::kUnavailable, fmt::format("send to {}", peer)).WithErrno(err));
      }
      if (auto waited = Wait(POLLOUT, "send to", deadline); !waited) {
        sending = Sending::kFailed;
        return std::unexpected(std::move(waited).error());
      }
    }
  }

  base::Result<> SendAll(std::string_view data, base::Deadline deadline) {
    while (!data.empty()) data.remove_prefix(TRY(Send(data, deadline)));
    return {};
  }

  // Receives at least one byte into the input buffer, or notes the end of the stream.
  base::Result<> Fill(base::Deadline deadline) {
    if (begin > 0) {
      std::memmove(input.data(), input.data() + begin, end - begin);
      end -= begin;
      begin = 0;
    }
    if (end == input.size()) return Garbage(http::error::buffer_overflow);
    for (;;) {
      const ssize_t got = ::recv(socket.get(), input.data() + end, input.size() - end, 0);
      if (got > 0) end += static_cast<std::size_t>(got);
      if (got == 0) at_eof = true;
      if (got >= 0) return {};
      if (errno == EINTR) continue;
      if (errno != EAGAIN) {
        const int err = errno;
        broken = true;
        return std::unexpected(
            base::Error(Code::kUnavailable, fmt::format("receive from {}", peer)).WithErrno(err));
      }
      TRY(Wait(POLLIN, "receive from", deadline));
    }
  }

  // The status line alone decides whether the space that Beast insists on has to be put in.
  base::Result<> MendStatusLine(base::Deadline deadline) {
    for (;;) {
      const std::string_view have(input.data() + begin, end - begin);
      const auto line_end = have.find('\n');
      if (line_end != std::string_view::npos) {
        if (LacksReasonSpace(have.substr(0, line_end + 1)) && end < input.size()) {
          char* const at = input.data() + begin + 12;
          std::memmove(at + 1, at, end - begin - 12);
          *at = ' ';
          ++end;
        }
        return {};
      }
      if (have.size() > kMaxHead || at_eof) return {};  // the parser words the failure
      // One byte stays free for the space.
      TRY(Fill(deadline));
    }
  }

  std::unexpected<base::Error> Garbage(const boost::system::error_code& error) {
    broken = true;
    if (error == http::error::header_limit) {
      return base::Fail(
          Code::kResourceExhausted,
          fmt::format("read the answer of {}: its head is larger than {} bytes", peer, kMaxHead));
    }
    if (error == http::error::end_of_stream || error == http::error::partial_message) {
      return base::Fail(Code::kUnavailable,
                        fmt::format("read the answer of {}: the connection ended early", peer));
    }
    return base::Fail(Code::kDataLoss,
                      fmt::format("read the answer of {}: {}", peer, error.message()));
  }

  // One step of the parser on what is buffered; receives more where that does not suffice.
  base::Result<> Step(Parser& at, base::Deadline deadline) {
    boost::system::error_code error;
    if (begin < end && (!starved || end - begin >= kShortestLastChunk)) {
      const std::size_t used =
          at.put(boost::asio::const_buffer(input.data() + begin, end - begin), error);
      begin += used;
      starved = error == http::error::need_more && used == 0;
      if (begin == end) begin = end = 0;
      if (error == http::error::need_buffer) error = {};
      if (error && error != http::error::need_more) return Garbage(error);
      // What was parsed goes to the caller before anything waits for more.
      if (!error || used > 0) return {};
    }
    if (at_eof) {
      if (!at.got_some()) return Garbage(http::error::end_of_stream);
      error = {};
      at.put_eof(error);
      if (error) return Garbage(error);
      if (!at.is_done()) return Garbage(http::error::partial_message);
      return {};
    }
    return Fill(deadline);
  }

  sys::UniqueFd socket;
  std::string peer;

  Sending sending = Sending::kNothing;
  std::uint64_t unsent = 0;  // for kLength
  std::uint64_t chunk = 0;   // bytes of the open chunk not sent yet, for kChunked

  // The reader's side: only the reading thread.
  std::vector<char> input = std::vector<char>(kInputSize);
  std::size_t begin = 0;
  std::size_t end = 0;
  bool at_eof = false;
  bool starved = false;  // the parser wants more than what is there
  bool broken = false;
  bool head_request = false;
  std::optional<Parser> parser;
};

HttpClient::HttpClient(sys::UniqueFd socket, std::string peer)
    : state_(std::make_unique<State>(std::move(socket), std::move(peer))) {}
HttpClient::HttpClient(HttpClient&&) noexcept = default;
HttpClient& HttpClient::operator=(HttpClient&&) noexcept = default;
HttpClient::~HttpClient() = default;

base::Result<HttpClient> HttpClient::Connect(const Endpoint& endpoint, base::Deadline deadline) {
  return HttpClient(TRY(ConnectTo(endpoint, deadline)), endpoint.ToString());
}
base::Result<HttpClient> HttpClient::ConnectUnix(const std::string& path, base::Deadline deadline) {
  return Connect({.unix_path = path}, deadline);
}
base::Result<HttpClient> HttpClient::ConnectTcp(const std::string& host, std::uint16_t port,
                                                base::Deadline deadline) {
  return Connect({.host = host, .port = port}, deadline);
}

sys::FdRef HttpClient::fd() const { return state_->socket; }

bool HttpClient::reusable() const { return state_->Reusable(); }

base::Result<> HttpClient::Start(const HttpRequest& request, base::Deadline deadline) {
  std::string framing;
  if (!request.body.empty() || TakesBody(request.method)) {
    framing = fmt::format("Content-Length: {}\r\n", request.body.size());
  }
  State& s = *state_;
  std::string bytes = TRY(s.Begin(request, framing));
  // Head and small body leave in one segment.
  constexpr std::size_t kJoin = 64 << 10;
  if (request.body.size() <= kJoin) {
    bytes += request.body;
    return s.SendAll(bytes, deadline);
  }
  TRY(s.SendAll(bytes, deadline));
  return s.SendAll(request.body, deadline);
}

base::Result<> HttpClient::Start(const HttpRequest& request, StreamedBody body,
                                 base::Deadline deadline) {
  State& s = *state_;
  if (!request.body.empty()) {
    return base::Fail(Code::kInvalidArgument, "send request: a body twice");
  }
  const std::string framing = body.length ? fmt::format("Content-Length: {}\r\n", *body.length)
                                          : "Transfer-Encoding: chunked\r\n";
  const std::string head = TRY(s.Begin(request, framing));
  TRY(s.SendAll(head, deadline));
  s.unsent = body.length.value_or(0);
  s.chunk = 0;
  s.sending = !body.length   ? State::Sending::kChunked
              : s.unsent > 0 ? State::Sending::kLength
                             : State::Sending::kNothing;
  return {};
}

base::Result<std::size_t> HttpClient::WriteSome(std::string_view data, base::Deadline deadline) {
  State& s = *state_;
  if (data.empty()) return base::Fail(Code::kInvalidArgument, "send body: nothing to send");
  if (s.sending == State::Sending::kChunked) {
    // One chunk for all of `data`; its end belongs to it, so it is always sent whole.
    TRY(s.SendAll(fmt::format("{:x}\r\n", data.size()), deadline));
    TRY(s.SendAll(data, deadline));
    TRY(s.SendAll("\r\n", deadline));
    return data.size();
  }
  if (s.sending != State::Sending::kLength || data.size() > s.unsent) {
    return base::Fail(Code::kInvalidArgument,
                      fmt::format("send body to {}: more than was promised", s.peer));
  }
  const std::size_t sent = TRY(s.Send(data, deadline));
  s.unsent -= sent;
  if (s.unsent == 0) s.sending = State::Sending::kNothing;
  return sent;
}

base::Result<> HttpClient::Write(std::string_view data, base::Deadline deadline) {
  while (!data.empty()) data.remove_prefix(TRY(WriteSome(data, deadline)));
  return {};
}

base::Result<> HttpClient::FinishBody(base::Deadline deadline) {
  State& s = *state_;
  if (s.sending == State::Sending::kNothing) return {};
  if (s.sending != State::Sending::kChunked) {
    return base::Fail(Code::kFailedPrecondition,
                      fmt::format("send body to {}: {} bytes are missing", s.peer, s.unsent));
  }
  TRY(s.SendAll("0\r\n\r\n", deadline));
  s.sending = State::Sending::kNothing;
  return {};
}

base::Result<HttpResponseHead> HttpClient::ReadHead(base::Deadline deadline) {
  State& s = *state_;
  for (;;) {
    if (!s.parser) {
      TRY(s.MendStatusLine(deadline));
      s.parser.emplace();
      s.starved = false;
      s.parser->header_limit(kMaxHead);
      s.parser->body_limit(boost::none);
      s.parser->eager(false);
      s.parser->skip(s.head_request);
    }
    while (!s.parser->is_header_done()) TRY(s.Step(*s.parser, deadline));
    const int status = static_cast<int>(s.parser->get().result_int());
    if (status < 100 || status >= 200 || status == 101) break;
    s.parser.reset();  // an interim answer; the real one follows
  }
  const auto& message = s.parser->get();
  HttpResponseHead head{.status = static_cast<int>(message.result_int()), .headers = {}};
  for (const auto& field : message) {
    head.headers.push_back({std::string(field.name_string()), std::string(field.value())});
  }
  s.parser->eager(true);
  return head;
}

base::Result<std::size_t> HttpClient::ReadSome(std::span<char> out, base::Deadline deadline) {
  State& s = *state_;
  if (!s.parser || !s.parser->is_header_done() || s.broken) {
    return base::Fail(Code::kFailedPrecondition,
                      fmt::format("read the answer of {}: no body to read", s.peer));
  }
  if (out.empty()) return base::Fail(Code::kInvalidArgument, "read body: no room");
  auto& body = s.parser->get().body();
  while (!s.parser->is_done()) {
    body.data = out.data();
    body.size = out.size();
    body.more = true;
    const auto stepped = s.Step(*s.parser, deadline);
    const std::size_t produced = out.size() - body.size;
    body.data = nullptr;
    body.size = 0;
    if (produced > 0) return produced;  // a failure shows again at the next call
    if (!stepped) return std::unexpected(stepped.error());
  }
  return 0;
}

base::Result<HttpResponse> HttpClient::Request(const HttpRequest& request, base::Deadline deadline,
                                               std::size_t max_body) {
  State& s = *state_;
  if (auto started = Start(request, deadline); !started) {
    // A server that refuses early answers and closes while we still send: its answer says more
    // than our broken pipe.
    if (s.sending != State::Sending::kFailed || started.error().code() != Code::kUnavailable) {
      return std::unexpected(std::move(started).error());
    }
    auto early = ReadHead(deadline);
    if (!early) return std::unexpected(std::move(started).error());
  }
  HttpResponse response;
  HttpResponseHead head = TRY(ReadHead(deadline));
  response.status = head.status;
  response.headers = std::move(head.headers);
  char buffer[16 << 10];
  for (;;) {
    const std::size_t got = TRY(ReadSome(buffer, deadline));
    if (got == 0) return response;
    if (response.body.size() + got > max_body) {
      s.broken = true;
      return base::Fail(
          Code::kResourceExhausted,
          fmt::format("read the answer of {}: its body is larger than {} bytes", s.peer, max_body));
    }
    response.body.append(buffer, got);
  }
}

}  // namespace tinderbox::net
