// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <memory>
#include <string_view>

#include "net/http_server.h"

namespace tinderbox::net {

// Bytes both ways between two connections that have left HTTP (WebSocket and the like), with a
// fixed buffer each way, so that a slow reader holds up its writer. Belongs to the loop's thread.
class Relay : public std::enable_shared_from_this<Relay> {
 public:
  Relay(UpgradedSocket a, UpgradedSocket b, std::chrono::seconds linger = std::chrono::seconds(60));

  // Returns when both directions have ended. A side that only ends its sending is given `linger`.
  Task<> Run();
  // Resets both connections.
  void Reset();

 private:
  Task<> Pump(UpgradedSocket& from, UpgradedSocket& to);
  Task<bool> Send(Stream& stream, std::string_view data);

  UpgradedSocket a_;
  UpgradedSocket b_;
  const std::chrono::seconds patience_;
  boost::asio::steady_timer linger_;
  boost::asio::steady_timer ended_;
  int running_ = 0;
  bool closed_ = false;
};

}  // namespace tinderbox::net
