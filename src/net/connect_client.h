// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/json/value.hpp>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "base/deadline.h"
#include "base/error.h"
#include "net/connect_frame.h"
#include "net/http_client.h"

// The client's side of the Connect protocol, JSON codec: unary calls and server streams. Blocking,
// like the HTTP client beneath. Source: connectrpc.com/docs/protocol.
namespace tinderbox::net {

base::Code BaseCodeFromConnect(ConnectCode code);

// What an answer with an error status says, in either of the two shapes that we meet: Connect's
// {"code":"not_found","message":…} and REST's {"code":404,"message":…,"remedy":…}. A body that is
// neither is quoted, cut short, without control characters.
base::Error ErrorFromResponse(int status, std::string_view body);

// One unary call: `path` is "/package.Service/Method". Yields the answer's JSON.
base::Result<boost::json::value> CallConnect(HttpClient& client, const std::string& path,
                                             const HttpHeaders& headers,
                                             const boost::json::value& request,
                                             base::Deadline deadline);

// One server stream over a connection of its own. Dropping it closes the connection, which is how
// the server learns that nobody listens any more.
class ConnectStream {
 public:
  static constexpr std::size_t kMaxFrame = std::size_t{4} << 20;

  // Sends the request and waits for the head of the answer. An answer that is no stream is its
  // error.
  static base::Result<ConnectStream> Start(HttpClient client, const std::string& path,
                                           const HttpHeaders& headers,
                                           const boost::json::value& request,
                                           base::Deadline deadline);

  // The next message's JSON, unparsed; no value after a clean end. An error that the server ends
  // the stream with is returned as such; a connection that ends before the end-stream frame is
  // kUnavailable. kDeadlineExceeded (only with `deadline` passed) leaves the stream usable: then
  // poll(fd()) and come back.
  base::Result<std::optional<std::string>> Next(base::Deadline deadline);

  sys::FdRef fd() const { return client_.fd(); }

 private:
  explicit ConnectStream(HttpClient client);

  base::Result<std::optional<std::string>> End(std::string_view payload);

  HttpClient client_;
  ConnectDecoder decoder_;
  std::string buffer_;
  bool ended_ = false;
};

}  // namespace tinderbox::net
