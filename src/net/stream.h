// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/socket.h>
#include <sys/types.h>

#include <boost/asio/generic/stream_protocol.hpp>
#include <cerrno>
#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <utility>

#include "net/gather.h"

namespace tinderbox::net {

using StreamSocket = boost::asio::generic::stream_protocol::socket;

// What TLS does to a connection's bytes, between us and its non-blocking socket; the component
// `tls` has the one there is. Speaks in the words of recv(2): a count, 0 at the end, or -1 with
// errno.
class TlsEngine {
 public:
  virtual ~TlsEngine() = default;

  enum class Step { kDone, kWantRead, kWantWrite, kFailed };
  // Goes on with the handshake: to be called again once the socket is ready for what it wants.
  virtual Step Handshake() = 0;
  virtual ssize_t Receive(std::span<char> into) = 0;
  // Whether the other side's end can be read next, as recv's 0, without taking a byte. -1 with
  // EAGAIN where nothing is there.
  virtual ssize_t Peek() = 0;
  // Takes some of the pieces, of which there is at least one; only where it is flushed. A bounded
  // part of what it took may not be the kernel's yet.
  virtual ssize_t Send(std::span<const iovec> pieces) = 0;
  virtual bool flushed() const = 0;  // the kernel has all that was taken
  // Goes on handing over what was taken; false with errno: EAGAIN, or the connection is gone.
  virtual bool Flush() = 0;
  // Tells the other side that nothing more will come. Best effort.
  virtual void EndSending() = 0;
};

// One connection, plain or with TLS: a socket to wait on, and the calls that move bytes. Plain,
// they are the system's own. None blocks; all belong to the loop's thread.
class Stream {
 public:
  // Not explicit: a socket is a stream without TLS.
  Stream(StreamSocket socket, std::unique_ptr<TlsEngine> tls = nullptr)
      : socket_(std::move(socket)), tls_(std::move(tls)) {}

  StreamSocket& socket() { return socket_; }
  const StreamSocket& socket() const { return socket_; }
  TlsEngine* tls() const { return tls_.get(); }

  // 0 at the end of what the other side sends; -1 with errno (EAGAIN: wait_read, then again).
  ssize_t Receive(std::span<char> into) {
    if (tls_) [[unlikely]]
      return tls_->Receive(into);
    return ::recv(socket_.native_handle(), into.data(), into.size(), MSG_DONTWAIT);
  }
  // 1, 0 at the end, -1 with errno; whatever it is stays to be received.
  ssize_t Peek() const {
    if (tls_) [[unlikely]]
      return tls_->Peek();
    char byte;
    return ::recv(const_cast<StreamSocket&>(socket_).native_handle(), &byte, 1,
                  MSG_PEEK | MSG_DONTWAIT);
  }
  // Sends some of what is left of `gather`. Negative with errno (EAGAIN: wait_write, then again).
  ssize_t Send(Gather& gather) {
    if (!tls_) [[likely]]
      return gather.SendSome(socket_.native_handle());
    if (!tls_->Flush()) return -1;
    if (gather.done()) return 0;
    const ssize_t taken = tls_->Send(gather.left());
    if (taken > 0) gather.Advance(static_cast<std::size_t>(taken));
    return taken;
  }
  // Whether the kernel has all of `gather`.
  bool Sent(const Gather& gather) const { return gather.done() && (!tls_ || tls_->flushed()); }

  // Nothing more will be sent; the other side may go on.
  void EndSending() {
    if (tls_) tls_->EndSending();
    ::shutdown(socket_.native_handle(), SHUT_WR);
  }
  // Closes in order. Not yet sent bytes still go out.
  void Close() {
    if (tls_) tls_->EndSending();
    CloseSocket();
  }
  // The other side sees an error, never an end.
  void Reset() {
    const linger reset{1, 0};
    ::setsockopt(socket_.native_handle(), SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    CloseSocket();
  }

 private:
  void CloseSocket() {
    boost::system::error_code ignored;
    socket_.close(ignored);
  }

  StreamSocket socket_;
  std::unique_ptr<TlsEngine> tls_;
};

// Makes the engine for an accepted connection; null where it cannot. The descriptor stays the
// stream's.
using TlsAcceptor = std::function<std::unique_ptr<TlsEngine>(int fd)>;

}  // namespace tinderbox::net
