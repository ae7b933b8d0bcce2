// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "sandbox/network_rules.h"

#include <fmt/format.h>

namespace tinderbox::sandbox {

using base::Code;
using base::Error;
using base::Result;
using sys::Ipv4Prefix;

Result<Ipv4Prefix> ParseNetwork(std::string_view text) {
  if (const auto address = sys::Ipv4::Parse(text)) return Ipv4Prefix{*address, 32};
  if (const auto network = Ipv4Prefix::Parse(text)) {
    return Ipv4Prefix{network->network(), network->length};
  }
  const std::string shown(text.substr(0, 100));
  if (text.find(':') != text.npos) {
    return std::unexpected(
        Error(Code::kInvalidArgument,
              fmt::format("'{}' is no IPv4 network: sandboxes have no IPv6, whatever the rules",
                          shown))
            .WithRemedy("Leave networks of IPv6 out."));
  }
  return std::unexpected(
      Error(
          Code::kInvalidArgument,
          fmt::format("'{}' is no IPv4 address or network; rules by name are not supported", shown))
          .WithRemedy("Write an address as '192.0.2.1', a network as '192.0.2.0/24'."));
}

std::string NetworkText(const Ipv4Prefix& network) {
  return network.length == 32 ? network.address.ToString() : network.ToString();
}

}  // namespace tinderbox::sandbox
