// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "base/error.h"
#include "net/http_server.h"

namespace tinderbox::egress {

// A SOCKS 5 proxy (RFC 1928) that a sandbox's connections go through.
struct Proxy {
  std::string host;  // an address, or a normal host name
  std::uint16_t port = 0;
  std::string username;  // empty: none are asked for (RFC 1929); at most 255 bytes, as the password
  std::string password;
  bool operator==(const Proxy&) const = default;
};

// Asks the proxy at the other end of `socket` for a connection to `host`, a name that the proxy
// looks up or an address of IPv4; from then on the socket is that connection. kPermissionDenied
// where the proxy refuses us, kUnavailable where it cannot reach the host, kDataLoss where it does
// not speak the protocol. The caller sees to the time: closing the socket ends it.
net::AsyncResult<> ConnectThrough(net::StreamSocket& socket, const Proxy& proxy, std::string host,
                                  std::uint16_t port);

}  // namespace tinderbox::egress
