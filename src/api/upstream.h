// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "net/http_message.h"
#include "net/http_server.h"
#include "net/stream.h"

namespace tinderbox::api {

// The head of a guest's answer.
struct UpstreamHead {
  unsigned status = 0;
  net::HeaderList headers;
  std::optional<std::uint64_t> length;  // none: chunked, or until the connection's end
};

// One HTTP/1.1 connection to a port of a guest. Whatever comes from there is hostile: sizes are
// bounded, and nothing is believed that the framing does not bear out. Belongs to the loop's
// thread; one reader and one writer at a time. Errors: kUnavailable where the connection is gone,
// kDataLoss for what is no HTTP or is cut short.
class Upstream {
 public:
  // Takes a connected, non-blocking socket; one with TLS needs Handshake first.
  explicit Upstream(net::Stream stream) : stream_(std::move(stream)) {}
  Upstream(const Upstream&) = delete;
  Upstream& operator=(const Upstream&) = delete;

  // kDataLoss where the other side speaks no TLS that we know.
  net::AsyncResult<> Handshake();
  // All three parts, in order.
  net::AsyncResult<> Write(std::string_view a, std::string_view b = {}, std::string_view c = {});

  // The next final answer's head; interim ones are skipped, 101 is final. `to_head`: the request
  // was a HEAD, whose answer has no body.
  net::AsyncResult<UpstreamHead> ReadHead(bool to_head);
  // At least one byte of the body, or 0 at its end.
  net::AsyncResult<std::size_t> ReadSome(std::span<char> into);

  bool body_finished() const { return parser_ && parser_->is_done(); }
  bool has_buffered() const { return !in_.empty(); }
  // Nothing at all has come since the last request.
  bool silent() const { return silent_; }
  // The exchange is over and the guest agreed to another.
  bool reusable() const;
  // Gives back the room for what is received: for one that waits, reusable(), for its next request.
  void ReleaseBuffer() { in_ = std::string(); }
  // Still open, and quiet: what a kept connection must be before it carries another request.
  bool IsQuiet() const;

  // Ends waiting reads and writes.
  void Close();
  bool closed() const { return closed_; }
  // Leaves HTTP: the socket, and what came behind the 101.
  net::UpgradedSocket Take();

 private:
  using Parser = boost::beast::http::response_parser<boost::beast::http::buffer_body>;

  net::AsyncResult<> WaitReady(net::StreamSocket::wait_type type);
  net::AsyncResult<std::size_t> Fill();
  void NewParser(bool to_head);
  base::Result<bool> ParseHead(bool to_head);
  base::Result<UpstreamHead> TakeHead();

  net::Stream stream_;
  std::string in_;  // received, not parsed yet
  std::optional<Parser> parser_;
  bool starved_ = false;  // the parser wants more than what is in `in_`
  bool silent_ = true;
  bool ended_ = false;  // the guest sent its last byte
  bool closed_ = false;
};

}  // namespace tinderbox::api
