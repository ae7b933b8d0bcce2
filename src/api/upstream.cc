// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "api/upstream.h"

#include <fmt/format.h>
#include <sys/socket.h>

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <utility>

#include "net/gather.h"

namespace tinderbox::api {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using base::Code;
using base::Fail;

constexpr std::size_t kReadChunk = 64 << 10;
constexpr std::uint32_t kHeadBytes = 64 << 10;
constexpr std::size_t kHeadFields = 200;

std::unexpected<base::Error> Gone() { return Fail(Code::kUnavailable, "the guest hung up"); }

std::unexpected<base::Error> NoHttp(std::string_view why) {
  return Fail(Code::kDataLoss, fmt::format("the guest's answer is no HTTP: {}", why));
}

}  // namespace

net::AsyncResult<> Upstream::WaitReady(net::StreamSocket::wait_type type) {
  boost::system::error_code ec;
  co_await stream_.socket().async_wait(type, asio::redirect_error(asio::use_awaitable, ec));
  if (closed_ || ec) co_return Gone();
  co_return base::Result<>{};
}

net::AsyncResult<> Upstream::Handshake() {
  using Step = net::TlsEngine::Step;
  while (stream_.tls() != nullptr) {
    if (closed_) co_return Gone();
    const Step step = stream_.tls()->Handshake();
    if (step == Step::kDone) break;
    if (step == Step::kFailed) co_return Fail(Code::kDataLoss, "the guest's port speaks no TLS");
    CO_TRY_VOID(co_await WaitReady(step == Step::kWantRead ? net::StreamSocket::wait_read
                                                           : net::StreamSocket::wait_write));
  }
  co_return base::Result<>{};
}

net::AsyncResult<> Upstream::Write(std::string_view a, std::string_view b, std::string_view c) {
  net::Gather gather(a, b, c);
  while (!stream_.Sent(gather)) {
    if (closed_) co_return Gone();
    if (stream_.Send(gather) >= 0 || errno == EINTR) continue;
    if (errno != EAGAIN) co_return Gone();
    CO_TRY_VOID(co_await WaitReady(net::StreamSocket::wait_write));
  }
  co_return base::Result<>{};
}

// Reads some bytes behind in_; 0 at the end of the stream.
net::AsyncResult<std::size_t> Upstream::Fill() {
  while (true) {
    if (closed_) co_return Gone();
    ssize_t n = 0;
    int err = 0;
    const std::size_t old = in_.size();
    // Unlike resize, this clears nothing first.
    in_.resize_and_overwrite(old + kReadChunk, [&](char* data, std::size_t) {
      n = stream_.Receive(std::span(data + old, kReadChunk));
      err = errno;
      return old + static_cast<std::size_t>(std::max<ssize_t>(n, 0));
    });
    if (n > 0) silent_ = false;
    if (n == 0) ended_ = true;
    if (n >= 0) co_return static_cast<std::size_t>(n);
    if (err == EINTR) continue;
    if (err != EAGAIN) co_return Gone();
    CO_TRY_VOID(co_await WaitReady(net::StreamSocket::wait_read));
  }
}

void Upstream::NewParser(bool to_head) {
  parser_.emplace();
  starved_ = false;
  parser_->eager(false);
  parser_->header_limit(kHeadBytes);
  parser_->body_limit(boost::none);
  if (to_head) parser_->skip(true);
}

// Feeds what has come to the parser; true once a final head is complete.
base::Result<bool> Upstream::ParseHead(bool to_head) {
  while (!in_.empty()) {
    boost::system::error_code ec;
    const std::size_t used = parser_->put(asio::buffer(in_), ec);
    in_.erase(0, used);
    if (ec && ec != http::error::need_more) return NoHttp(ec.message());
    if (!parser_->is_header_done()) break;
    const unsigned status = parser_->get().result_int();
    if (status >= 200 || status == 101) return true;
    NewParser(to_head);  // an interim answer
  }
  if (in_.size() > kHeadBytes) return NoHttp("its head is too large");
  return false;
}

net::AsyncResult<UpstreamHead> Upstream::ReadHead(bool to_head) {
  NewParser(to_head);
  silent_ = true;
  std::size_t seen = 0;
  while (true) {
    CO_TRY(const std::size_t n, co_await Fill());
    if (n == 0) {
      if (silent_) co_return Gone();
      co_return NoHttp("it ends within its head");
    }
    // Interim answers are bounded too: nobody may keep us reading them for ever.
    seen += n;
    CO_TRY(const bool complete, ParseHead(to_head));
    if (complete) break;
    if (seen > 4 * kHeadBytes) co_return NoHttp("its head does not end");
  }
  co_return TakeHead();
}

base::Result<UpstreamHead> Upstream::TakeHead() {
  const auto& message = parser_->get();
  UpstreamHead head;
  head.status = message.result_int();
  if (head.status > 599) return NoHttp(fmt::format("status {}", head.status));
  for (const auto& field : message) {
    head.headers.Add(std::string(field.name_string()), std::string(field.value()));
    if (head.headers.size() > kHeadFields) return NoHttp("its head has too many fields");
    // Another coding than plain "chunked" would be passed on as if it were none.
    if (field.name() == http::field::transfer_encoding &&
        !net::EqualsIgnoreCase(std::string_view(field.value()), "chunked")) {
      return NoHttp("an unknown transfer coding");
    }
  }
  const auto length = parser_->content_length();
  if (length && !parser_->chunked()) head.length = *length;
  return head;
}

net::AsyncResult<std::size_t> Upstream::ReadSome(std::span<char> into) {
  auto& body = parser_->get().body();
  bool hungry = in_.empty() || starved_;
  while (!parser_->is_done()) {
    boost::system::error_code ec;
    if (hungry) {
      if (in_.size() > kHeadBytes) co_return NoHttp("a chunk's head is too long");
      CO_TRY(const std::size_t n, co_await Fill());
      if (n == 0) {
        parser_->put_eof(ec);
        if (ec) co_return NoHttp("its body is cut short");
        break;
      }
      if (starved_ && in_.size() < net::kShortestLastChunk) continue;
    }
    body.data = into.data();
    body.size = into.size();
    const std::size_t used = parser_->put(asio::buffer(in_), ec);
    // The usual case is that all was taken: then nothing moves.
    in_.erase(0, used);
    if (ec && ec != http::error::need_more && ec != http::error::need_buffer) {
      co_return NoHttp(ec.message());
    }
    starved_ = !in_.empty() && ec == http::error::need_more;
    hungry = in_.empty() || starved_;
    if (const std::size_t got = into.size() - body.size; got > 0) co_return got;
  }
  co_return std::size_t{0};
}

bool Upstream::reusable() const {
  return !closed_ && !ended_ && parser_ && parser_->is_done() && parser_->keep_alive() &&
         in_.empty();
}

bool Upstream::IsQuiet() const { return !closed_ && stream_.Peek() < 0 && errno == EAGAIN; }

void Upstream::Close() {
  if (closed_) return;
  closed_ = true;
  stream_.Close();
}

net::UpgradedSocket Upstream::Take() {
  closed_ = true;
  return {std::move(stream_), std::exchange(in_, {})};
}

}  // namespace tinderbox::api
