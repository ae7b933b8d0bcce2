// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "network/address_plan.h"
#include "network/conntrack.h"
#include "network/slot_pool.h"
#include "sys/netlink_address.h"

// The nftables rules as text: pure functions, held against goldens by rules_test.cc.
namespace tinderbox::network {

inline constexpr char kInnerTable[] = "tinderbox";
// Redirected connections of one guest at a time: each costs the gateway two descriptors.
inline constexpr std::uint32_t kMostRedirected = 512;

// What no guest may reach: "this network", private, shared (carrier-grade NAT), loopback,
// link-local with the clouds' metadata, benchmarking, multicast, reserved, broadcast. The
// documentation networks are not among them: they are nobody's, so they harm nobody, and the tests'
// internet lives there.
const std::vector<std::string>& DeniedNetworks();

// Whether the rules deny all of `prefix` to every guest, whatever the host's addresses are.
bool IsDenied(const AddressPlan& plan, const sys::Ipv4Prefix& prefix);

// The networks that no other one of `networks` contains, sorted: nftables wants no overlaps.
std::vector<sys::Ipv4Prefix> WithoutOverlaps(std::vector<sys::Ipv4Prefix> networks);

// The part of every slot's rules that does not depend on the policy.
struct SlotFacts {
  std::vector<sys::Ipv4Prefix> host;  // the host's own (HostPrefixes): out of reach
  std::uint32_t connections =
      kMostConnections;  // of one guest at the same time, redirected ones included
};

// The table inside a slot's namespace, for the guest behind tap0. The same text for every slot of a
// pool: nothing in it depends on the index.
std::string SlotRules(const AddressPlan& plan, const EgressPolicy& policy, const SlotFacts& facts);

// Makes the host's prefixes in a namespace that has SlotRules those of `host`.
std::string ReplaceHostPrefixes(const std::vector<sys::Ipv4Prefix>& host);

// The table on the host: NAT for the pool's network, and the second line of defence should a
// namespace's own rules be missing. Touches no other table.
std::string HostRules(const AddressPlan& plan);

// Removes a table of family inet; no error where there is none. In front of the rules that follow
// it replaces the table in one transaction. Not free: the kernel waits 10-30 ms for its readers.
std::string RemoveTable(const std::string& table);

}  // namespace tinderbox::network
