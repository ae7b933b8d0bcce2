// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "sys/netlink_address.h"

namespace tinderbox::sandbox {

using Networks = std::vector<sys::Ipv4Prefix>;

// What a sandbox may reach beyond itself. Private networks, the host, other sandboxes and the
// clouds' metadata are never reachable, whatever stands here; nor is anything by IPv6.
struct NetworkRules {
  bool allow_internet = true;  // false: as if `deny` held 0.0.0.0/0
  Networks deny{};
  Networks allow{};  // exceptions: `allow` wins over `deny`
  bool operator==(const NetworkRules&) const = default;
};

// "192.0.2.0/24", or "192.0.2.1" for that address alone. kInvalidArgument for anything else says
// why: a network of IPv6, a name.
base::Result<sys::Ipv4Prefix> ParseNetwork(std::string_view text);
// The other way round.
std::string NetworkText(const sys::Ipv4Prefix& network);

}  // namespace tinderbox::sandbox
