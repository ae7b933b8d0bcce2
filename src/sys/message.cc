// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "sys/message.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>
#include <vector>

namespace tinderbox::sys {

using base::Code;
using base::Fail;
using base::FailErrno;
using base::Result;

namespace {

Result<sockaddr_un> AddressOf(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    return FailErrno(ENAMETOOLONG, fmt::format("address '{}'", path));
  }
  std::memcpy(address.sun_path, path.c_str(), path.size());
  return address;
}

}  // namespace

Result<std::pair<UniqueFd, UniqueFd>> MessagePair() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    return FailErrno(errno, "make a socket pair");
  }
  return std::pair(UniqueFd(ends[0]), UniqueFd(ends[1]));
}

Result<> ReceiveSenders(FdRef socket) {
  const int on = 1;
  if (::setsockopt(socket.get(), SOL_SOCKET, SO_PASSCRED, &on, sizeof on) != 0) {
    return FailErrno(errno, "ask for senders' credentials");
  }
  return {};
}

Result<> SendMessage(FdRef socket, std::span<const std::byte> data, std::span<const int> fds) {
  iovec part{const_cast<std::byte*>(data.data()), data.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  std::vector<char> control(CMSG_SPACE(fds.size_bytes()));
  if (!fds.empty()) {
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(fds.size_bytes());
    std::memcpy(CMSG_DATA(header), fds.data(), fds.size_bytes());
  }
  for (;;) {
    if (::sendmsg(socket.get(), &message, MSG_NOSIGNAL) >= 0) return {};
    if (errno != EINTR) return FailErrno(errno, "send a message");
  }
}

Result<bool> WaitReadable(FdRef socket, base::Deadline deadline) {
  for (;;) {
    pollfd entry{socket.get(), POLLIN, 0};
    const int ready = ::poll(&entry, 1, deadline.poll_timeout());
    if (ready > 0) return true;
    if (ready < 0 && errno != EINTR) return FailErrno(errno, "wait for a message");
    if (deadline.passed()) return false;
  }
}

Result<ReceivedMessage> ReceiveMessage(FdRef socket, std::span<std::byte> buffer,
                                       base::Deadline deadline) {
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(ucred))];
  for (;;) {
    if (!TRY(WaitReadable(socket, deadline))) {
      return Fail(Code::kDeadlineExceeded, "receive a message: the deadline passed");
    }
    iovec part{buffer.data(), buffer.size()};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    const ssize_t n = ::recvmsg(socket.get(), &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    // A peer that ended with something of ours unread: said once, and before what it sent last. The
    // next call yields that, or the hang-up.
    if (n < 0 && errno == ECONNRESET) continue;
    if (n < 0) return FailErrno(errno, "receive a message");
    if ((message.msg_flags & MSG_TRUNC) != 0) return FailErrno(EMSGSIZE, "receive a message");
    ReceivedMessage received{static_cast<std::size_t>(n), 0};
    for (cmsghdr* h = CMSG_FIRSTHDR(&message); h != nullptr; h = CMSG_NXTHDR(&message, h)) {
      if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_CREDENTIALS) continue;
      ucred credentials{};
      std::memcpy(&credentials, CMSG_DATA(h), sizeof credentials);
      received.sender = credentials.pid;
    }
    return received;
  }
}

Result<UniqueFd> ListenUnixAt(FdRef directory, const std::string& name) {
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return FailErrno(errno, "make a unix socket");
  // Through /proc: a unix address holds 107 bytes, a path may hold more. The socket's own mode goes
  // into that of its file, so that the file is never there with another one.
  const auto address = TRY(AddressOf(fmt::format("/proc/self/fd/{}/{}", directory.get(), name)));
  if (::fchmod(fd.get(), 0600) != 0 ||
      ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(fd.get(), SOMAXCONN) != 0) {
    return FailErrno(errno, fmt::format("listen on '{}'", name));
  }
  return fd;
}

Result<UniqueFd> ConnectUnixFd(FdRef path_fd) {
  // Non-blocking while it connects: a listener that never accepts, its backlog full, would hold a
  // blocking connect for ever.
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return FailErrno(errno, "make a unix socket");
  const auto address = TRY(AddressOf(fmt::format("/proc/self/fd/{}", path_fd.get())));
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return FailErrno(errno, "connect to a unix socket");
  }
  if (::fcntl(fd.get(), F_SETFL, 0) != 0) return FailErrno(errno, "make a socket block");
  return fd;
}

}  // namespace tinderbox::sys
