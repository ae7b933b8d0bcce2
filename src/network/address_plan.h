// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "base/error.h"
#include "network/slot_pool.h"
#include "sys/netlink_address.h"

namespace tinderbox::network {

inline constexpr char kUplinkName[] = "eth0";               // veth end inside the namespace
inline constexpr char kGatewayMac[] = "02:fc:00:00:00:06";  // of the TAP's host side
inline constexpr std::uint32_t kMaxSlots = 16384;

// What the options say of every slot: pure arithmetic. Slot n (1..max_slots) has the n-th /30 of
// the CIDR, counted from 0 for n = 1: its first address for the host, its second for the namespace.
class AddressPlan {
 public:
  // Checks the options: prefix [a-z][a-z0-9]{0,5}, a CIDR out of which every slot gets its /30 and
  // which is no range that guests use themselves. Of two pools on one host, neither's prefix may be
  // the other's followed by "v…": nftables could not tell their veth pairs apart.
  static base::Result<AddressPlan> Make(const PoolOptions& options);

  const sys::Ipv4Prefix& cidr() const { return cidr_; }
  std::uint32_t max_slots() const { return max_slots_; }

  std::string NetNsName(std::uint32_t index) const;  // "tb-7"
  std::string VethName(std::uint32_t index) const;   // "tbv7"
  std::string VethPattern() const;                   // "tbv*", as nftables matches names
  std::string HostTable() const;                     // "tb_net"
  sys::Ipv4Prefix HostAddress(std::uint32_t index) const;
  sys::Ipv4Prefix UplinkAddress(std::uint32_t index) const;
  // Of the two ends of the veth pair: known beforehand, so that neither end ever asks by ARP.
  static sys::Mac HostMac(std::uint32_t index);
  static sys::Mac UplinkMac(std::uint32_t index);

  // The index that a name of ours stands for; 0 for a name that is not ours (or out of any range).
  std::uint32_t IndexOfNetNs(const std::string& name) const;
  std::uint32_t IndexOfVeth(const std::string& name) const;

 private:
  std::string prefix_;
  sys::Ipv4Prefix cidr_;
  std::uint32_t max_slots_ = 0;
};

}  // namespace tinderbox::network
