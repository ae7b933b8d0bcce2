// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "net/http_connection.h"

#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/json.hpp>
#include <cerrno>
#include <exception>

#include "base/log.h"

namespace tinderbox::net::internal {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;

constexpr std::size_t kReadChunk = 64 << 10;
// A body that nobody read is drained up to here, so that the connection can be kept.
constexpr std::size_t kDrainBytes = 256 << 10;
constexpr std::chrono::seconds kDrainTime{2};
// A refused upload is taken in for a while, or its client would see a reset instead of the refusal.
constexpr std::size_t kLingerBytes = 64 << 20;

base::Error GoneError() { return base::Error(base::Code::kUnavailable, "client disconnected"); }

std::string ErrorBody(unsigned status, std::string_view message) {
  boost::json::object body;
  body["code"] = status;
  body["message"] = message;
  return boost::json::serialize(body);
}

// One Receive behind what `in` holds. By way of a buffer of the thread's: thousands of connections
// that wait for something hold no room for it.
ssize_t ReceiveInto(Stream& stream, std::string& in) {
  static thread_local std::array<char, kReadChunk> chunk;
  const ssize_t n = stream.Receive(chunk);
  if (n > 0) in.append(chunk.data(), static_cast<std::size_t>(n));
  return n;
}

// A field that goes on in the next line (obs-fold). The parser unfolds it; others do not, and see
// another request.
bool HasFoldedField(std::string_view head) {
  head = head.substr(0, head.find("\r\n\r\n"));
  return head.contains("\r\n ") || head.contains("\r\n\t");
}

// More than one Host, or a length that is a list. RFC 9112 demands that these are refused, since
// another proxy may use the other value.
bool IsAmbiguous(const HeaderList& headers) {
  const auto count = [&](std::string_view wanted) {
    return std::ranges::count_if(
        headers, [&](const auto& field) { return EqualsIgnoreCase(field.first, wanted); });
  };
  const std::string_view length = headers.Get("Content-Length");
  return count("Host") > 1 || count("Content-Length") > 1 ||
         length.find_first_not_of("0123456789") != length.npos;
}

// Splits an origin-form or absolute-form target into path and query.
void SplitTarget(RequestHead& head) {
  std::string_view rest = head.target;
  if (const auto scheme = rest.find("://"); !rest.starts_with('/') && scheme != rest.npos) {
    rest.remove_prefix(scheme + 3);
    rest.remove_prefix(std::min(rest.find_first_of("/?"), rest.size()));
  }
  const auto question = std::min(rest.find('?'), rest.size());
  head.path = rest.empty() || rest.front() == '?' ? "/" : std::string(rest.substr(0, question));
  head.query = rest.substr(std::min(question + 1, rest.size()));
}

}  // namespace

HttpConnection::HttpConnection(Stream stream, HttpPeer peer, const HttpLimits& limits)
    : stream_(std::move(stream)),
      peer_(std::move(peer)),
      limits_(limits),
      handshaking_(stream_.tls() != nullptr),
      gone_timer_(stream_.socket().get_executor(), Clock::time_point::max()) {}

// --- The loop over requests

Task<> HttpConnection::Run(HttpHandler handler) {
  if (handshaking_) {
    // An error of the handshake is the client's to see, by an alert; there is nothing to say here.
    const auto end = Clock::now() + limits_.handshake_timeout;
    if (co_await RefusePlain() || !co_await Handshake(end)) co_return Close();
    handshaking_ = false;
  }
  while (!closing_ && !closed_) {
    if (!co_await ServeOne(handler)) break;
  }
  if (!taken_) Close();
}

// One request from head to end; false where the connection cannot go on.
Task<bool> HttpConnection::ServeOne(HttpHandler& handler) {
  base::Result<bool> head = co_await ReadHead();
  if (!head || !*head) co_return false;
  serving_ = true;
  const unsigned refused = co_await CheckHead();
  if (refused != 0) {
    co_await Refuse(refused, std::string(StatusText(refused)));
    co_return false;
  }
  Exchange exchange(*this);
  try {
    co_await handler(exchange);
  } catch (const std::exception& e) {
    base::LogError("handle request: unexpected exception", {{"what", e.what()}});
  }
  on_gone_ = nullptr;
  ++generation_;
  watching_ = false;
  if (taken_ || closed_) co_return false;
  if (response_ == Response::kNone) {
    // g++ 12 takes no braced list inside an awaited expression.
    HeaderList headers{{"Content-Type", "application/json"}};
    (void)co_await Respond(500, std::move(headers), ErrorBody(500, "the request was not answered"));
  }
  if (response_ == Response::kStreaming) {
    Abort();
    co_return false;
  }
  serving_ = false;
  if (keep_alive_ && !parser_->is_done()) co_await DrainBody();
  if (closed_) co_return false;
  if (!keep_alive_ || closing_ || gone_ || !parser_->is_done()) {
    co_await Linger();
    co_return false;
  }
  co_return true;
}

// --- TLS, before anything else

// What begins like a request's method is no handshake: told so in words, since whoever took
// "http://" for "https://" learns nothing from an alert.
Task<bool> HttpConnection::RefusePlain() {
  char first = 0;
  const int fd = stream_.socket().native_handle();
  while (::recv(fd, &first, 1, MSG_PEEK | MSG_DONTWAIT) < 0) {
    if (errno == EINTR) continue;
    if (errno != EAGAIN) co_return false;
    if (!co_await WaitReady(StreamSocket::wait_read, limits_.handshake_timeout)) co_return false;
  }
  if (first < 'A' || first > 'Z') co_return false;
  static constexpr std::string_view kAnswer =
      "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n"
      "Content-Length: 32\r\nConnection: close\r\n\r\nThis port speaks TLS: use https\n";
  (void)::send(fd, kAnswer.data(), kAnswer.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  ::shutdown(fd, SHUT_WR);
  // Unread input would make the end a reset, which overtakes the answer.
  std::array<char, 4096> sink;
  const auto end = Clock::now() + kDrainTime;
  std::size_t drained = 0;
  while (!closed_ && drained < kDrainBytes && Clock::now() < end) {
    const ssize_t n = ::recv(fd, sink.data(), sink.size(), MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) break;
    if (n > 0) drained += static_cast<std::size_t>(n);
    if (n < 0 && errno == EAGAIN && !co_await WaitReady(StreamSocket::wait_read, kDrainTime)) break;
  }
  co_return true;
}

AsyncResult<> HttpConnection::Handshake(Clock::time_point end) {
  while (!closed_) {
    const TlsEngine::Step step = stream_.tls()->Handshake();
    if (step == TlsEngine::Step::kDone) co_return base::Result<>{};
    if (step == TlsEngine::Step::kFailed) break;
    const auto left = std::chrono::ceil<std::chrono::seconds>(end - Clock::now());
    if (left.count() <= 0) break;
    CO_TRY_VOID(co_await WaitReady(
        step == TlsEngine::Step::kWantRead ? StreamSocket::wait_read : StreamSocket::wait_write,
        left));
  }
  co_return std::unexpected(GoneError());
}

// --- Input

AsyncResult<> HttpConnection::WaitReady(StreamSocket::wait_type type,
                                        std::chrono::seconds timeout) {
  Clock::time_point& deadline = type == StreamSocket::wait_read ? read_deadline_ : write_deadline_;
  deadline = timeout.count() > 0 ? Clock::now() + timeout : Clock::time_point::max();
  while (true) {
    boost::system::error_code ec;
    co_await stream_.socket().async_wait(type, asio::redirect_error(asio::use_awaitable, ec));
    if (closed_) co_return std::unexpected(GoneError());
    if (!ec) break;
    if (ec != asio::error::operation_aborted) co_return std::unexpected(GoneError());
    // The sweep cancels everything on this socket; only what is overdue ends by it.
    if (Clock::now() >= deadline) {
      co_return base::Fail(base::Code::kDeadlineExceeded, "client kept the connection waiting");
    }
  }
  deadline = Clock::time_point::max();
  co_return base::Result<>{};
}

// Reads some bytes behind in_; 0 at the end of the stream.
AsyncResult<std::size_t> HttpConnection::Fill(std::chrono::seconds timeout) {
  while (true) {
    if (closed_) co_return std::unexpected(GoneError());
    const std::size_t old = in_.size();
    const ssize_t n = ReceiveInto(stream_, in_);
    if (n >= 0) co_return static_cast<std::size_t>(n);
    if (errno == EINTR) continue;
    if (errno != EAGAIN) co_return std::unexpected(GoneError());
    CO_TRY_VOID(co_await WaitReady(StreamSocket::wait_read, timeout));
    // The watch for the client's end may have taken the bytes in already.
    if (in_.size() > old) co_return in_.size() - old;
  }
}

// Parses the next head; false where the client ended the connection instead. A malformed head is
// answered here.
AsyncResult<bool> HttpConnection::ReadHead() {
  parser_.emplace();
  starved_ = false;
  parser_->eager(false);
  parser_->header_limit(static_cast<std::uint32_t>(limits_.header_bytes));
  parser_->body_limit(boost::none);
  response_ = Response::kNone;
  pending_head_.clear();
  chunked_ = bodyless_ = false;
  length_left_.reset();
  keep_alive_ = true;
  waiting_since_ = Clock::now();
  auto head_end = Clock::time_point::max();
  while (true) {
    if (!in_.empty()) {
      // Its time begins with its first byte: on a kept connection that may be long after now.
      if (head_end == Clock::time_point::max()) head_end = Clock::now() + limits_.head_timeout;
      boost::system::error_code ec;
      // Nothing of a head is taken before all of it is there.
      const std::size_t used = parser_->put(asio::buffer(in_), ec);
      const bool folded = HasFoldedField(std::string_view(in_).substr(0, used));
      in_.erase(0, used);
      if (folded) {
        co_await Refuse(400, "a header field is folded over two lines");
        co_return false;
      }
      if (parser_->is_header_done()) co_return true;
      if (ec && ec != http::error::need_more) {
        const bool large = ec == http::error::header_limit;
        co_await Refuse(large ? 431 : 400, large ? "request header too large" : ec.message());
        co_return false;
      }
      if (in_.size() > limits_.header_bytes) {
        co_await Refuse(431, "request header too large");
        co_return false;
      }
    }
    if (in_.empty()) std::string().swap(in_);
    auto left = limits_.idle_timeout;
    if (!in_.empty() && limits_.head_timeout.count() > 0) {
      left = std::chrono::ceil<std::chrono::seconds>(head_end - Clock::now());
      if (left.count() <= 0) co_return false;
    }
    CO_TRY(const std::size_t got, co_await Fill(left));
    if (got == 0) co_return false;
  }
}

// Takes the head over from the parser; a status where the request must be refused.
Task<unsigned> HttpConnection::CheckHead() {
  const auto& message = parser_->get();
  head_ = RequestHead{};
  common_headers_ = {};
  head_.method = std::string(message.method_string());
  head_.target = std::string(message.target());
  head_.http_1_0 = message.version() == 10;
  head_.keep_alive = parser_->keep_alive();
  for (const auto& field : message) {
    head_.headers.Add(std::string(field.name_string()), std::string(field.value()));
  }
  SplitTarget(head_);
  keep_alive_ = head_.keep_alive;
  body_limit_ = limits_.body_bytes;
  body_timeout_ = limits_.body_timeout;
  body_seen_ = 0;
  expects_continue_ =
      !head_.http_1_0 && EqualsIgnoreCase(head_.headers.Get("Expect"), "100-continue");
  if (head_.headers.size() > limits_.header_count) co_return 431;
  if (message.version() != 11 && message.version() != 10) co_return 505;
  if (!head_.http_1_0 && !head_.headers.Has("Host")) co_return 400;
  if (IsAmbiguous(head_.headers)) co_return 400;
  // Anything but plain "chunked" could be understood differently by whoever stands before us.
  for (const auto& [name, value] : head_.headers) {
    if (EqualsIgnoreCase(name, "Transfer-Encoding") && !EqualsIgnoreCase(value, "chunked")) {
      co_return 501;
    }
  }
  co_return 0;
}

AsyncResult<std::size_t> HttpConnection::ReadSome(std::span<char> into) {
  if (closed_ || taken_) co_return std::unexpected(GoneError());
  if (parser_->is_done() || into.empty()) co_return std::size_t{0};
  if (const auto length = parser_->content_length(); length && *length > body_limit_) {
    keep_alive_ = false;
    co_return base::Fail(base::Code::kResourceExhausted, "request body too large");
  }
  if (expects_continue_ && in_.empty() && response_ == Response::kNone) {
    CO_TRY_VOID(co_await Send("HTTP/1.1 100 Continue\r\n\r\n"));
  }
  expects_continue_ = false;
  std::size_t got = 0;
  CO_TRY_VOID(co_await ParseBody(into, got));
  body_seen_ += got;
  if (body_seen_ > body_limit_) {
    keep_alive_ = false;
    co_return base::Fail(base::Code::kResourceExhausted, "request body too large");
  }
  co_return got;
}

// Runs the parser until it has put something into `into`, or the body has ended.
AsyncResult<> HttpConnection::ParseBody(std::span<char> into, std::size_t& got) {
  auto& body = parser_->get().body();
  bool hungry = in_.empty() || starved_;
  while (!parser_->is_done()) {
    if (hungry) {
      // Only chunk heads and trailers can need more while there is input; they are short.
      if (in_.size() > limits_.header_bytes) {
        keep_alive_ = false;
        co_return base::Fail(base::Code::kInvalidArgument,
                             "read request body: chunk head too long");
      }
      CO_TRY(const std::size_t n, co_await Fill(body_timeout_));
      if (n == 0) {
        MarkGone();
        keep_alive_ = false;
        co_return std::unexpected(GoneError());
      }
      if (starved_ && in_.size() < kShortestLastChunk) continue;
    }
    body.data = into.data();
    body.size = into.size();
    boost::system::error_code ec;
    const std::size_t used = parser_->put(asio::buffer(in_), ec);
    in_.erase(0, used);
    got = into.size() - body.size;
    starved_ = !in_.empty() && ec == http::error::need_more;
    hungry = in_.empty() || starved_;
    if (ec && ec != http::error::need_more && ec != http::error::need_buffer) {
      keep_alive_ = false;
      co_return base::Fail(base::Code::kInvalidArgument, "read request body: " + ec.message());
    }
    if (got > 0) break;
  }
  co_return base::Result<>{};
}

AsyncResult<std::string> HttpConnection::ReadBody(std::size_t max) {
  std::string body;
  std::string chunk(16 << 10, '\0');
  while (true) {
    CO_TRY(const std::size_t n, co_await ReadSome(chunk));
    if (n == 0) co_return body;
    if (body.size() + n > max) {
      keep_alive_ = false;
      co_return base::Fail(base::Code::kResourceExhausted, "request body too large");
    }
    body.append(chunk, 0, n);
  }
}

// --- Ends

Task<> HttpConnection::DrainBody() {
  // A client that still waits for "100 Continue" may never send the body: there is no telling.
  if (expects_continue_) co_return;
  std::string sink(16 << 10, '\0');
  body_limit_ = body_seen_ + kDrainBytes;
  body_timeout_ = kDrainTime;
  while (!closed_ && !parser_->is_done()) {
    const base::Result<std::size_t> n = co_await ReadSome(sink);
    if (!n) break;
  }
}

Task<> HttpConnection::Refuse(unsigned status, std::string message) {
  keep_alive_ = false;
  bodyless_ = false;
  HeaderList headers{{"Content-Type", "application/json"}};
  (void)co_await Respond(status, std::move(headers), ErrorBody(status, message));
  co_await Linger();
}

// Closes so that the client can still read the answer: closing with unread input resets the
// connection, and a reset overtakes data.
Task<> HttpConnection::Linger() {
  if (closed_) co_return;
  int unread = 0;
  if (parser_->is_done() && in_.empty() &&
      ::ioctl(stream_.socket().native_handle(), FIONREAD, &unread) == 0 && unread == 0) {
    Close();
    co_return;
  }
  stream_.EndSending();
  const auto end = Clock::now() + kDrainTime;
  std::size_t drained = 0;
  while (!closed_ && drained < kLingerBytes && Clock::now() < end) {
    in_.clear();
    const base::Result<std::size_t> n = co_await Fill(kDrainTime);
    if (!n || *n == 0) break;
    drained += *n;
  }
  Close();
}

std::optional<HttpConnection::Clock::time_point> HttpConnection::WaitingSince() const {
  if (serving_ || closed_ || taken_) return std::nullopt;
  return waiting_since_;
}

std::optional<HttpConnection::Clock::time_point> HttpConnection::HandshakingSince() const {
  if (!handshaking_ || closed_) return std::nullopt;
  return waiting_since_;
}

void HttpConnection::CloseWhenIdle() {
  closing_ = true;
  if (!serving_) Close();
}

void HttpConnection::Close() {
  if (closed_ || taken_) return;
  closed_ = true;
  stream_.Close();
  MarkGone();
}

void HttpConnection::CheckDeadlines(Clock::time_point now) {
  if (closed_ || taken_) return;
  boost::system::error_code ignored;
  if (now >= read_deadline_ || now >= write_deadline_) stream_.socket().cancel(ignored);
}

// --- Watching for the client's end while nothing is read

void HttpConnection::Watch() {
  if (watching_ || gone_ || closed_ || taken_) return;
  watching_ = true;
  stream_.socket().async_wait(StreamSocket::wait_read,
                              [self = shared_from_this(), generation = generation_](auto ec) {
                                if (self->generation_ != generation || self->closed_) return;
                                self->watching_ = false;
                                if (ec && ec != asio::error::operation_aborted)
                                  return self->MarkGone();
                                self->OnWatched();
                              });
}

void HttpConnection::OnWatched() {
  if (Gone()) return MarkGone();
  // The next request is already here: its bytes would wake us for ever. Take them in, within
  // bounds.
  std::array<char, 4096> chunk;
  while (in_.size() < kReadChunk) {
    const ssize_t n = stream_.Receive(chunk);
    if (n <= 0) break;
    in_.append(chunk.data(), static_cast<std::size_t>(n));
  }
  if (in_.size() < kReadChunk) Watch();
}

bool HttpConnection::Gone() {
  if (gone_ || closed_) return true;
  if (taken_) return false;
  const ssize_t n = stream_.Peek();
  return n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
}

void HttpConnection::MarkGone() {
  if (gone_) return;
  gone_ = true;
  gone_timer_.cancel();
  if (auto callback = std::exchange(on_gone_, nullptr)) callback();
}

}  // namespace tinderbox::net::internal
