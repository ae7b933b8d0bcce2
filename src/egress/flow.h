// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>

#include "egress/decision.h"
#include "egress/gateway.h"
#include "egress/resolver.h"
#include "egress/transform.h"
#include "intercept/bridge.h"
#include "net/http_server.h"
#include "net/relay.h"
#include "sys/fd.h"

namespace tinderbox::egress {

class Changer;
struct Flow;

// One guest's place at the gateway. Belongs, like all of its flows, to the loop's thread.
struct Place {
  std::uint32_t index = 0;
  sys::UniqueFd netns;
  Rules rules;
  std::optional<boost::asio::ip::tcp::acceptor> acceptor;
  std::list<std::shared_ptr<Flow>> flows;
  std::size_t lookups = 0;
};

// What flows share.
struct Service {
  boost::asio::io_context& io;
  Resolver& resolver;
  Changer& changer;
  const GatewayOptions& options;
};

// One connection of a guest, on its way to wherever it may go.
struct Flow : std::enable_shared_from_this<Flow> {
  Flow(boost::asio::io_context& io, std::shared_ptr<Place> of, net::StreamSocket socket)
      : place(std::move(of)), client(std::move(socket)), upstream(io), timer(io) {}

  // Resets both connections; the flow's coroutine ends soon.
  void Reset();
  // Calls `then` after that time, unless it is armed anew or disarmed first.
  void Arm(std::chrono::milliseconds after, std::function<void(Flow&)> then);
  void Disarm();

  const std::shared_ptr<Place> place;
  net::StreamSocket client;
  net::StreamSocket upstream;
  // Has both sockets, once there is one of the two.
  std::shared_ptr<net::Relay> relay;
  std::shared_ptr<intercept::Bridge> bridge;
  boost::asio::steady_timer timer;

  sys::Ipv4 dialled;  // by the guest
  std::uint16_t port = 0;
  std::string in;    // its first bytes
  std::string name;  // that it asked for; empty: none
  std::optional<Verdict> verdict;
  std::shared_ptr<const Transform> transform;  // of its requests, where there is one
  bool late = false;                           // the guest kept us waiting
  bool gone = false;
  std::uint64_t armed = 0;
};

// From the first bytes to the end of the connection.
net::Task<> RunFlow(Service& service, std::shared_ptr<Flow> flow);

}  // namespace tinderbox::egress
