// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <chrono>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "net/http_server.h"

// Private to the HTTP server: one connection, from accept to close.
namespace tinderbox::net::internal {

class HttpConnection : public std::enable_shared_from_this<HttpConnection> {
 public:
  using Clock = std::chrono::steady_clock;

  HttpConnection(Stream stream, HttpPeer peer, const HttpLimits& limits);

  // Serves requests until one side has had enough. Ends without throwing.
  Task<> Run(HttpHandler handler);
  // Closes the connection once the running handler has answered; at once where none runs.
  void CloseWhenIdle();
  // Since when it has waited for a request's head; no value while a request is served, or closed.
  std::optional<Clock::time_point> WaitingSince() const;
  // Since when it has been shaking hands; no value before and after.
  std::optional<Clock::time_point> HandshakingSince() const;
  // Whether a request has ever come on it.
  bool HasServed() const { return generation_ > 0; }
  // Closes now; a running handler sees the client gone.
  void Close();
  // Ends what has waited past its deadline.
  void CheckDeadlines(Clock::time_point now);

 private:
  friend class tinderbox::net::Exchange;
  using Parser = boost::beast::http::request_parser<boost::beast::http::buffer_body>;

  enum class Response { kNone, kStreaming, kFinished };

  // --- Input (http_connection.cc)
  AsyncResult<> Handshake(Clock::time_point end);
  Task<bool> RefusePlain();
  AsyncResult<std::size_t> Fill(std::chrono::seconds timeout);
  AsyncResult<bool> ReadHead();
  Task<unsigned> CheckHead();
  AsyncResult<std::size_t> ReadSome(std::span<char> into);
  AsyncResult<> ParseBody(std::span<char> into, std::size_t& got);
  AsyncResult<std::string> ReadBody(std::size_t max);
  Task<> DrainBody();
  Task<bool> ServeOne(HttpHandler& handler);
  Task<> Refuse(unsigned status, std::string message);
  Task<> Linger();

  // --- Output (http_connection_out.cc)
  std::string HeadText(unsigned status, const HeaderList& headers,
                       std::optional<std::uint64_t> length);
  AsyncResult<> Send(std::string_view a, std::string_view b = {}, std::string_view c = {});
  AsyncResult<> Respond(unsigned status, HeaderList headers, std::string body);
  AsyncResult<> BeginStream(unsigned status, HeaderList headers,
                            std::optional<std::uint64_t> length, bool flush);
  AsyncResult<> Write(std::string_view data);
  AsyncResult<std::uint64_t> WriteFile(sys::FdRef file, std::uint64_t offset, std::uint64_t size);
  AsyncResult<> Finish();
  void Abort();
  UpgradedSocket TakeSocket();

  // --- Watching (http_connection.cc)
  AsyncResult<> WaitReady(StreamSocket::wait_type type, std::chrono::seconds timeout);
  void Watch();
  void OnWatched();
  void MarkGone();
  bool Gone();

  Stream stream_;
  HttpPeer peer_;
  const HttpLimits limits_;
  std::string in_;        // received, not parsed yet
  bool starved_ = false;  // the parser wants more than what is in `in_`

  // The request being served.
  std::optional<Parser> parser_;
  RequestHead head_;
  std::uint64_t body_limit_ = 0;
  std::uint64_t body_seen_ = 0;
  std::chrono::seconds body_timeout_{};
  bool expects_continue_ = false;
  bool serving_ = false;
  std::uint64_t generation_ = 0;  // of requests, so that a late wake-up is known as such

  // Its response.
  Response response_ = Response::kNone;
  HeaderList common_headers_;
  std::string pending_head_;
  std::optional<std::uint64_t> length_left_;
  bool chunked_ = false;
  bool bodyless_ = false;
  bool keep_alive_ = true;

  Clock::time_point waiting_since_ = Clock::now();
  bool handshaking_;
  bool closing_ = false;  // no further request
  bool closed_ = false;
  bool taken_ = false;
  bool gone_ = false;
  bool watching_ = false;
  std::function<void()> on_gone_;
  boost::asio::steady_timer gone_timer_;
  Clock::time_point read_deadline_ = Clock::time_point::max();
  Clock::time_point write_deadline_ = Clock::time_point::max();
};

}  // namespace tinderbox::net::internal
