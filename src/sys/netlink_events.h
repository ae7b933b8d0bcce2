// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>

#include "base/error.h"
#include "sys/fd.h"
#include "sys/netlink_address.h"

struct nlmsghdr;

// The kernel's notifications about one network namespace: that of the thread that opens the socket.
// The sockets are non-blocking.
namespace tinderbox::sys {

// Hears of IPv4 addresses and routes that come and go.
base::Result<UniqueFd> OpenRouteEvents();
// Hears of every change to nftables.
base::Result<UniqueFd> OpenNftEvents();

// Reads all that has arrived, without waiting. True if `relevant` is true of a message, or if the
// kernel dropped some because the socket was full. `relevant` is not called again after that.
base::Result<bool> DrainEvents(FdRef socket,
                               const std::function<bool(const nlmsghdr& message)>& relevant);

// The prefix that a message of OpenRouteEvents adds to or takes from those of
// RouteSocket::LocalPrefixes; nothing for other messages.
std::optional<Ipv4Prefix> LocalPrefixOf(const nlmsghdr& message);
// The nftables table that a message of OpenNftEvents is about; empty for other messages.
std::string_view NftTableOf(const nlmsghdr& message);

// Asks the kernel for the generation of this namespace's rules, which every transaction increments.
// `socket` is one of OpenNetfilter, used by one thread at a time. Blocks for the kernel's answer
// only, at most a second.
base::Result<UniqueFd> OpenNetfilter();
base::Result<std::uint32_t> NftGeneration(FdRef socket);

}  // namespace tinderbox::sys
