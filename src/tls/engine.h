// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <openssl/ssl.h>

#include <memory>
#include <string>

#include "net/stream.h"

namespace tinderbox::tls {

template <auto kFree>
struct Freed {
  template <typename T>
  void operator()(T* object) const {
    kFree(object);
  }
};
using SslCtx = std::unique_ptr<SSL_CTX, Freed<SSL_CTX_free>>;
using Ssl = std::unique_ptr<SSL, Freed<SSL_free>>;

// A context for either side, with what both have in common: TLS 1.2 at least, no renegotiation, no
// buffers kept by idle connections. Null where OpenSSL cannot make one.
SslCtx MakeContext(const SSL_METHOD* method);

// OpenSSL between us and a non-blocking socket, which must outlive it. What OpenSSL writes goes to
// the socket at once; what that does not take waits here, at most kMostPending, so that no call of
// OpenSSL ever has to be repeated for want of room.
class Engine final : public net::TlsEngine {
 public:
  static constexpr std::size_t kMostPending = 128 << 10;

  // Takes `ssl`, whose side (accept or connect state) is set.
  Engine(Ssl ssl, int fd);
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  Step Handshake() override;
  ssize_t Receive(std::span<char> into) override;
  ssize_t Peek() override;
  ssize_t Send(std::span<const iovec> pieces) override;
  bool flushed() const override { return sent_ == pending_.size(); }
  bool Flush() override;
  void EndSending() override;

 private:
  struct Bio;
  int WriteRaw(const char* data, std::size_t size);
  ssize_t Failed(int error);

  const int fd_;
  bool ended_ = false;   // the socket's end was read
  bool broken_ = false;  // OpenSSL has given up
  std::string pending_;  // ciphertext that the socket has not taken, from sent_ on
  std::size_t sent_ = 0;
  Ssl ssl_;
};

}  // namespace tinderbox::tls
