// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "tls/engine.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

namespace tinderbox::tls {
namespace {

// The most that a record holds.
constexpr std::size_t kRecord = 16 << 10;

}  // namespace

SslCtx MakeContext(const SSL_METHOD* method) {
  SslCtx context(SSL_CTX_new(method));
  if (!context || SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION) != 1) return nullptr;
  // Renegotiation would let a peer make us work for nothing, and turn reads into writes. An end
  // without TLS's own word for it is an end: HTTP's framing tells what is whole.
  SSL_CTX_set_options(context.get(), SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                         SSL_OP_IGNORE_UNEXPECTED_EOF);
  SSL_CTX_set_mode(context.get(), SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_session_cache_mode(context.get(), SSL_SESS_CACHE_OFF);
  SSL_CTX_set_read_ahead(context.get(), 1);  // a record's head and body by one call
  return context;
}

// OpenSSL's way to the socket.
struct Engine::Bio {
  static int Write(BIO* bio, const char* data, int size) {
    return static_cast<Engine*>(BIO_get_data(bio))->WriteRaw(data, static_cast<std::size_t>(size));
  }
  static int Read(BIO* bio, char* into, int size) {
    auto* const self = static_cast<Engine*>(BIO_get_data(bio));
    BIO_clear_retry_flags(bio);
    const ssize_t n = ::recv(self->fd_, into, static_cast<std::size_t>(size), MSG_DONTWAIT);
    if (n == 0) self->ended_ = true;
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) BIO_set_retry_read(bio);
    return static_cast<int>(n);
  }
  static long Control(BIO* bio, int command, long, void*) {
    if (command == BIO_CTRL_EOF) return static_cast<Engine*>(BIO_get_data(bio))->ended_ ? 1 : 0;
    return command == BIO_CTRL_FLUSH ? 1 : 0;
  }
  static int Create(BIO* bio) {
    BIO_set_init(bio, 1);
    return 1;
  }
  static const BIO_METHOD* Method() {
    // Made once: a table of functions, which OpenSSL wants on its heap.
    static const std::unique_ptr<BIO_METHOD, Freed<BIO_meth_free>> method = [] {
      std::unique_ptr<BIO_METHOD, Freed<BIO_meth_free>> made(
          BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "tinderbox socket"));
      BIO_meth_set_write(made.get(), Write);
      BIO_meth_set_read(made.get(), Read);
      BIO_meth_set_ctrl(made.get(), Control);
      BIO_meth_set_create(made.get(), Create);
      return made;
    }();
    return method.get();
  }
};

Engine::Engine(Ssl ssl, int fd) : fd_(fd), ssl_(std::move(ssl)) {
  BIO* const bio = BIO_new(Bio::Method());
  if (bio == nullptr) {
    broken_ = true;
    return;
  }
  BIO_set_data(bio, this);
  SSL_set_bio(ssl_.get(), bio, bio);  // takes it
}

int Engine::WriteRaw(const char* data, std::size_t size) {
  std::size_t taken = 0;
  while (flushed() && taken < size) {
    const ssize_t n = ::send(fd_, data + taken, size - taken, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n >= 0) {
      taken += static_cast<std::size_t>(n);
    } else if (errno == EAGAIN) {
      break;
    } else if (errno != EINTR) {
      return -1;
    }
  }
  if (pending_.size() - sent_ + size - taken > kMostPending) return -1;
  pending_.append(data + taken, size - taken);
  return static_cast<int>(size);
}

bool Engine::Flush() {
  while (!flushed()) {
    const ssize_t n =
        ::send(fd_, pending_.data() + sent_, pending_.size() - sent_, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n >= 0) {
      sent_ += static_cast<std::size_t>(n);
    } else if (errno != EINTR) {
      return false;
    }
  }
  if (sent_ > 0) std::string().swap(pending_);
  sent_ = 0;
  return true;
}

net::TlsEngine::Step Engine::Handshake() {
  if (broken_) return Step::kFailed;
  if (!Flush()) return errno == EAGAIN ? Step::kWantWrite : Step::kFailed;
  ERR_clear_error();
  const int done = SSL_do_handshake(ssl_.get());
  const bool wants_read = done != 1 && SSL_get_error(ssl_.get(), done) == SSL_ERROR_WANT_READ;
  if (done != 1 && !wants_read) {
    broken_ = true;  // the alert that says why is out already, if the socket took it
    return Step::kFailed;
  }
  if (!flushed()) return Step::kWantWrite;
  return wants_read ? Step::kWantRead : Step::kDone;
}

// What a failed call of OpenSSL is in the words of recv(2).
ssize_t Engine::Failed(int error) {
  if (error == SSL_ERROR_ZERO_RETURN) return 0;
  errno = error == SSL_ERROR_WANT_READ ? EAGAIN : ECONNRESET;
  if (error != SSL_ERROR_WANT_READ) broken_ = true;
  return -1;
}

ssize_t Engine::Receive(std::span<char> into) {
  if (broken_) return Failed(SSL_ERROR_SSL);
  ERR_clear_error();
  std::size_t n = 0;
  const int done = SSL_read_ex(ssl_.get(), into.data(), into.size(), &n);
  return done == 1 ? static_cast<ssize_t>(n) : Failed(SSL_get_error(ssl_.get(), done));
}

ssize_t Engine::Peek() {
  if (broken_) return Failed(SSL_ERROR_SSL);
  ERR_clear_error();
  char byte;
  std::size_t n = 0;
  const int done = SSL_peek_ex(ssl_.get(), &byte, 1, &n);
  return done == 1 ? 1 : Failed(SSL_get_error(ssl_.get(), done));
}

// One record for small pieces together: each would cost a call and some thirty bytes.
ssize_t Engine::Send(std::span<const iovec> pieces) {
  static thread_local std::array<char, kRecord> joined;
  const char* data = static_cast<const char*>(pieces[0].iov_base);
  std::size_t size = std::min(pieces[0].iov_len, kRecord);
  if (size < kRecord && pieces.size() > 1) {
    data = joined.data();
    size = 0;
    for (const iovec& piece : pieces) {
      const std::size_t n = std::min(piece.iov_len, kRecord - size);
      std::memcpy(joined.data() + size, piece.iov_base, n);
      size += n;
    }
  }
  ERR_clear_error();
  std::size_t n = 0;
  if (!broken_ && SSL_write_ex(ssl_.get(), data, size, &n) == 1) return static_cast<ssize_t>(n);
  // Never for want of room, and after the handshake never for want of input.
  return Failed(SSL_ERROR_SSL);
}

void Engine::EndSending() {
  if (broken_ || SSL_is_init_finished(ssl_.get()) != 1) return;
  if ((SSL_get_shutdown(ssl_.get()) & SSL_SENT_SHUTDOWN) != 0) return;
  ERR_clear_error();
  (void)SSL_shutdown(ssl_.get());
  (void)Flush();
}

}  // namespace tinderbox::tls
