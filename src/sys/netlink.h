// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "sys/fd.h"
#include "sys/netlink_address.h"

struct nl_sock;

namespace tinderbox::sys {

struct LinkInfo {
  int index = 0;
  std::string name;
  std::string kind;  // "veth", "tun", "bridge", …; empty for a plain device
  bool operator==(const LinkInfo&) const = default;
};

struct RouteInfo {
  Ipv4Prefix destination;
  std::vector<int> link_indexes;  // of its next hops; empty for blackhole and the like
};

// A veth pair: one end in the namespace of the socket, its peer in another.
struct VethSpec {
  std::string name;
  Mac mac;
  std::string peer_name;
  Mac peer_mac;
  FdRef peer_netns;
};

// An rtnetlink socket (libnl-route) of the network namespace of the thread that opened it; it stays
// there whichever thread uses it, one at a time. Every call sends one request and waits for the
// kernel's answer, which it gives at once. Errors name the object and carry the kernel's errno.
class RouteSocket {
 public:
  static base::Result<RouteSocket> Open();
  RouteSocket(RouteSocket&&) noexcept;
  RouteSocket& operator=(RouteSocket&&) noexcept;
  ~RouteSocket();

  base::Result<> AddVeth(const VethSpec& spec);
  base::Result<> SetMac(const std::string& link, const Mac& mac);
  base::Result<> SetUp(const std::string& link);
  base::Result<> AddAddress(const std::string& link, const Ipv4Prefix& address);
  base::Result<> AddRoute(const Ipv4Prefix& destination, Ipv4 gateway, const std::string& link);
  // Never expires and is never changed by what arrives.
  base::Result<> AddPermanentNeighbour(const std::string& link, Ipv4 address, const Mac& mac);
  // False where there is no such link. A veth's peer goes with it, wherever it is.
  base::Result<bool> DeleteLink(const std::string& link);

  base::Result<std::optional<LinkInfo>> FindLink(const std::string& name);
  base::Result<std::vector<LinkInfo>> Links();
  // The IPv4 unicast routes of all tables but `local`.
  base::Result<std::vector<RouteInfo>> Routes();
  // The namespace's own addresses: the prefixes of the `local` and `broadcast` routes of
  // table `local` (every address of an interface, and networks that were made local by hand), and
  // single addresses that other tables (VRFs) make local. Networks that other tables make local are
  // left out: transparent proxies have 0.0.0.0/0 there.
  base::Result<std::vector<Ipv4Prefix>> LocalPrefixes();
  // The user that owns a TAP device; no value where the kernel names none.
  base::Result<std::optional<uid_t>> TapOwner(const std::string& link);

 private:
  struct Impl;
  explicit RouteSocket(std::unique_ptr<Impl> impl);
  base::Result<int> Index(const std::string& link);

  std::unique_ptr<Impl> impl_;
};

}  // namespace tinderbox::sys
