// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

#include "net/http_client.h"
#include "net/test_reader.h"

// For the proxy's tests: raw ends, which can do what no library would.
namespace tinderbox::api {

// A blocking socket with a time limit of 10 s on every receive.
class RawSocket final : public net::TestReader {
 public:
  explicit RawSocket(sys::UniqueFd fd);
  static RawSocket Connect(std::uint16_t port);

  bool Send(std::string_view data);
  // Receives into the void until the end or `max`; returns the count.
  std::size_t Discard(std::size_t max);
  // The body of a message with chunked coding, without its framing.
  std::string ReadChunked();
  int last_errno() const { return errno_; }
  int fd() const { return fd_.get(); }
  void Close() { fd_.Reset(); }

 private:
  bool ReadMore() override;
  sys::UniqueFd fd_;
  int errno_ = 0;
};

// A server on a loopback port that runs `serve` on a thread for each connection.
class RawGuest {
 public:
  explicit RawGuest(std::function<void(RawSocket&)> serve);
  // Joins the threads: whatever they wait for must have come to its end.
  ~RawGuest();

  std::uint16_t port() const { return port_; }
  int connections() const { return connections_; }

 private:
  void Accept();
  const std::function<void(RawSocket&)> serve_;
  sys::UniqueFd listener_;
  std::uint16_t port_ = 0;
  std::atomic<int> connections_ = 0;
  std::list<std::thread> threads_;
  std::thread accept_;
};

}  // namespace tinderbox::api
