// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "network/address_plan.h"
#include "sys/netlink_address.h"

// The host's side of the network: what all slots share.
namespace tinderbox::network {

// kPermissionDenied where the calling thread lacks a capability that all of this needs.
base::Result<> CheckCapabilities();

// kFailedPrecondition where a route of the host (other than our own veth pairs') overlaps the CIDR.
base::Result<> CheckHostRoutes(const AddressPlan& plan);

// Turns IPv4 forwarding on. What else the host needs is the TableGuard's.
base::Result<> TurnForwardingOn();

// The host's own IPv4 addresses and networks that the rules do not deny anyway, sorted, without
// overlaps: those of the calling thread's network namespace.
base::Result<std::vector<sys::Ipv4Prefix>> HostPrefixes(const AddressPlan& plan);

// Removes the host's table; absence is success.
base::Result<> RemoveHostTable(const AddressPlan& plan);

// The chains of other tables, out of the JSON that nftables prints for `list chains`, that drop
// what is forwarded unless they know it: "inet filter forward". Pure.
std::vector<std::string> DroppingForwardChains(std::string_view json, std::string_view own_table);

}  // namespace tinderbox::network
