// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "api/request_fields.h"
#include "base/error.h"
#include "sandbox/network_rules.h"

// The fields by which requests say what a sandbox may reach, and who may reach it. What of E2B's
// rules is not enforced is refused: names of hosts, transforms, proxies, IPv6.
namespace tinderbox::api {

struct NetworkOptions {
  sandbox::NetworkRules rules;
  bool public_ports = true;
  std::string mask_host;
  std::vector<std::uint16_t> https_ports;
};

// Of a create: `allow_internet_access` and the object `network`. What is wrong is `fields`' error.
NetworkOptions ReadNetwork(FieldReader& fields);

// The body of PUT /sandboxes/{id}/network: what it leaves out is as if never asked for.
base::Result<sandbox::NetworkRules> ParseNetworkUpdate(std::string_view body);

}  // namespace tinderbox::api
