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

std::string ElementsOf(const std::vector<sys::Ipv4Prefix>& networks) {
  std::vector<std::string> elements;
  for (const sys::Ipv4Prefix& network : WithoutOverlaps(networks)) {
    elements.push_back(network.ToString());
  }
  return fmt::format("{}", fmt::join(elements, ", "));
}

// Often empty: most hosts have private addresses alone, and nftables knows no empty list.
std::string HostSet(const std::vector<sys::Ipv4Prefix>& host) {
  return fmt::format(
      "  set host {{\n"
      "    type ipv4_addr\n"
      "    flags interval\n"
      "{}"
      "  }}\n",
      host.empty() ? "" : fmt::format("    elements = {{ {} }}\n", ElementsOf(host)));
}

std::string PolicySet(std::string_view name, const std::vector<sys::Ipv4Prefix>& networks) {
  return fmt::format(
      "  set {} {{\n"
      "    type ipv4_addr\n"
      "    flags interval\n"
      "    elements = {{ {} }}\n"
      "  }}\n",
      name, ElementsOf(networks));
}

// What the policy adds to the standing rules: sets, chains, and rules in front of those that
// accept.
struct PolicyText {
  std::string sets;
  std::string chains;
  std::string forward;
};

// What a policy says of one direction: its name servers, and what `deny` does not hold, go on to
// the next rule of the chain that jumped here.
std::string PolicyChain(std::string_view name, std::string_view address, bool dns, bool allow,
                        std::string_view verdict) {
  std::string chain = fmt::format("  chain {} {{\n", name);
  if (dns) {
    const std::string_view port = address == "ip daddr" ? "th dport" : "ct original proto-dst";
    chain += fmt::format(
        "    {0} @policy_dns meta l4proto {{ tcp, udp }} {1} 53 return\n"
        "    {0} @policy_dns meta l4proto tcp {1} 853 return\n",
        address, port);
  }
  const std::string but = allow ? fmt::format("{} != @policy_allow ", address) : "";
  chain += fmt::format("    {}{} @policy_deny {}\n  }}\n", but, address, verdict);
  return chain;
}

PolicyText TextOf(const EgressPolicy& policy) {
  std::vector<sys::Ipv4Prefix> deny = policy.deny;
  if (!policy.allow_internet) deny = {{sys::Ipv4{0}, 0}};
  if (deny.empty()) return {};
  const bool allow = !policy.allow.empty();
  const bool dns = !policy.dns.empty();
  PolicyText text;
  text.sets = PolicySet("policy_deny", deny);
  if (allow) text.sets += PolicySet("policy_allow", policy.allow);
  if (dns) {
    std::vector<sys::Ipv4Prefix> servers;
    for (const sys::Ipv4 server : policy.dns) servers.push_back({server, 32});
    text.sets += PolicySet("policy_dns", servers);
  }
  // The second: what still comes in on connections that the policy has since forbidden. By the
  // connection's first destination, so that routers' words on allowed ones get through.
  text.chains =
      PolicyChain("policy_out", "ip daddr", dns, allow, "reject with icmp type admin-prohibited") +
      PolicyChain("policy_in", "ct original ip daddr", dns, allow, "drop");
  text.forward = fmt::format(
      "    iifname \"{0}\" jump policy_out\n"
      "    oifname \"{0}\" jump policy_in\n",
      kTapName);
  return text;
}

// The guest's way to the gateway at kRedirectPort, and that gateway's own way out: it has root's
// sockets, the VMM in this namespace has not. What it must not reach is checked here once more.
struct RedirectText {
  std::string chain;
  std::string input;
  std::string output;
  std::string forward;
};

RedirectText RedirectOf(const AddressPlan& plan, const EgressPolicy& policy,
                        std::uint32_t connections) {
  using Redirect = EgressPolicy::Redirect;
  const bool none_denied = policy.allow_internet && policy.deny.empty();
  if (policy.redirect == Redirect::kNone) return {};
  if (policy.redirect == Redirect::kDenied && none_denied) return {};
  const bool every_port = policy.redirect == Redirect::kEveryPort;
  const std::string_view ports = every_port ? "meta l4proto tcp" : "tcp dport { 80, 443 }";
  std::string only;
  if (policy.redirect == Redirect::kDenied) {
    if (!policy.allow.empty()) only = "ip daddr != @policy_allow ";
    only += "ip daddr @policy_deny ";
  }
  RedirectText text;
  text.chain = fmt::format(
      "  chain redirects {{\n"
      "    type nat hook prerouting priority dstnat; policy accept;\n"
      "{5}"
      "    iifname \"{0}\" ip daddr != @denied ip daddr != @host ip daddr != {1} {2}{4} redirect "
      "to :{3}\n"
      "  }}\n",
      kTapName, plan.cidr().ToString(), only, kRedirectPort, ports,
      every_port && !none_denied && !policy.dns.empty()
          ? fmt::format("    iifname \"{}\" ip daddr @policy_dns tcp dport {{ 53, 853 }} accept\n",
                        kTapName)
          : "");
  text.input = fmt::format(
      "    iifname \"{0}\" ip saddr {1} tcp dport {2} ct status dnat ct state new "
      "ct count over {3} reject with tcp reset\n"
      "    iifname \"{0}\" ip saddr {1} tcp dport {2} ct status dnat ct state new accept\n"
      "    iifname \"{4}\" ct state established,related accept\n",
      kTapName, kGuestAddress, kRedirectPort, connections, kUplinkName);
  text.output = fmt::format(
      "    oifname \"{0}\" ip daddr @denied reject with icmp type admin-prohibited\n"
      "    oifname \"{0}\" ip daddr @host reject with icmp type admin-prohibited\n"
      "    oifname \"{0}\" ip daddr {1} reject with icmp type admin-prohibited\n"
      "    oifname \"{0}\" meta skuid 0 {2} accept\n",
      kUplinkName, plan.cidr().ToString(), ports);
  if (policy.redirect != Redirect::kDenied) {
    text.forward = fmt::format(
        "    iifname \"{}\" udp dport 443 reject with icmp type admin-prohibited\n", kTapName);
  }
  return text;
}

// From the guest outwards. A connection that this namespace never saw begin (a VM restored from a
// snapshot still believes in it) is reset, so that the program in the guest learns of it at once.
std::string ForwardOut(const AddressPlan& plan, const std::string& policy_rules,
                       std::uint32_t connections) {
  return fmt::format(
      "    iifname \"{0}\" ip daddr @denied reject with icmp type admin-prohibited\n"
      "    iifname \"{0}\" ip daddr @host reject with icmp type admin-prohibited\n"
      "    iifname \"{0}\" ip daddr {1} reject with icmp type admin-prohibited\n"
      "{4}"
      "    iifname \"{0}\" oifname \"{2}\" ct state established,related accept\n"
      "    iifname \"{0}\" oifname \"{2}\" ct state new tcp flags & (fin | syn | rst | ack) != syn "
      "reject with tcp reset\n"
      "    iifname \"{0}\" oifname \"{2}\" ct state new ct count over {3} "
      "reject with icmp type admin-prohibited\n"
      "    iifname \"{0}\" oifname \"{2}\" ct state new accept\n"
      "    iifname \"{2}\" oifname \"{0}\" ct state established,related accept\n",
      kTapName, plan.cidr().ToString(), kUplinkName, connections, policy_rules);
}

}  // namespace

const std::vector<std::string>& DeniedNetworks() {
  static const std::vector<std::string> networks = {
      "0.0.0.0/8",     "10.0.0.0/8",     "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16",
      "172.16.0.0/12", "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4",
  };
  return networks;
}

bool IsDenied(const AddressPlan& plan, const sys::Ipv4Prefix& prefix) {
  static const std::vector<sys::Ipv4Prefix> denied = [] {
    std::vector<sys::Ipv4Prefix> networks;
    for (const std::string& text : DeniedNetworks()) {
      networks.push_back(sys::Ipv4Prefix::Parse(text).value());
    }
    return networks;
  }();
  const auto covers = [&](const sys::Ipv4Prefix& network) {
    return network.length <= prefix.length && network.Contains(prefix.address);
  };
  return covers(plan.cidr()) || std::ranges::any_of(denied, covers);
}

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

std::string ReplaceHostPrefixes(const std::vector<sys::Ipv4Prefix>& host) {
  std::string commands = fmt::format("flush set inet {} host\n", kInnerTable);
  if (!host.empty()) {
    commands += fmt::format("add element inet {} host {{ {} }}\n", kInnerTable, ElementsOf(host));
  }
  return commands;
}

std::string RemoveTable(const std::string& table) {
  return fmt::format("table inet {0} {{}}\ndelete table inet {0}\n", table);
}

std::string SlotRules(const AddressPlan& plan, const EgressPolicy& policy, const SlotFacts& facts) {
  const bool nothing = !policy.allow_internet && policy.allow.empty() && policy.dns.empty() &&
                       policy.redirect == EgressPolicy::Redirect::kNone;
  const PolicyText text = nothing ? PolicyText{} : TextOf(policy);
  // Every redirected connection is one of the gateway's to the outside, which nothing else counts.
  const std::uint32_t redirected = std::min(kMostRedirected, facts.connections / 2);
  const RedirectText redirect = RedirectOf(plan, policy, redirected);
  const std::uint32_t direct = facts.connections - (redirect.chain.empty() ? 0 : redirected);
  const std::string forward =
      !nothing
          ? ForwardOut(plan, redirect.forward + text.forward, direct)
          : fmt::format("    iifname \"{}\" reject with icmp type admin-prohibited\n", kTapName);
  return fmt::format(
      "table inet {table} {{\n"
      "{denied}{host}{sets}{chains}{redirects}"
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
      "{redirect_input}"
      "  }}\n"
      "  chain forward {{\n"
      "    type filter hook forward priority filter; policy drop;\n"
      "{forward}"
      "  }}\n"
      "  chain output {{\n"
      "    type filter hook output priority filter; policy drop;\n"
      "    oifname \"{tap}\" ip daddr {guest} accept\n"
      "{redirect_output}"
      "  }}\n"
      "  chain postrouting {{\n"
      "    type nat hook postrouting priority srcnat; policy accept;\n"
      "    oifname \"{uplink}\" masquerade\n"
      "  }}\n"
      "}}\n",
      fmt::arg("table", kInnerTable), fmt::arg("denied", DeniedSet()),
      fmt::arg("host", HostSet(facts.host)), fmt::arg("sets", text.sets), fmt::arg("tap", kTapName),
      fmt::arg("uplink", kUplinkName), fmt::arg("guest", kGuestAddress),
      fmt::arg("chains", text.chains), fmt::arg("redirects", redirect.chain),
      fmt::arg("redirect_input", redirect.input), fmt::arg("redirect_output", redirect.output),
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
