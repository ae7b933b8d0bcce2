// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/deadline.h"
#include "base/error.h"
#include "sys/fd.h"

// A blocking HTTP/1.1 client over one connection: a unix socket, a TCP socket, or any connected
// stream socket that the caller made (inside a network namespace, say).
//
// Every operation takes a deadline and fails with kDeadlineExceeded when it passes. The peer's
// death or refusal is kUnavailable; bytes that are not HTTP, or a body larger than allowed, are
// kDataLoss and kResourceExhausted. After any failure the connection is not usable again. The
// client never shuts its sending side down: Firecracker's server drops the pending reply if one
// does.
//
// What it takes from lenient servers: a status line without reason phrase, with or without the
// space before it; 204 without Content-Length; interim 1xx answers, which are skipped.
namespace tinderbox::net {

// Where to connect. TCP names are resolved with getaddrinfo(3), which may block past the deadline.
struct Endpoint {
  std::string unix_path;  // where not empty, the rest does not count
  std::string host;
  std::uint16_t port = 0;

  // "/run/x.sock", "127.0.0.1:3000", "[::1]:3000"
  std::string ToString() const;
};

// "unix:///path", "/path", "http://host[:port]", "host:port". https is kUnimplemented.
base::Result<Endpoint> ParseEndpoint(std::string_view text);

// A connected, non-blocking, close-on-exec stream socket. Nothing listening is kUnavailable.
base::Result<sys::UniqueFd> ConnectTo(const Endpoint& endpoint, base::Deadline deadline);

struct HttpHeader {
  std::string name;
  std::string value;
};
using HttpHeaders = std::vector<HttpHeader>;

// The first header of that name, compared without case; absence is no value.
std::optional<std::string_view> FindHeader(const HttpHeaders& headers, std::string_view name);

struct HttpRequest {
  std::string method = "GET";
  std::string target = "/";  // path and query, percent-encoded by the caller
  HttpHeaders headers;       // Host, Content-Length and Transfer-Encoding are ours to write, except
                             // that a Host here replaces our own
  std::string body;
};

struct HttpResponseHead {
  int status = 0;
  HttpHeaders headers;
};

struct HttpResponse {
  int status = 0;
  HttpHeaders headers;
  std::string body;
};

// How the body of a request passed to Start() is framed.
struct StreamedBody {
  std::optional<std::uint64_t> length;  // Content-Length; without it, chunked
};

class HttpClient {
 public:
  static constexpr std::size_t kDefaultMaxBody = std::size_t{16} << 20;

  static base::Result<HttpClient> Connect(const Endpoint& endpoint, base::Deadline deadline);
  static base::Result<HttpClient> ConnectUnix(const std::string& path, base::Deadline deadline);
  static base::Result<HttpClient> ConnectTcp(const std::string& host, std::uint16_t port,
                                             base::Deadline deadline);

  // Takes a connected stream socket and makes it non-blocking. `peer` is how errors name it; it is
  // also the Host header where it reads like one (else that is localhost).
  explicit HttpClient(sys::UniqueFd socket, std::string peer = "localhost");
  HttpClient(HttpClient&&) noexcept;
  HttpClient& operator=(HttpClient&&) noexcept;
  ~HttpClient();

  // One whole exchange. A response body longer than `max_body` is kResourceExhausted. Any status is
  // a success here. May be called again while reusable().
  base::Result<HttpResponse> Request(const HttpRequest& request, base::Deadline deadline,
                                     std::size_t max_body = kDefaultMaxBody);

  // Streaming, step by step. Start sends the head and request.body (complete, with its
  // Content-Length).
  base::Result<> Start(const HttpRequest& request, base::Deadline deadline);
  // Start for a body that follows by WriteSome; request.body must be empty.
  base::Result<> Start(const HttpRequest& request, StreamedBody body, base::Deadline deadline);

  // Sends some of `data` (at least one byte), or all of it. Not for empty data.
  base::Result<std::size_t> WriteSome(std::string_view data, base::Deadline deadline);
  base::Result<> Write(std::string_view data, base::Deadline deadline);
  // Ends the request's body: the last chunk, or a check that the promised length was sent.
  base::Result<> FinishBody(base::Deadline deadline);

  // The response's head; may be called before the request's body is complete.
  base::Result<HttpResponseHead> ReadHead(base::Deadline deadline);
  // Some bytes of the response's body, 0 at its end. ReadHead comes first. A deadline that has
  // passed still yields what is there without waiting; only then does kDeadlineExceeded leave the
  // connection usable, so that a caller may poll(fd()) and come back.
  base::Result<std::size_t> ReadSome(std::span<char> out, base::Deadline deadline);

  // One thread may write (WriteSome, Write, FinishBody) while one other reads (ReadHead, ReadSome).

  // The socket, for poll(2). Received bytes may wait in our buffer: poll only after ReadSome said
  // kDeadlineExceeded.
  sys::FdRef fd() const;
  // The exchange is complete, both sides agreed to keep the connection, and nothing failed.
  bool reusable() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace tinderbox::net
