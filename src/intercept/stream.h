// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/error.h"
#include "intercept/openssl.h"
#include "net/http_server.h"

namespace tinderbox::intercept {

// One end of a connection, in the clear or within TLS. At most one reader and one writer at once.
// Belongs to the loop's thread; every error is kUnavailable and says what the other side did.
class Stream {
 public:
  virtual ~Stream() = default;
  // At least one byte; 0 at the end.
  virtual net::AsyncResult<std::size_t> ReadSome(std::span<char> into) = 0;
  virtual net::AsyncResult<> Write(std::string_view data) = 0;
  // Says that no more will be written.
  virtual net::Task<> Finish() = 0;
  // Ends what is being waited for, and the connection: `reset` as after a failure.
  virtual void Close(bool reset) = 0;
};

// `buffered` was received already.
std::shared_ptr<Stream> MakePlainStream(net::StreamSocket socket, std::string buffered);

// A TLS connection before its handshake. Close may come at any time.
class TlsStream : public Stream {
 public:
  // As the server; `hello` is what the client has sent already.
  virtual net::AsyncResult<> Accept(std::string hello) = 0;
  // As the client of `name`, whose certificate has to be good for it.
  virtual net::AsyncResult<> Connect(const std::string& name) = 0;
};
std::shared_ptr<TlsStream> MakeTlsStream(net::StreamSocket socket, SSL_CTX* context);

// The client's side of TLS: verifies by the host's certificate authorities, and by those of the
// PEM file `more` where it is not empty (kNotFound or kInvalidArgument for one that cannot be
// used).
base::Result<SslContextPtr> MakeClientContext(const std::string& more);

}  // namespace tinderbox::intercept
