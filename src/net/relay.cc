// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "net/relay.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <utility>

#include "net/gather.h"

namespace tinderbox::net {
namespace {

namespace asio = boost::asio;

constexpr std::size_t kBuffer = 64 << 10;

}  // namespace

Relay::Relay(UpgradedSocket a, UpgradedSocket b, std::chrono::seconds linger)
    : a_(std::move(a)),
      b_(std::move(b)),
      patience_(linger),
      linger_(a_.stream.socket().get_executor()),
      ended_(a_.stream.socket().get_executor(), std::chrono::steady_clock::time_point::max()) {}

Task<> Relay::Run() {
  const auto self = shared_from_this();
  running_ = 2;
  const auto pump = [self](UpgradedSocket& from, UpgradedSocket& to) {
    asio::co_spawn(self->a_.stream.socket().get_executor(), self->Pump(from, to),
                   [self](std::exception_ptr) {
                     --self->running_;
                     if (self->running_ == 0) self->ended_.cancel();
                   });
  };
  pump(a_, b_);
  pump(b_, a_);
  boost::system::error_code ignored;
  while (running_ > 0) {
    co_await ended_.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
  linger_.cancel();
  if (!closed_) Reset();
}

Task<bool> Relay::Send(Stream& stream, std::string_view data) {
  Gather gather(data, {}, {});
  while (!stream.Sent(gather)) {
    if (closed_) co_return false;
    if (stream.Send(gather) >= 0 || errno == EINTR) continue;
    if (errno != EAGAIN) co_return false;
    boost::system::error_code ec;
    co_await stream.socket().async_wait(StreamSocket::wait_write,
                                        asio::redirect_error(asio::use_awaitable, ec));
    if (ec) co_return false;
  }
  co_return true;
}

Task<> Relay::Pump(UpgradedSocket& from, UpgradedSocket& to) {
  std::string buffer = std::exchange(from.buffered, {});
  bool alive = co_await Send(to.stream, buffer);
  buffer.resize(kBuffer);
  bool ended = false;
  while (alive && !ended && !closed_) {
    const ssize_t n = from.stream.Receive(buffer);
    if (n > 0) {
      alive =
          co_await Send(to.stream, std::string_view(buffer.data(), static_cast<std::size_t>(n)));
    } else if (n == 0) {
      ended = true;
    } else if (errno == EAGAIN) {
      boost::system::error_code ec;
      co_await from.stream.socket().async_wait(StreamSocket::wait_read,
                                               asio::redirect_error(asio::use_awaitable, ec));
      alive = !ec;
    } else {
      alive = errno == EINTR;
    }
  }
  if (closed_) co_return;
  if (!alive) {
    Reset();
    co_return;
  }
  // The other direction may have more to say, but not without end.
  to.stream.EndSending();
  linger_.expires_after(patience_);
  linger_.async_wait([self = shared_from_this()](boost::system::error_code ec) {
    if (!ec) self->Reset();
  });
}

void Relay::Reset() {
  if (closed_) return;
  closed_ = true;
  for (Stream* stream : {&a_.stream, &b_.stream}) {
    // After two orderly ends this is no reset: there is nothing left to cut off.
    if (running_ > 0) {
      stream->Reset();
    } else {
      stream->Close();
    }
  }
}

}  // namespace tinderbox::net
