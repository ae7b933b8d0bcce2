// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <deque>
#include <map>
#include <memory>
#include <string>

#include "api/worker_pool.h"
#include "net/http_message.h"
#include "net/http_server.h"
#include "sandbox/manager.h"

namespace tinderbox::api {

// Connects to ports of guests on threads of its own. A guest that answers no connection holds at
// most `per_sandbox` of them: its further callers wait here, everybody else's go on. Belongs to the
// loop's thread.
class DialGate {
 public:
  struct Options {
    std::size_t threads = 64;
    std::size_t per_sandbox = 16;
    std::size_t waiting_per_sandbox = 1024;  // beyond: kResourceExhausted
    std::chrono::milliseconds deadline{5000};
  };
  DialGate(boost::asio::io_context& io, sandbox::Manager& manager, Options options);

  // A connected socket. A port that nobody has open on the guest's network is looked for on its
  // loopback (guest_tunnel.h). A refused port is tried again for a quarter of a second, since
  // servers are often asked in the moment in which they start. Errors: those of Manager::Dial.
  net::AsyncResult<net::StreamSocket> Dial(std::string id, std::uint16_t port);

 private:
  struct Gate {
    std::size_t active = 0;
    std::deque<std::shared_ptr<boost::asio::steady_timer>> waiting;
  };
  net::AsyncResult<> Enter(std::string id);
  void Leave(const std::string& id);
  net::AsyncResult<int> DialFd(std::string id, std::uint16_t port);

  boost::asio::io_context& io_;
  sandbox::Manager& manager_;
  const Options options_;
  std::map<std::string, Gate> gates_;
  WorkerPool workers_;
};

}  // namespace tinderbox::api
