// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "intercept/bridge.h"

#include <fmt/format.h>
#include <openssl/crypto.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <utility>

namespace tinderbox::intercept {
namespace {

namespace asio = boost::asio;
using base::Code;
using base::Fail;
using base::Result;

constexpr std::size_t kBuffer = 32 << 10;

void Wipe(std::string& text) {
  OPENSSL_cleanse(text.data(), text.size());
  text.clear();
}

}  // namespace

Bridge::Bridge(BridgeEnds ends, BridgeOptions options, SSL_CTX* as_server, SSL_CTX* as_client)
    : options_(std::move(options)),
      changed_(ends.client.get_executor(), Clock::time_point::max()),
      watch_(ends.client.get_executor()) {
  if (as_server == nullptr) {
    client_ = MakePlainStream(std::move(ends.client), std::move(ends.first));
    server_ = MakePlainStream(std::move(ends.server), {});
    return;
  }
  hello_ = std::move(ends.first);
  client_ = client_tls_ = MakeTlsStream(std::move(ends.client), as_server);
  server_ = server_tls_ = MakeTlsStream(std::move(ends.server), as_client);
}

net::Task<> Bridge::Run() {
  const auto self = shared_from_this();
  co_await Serve();
  // Whatever ended it, nothing goes on without the client's side.
  Close(false);
  boost::system::error_code ignored;
  while (answering_) {
    co_await changed_.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
}

void Bridge::Reset() { Close(true); }

void Bridge::Close(bool reset) {
  if (closed_) return;
  closed_ = true;
  client_->Close(reset);
  server_->Close(reset);
  changed_.cancel();
  watch_.cancel();
}

// The watch is woken seldom: a deadline that moves away, as at every piece of a body, costs
// nothing.
void Bridge::SetDeadline(std::chrono::milliseconds after) {
  deadline_ = Clock::now() + after;
  if (deadline_ < watched_) Watch();
}

void Bridge::Watch() {
  watched_ = deadline_;
  watch_.expires_at(deadline_);
  watch_.async_wait([self = shared_from_this()](boost::system::error_code ec) {
    if (ec || self->closed_) return;
    if (Clock::now() >= self->deadline_) return self->Close(true);
    self->Watch();
  });
}

net::Task<> Bridge::Serve() {
  SetDeadline(options_.handshake);
  if (client_tls_) {
    const Result<> accepted = co_await client_tls_->Accept(std::move(hello_));
    if (!accepted) co_return Close(true);
  }
  while (!closed_ && !last_) {
    if (!co_await ServeOne()) break;
  }
  if (!closed_ && !ending_) co_await End();
}

// The head's length within in_; 0 where the client has ended between two requests.
net::AsyncResult<std::size_t> Bridge::ReadHead() {
  SetDeadline(in_.empty() ? options_.idle : options_.head);
  for (std::size_t have = 0;;) {
    CO_TRY(const std::size_t length, HeadLength(in_, have));
    if (length > 0) co_return length;
    have = in_.size();
    in_.resize(have + kBuffer);
    const Result<std::size_t> n = co_await client_->ReadSome(std::span(in_).subspan(have));
    in_.resize(have + n.value_or(0));
    if (!n) co_return std::unexpected(n.error());
    if (*n == 0 && have == 0) co_return std::size_t{0};
    if (*n == 0) co_return Fail(Code::kUnavailable, "the request ends within its head");
    if (have == 0) SetDeadline(options_.head);
  }
}

// What is asked for, if it may be.
net::AsyncResult<RequestText> Bridge::Check(std::size_t length) {
  CO_TRY(RequestText request, ParseRequest(std::string_view(in_).substr(0, length)));
  in_.erase(0, length);
  if (!IsFor(request, options_.name, options_.port)) {
    co_return Fail(Code::kFailedPrecondition,
                   fmt::format("this connection is for '{}' alone: another host takes another one",
                               options_.name));
  }
  // A TRACE would be answered with all that the server was sent.
  if (request.method == "TRACE" || request.method == "CONNECT") {
    co_return Fail(Code::kPermissionDenied,
                   fmt::format("{} is not allowed where the network rules of the sandbox change "
                               "requests",
                               request.method));
  }
  co_return request;
}

// False where this was the last one.
net::Task<bool> Bridge::ServeOne() {
  const Result<std::size_t> length = co_await ReadHead();
  if (closed_ || ending_ || (length && *length == 0)) co_return false;
  if (!length && length.error().code() != Code::kInvalidArgument) co_return false;
  if (!length) {
    co_await Refuse(431, length.error().message());
    co_return false;
  }
  SetDeadline(options_.exchange);
  const Result<RequestText> request = co_await Check(*length);
  if (!request) {
    const Code code = request.error().code();
    co_await Refuse(code == Code::kFailedPrecondition ? 421
                    : code == Code::kPermissionDenied ? 405
                                                      : 400,
                    request.error().message());
    co_return false;
  }
  Body body(request->body);
  if (const Result<> sent = co_await SendHead(*request, body); !sent) {
    if (!current_ && !closed_ && !ending_) co_await Refuse(502, sent.error().message());
    Close(true);
    co_return false;
  }
  if (request->close) last_ = true;
  if (const Result<> sent = co_await SendBody(body); !sent) {
    if (!ending_) Close(true);
    co_return false;
  }
  co_return co_await AwaitAnswer();
}

// The guest is told of what fails before the server has heard anything. What is here of the body
// goes with the head, in one piece: each one costs both ends a packet and a turn.
net::AsyncResult<> Bridge::SendHead(const RequestText& request, Body& body) {
  CO_TRY(net::HeaderList set, co_await options_.headers());
  std::string head = Rewrite(request, set);
  for (const auto& [name, value] : set) Wipe(const_cast<std::string&>(value));
  if (!connected_ && server_tls_) {
    SetDeadline(options_.handshake);
    const Result<> connected = co_await server_tls_->Connect(options_.name);
    if (!connected) Wipe(head);
    if (!connected) co_return connected;
    SetDeadline(options_.exchange);
  }
  current_ = Current{.to_head = request.method == "HEAD", .upgrade = request.upgrade};
  if (!connected_) {
    connected_ = answering_ = true;
    asio::co_spawn(changed_.get_executor(), Answers(),
                   [self = shared_from_this()](std::exception_ptr) {
                     self->answering_ = false;
                     self->changed_.cancel();
                   });
  }
  const Result<std::size_t> behind = body.Take(in_);
  if (!behind) {
    Wipe(head);
    co_return std::unexpected(behind.error());
  }
  // Not appended to the head: a text that moves to grow leaves its bytes behind.
  std::string piece;
  piece.reserve(head.size() + *behind);
  piece.append(head).append(in_, 0, *behind);
  Wipe(head);
  in_.erase(0, *behind);
  const Result<> sent = co_await server_->Write(piece);
  Wipe(piece);
  co_return sent;
}

net::AsyncResult<> Bridge::SendBody(Body& body) {
  while (!body.done()) {
    if (in_.empty()) {
      in_.resize(kBuffer);
      const Result<std::size_t> n = co_await client_->ReadSome(in_);
      in_.resize(n.value_or(0));
      if (!n) co_return std::unexpected(n.error());
      if (*n == 0) co_return Fail(Code::kUnavailable, "the request ends within its body");
      SetDeadline(options_.exchange);
    }
    CO_TRY(const std::size_t n, body.Take(in_));
    // Taken out before the wait: what comes behind it is the next request's.
    const std::string piece = in_.substr(0, n);
    in_.erase(0, n);
    // A server that has answered and left hears no more; the guest has yet to read that answer.
    if (!ending_) CO_TRY_VOID(co_await server_->Write(piece));
  }
  co_return Result<>{};
}

// False where no request can follow.
net::Task<bool> Bridge::AwaitAnswer() {
  boost::system::error_code ignored;
  waiting_ = true;
  while (current_ && !raw_ && !closed_) {
    co_await changed_.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
  waiting_ = false;
  if (raw_ && !closed_) {
    if (!co_await PassRaw(*client_, in_, *server_)) Close(true);
    // The server may have more to say.
    while (answering_ && !closed_) {
      co_await changed_.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    }
    co_return false;
  }
  co_return !closed_ && !last_;
}

net::Task<> Bridge::Refuse(unsigned status, std::string why) {
  SetDeadline(options_.farewell);
  const std::string words = fmt::format(
      "HTTP/1.1 {} {}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n"
      "Connection: close\r\n\r\n{}\n",
      status, net::StatusText(status), why.size() + 1, why);
  if (!co_await client_->Write(words)) co_return Close(true);
  co_await End();
}

// Closing with bytes unread would be a reset, which overtakes what was written.
net::Task<> Bridge::End() {
  SetDeadline(options_.farewell);
  co_await client_->Finish();
  if (!closed_ && !client_tls_) {
    in_.resize(kBuffer);
    for (Result<std::size_t> n = 1; n.value_or(0) > 0 && !closed_;) {
      n = co_await client_->ReadSome(in_);
    }
  }
  Close(false);
}

net::Task<> Bridge::Answers() {
  const auto self = shared_from_this();
  for (;;) {
    const Result<bool> more = co_await AnswerOne();
    if (closed_) co_return;
    if (!more) co_return Close(true);
    if (*more) continue;
    // No further answer: the guest's side is ended in order, by whoever is not reading from it.
    last_ = true;
    ending_ = !waiting_ && !raw_;
    current_.reset();
    changed_.cancel();
    if (!ending_) co_return;
    SetDeadline(options_.farewell);
    co_return co_await client_->Finish();
  }
}

// More bytes into out_; how many.
net::AsyncResult<std::size_t> Bridge::FillAnswer() {
  const std::size_t have = out_.size();
  out_.resize(have + kBuffer);
  const Result<std::size_t> n = co_await server_->ReadSome(std::span(out_).subspan(have));
  out_.resize(have + n.value_or(0));
  if (n) SetDeadline(options_.exchange);
  co_return n;
}

// False where the server has ended.
net::AsyncResult<bool> Bridge::AnswerOne() {
  std::size_t length = 0;
  for (std::size_t have = 0;;) {
    CO_TRY(length, HeadLength(out_, have));
    if (length > 0) break;
    have = out_.size();
    CO_TRY(const std::size_t n, co_await FillAnswer());
    if (n == 0 && out_.empty() && !current_) co_return false;
    if (n == 0) co_return Fail(Code::kUnavailable, "the server ends within its answer");
  }
  if (!current_) co_return Fail(Code::kInvalidArgument, "the server answers without being asked");
  const std::string_view head = std::string_view(out_).substr(0, length);
  CO_TRY(const ResponseText response, ParseResponse(head, current_->to_head));
  const bool switched = response.status == 101;
  if (switched && !current_->upgrade) {
    co_return Fail(Code::kInvalidArgument, "the server leaves HTTP without being asked");
  }
  // What is here of the body goes with the head.
  Body body(response.status < 200 ? Framing{} : response.body);
  CO_TRY(const std::size_t behind, body.Take(std::string_view(out_).substr(length)));
  CO_TRY_VOID(co_await client_->Write(std::string_view(out_).substr(0, length + behind)));
  out_.erase(0, length + behind);
  if (switched) {
    raw_ = true;
    current_.reset();
    changed_.cancel();
    CO_TRY_VOID(co_await PassRaw(*server_, out_, *client_));
    co_return false;
  }
  if (response.status < 200) co_return true;
  CO_TRY_VOID(co_await AnswerBody(body));
  if (response.close || last_) co_return false;
  current_.reset();
  changed_.cancel();
  co_return true;
}

net::AsyncResult<> Bridge::AnswerBody(Body& body) {
  while (!body.done()) {
    if (out_.empty()) {
      CO_TRY(const std::size_t n, co_await FillAnswer());
      if (n == 0 && body.until_close()) break;
      if (n == 0) co_return Fail(Code::kUnavailable, "the server ends within its answer");
    }
    CO_TRY(const std::size_t n, body.Take(out_));
    CO_TRY_VOID(co_await client_->Write(std::string_view(out_).substr(0, n)));
    out_.erase(0, n);
  }
  co_return Result<>{};
}

net::AsyncResult<> Bridge::PassRaw(Stream& from, std::string& buffered, Stream& to) {
  for (;;) {
    if (!buffered.empty()) CO_TRY_VOID(co_await to.Write(buffered));
    buffered.resize(kBuffer);
    const Result<std::size_t> n = co_await from.ReadSome(buffered);
    buffered.resize(n.value_or(0));
    if (!n) co_return std::unexpected(n.error());
    SetDeadline(options_.exchange);
    if (*n == 0) break;
  }
  co_await to.Finish();
  co_return Result<>{};
}

}  // namespace tinderbox::intercept
