// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "base/error.h"

// The kernel's table of tracked connections. One limit holds for the host and all guests together.
namespace tinderbox::network {

// Limits of one guest's simultaneous connections: at most the first, never fewer than the second.
// Ordinary programs still work with the second.
inline constexpr std::uint32_t kMostConnections = 4096;
inline constexpr std::uint32_t kFewestConnections = 256;

struct Conntrack {
  std::uint64_t max = 0;    // net.netfilter.nf_conntrack_max
  std::uint64_t count = 0;  // in the calling thread's network namespace
};
// kNotFound while the kernel tracks no connections.
base::Result<Conntrack> ReadConntrack();

// How many entries all guests together may take: three quarters; the rest is the host's. Entries of
// closed connections do not count: the kernel evicts them if the table is full.
constexpr std::uint64_t GuestShare(std::uint64_t max) { return max / 4 * 3; }

// Connections for each of `slots` guests, so that all of them together stay within GuestShare(max),
// within the two bounds above.
std::uint32_t ConnectionsPerSlot(std::uint64_t max, std::uint32_t slots);

// The nf_conntrack_max with which `slots` guests of `connections` each stay within their share.
std::uint64_t ConntrackMaxFor(std::uint32_t connections, std::uint32_t slots);

}  // namespace tinderbox::network
