// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "network/address_plan.h"
#include "sys/fd.h"

// The host's side of the network: what all slots share.
namespace tinderbox::network {

// kPermissionDenied where the calling thread lacks a capability that all of this needs.
base::Result<> CheckCapabilities();

// Sole ownership of a prefix in this network namespace: a socket with an abstract name, which the
// kernel takes away with its holder, however that ends. kFailedPrecondition names the holder's pid.
base::Result<sys::UniqueFd> LockPrefix(const AddressPlan& plan);

// kFailedPrecondition where a route of the host (other than our own veth pairs') overlaps the CIDR.
base::Result<> CheckHostRoutes(const AddressPlan& plan);

// Turns IPv4 forwarding on and puts the host's table in place.
base::Result<> PrepareHost(const AddressPlan& plan);

// Removes the host's table; absence is success.
base::Result<> RemoveHostTable(const AddressPlan& plan);

// The chains of other tables, out of the JSON that nftables prints for `list chains`, that drop
// what is forwarded unless they know it: "inet filter forward". Pure.
std::vector<std::string> DroppingForwardChains(std::string_view json, std::string_view own_table);

}  // namespace tinderbox::network
