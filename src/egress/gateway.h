// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "egress/domain_pattern.h"
#include "egress/socks.h"
#include "egress/transform.h"
#include "network/slot_pool.h"
#include "sys/fd.h"

// Lets guests reach hosts by name: their web connections end here
// (network::EgressPolicy::Redirect), the name that they ask for is read out of their first bytes,
// and where it is allowed, the gateway looks it up itself and dials it.
namespace tinderbox::egress {

// What the connections of one guest may become.
struct Rules {
  // Hosts that are reachable by these names, whatever `deny` says. The name must be one of TLS'
  // (port 443) or of HTTP's (port 80); whatever address the guest had dialled is of no account.
  DomainPatterns names;
  // For the rest: as the kernel would let them through to the address that the guest dialled.
  bool allow_internet = true;
  std::vector<sys::Ipv4Prefix> deny{};
  std::vector<sys::Ipv4Prefix> allow{};
  // What requests to some hosts get on their way, in TLS and HTTP. Such a host is always dialled by
  // its name; that alone makes it no more reachable than the rest.
  Transforms transforms{};
  // What is let through goes by this proxy: a name that is allowed as that name, which the proxy
  // looks up, all else as the address.
  std::optional<Proxy> proxy{};
  bool operator==(const Rules&) const = default;
};

// Every call may come from any thread; none blocks for longer than the gateway's loop takes for a
// turn. One thread of its own serves all guests. The slot's namespace stays for as long as it is
// served: Forget comes before the slot's release.
class Gateway {
 public:
  virtual ~Gateway() = default;

  // Serves the connections that are redirected in `netns`, the namespace of slot `index`; by these
  // rules from now on, where it is served already: connections that they do not allow are reset
  // before this returns. kAlreadyExists: somebody else listens there.
  virtual base::Result<> Serve(std::uint32_t index, sys::UniqueFd netns, const Rules& rules) = 0;
  // The certificate authority (PEM) in whose name connections with transforms are served: guests
  // have to trust it. kUnimplemented without GatewayOptions::authority.
  virtual base::Result<std::string> Certificate() = 0;
  // Ends that, and every connection of the slot. Nothing, where it is not served.
  virtual void Forget(std::uint32_t index) = 0;

  struct Counts {
    std::size_t slots = 0;
    std::size_t connections = 0;
  };
  virtual Counts counts() = 0;
};

struct GatewayOptions {
  std::vector<std::string> dns = {"8.8.8.8", "1.1.1.1"};  // asked for the addresses of names
  std::chrono::milliseconds first_bytes{10'000};          // within which a guest says what it wants
  std::chrono::milliseconds dial{10'000};                 // all addresses of a name together
  std::size_t connections_per_slot = 512;                 // beyond: reset
  std::size_t lookups_per_slot = 16;                      // at once; beyond: refused
  // For transforms: where the certificate authority stands (intercept/authority.h), a PEM file of
  // authorities that servers may have besides the host's own ("": none), and who knows secrets'
  // values: asked on a thread of the gateway's own, it may block.
  std::string authority{};
  std::string ca_file{};
  HeaderValue::Append secret{};
};

base::Result<std::unique_ptr<Gateway>> OpenGateway(const GatewayOptions& options);

}  // namespace tinderbox::egress
