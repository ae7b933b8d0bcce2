// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <sys/sendfile.h>

#include <algorithm>
#include <array>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <ctime>

#include "net/gather.h"
#include "net/http_connection.h"

namespace tinderbox::net::internal {
namespace {

namespace asio = boost::asio;

// At most this much in one sendfile: other connections get their turn in between.
constexpr std::size_t kFilePiece = 1 << 20;

base::Error GoneError() { return base::Error(base::Code::kUnavailable, "client disconnected"); }

// "Date: …" for now; made once a second.
std::string_view DateLine() {
  thread_local std::time_t made_for = 0;
  thread_local std::array<char, 64> line;
  thread_local std::size_t length = 0;
  const std::time_t now = std::time(nullptr);
  if (now != made_for || length == 0) {
    std::tm utc{};
    gmtime_r(&now, &utc);
    length = std::strftime(line.data(), line.size(), "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", &utc);
    made_for = now;
  }
  return {line.data(), length};
}

bool IsServersOwn(std::string_view name) {
  for (const std::string_view own : {"Content-Length", "Transfer-Encoding", "Connection", "Date"}) {
    if (EqualsIgnoreCase(name, own)) return true;
  }
  return false;
}

bool HasLineBreak(std::string_view text) {
  return text.find_first_of(std::string_view("\r\n\0", 3)) != text.npos;
}

void AppendFields(std::string& text, const HeaderList& headers, bool all) {
  for (const auto& [name, value] : headers) {
    // A value that came from elsewhere must not be able to add fields of its own.
    if ((!all && IsServersOwn(name)) || HasLineBreak(name) || HasLineBreak(value)) continue;
    text.append(name).append(": ").append(value).append("\r\n");
  }
}

}  // namespace

std::string HttpConnection::HeadText(unsigned status, const HeaderList& headers,
                                     std::optional<std::uint64_t> length) {
  std::string text = fmt::format("HTTP/1.1 {} {}\r\n", status, StatusText(status));
  AppendFields(text, headers, false);
  for (const auto& [name, value] : common_headers_) {
    if (!headers.Has(name)) AppendFields(text, {{name, value}}, false);
  }
  text += DateLine();
  const bool no_length = status == 204 || status == 304 || status < 200;
  bodyless_ = no_length || head_.method == "HEAD";
  chunked_ = false;
  if (length && !no_length) {
    text += fmt::format("Content-Length: {}\r\n", *length);
  } else if (!length && !no_length && !head_.http_1_0) {
    text += "Transfer-Encoding: chunked\r\n";
    chunked_ = !bodyless_;
  } else if (!length && !no_length) {
    keep_alive_ = false;
  }
  if (closing_ || (expects_continue_ && !parser_->is_done())) keep_alive_ = false;
  if (!keep_alive_) {
    text += "Connection: close\r\n";
  } else if (head_.http_1_0) {
    text += "Connection: keep-alive\r\n";
  }
  return text += "\r\n";
}

// Writes the parts in order with as few system calls as the socket allows.
AsyncResult<> HttpConnection::Send(std::string_view a, std::string_view b, std::string_view c) {
  Gather gather(a, b, c);
  while (!stream_.Sent(gather)) {
    if (closed_ || taken_) co_return std::unexpected(GoneError());
    if (stream_.Send(gather) >= 0 || errno == EINTR) continue;
    if (errno != EAGAIN) {
      keep_alive_ = false;
      MarkGone();
      co_return std::unexpected(GoneError());
    }
    CO_TRY_VOID(co_await WaitReady(StreamSocket::wait_write, limits_.write_timeout));
  }
  co_return base::Result<>{};
}

AsyncResult<> HttpConnection::Respond(unsigned status, HeaderList headers, std::string body) {
  if (response_ != Response::kNone) {
    co_return base::Fail(base::Code::kInternal, "respond: a response was begun already");
  }
  response_ = Response::kFinished;
  const std::string head = HeadText(status, headers, body.size());
  if (bodyless_) body.clear();
  co_return co_await Send(head, body);
}

AsyncResult<> HttpConnection::BeginStream(unsigned status, HeaderList headers,
                                          std::optional<std::uint64_t> length, bool flush) {
  if (response_ != Response::kNone) {
    co_return base::Fail(base::Code::kInternal, "begin stream: a response was begun already");
  }
  response_ = Response::kStreaming;
  pending_head_ = HeadText(status, headers, length);
  if (!bodyless_) length_left_ = length;
  if (!flush) co_return base::Result<>{};
  const std::string head = std::exchange(pending_head_, {});
  co_return co_await Send(head);
}

AsyncResult<> HttpConnection::Write(std::string_view data) {
  if (response_ != Response::kStreaming) {
    co_return base::Fail(base::Code::kInternal, "write response: no stream was begun");
  }
  if (data.empty() || bodyless_) co_return base::Result<>{};
  if (length_left_) {
    if (data.size() > *length_left_) {
      co_return base::Fail(base::Code::kInternal, "write response: more than was announced");
    }
    *length_left_ -= data.size();
  }
  std::string front = std::exchange(pending_head_, {});
  if (chunked_) front += fmt::format("{:x}\r\n", data.size());
  co_return co_await Send(front, data, chunked_ ? "\r\n" : "");
}

AsyncResult<std::uint64_t> HttpConnection::WriteFile(sys::FdRef file, std::uint64_t offset,
                                                     std::uint64_t size) {
  if (response_ != Response::kStreaming || !length_left_ || !pending_head_.empty() ||
      stream_.tls() != nullptr) {
    co_return std::uint64_t{0};
  }
  if (size > *length_left_) {
    co_return base::Fail(base::Code::kInternal, "write response: more than was announced");
  }
  // sendfile has no MSG_DONTWAIT.
  boost::system::error_code ignored;
  stream_.socket().native_non_blocking(true, ignored);
  auto at = static_cast<off_t>(offset);
  std::uint64_t sent = 0;
  while (sent < size) {
    if (closed_ || taken_) co_return std::unexpected(GoneError());
    const std::size_t piece = std::min<std::uint64_t>(size - sent, kFilePiece);
    const ssize_t n = ::sendfile(stream_.socket().native_handle(), file.get(), &at, piece);
    if (n > 0) {
      sent += static_cast<std::uint64_t>(n);
      *length_left_ -= static_cast<std::uint64_t>(n);
      co_await asio::post(stream_.socket().get_executor(), asio::use_awaitable);
    } else if (n == 0 || (sent == 0 && (errno == EINVAL || errno == ENOSYS))) {
      break;
    } else if (errno == EAGAIN) {
      CO_TRY_VOID(co_await WaitReady(StreamSocket::wait_write, limits_.write_timeout));
    } else if (errno != EINTR) {
      // The client left, or the disk failed. Either ends the response early.
      const int cause = errno;
      keep_alive_ = false;
      if (cause == EPIPE || cause == ECONNRESET) MarkGone();
      co_return base::FailErrno(cause, "send file");
    }
  }
  co_return sent;
}

AsyncResult<> HttpConnection::Finish() {
  if (response_ != Response::kStreaming) {
    co_return base::Fail(base::Code::kInternal, "finish response: no stream was begun");
  }
  if (length_left_.value_or(0) != 0) {
    co_return base::Fail(base::Code::kInternal, "finish response: less than was announced");
  }
  std::string rest = std::exchange(pending_head_, {});
  if (chunked_) rest += "0\r\n\r\n";
  base::Result<> sent = co_await Send(rest);
  response_ = Response::kFinished;
  co_return sent;
}

void HttpConnection::Abort() {
  if (closed_ || taken_) return;
  closed_ = true;
  stream_.Reset();
  MarkGone();
}

UpgradedSocket HttpConnection::TakeSocket() {
  taken_ = true;
  read_deadline_ = write_deadline_ = Clock::time_point::max();
  // A watch that is still waiting on this socket is ended here; moving it would be undefined.
  boost::system::error_code ignored;
  stream_.socket().cancel(ignored);
  ++generation_;
  return UpgradedSocket{std::move(stream_), std::exchange(in_, {})};
}

}  // namespace tinderbox::net::internal

namespace tinderbox::net {

const RequestHead& Exchange::head() const { return connection_.head_; }
const HttpPeer& Exchange::peer() const { return connection_.peer_; }
boost::asio::any_io_executor Exchange::executor() const {
  return connection_.gone_timer_.get_executor();
}
void Exchange::SetBodyLimit(std::uint64_t bytes) { connection_.body_limit_ = bytes; }
void Exchange::SetCommonHeaders(HeaderList headers) {
  connection_.common_headers_ = std::move(headers);
}
void Exchange::SetBodyTimeout(std::chrono::seconds timeout) { connection_.body_timeout_ = timeout; }

std::optional<std::uint64_t> Exchange::content_length() const {
  if (connection_.parser_->chunked()) return std::nullopt;
  const auto length = connection_.parser_->content_length();
  return length ? *length : 0;
}
bool Exchange::body_finished() const { return connection_.parser_->is_done(); }

AsyncResult<std::size_t> Exchange::ReadSome(std::span<char> into) {
  return connection_.ReadSome(into);
}
AsyncResult<std::string> Exchange::ReadBody(std::size_t max) { return connection_.ReadBody(max); }

AsyncResult<> Exchange::Respond(unsigned status, HeaderList headers, std::string body) {
  return connection_.Respond(status, std::move(headers), std::move(body));
}
AsyncResult<> Exchange::BeginStream(unsigned status, HeaderList headers,
                                    std::optional<std::uint64_t> length, bool flush) {
  return connection_.BeginStream(status, std::move(headers), length, flush);
}
AsyncResult<> Exchange::Write(std::string_view data) { return connection_.Write(data); }
AsyncResult<std::uint64_t> Exchange::WriteFile(sys::FdRef file, std::uint64_t offset,
                                               std::uint64_t size) {
  return connection_.WriteFile(file, offset, size);
}
AsyncResult<> Exchange::Finish() { return connection_.Finish(); }
void Exchange::Abort() { connection_.Abort(); }
bool Exchange::response_begun() const {
  return connection_.response_ != internal::HttpConnection::Response::kNone;
}

bool Exchange::disconnected() const { return connection_.Gone(); }

void Exchange::OnDisconnect(std::function<void()> callback) {
  if (callback && (connection_.gone_ || connection_.closed_)) return callback();
  connection_.on_gone_ = std::move(callback);
  if (connection_.on_gone_) connection_.Watch();
}

Task<> Exchange::AwaitDisconnect() {
  connection_.Watch();
  if (connection_.gone_ || connection_.closed_) co_return;
  boost::system::error_code ignored;
  co_await connection_.gone_timer_.async_wait(
      boost::asio::redirect_error(boost::asio::use_awaitable, ignored));
}

AsyncResult<UpgradedSocket> Exchange::Upgrade(HeaderList headers) {
  std::string head = "HTTP/1.1 101 Switching Protocols\r\n";
  internal::AppendFields(head, headers, true);
  head += "\r\n";
  CO_TRY_VOID(co_await connection_.Send(head));
  co_return connection_.TakeSocket();
}
UpgradedSocket Exchange::TakeSocket() { return connection_.TakeSocket(); }

}  // namespace tinderbox::net
