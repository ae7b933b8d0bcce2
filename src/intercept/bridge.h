// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "intercept/authority.h"
#include "intercept/body.h"
#include "intercept/http_head.h"
#include "intercept/stream.h"
#include "net/http_server.h"

namespace tinderbox::intercept {

struct BridgeOptions {
  std::string name;          // the host, normal: every request has to be for it
  std::uint16_t port = 443;  // 443: TLS on both sides
  // What every request gets, asked for at each: fields that are set in place of those it has. An
  // error is told to the guest, so it names no value.
  std::function<net::AsyncResult<net::HeaderList>()> headers;
  std::chrono::milliseconds handshake{10'000};
  std::chrono::milliseconds head{30'000};         // from a request's first byte to its head's end
  std::chrono::milliseconds idle{300'000};        // between requests
  std::chrono::milliseconds exchange{3'600'000};  // without a byte within one
  std::chrono::milliseconds farewell{2'000};      // after a refusal, until the guest has read it
};

// The ends of a connection that are there already.
struct BridgeEnds {
  net::StreamSocket client;
  std::string first;  // that the client has sent: a ClientHello, or the begin of a request
  net::StreamSocket server;
};

// Carries HTTP/1.1 from a guest to a server, and sets fields of every request's head on its way;
// bodies and answers pass as they are. One request at a time: the next one is looked at when the
// answer is complete, so that both sides agree on where a message ends. After 101 the bytes pass
// raw. Whatever is doubtful ends the connection. Belongs to the loop's thread.
class Bridge : public std::enable_shared_from_this<Bridge> {
 public:
  // Both contexts: of TLS alone. They may go when this returns.
  Bridge(BridgeEnds ends, BridgeOptions options, SSL_CTX* as_server, SSL_CTX* as_client);

  // Returns when it is over.
  net::Task<> Run();
  // Resets both connections.
  void Reset();

 private:
  using Clock = std::chrono::steady_clock;
  struct Current {
    bool to_head = false;
    bool upgrade = false;
  };

  net::Task<> Serve();
  net::Task<bool> ServeOne();
  net::AsyncResult<std::size_t> ReadHead();
  net::AsyncResult<RequestText> Check(std::size_t length);
  net::AsyncResult<> SendHead(const RequestText& request, Body& body);
  net::AsyncResult<> SendBody(Body& body);
  net::Task<bool> AwaitAnswer();
  net::Task<> Refuse(unsigned status, std::string why);

  net::Task<> Answers();
  net::AsyncResult<bool> AnswerOne();
  net::AsyncResult<> AnswerBody(Body& body);
  net::AsyncResult<std::size_t> FillAnswer();

  net::AsyncResult<> PassRaw(Stream& from, std::string& buffered, Stream& to);
  net::Task<> End();
  void SetDeadline(std::chrono::milliseconds after);
  void Watch();
  void Close(bool reset);

  const BridgeOptions options_;
  std::shared_ptr<Stream> client_;
  std::shared_ptr<Stream> server_;
  std::shared_ptr<TlsStream> client_tls_;  // the same two, before their handshakes
  std::shared_ptr<TlsStream> server_tls_;
  std::string hello_;

  std::string in_;   // of the client, not looked at yet
  std::string out_;  // of the server
  std::optional<Current> current_;
  bool connected_ = false;  // the server's side is ready, and listened to
  bool raw_ = false;
  bool last_ = false;     // no request after this
  bool ending_ = false;   // the guest was told that nothing follows, while we listened to it
  bool waiting_ = false;  // for an answer: the client's side looks at nothing else
  bool closed_ = false;
  bool answering_ = false;             // Answers runs
  boost::asio::steady_timer changed_;  // cancelled whenever one of the above does
  boost::asio::steady_timer watch_;
  Clock::time_point deadline_ = Clock::time_point::max();
  Clock::time_point watched_ = Clock::time_point::max();
};

}  // namespace tinderbox::intercept
