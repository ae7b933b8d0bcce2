// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "network/rules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "network/host.h"

namespace tinderbox::network {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

AddressPlan Plan() { return AddressPlan::Make({.prefix = "tb", .cidr = "10.211.0.0/16"}).value(); }

std::string SlotRules(const AddressPlan& plan, const EgressPolicy& policy) {
  return network::SlotRules(plan, policy, {});
}

constexpr char kDenied[] = R"(  set denied {
    type ipv4_addr
    flags interval
    elements = { 0.0.0.0/8, 10.0.0.0/8, 100.64.0.0/10, 127.0.0.0/8, 169.254.0.0/16, 172.16.0.0/12, 192.168.0.0/16, 198.18.0.0/15, 224.0.0.0/4, 240.0.0.0/4 }
  }
)";

constexpr char kHost[] = R"(  set host {
    type ipv4_addr
    flags interval
  }
)";

constexpr char kSlotHead[] = R"(  chain prerouting {
    type filter hook prerouting priority raw; policy drop;
    iifname "tap0" ip saddr 169.254.0.21 accept
    iifname "eth0" meta nfproto ipv4 ip saddr != 169.254.0.21 accept
  }
  chain input {
    type filter hook input priority filter; policy drop;
    iifname "tap0" ip saddr 169.254.0.21 ct state established accept
    iifname "tap0" meta l4proto icmp ct state related accept
  }
  chain forward {
    type filter hook forward priority filter; policy drop;
)";

constexpr char kSlotTail[] = R"(  }
  chain output {
    type filter hook output priority filter; policy drop;
    oifname "tap0" ip daddr 169.254.0.21 accept
  }
  chain postrouting {
    type nat hook postrouting priority srcnat; policy accept;
    oifname "eth0" masquerade
  }
}
)";

TEST(SlotRules, LetTheInternetThrough) {
  const std::string expected =
      std::string("table inet tinderbox {\n") + kDenied + kHost + kSlotHead +
      R"(    iifname "tap0" ip daddr @denied reject with icmp type admin-prohibited
    iifname "tap0" ip daddr @host reject with icmp type admin-prohibited
    iifname "tap0" ip daddr 10.211.0.0/16 reject with icmp type admin-prohibited
    iifname "tap0" oifname "eth0" ct state established,related accept
    iifname "tap0" oifname "eth0" ct state new tcp flags & (fin | syn | rst | ack) != syn reject with tcp reset
    iifname "tap0" oifname "eth0" ct state new ct count over 4096 reject with icmp type admin-prohibited
    iifname "tap0" oifname "eth0" ct state new accept
    iifname "eth0" oifname "tap0" ct state established,related accept
)" + kSlotTail;
  EXPECT_EQ(SlotRules(Plan(), {.allow_internet = true}), expected);
}

TEST(SlotRules, DenyEverything) {
  const std::string expected =
      std::string("table inet tinderbox {\n") + kDenied + kHost + kSlotHead +
      "    iifname \"tap0\" reject with icmp type admin-prohibited\n" + kSlotTail;
  EXPECT_EQ(SlotRules(Plan(), {.allow_internet = false}), expected);
}

std::vector<sys::Ipv4Prefix> Networks(const std::vector<const char*>& texts) {
  std::vector<sys::Ipv4Prefix> networks;
  for (const char* text : texts) networks.push_back(sys::Ipv4Prefix::Parse(text).value());
  return networks;
}

TEST(SlotRules, DenyNetworksButTheExceptions) {
  const std::string rules = SlotRules(
      Plan(),
      {.deny = Networks({"0.0.0.0/0"}),
       .allow = Networks({"198.51.100.0/24", "192.0.2.1/32", "198.51.100.7/32", "192.0.2.1/32"})});
  EXPECT_THAT(
      rules, HasSubstr(std::string("table inet tinderbox {\n") + kDenied + kHost +
                       R"(  set policy_deny {
    type ipv4_addr
    flags interval
    elements = { 0.0.0.0/0 }
  }
  set policy_allow {
    type ipv4_addr
    flags interval
    elements = { 192.0.2.1/32, 198.51.100.0/24 }
  }
  chain policy_out {
    ip daddr != @policy_allow ip daddr @policy_deny reject with icmp type admin-prohibited
  }
  chain policy_in {
    ct original ip daddr != @policy_allow ct original ip daddr @policy_deny drop
  }
)" + kSlotHead +
                       R"(    iifname "tap0" ip daddr @denied reject with icmp type admin-prohibited
    iifname "tap0" ip daddr @host reject with icmp type admin-prohibited
    iifname "tap0" ip daddr 10.211.0.0/16 reject with icmp type admin-prohibited
    iifname "tap0" jump policy_out
    oifname "tap0" jump policy_in
    iifname "tap0" oifname "eth0" ct state established,related accept
)"));
}

TEST(SlotRules, DenyTheHostAndBoundConnections) {
  const std::string rules = network::SlotRules(
      Plan(), {}, {.host = Networks({"203.0.113.9/32", "198.51.100.0/24"}), .connections = 300});
  EXPECT_THAT(rules, HasSubstr("    elements = { 198.51.100.0/24, 203.0.113.9/32 }\n"));
  EXPECT_THAT(rules, HasSubstr("ct count over 300 reject"));
  const std::string redirected = network::SlotRules(
      Plan(), {.redirect = EgressPolicy::Redirect::kAll}, {.host = {}, .connections = 300});
  EXPECT_THAT(redirected, HasSubstr("ct count over 150 reject with icmp"));
  EXPECT_THAT(redirected, HasSubstr("ct count over 150 reject with tcp reset"));
  EXPECT_EQ(ReplaceHostPrefixes(Networks({"203.0.113.9/32"})),
            "flush set inet tinderbox host\n"
            "add element inet tinderbox host { 203.0.113.9/32 }\n");
  EXPECT_EQ(ReplaceHostPrefixes({}), "flush set inet tinderbox host\n");
}

TEST(IsDenied, KnowsWhatTheRulesDenyAnyway) {
  const auto plan = AddressPlan::Make({.prefix = "tb", .cidr = "203.0.113.0/24", .max_slots = 8});
  for (const char* denied : {"10.1.2.3/32", "10.0.0.0/8", "203.0.113.77/32", "127.0.0.1/32"}) {
    EXPECT_TRUE(IsDenied(plan.value(), sys::Ipv4Prefix::Parse(denied).value())) << denied;
  }
  for (const char* open : {"192.0.2.1/32", "8.0.0.0/5", "0.0.0.0/0", "203.0.112.0/23"}) {
    EXPECT_FALSE(IsDenied(plan.value(), sys::Ipv4Prefix::Parse(open).value())) << open;
  }
}

using Redirect = EgressPolicy::Redirect;

TEST(SlotRules, RedirectWhatIsDeniedAndNothingElse) {
  const std::string rules = SlotRules(Plan(), {.deny = Networks({"0.0.0.0/0"}),
                                               .allow = Networks({"192.0.2.1/32"}),
                                               .redirect = Redirect::kDenied,
                                               .dns = {sys::Ipv4::Parse("192.0.2.53").value()}});
  EXPECT_THAT(rules, HasSubstr(R"(  set policy_dns {
    type ipv4_addr
    flags interval
    elements = { 192.0.2.53/32 }
  }
  chain policy_out {
    ip daddr @policy_dns meta l4proto { tcp, udp } th dport 53 return
    ip daddr @policy_dns meta l4proto tcp th dport 853 return
    ip daddr != @policy_allow ip daddr @policy_deny reject with icmp type admin-prohibited
  }
  chain policy_in {
    ct original ip daddr @policy_dns meta l4proto { tcp, udp } ct original proto-dst 53 return
    ct original ip daddr @policy_dns meta l4proto tcp ct original proto-dst 853 return
    ct original ip daddr != @policy_allow ct original ip daddr @policy_deny drop
  }
  chain redirects {
    type nat hook prerouting priority dstnat; policy accept;
    iifname "tap0" ip daddr != @denied ip daddr != @host ip daddr != 10.211.0.0/16 ip daddr != @policy_allow ip daddr @policy_deny tcp dport { 80, 443 } redirect to :15001
  }
)"));
  EXPECT_THAT(rules, HasSubstr(R"(    iifname "tap0" meta l4proto icmp ct state related accept
    iifname "tap0" ip saddr 169.254.0.21 tcp dport 15001 ct status dnat ct state new ct count over 512 reject with tcp reset
    iifname "tap0" ip saddr 169.254.0.21 tcp dport 15001 ct status dnat ct state new accept
    iifname "eth0" ct state established,related accept
  }
)"));
  EXPECT_THAT(rules, HasSubstr(R"(    oifname "tap0" ip daddr 169.254.0.21 accept
    oifname "eth0" ip daddr @denied reject with icmp type admin-prohibited
    oifname "eth0" ip daddr @host reject with icmp type admin-prohibited
    oifname "eth0" ip daddr 10.211.0.0/16 reject with icmp type admin-prohibited
    oifname "eth0" meta skuid 0 tcp dport { 80, 443 } accept
  }
)"));
  EXPECT_EQ(SlotRules(Plan(), {.redirect = Redirect::kDenied}), SlotRules(Plan(), {}))
      << "where nothing is denied";
}

TEST(SlotRules, RedirectAllButNotIntoPrivateNetworks) {
  const std::string rules = SlotRules(Plan(), {.redirect = Redirect::kAll});
  EXPECT_THAT(
      rules,
      HasSubstr("iifname \"tap0\" ip daddr != @denied ip daddr != @host ip daddr != 10.211.0.0/16 "
                "tcp dport { 80, 443 } redirect to :15001\n"));
  EXPECT_THAT(rules, HasSubstr("    iifname \"tap0\" udp dport 443 reject"));
}

TEST(SlotRules, RedirectEveryPortButThoseOfNameServers) {
  const std::string rules = SlotRules(Plan(), {.deny = Networks({"0.0.0.0/0"}),
                                               .redirect = Redirect::kEveryPort,
                                               .dns = {sys::Ipv4::Parse("192.0.2.53").value()}});
  EXPECT_THAT(rules, HasSubstr(R"(
    iifname "tap0" ip daddr @policy_dns tcp dport { 53, 853 } accept
    iifname "tap0" ip daddr != @denied ip daddr != @host ip daddr != 10.211.0.0/16 meta l4proto tcp redirect to :15001
)"));
  EXPECT_THAT(rules, HasSubstr("    oifname \"eth0\" meta skuid 0 meta l4proto tcp accept\n"));
}

TEST(SlotRules, NoInternetButTheExceptionsIsToDenyAll) {
  EXPECT_EQ(SlotRules(Plan(), {.allow_internet = false, .allow = Networks({"192.0.2.0/24"})}),
            SlotRules(Plan(), {.deny = Networks({"0.0.0.0/0", "9.9.9.9/32"}),
                               .allow = Networks({"192.0.2.0/24"})}));
}

TEST(SlotRules, ExceptionsFromNothingChangeNothing) {
  EXPECT_EQ(SlotRules(Plan(), {.allow = Networks({"10.0.0.0/8"})}), SlotRules(Plan(), {}));
}

TEST(HostRules, NameTheirOwnVethPairsAlone) {
  const std::string expected = std::string("table inet tb_net {\n") + kDenied +
                               R"(  chain prerouting {
    type filter hook prerouting priority raw; policy accept;
    iifname "tbv*" meta nfproto ipv6 drop
    iifname "tbv*" fib saddr . iif oif missing drop
  }
  chain input {
    type filter hook input priority filter; policy accept;
    iifname "tbv*" drop
  }
  chain forward {
    type filter hook forward priority filter; policy accept;
    iifname "tbv*" oifname "tbv*" drop
    iifname "tbv*" ip daddr @denied drop
    iifname "tbv*" ip daddr 10.211.0.0/16 drop
    iifname "tbv*" tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu
    iifname "tbv*" ct state new,established,related accept
    iifname "tbv*" drop
    oifname "tbv*" ct state established,related accept
    oifname "tbv*" drop
  }
  chain postrouting {
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr 10.211.0.0/16 oifname != "tbv*" masquerade
  }
}
)";
  EXPECT_EQ(HostRules(Plan()), expected);
}

TEST(DeniedNetworks, HoldWhatNoGuestMayReachAndNotTheRest) {
  const auto denied = [](const char* text) {
    const sys::Ipv4 address = sys::Ipv4::Parse(text).value();
    for (const std::string& network : DeniedNetworks()) {
      if (sys::Ipv4Prefix::Parse(network)->Contains(address)) return true;
    }
    return false;
  };
  for (const char* text :
       {"0.0.0.0", "0.255.255.255", "10.0.0.0", "10.255.255.255", "100.64.0.0", "100.127.255.255",
        "127.0.0.1", "169.254.0.22", "169.254.169.254", "172.16.0.0", "172.31.255.255",
        "192.168.0.0", "192.168.255.255", "198.18.0.0", "198.19.255.255", "224.0.0.1",
        "239.255.255.255", "240.0.0.1", "255.255.255.255"}) {
    EXPECT_TRUE(denied(text)) << text;
  }
  for (const char* text :
       {"1.0.0.0", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255",
        "128.0.0.0", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "192.0.2.1",
        "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0", "198.51.100.1",
        "203.0.113.1", "223.255.255.255"}) {
    EXPECT_FALSE(denied(text)) << text;
  }
}

TEST(DroppingForwardChains, FindsTheFirewallsOfOthers) {
  constexpr char kJson[] = R"({"nftables": [
    {"metainfo": {"version": "1.0.6"}},
    {"chain": {"family": "ip", "table": "filter", "name": "FORWARD", "handle": 1, "type": "filter",
               "hook": "forward", "prio": 0, "policy": "drop"}},
    {"chain": {"family": "ip", "table": "filter", "name": "INPUT", "handle": 2, "type": "filter",
               "hook": "input", "prio": 0, "policy": "drop"}},
    {"chain": {"family": "ip6", "table": "filter", "name": "FORWARD", "handle": 1,
               "type": "filter", "hook": "forward", "prio": 0, "policy": "drop"}},
    {"chain": {"family": "inet", "table": "fw", "name": "fwd", "handle": 1, "type": "filter",
               "hook": "forward", "prio": 0, "policy": "accept"}},
    {"chain": {"family": "inet", "table": "fw2", "name": "fwd", "handle": 1, "type": "filter",
               "hook": "forward", "prio": 0, "policy": "drop"}},
    {"chain": {"family": "inet", "table": "tb_net", "name": "forward", "handle": 1,
               "type": "filter", "hook": "forward", "prio": 0, "policy": "drop"}},
    {"chain": {"family": "inet", "table": "fw", "name": "plain", "handle": 9}}
  ]})";
  EXPECT_THAT(DroppingForwardChains(kJson, "tb_net"),
              ElementsAre("ip filter FORWARD", "inet fw2 fwd"));
}

TEST(DroppingForwardChains, TakesNonsenseForNothing) {
  for (const char* text : {"", "{", "[]", "{}", R"({"nftables": 1})", R"({"nftables": [1, {}]})",
                           R"({"nftables": [{"chain": 1}, {"chain": {"hook": 1}}]})"}) {
    EXPECT_THAT(DroppingForwardChains(text, "tb_net"), IsEmpty()) << text;
  }
}

}  // namespace
}  // namespace tinderbox::network
