// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "egress/gateway.h"
#include "sys/netlink_address.h"

// What becomes of one connection: pure functions of the rules.
namespace tinderbox::egress {

enum class Verdict {
  kByName,     // to wherever the name leads
  kChecked,    // the same, as far as the addresses there are let through
  kByAddress,  // to the address that the guest dialled
  kRefuse,
};

// `name` as the guest asked for it, normal; empty where it asked for none. `dialled` is where its
// connection was going to.
Verdict Decide(const Rules& rules, std::string_view name, sys::Ipv4 dialled);

// False for what no guest ever reaches (network::DeniedNetworks): an allowed name that leads there
// is somebody's attempt to get inside.
bool IsPublic(sys::Ipv4 address);

}  // namespace tinderbox::egress
