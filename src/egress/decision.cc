// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "egress/decision.h"

#include <algorithm>
#include <vector>

#include "network/rules.h"

namespace tinderbox::egress {
namespace {

using sys::Ipv4;
using sys::Ipv4Prefix;

bool Contain(const std::vector<Ipv4Prefix>& networks, Ipv4 address) {
  return std::ranges::any_of(networks,
                             [&](const Ipv4Prefix& network) { return network.Contains(address); });
}

}  // namespace

Verdict Decide(const Rules& rules, std::string_view name, Ipv4 dialled) {
  if (!name.empty() && AnyMatches(rules.names, name)) return Verdict::kByName;
  // What is set in requests is for that host alone: whose address the guest dialled, it may be
  // anybody's.
  if (FindTransform(rules.transforms, name) != nullptr) {
    const bool any = rules.allow_internet || !rules.allow.empty();
    return any ? Verdict::kChecked : Verdict::kRefuse;
  }
  if (!IsPublic(dialled)) return Verdict::kRefuse;
  const bool denied = !rules.allow_internet || Contain(rules.deny, dialled);
  if (denied && !Contain(rules.allow, dialled)) return Verdict::kRefuse;
  return Verdict::kByAddress;
}

bool IsPublic(Ipv4 address) {
  static const std::vector<Ipv4Prefix> denied = [] {
    std::vector<Ipv4Prefix> networks;
    for (const std::string& text : network::DeniedNetworks()) {
      networks.push_back(Ipv4Prefix::Parse(text).value());
    }
    return networks;
  }();
  return !Contain(denied, address);
}

}  // namespace tinderbox::egress
