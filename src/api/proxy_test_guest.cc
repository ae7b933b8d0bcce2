// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "api/proxy_test_guest.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <utility>
#include <vector>

namespace tinderbox::api {

RawSocket::RawSocket(sys::UniqueFd fd) : fd_(std::move(fd)) {
  const timeval limit{10, 0};
  ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
}

RawSocket RawSocket::Connect(std::uint16_t port) {
  sys::UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  return RawSocket(std::move(fd));
}

bool RawSocket::Send(std::string_view data) {
  while (!data.empty()) {
    const ssize_t n = ::send(fd_.get(), data.data(), data.size(), MSG_NOSIGNAL);
    if (n <= 0) return false;
    data.remove_prefix(static_cast<std::size_t>(n));
  }
  return true;
}

bool RawSocket::ReadMore() {
  char chunk[65536];
  const ssize_t n = ::recv(fd_.get(), chunk, sizeof(chunk), 0);
  errno_ = n < 0 ? errno : 0;
  if (n > 0) seen_.append(chunk, static_cast<std::size_t>(n));
  return n > 0;
}

std::size_t RawSocket::Discard(std::size_t max) {
  std::size_t count = std::min(seen_.size(), max);
  seen_.erase(0, count);
  std::vector<char> chunk(256 << 10);
  while (count < max) {
    const ssize_t n = ::recv(fd_.get(), chunk.data(), std::min(chunk.size(), max - count), 0);
    errno_ = n < 0 ? errno : 0;
    if (n <= 0) break;
    count += static_cast<std::size_t>(n);
  }
  return count;
}

std::string RawSocket::ReadChunked() {
  std::string body;
  while (true) {
    const std::string line = ReadUntil("\r\n");
    if (line.empty()) return body;
    const std::size_t size = std::strtoul(line.c_str(), nullptr, 16);
    body += ReadBytes(size);
    ReadBytes(2);
    if (size == 0) return body;
  }
}

RawGuest::RawGuest(std::function<void(RawSocket&)> serve)
    : serve_(std::move(serve)), listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  EXPECT_EQ(::listen(listener_.get(), 64), 0);
  socklen_t length = sizeof(address);
  ::getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &length);
  port_ = ntohs(address.sin_port);
  accept_ = std::thread([this] { Accept(); });
}

RawGuest::~RawGuest() {
  ::shutdown(listener_.get(), SHUT_RDWR);
  accept_.join();
  for (std::thread& thread : threads_) thread.join();
}

void RawGuest::Accept() {
  while (true) {
    sys::UniqueFd fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!fd) return;
    ++connections_;
    threads_.emplace_back([this, socket = std::make_shared<RawSocket>(std::move(fd))] {
      serve_(*socket);
      socket->Close();
    });
  }
}

}  // namespace tinderbox::api
