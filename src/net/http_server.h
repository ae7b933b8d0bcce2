// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <boost/asio/io_context.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/deadline.h"
#include "base/error.h"
#include "net/http_message.h"
#include "net/stream.h"
#include "sys/fd.h"

// An HTTP/1.1 server of coroutines, for the daemon and for the agent. All of it belongs to the one
// thread that runs its io_context; nothing here may be called from another. Everything a client
// sends is bounded in size and time.
namespace tinderbox::net {

struct HttpLimits {
  std::size_t header_bytes = 64 << 10;  // request line and header fields together; beyond: 431
  std::size_t header_count = 200;       // beyond: 431
  std::uint64_t body_bytes = 1 << 20;   // unless the handler sets another (Exchange::SetBodyLimit)
  // Beyond: one that waits for a request makes room, if any has for a second; else 503 and close.
  std::size_t connections = 1000;
  // Unfinished handshakes of TLS, which cost memory by the hundred kilobytes; beyond: the oldest is
  // closed.
  std::size_t handshakes = 256;
  // Time limits, kept to within a second; zero is none.
  std::chrono::seconds handshake_timeout{10};  // of TLS, in all
  std::chrono::seconds head_timeout{30};       // from a request's first byte to the end of its head
  std::chrono::seconds idle_timeout{300};      // between requests on a kept connection
  std::chrono::seconds body_timeout{60};       // one ReadSome without a byte
  std::chrono::seconds write_timeout{60};      // a write without progress
};

// Who is at the other end.
struct HttpPeer {
  bool is_unix = false;
  uid_t uid = static_cast<uid_t>(-1);  // by the kernel's word (SO_PEERCRED); unix sockets only
  pid_t pid = -1;                      // the same
  std::string address;                 // "127.0.0.1", "::1"; empty for unix sockets
  std::uint16_t port = 0;
};

struct RequestHead {
  std::string method;  // as sent; upper case by custom
  std::string target;  // as sent
  std::string
      path;  // target up to '?', still percent-encoded; absolute-form is reduced to its path
  std::string query;  // after '?', still encoded
  HeaderList headers;
  bool keep_alive = true;
  bool http_1_0 = false;
};

// A connection that has left HTTP (after a 101).
struct UpgradedSocket {
  Stream stream;
  std::string buffered;  // bytes the client sent behind its request head; they come first
};

namespace internal {
class HttpConnection;
}

// One request and its response, valid until the handler returns. Reading the body and writing the
// response may go on at once from two coroutines (full duplex), but there is at most one reader and
// one writer at a time. Errors: kUnavailable where the client went away, kDeadlineExceeded where it
// kept us waiting, kInvalidArgument for broken framing, kResourceExhausted for a body over the
// limit.
//
// A handler that returns without a response gives 500; one that returns inside a begun stream
// resets the connection, so that no client takes half an answer for a whole one.
class Exchange {
 public:
  explicit Exchange(internal::HttpConnection& connection) : connection_(connection) {}
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

  const RequestHead& head() const;
  const HttpPeer& peer() const;
  boost::asio::any_io_executor executor() const;

  // --- Request body. Chunked coding is undone; a content coding is not.
  void SetBodyLimit(std::uint64_t bytes);
  // Length as announced; no value for chunked bodies. 0 where there is no body.
  std::optional<std::uint64_t> content_length() const;
  bool body_finished() const;
  // At least one byte, or 0 at the end of the body. Sends "100 Continue" first where the client
  // waits for it. `into` must stay valid until the result is there.
  AsyncResult<std::size_t> ReadSome(std::span<char> into);
  // The whole (rest of the) body; kResourceExhausted beyond `max` bytes.
  AsyncResult<std::string> ReadBody(std::size_t max);
  // Replaces the limit on one ReadSome without a byte (zero: none), for bodies that stay open.
  void SetBodyTimeout(std::chrono::seconds timeout);

  // --- Response. Content-Length, Transfer-Encoding, Connection and Date are the server's own: it
  // leaves out those that `headers` brings. Bodies of HEAD, 204 and 304 are dropped.

  // Fields that the response gets in addition, each unless the response has one of that name. Not
  // for Upgrade.
  void SetCommonHeaders(HeaderList headers);
  AsyncResult<> Respond(unsigned status, HeaderList headers, std::string body);
  // Begins a response of `length` bytes, or of unknown length (chunked; for HTTP/1.0 until close).
  // The head goes out with the first Write, or at once where `flush`.
  AsyncResult<> BeginStream(unsigned status, HeaderList headers,
                            std::optional<std::uint64_t> length = std::nullopt, bool flush = true);
  // One chunk, out at once; returns when the kernel has all of it, so a slow reader holds up the
  // caller and memory stays bounded. `data` must stay valid until then. Empty data writes nothing.
  AsyncResult<> Write(std::string_view data);
  // Writes up to `size` bytes of a file, from `offset`, without a copy in user space. Returns how
  // many bytes: fewer if the file ends early. Returns 0 at the end of the file, and if the kernel
  // cannot do this: before the first Write, with TLS, in a chunked response, or for some file
  // systems. Then use Write. Reading the file may block. The process must ignore SIGPIPE.
  AsyncResult<std::uint64_t> WriteFile(sys::FdRef file, std::uint64_t offset, std::uint64_t size);
  // Ends the stream; an error where fewer bytes were written than announced.
  AsyncResult<> Finish();
  // Resets the connection (RST): the client sees a transport error, never an end.
  void Abort();
  bool response_begun() const;

  // --- The client's going away. Seen at once unless more than 64 KiB of what it sent before are
  // still unread. A client that half-closes counts as gone.
  bool disconnected() const;
  // Called at most once, on the loop's thread; at once where the client is already gone. An empty
  // function takes it back. Not called after the handler has returned.
  void OnDisconnect(std::function<void()> callback);
  // Returns when the client is gone or the server stops.
  Task<> AwaitDisconnect();

  // Sends "101 Switching Protocols" with these headers (Connection and Upgrade are the caller's)
  // and hands the connection over; the Exchange is then good for nothing but its head().
  AsyncResult<UpgradedSocket> Upgrade(HeaderList headers);
  // Hands the connection over without a word, for a proxy that relays the upstream's own 101.
  UpgradedSocket TakeSocket();

 private:
  internal::HttpConnection& connection_;
};

// Runs as a coroutine per request; must not throw (what escapes becomes 500).
using HttpHandler = std::function<Task<>(Exchange&)>;

class HttpServer {
 public:
  HttpServer(boost::asio::io_context& io, HttpLimits limits, HttpHandler handler);
  // Closes everything at once; the handlers that still run end on their next use of their Exchange.
  // They may then run once more on the io_context, so what they use must outlive it: call Stop
  // first.
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // Binds and listens; `address` is an IP literal. Port 0 takes a free one. Returns the port. With
  // `tls` that port speaks TLS alone; a plain request is told so with 400. A handshake counts like
  // a connection that has not sent a request yet.
  base::Result<std::uint16_t> ListenTcp(const std::string& address, std::uint16_t port,
                                        TlsAcceptor tls = {});
  // Replaces a socket file that nobody listens on; kAlreadyExists where somebody does.
  base::Result<> ListenUnix(const std::string& path, mode_t mode);
  // Takes a listening socket of either kind.
  base::Result<> Adopt(sys::UniqueFd listening);

  // Accepts no more, closes idle connections, waits for running handlers until `deadline`, then
  // cuts them off and waits for their coroutines to end. Idempotent.
  Task<> Stop(base::Deadline deadline);

  std::size_t connections() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace tinderbox::net
