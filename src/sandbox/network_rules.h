// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "egress/domain_pattern.h"
#include "egress/socks.h"
#include "egress/transform.h"
#include "sys/netlink_address.h"

namespace tinderbox::sandbox {

using Networks = std::vector<sys::Ipv4Prefix>;

// What a sandbox may reach beyond itself. Private networks, the host, other sandboxes and the
// clouds' metadata are never reachable, whatever stands here; nor is anything by IPv6.
struct NetworkRules {
  bool allow_internet = true;  // false: as if `deny` held 0.0.0.0/0
  Networks deny{};
  Networks allow{};  // exceptions: `allow` wins over `deny`
  // Hosts that are reachable all the same, by these names of theirs: on TCP port 443 by the name in
  // TLS, on port 80 by that in HTTP. Needs a `deny` of everything.
  egress::DomainPatterns names{};
  // Where there are `names`: the name servers that the guest may ask. None given: the daemon's own.
  std::optional<std::vector<sys::Ipv4>> dns{};
  // What requests to some hosts get on their way, by TLS and HTTP; makes none of them reachable.
  egress::Transforms transforms{};
  // What is let through goes by this proxy; but for TCP and the name servers nothing is.
  std::optional<egress::Proxy> proxy{};

  // Whether connections have to pass the gateway.
  bool by_gateway() const { return !names.empty() || !transforms.empty() || proxy; }
  bool operator==(const NetworkRules&) const = default;
};

// "192.0.2.0/24", or "192.0.2.1" for that address alone. kInvalidArgument for anything else says
// why: a network of IPv6, a name.
base::Result<sys::Ipv4Prefix> ParseNetwork(std::string_view text);
// "proxy.example.com:1080". kInvalidArgument says what is wrong with it.
base::Result<egress::Proxy> ParseProxyAddress(std::string_view text);
// Into `allow`, what is written like an address; into `names`, the rest.
base::Result<> AddAllowed(NetworkRules& rules, std::string_view text);
// The other way round.
std::string NetworkText(const sys::Ipv4Prefix& network);
std::vector<std::string> NetworkTexts(const Networks& networks);
std::vector<std::string> NameTexts(const egress::DomainPatterns& names);
std::vector<std::string> AddressTexts(const std::vector<sys::Ipv4>& addresses);

}  // namespace tinderbox::sandbox
