// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <span>
#include <string_view>

namespace tinderbox::net {

// Up to three pieces on their way into a socket, in order, with as few system calls as it allows.
// The pieces belong to the caller and outlive this.
class Gather {
 public:
  Gather(std::string_view a, std::string_view b, std::string_view c) {
    for (const std::string_view part : {a, b, c}) {
      if (!part.empty()) parts_[count_++] = {const_cast<char*>(part.data()), part.size()};
    }
  }

  bool done() const { return first_ == count_; }
  std::span<const iovec> left() const { return std::span(parts_).subspan(first_, count_ - first_); }

  // Sends what the socket takes at once, without SIGPIPE; never blocks. Negative, with errno, where
  // it takes nothing (EAGAIN) or is gone.
  ssize_t SendSome(int socket) {
    msghdr message{};
    message.msg_iov = &parts_[first_];
    message.msg_iovlen = count_ - first_;
    const ssize_t sent = ::sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent > 0) Advance(static_cast<std::size_t>(sent));
    return sent;
  }

  // The first `n` bytes of what is left are on their way.
  void Advance(std::size_t n) {
    for (; first_ < count_ && n >= parts_[first_].iov_len; ++first_) n -= parts_[first_].iov_len;
    if (first_ == count_) return;
    parts_[first_].iov_base = static_cast<char*>(parts_[first_].iov_base) + n;
    parts_[first_].iov_len -= n;
  }

 private:
  std::array<iovec, 3> parts_{};
  std::size_t first_ = 0;
  std::size_t count_ = 0;
};

}  // namespace tinderbox::net
