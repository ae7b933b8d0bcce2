// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "api/upstream.h"

namespace tinderbox::api {

// Connections to guests that wait for their next request: a few for each port of each sandbox, for
// some seconds. Belongs to the loop's thread.
class UpstreamPool {
 public:
  explicit UpstreamPool(boost::asio::io_context& io) : sweep_(io) {}

  // A connection that is still open and quiet, or none.
  std::shared_ptr<Upstream> Take(const std::string& id, std::uint16_t port);
  // Keeps the connection if it can carry another request and there is room.
  void Give(const std::string& id, std::uint16_t port, std::shared_ptr<Upstream> upstream);
  // Closes every connection of the sandbox.
  void Drop(const std::string& id);
  void DropAll();
  std::size_t size() const { return size_; }

 private:
  using Clock = std::chrono::steady_clock;
  struct Idle {
    std::shared_ptr<Upstream> upstream;
    Clock::time_point since;
  };
  void ScheduleSweep();

  std::map<std::pair<std::string, std::uint16_t>, std::vector<Idle>> idle_;
  std::size_t size_ = 0;
  boost::asio::steady_timer sweep_;
  bool sweeping_ = false;
};

}  // namespace tinderbox::api
