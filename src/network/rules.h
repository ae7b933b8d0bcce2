// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "network/address_plan.h"
#include "network/slot_pool.h"

// The nftables rules as text: pure functions, held against goldens by rules_test.cc.
namespace tinderbox::network {

inline constexpr char kInnerTable[] = "tinderbox";
// Connections of one guest at a time. The host tracks those of all guests in one table of 65,536
// entries or more; one guest must not be able to fill it.
inline constexpr int kMostConnections = 4096;
// Of those, redirected ones: each costs the gateway two descriptors.
inline constexpr int kMostRedirected = 512;

// What no guest may reach: "this network", private, shared (carrier-grade NAT), loopback,
// link-local with the clouds' metadata, benchmarking, multicast, reserved, broadcast. The
// documentation networks are not among them: they are nobody's, so they harm nobody, and the tests'
// internet lives there.
const std::vector<std::string>& DeniedNetworks();

// The table inside a slot's namespace, for the guest behind tap0. The same text for every slot of a
// pool: nothing in it depends on the index.
std::string SlotRules(const AddressPlan& plan, const EgressPolicy& policy);

// The table on the host: NAT for the pool's network, and the second line of defence should a
// namespace's own rules be missing. Touches no other table.
std::string HostRules(const AddressPlan& plan);

// Removes a table of family inet; no error where there is none. In front of the rules that follow
// it replaces the table in one transaction. Not free: the kernel waits 10-30 ms for its readers.
std::string RemoveTable(const std::string& table);

}  // namespace tinderbox::network
