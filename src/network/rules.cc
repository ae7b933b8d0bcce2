// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "network/rules.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <string_view>
#include <utility>

namespace tinderbox::network {
namespace {

std::string DeniedSet() {
  return fmt::format(
      "  set denied {{\n"
      "    type ipv4_addr\n"
      "    flags interval\n"
      "    elements = {{ {} }}\n"
      "  }}\n",
      fmt::join(DeniedNetworks(), ", "));
}

// The networks that no other one of `networks` contains, sorted: nftables wants no overlaps.
std::vector<sys::Ipv4Prefix> WithoutOverlaps(std::vector<sys::Ipv4Prefix> networks) {
  for (sys::Ipv4Prefix& network : networks) network.address = network.network();
  std::ranges::sort(networks, {}, [](const sys::Ipv4Prefix& network) {
    return std::pair(network.address.value, network.length);
  });
  std::vector<sys::Ipv4Prefix> kept;
  for (const sys::Ipv4Prefix& network : networks) {
    if (kept.empty() || !kept.back().Contains(network.address)) kept.push_back(network);
  }
  return kept;
}

std::string PolicySet(std::string_view name, const std::vector<sys::Ipv4Prefix>& networks) {
  std::vector<std::string> elements;
  for (const sys::Ipv4Prefix& network : WithoutOverlaps(networks)) {
    elements.push_back(network.ToString());
  }
  return fmt::format(
      "  set {} {{\n"
      "    type ipv4_addr\n"
      "    flags interval\n"
      "    elements = {{ {} }}\n"
      "  }}\n",
      name, fmt::join(elements, ", "));
}

// What the policy adds to the standing rules: sets, and rules in front of those that accept.
struct PolicyText {
  std::string sets;
  std::string rules;
};

PolicyText TextOf(const EgressPolicy& policy) {
  std::vector<sys::Ipv4Prefix> deny = policy.deny;
  if (!policy.allow_internet) deny = {{sys::Ipv4{0}, 0}};
  if (deny.empty()) return {};
  PolicyText text{.sets = PolicySet("policy_deny", deny), .rules = {}};
  std::string but;
  std::string but_original;
  if (!policy.allow.empty()) {
    text.sets += PolicySet("policy_allow", policy.allow);
    but = "ip daddr != @policy_allow ";
    but_original = "ct original ip daddr != @policy_allow ";
  }
  // The second: what still comes in on connections that the policy has since forbidden. By the
  // connection's first destination, so that routers' words on allowed ones get through.
  text.rules = fmt::format(
      "    iifname \"{0}\" {1}ip daddr @policy_deny reject with icmp type admin-prohibited\n"
      "    oifname \"{0}\" {2}ct original ip daddr @policy_deny drop\n",
      kTapName, but, but_original);
  return text;
}

// From the guest outwards. A connection that this namespace never saw begin (a VM restored from a
// snapshot still believes in it) is reset, so that the program in the guest learns of it at once.
std::string ForwardOut(const AddressPlan& plan, const std::string& policy_rules) {
  return fmt::format(
      "    iifname \"{0}\" ip daddr @denied reject with icmp type admin-prohibited\n"
      "    iifname \"{0}\" ip daddr {1} reject with icmp type admin-prohibited\n"
      "{4}"
      "    iifname \"{0}\" oifname \"{2}\" ct state established,related accept\n"
      "    iifname \"{0}\" oifname \"{2}\" ct state new tcp flags & (fin | syn | rst | ack) != syn "
      "reject with tcp reset\n"
      "    iifname \"{0}\" oifname \"{2}\" ct state new ct count over {3} "
      "reject with icmp type admin-prohibited\n"
      "    iifname \"{0}\" oifname \"{2}\" ct state new accept\n"
      "    iifname \"{2}\" oifname \"{0}\" ct state established,related accept\n",
      kTapName, plan.cidr().ToString(), kUplinkName, kMostConnections, policy_rules);
}

}  // namespace

const std::vector<std::string>& DeniedNetworks() {
  static const std::vector<std::string> networks = {
      "0.0.0.0/8",     "10.0.0.0/8",     "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16",
      "172.16.0.0/12", "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4",
  };
  return networks;
}

std::string RemoveTable(const std::string& table) {
  return fmt::format("table inet {0} {{}}\ndelete table inet {0}\n", table);
}

std::string SlotRules(const AddressPlan& plan, const EgressPolicy& policy) {
  const bool nothing = !policy.allow_internet && policy.allow.empty();
  const PolicyText text = nothing ? PolicyText{} : TextOf(policy);
  const std::string forward =
      !nothing
          ? ForwardOut(plan, text.rules)
          : fmt::format("    iifname \"{}\" reject with icmp type admin-prohibited\n", kTapName);
  return fmt::format(
      "table inet {table} {{\n"
      "{denied}{sets}"
      // Before connection tracking: what is not IPv4 of the guest's own address costs nothing.
      "  chain prerouting {{\n"
      "    type filter hook prerouting priority raw; policy drop;\n"
      "    iifname \"{tap}\" ip saddr {guest} accept\n"
      "    iifname \"{uplink}\" meta nfproto ipv4 ip saddr != {guest} accept\n"
      "  }}\n"
      // The host's own sockets inside the namespace (Dial) get their answers; nothing else comes
      // in.
      "  chain input {{\n"
      "    type filter hook input priority filter; policy drop;\n"
      "    iifname \"{tap}\" ip saddr {guest} ct state established accept\n"
      "    iifname \"{tap}\" meta l4proto icmp ct state related accept\n"
      "  }}\n"
      "  chain forward {{\n"
      "    type filter hook forward priority filter; policy drop;\n"
      "{forward}"
      "  }}\n"
      "  chain output {{\n"
      "    type filter hook output priority filter; policy drop;\n"
      "    oifname \"{tap}\" ip daddr {guest} accept\n"
      "  }}\n"
      "  chain postrouting {{\n"
      "    type nat hook postrouting priority srcnat; policy accept;\n"
      "    oifname \"{uplink}\" masquerade\n"
      "  }}\n"
      "}}\n",
      fmt::arg("table", kInnerTable), fmt::arg("denied", DeniedSet()), fmt::arg("sets", text.sets),
      fmt::arg("tap", kTapName), fmt::arg("uplink", kUplinkName), fmt::arg("guest", kGuestAddress),
      fmt::arg("forward", forward));
}

std::string HostRules(const AddressPlan& plan) {
  return fmt::format(
      "table inet {table} {{\n"
      "{denied}"
      // Strict reverse path: what comes from a veth bears the address of that veth's /30.
      "  chain prerouting {{\n"
      "    type filter hook prerouting priority raw; policy accept;\n"
      "    iifname \"{veths}\" meta nfproto ipv6 drop\n"
      "    iifname \"{veths}\" fib saddr . iif oif missing drop\n"
      "  }}\n"
      "  chain input {{\n"
      "    type filter hook input priority filter; policy accept;\n"
      "    iifname \"{veths}\" drop\n"
      "  }}\n"
      "  chain forward {{\n"
      "    type filter hook forward priority filter; policy accept;\n"
      "    iifname \"{veths}\" oifname \"{veths}\" drop\n"
      "    iifname \"{veths}\" ip daddr @denied drop\n"
      "    iifname \"{veths}\" ip daddr {cidr} drop\n"
      // The way out may carry smaller packets than the guest's link, and the word of it gets lost.
      "    iifname \"{veths}\" tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu\n"
      "    iifname \"{veths}\" ct state new,established,related accept\n"
      "    iifname \"{veths}\" drop\n"
      "    oifname \"{veths}\" ct state established,related accept\n"
      "    oifname \"{veths}\" drop\n"
      "  }}\n"
      "  chain postrouting {{\n"
      "    type nat hook postrouting priority srcnat; policy accept;\n"
      "    ip saddr {cidr} oifname != \"{veths}\" masquerade\n"
      "  }}\n"
      "}}\n",
      fmt::arg("table", plan.HostTable()), fmt::arg("denied", DeniedSet()),
      fmt::arg("veths", plan.VethPattern()), fmt::arg("cidr", plan.cidr().ToString()));
}

}  // namespace tinderbox::network
