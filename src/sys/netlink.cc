// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "sys/netlink.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netlink/attr.h>
#include <netlink/errno.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <netlink/route/link/veth.h>
#include <netlink/route/neighbour.h>
#include <netlink/route/nexthop.h>
#include <netlink/route/route.h>
#include <netlink/socket.h>

#include <cerrno>
#include <utility>

namespace tinderbox::sys {
namespace {

template <typename T, void (*Free)(T*)>
struct Freer {
  void operator()(T* object) const { Free(object); }
};
template <typename T, void (*Free)(T*)>
using Owned = std::unique_ptr<T, Freer<T, Free>>;

using Link = Owned<rtnl_link, rtnl_link_put>;
using Address = Owned<nl_addr, nl_addr_put>;
using Cache = Owned<nl_cache, nl_cache_free>;

std::unexpected<base::Error> OutOfMemory(const char* what) {
  return base::FailErrno(ENOMEM, fmt::format("allocate a netlink {}", what));
}

Address MakeAddress(const Ipv4Prefix& prefix) {
  const std::uint32_t wire = htonl(prefix.address.value);
  Address address(nl_addr_build(AF_INET, &wire, sizeof(wire)));
  if (address) nl_addr_set_prefixlen(address.get(), prefix.length);
  return address;
}

Address MakeAddress(const Mac& mac) {
  return Address(nl_addr_build(AF_LLC, mac.data(), mac.size()));
}

Ipv4Prefix ToPrefix(nl_addr* address) {
  std::uint32_t wire = 0;
  if (nl_addr_get_len(address) == sizeof(wire)) {
    wire = *static_cast<const std::uint32_t*>(nl_addr_get_binary_addr(address));
  }
  return Ipv4Prefix{Ipv4{ntohl(wire)}, static_cast<int>(nl_addr_get_prefixlen(address))};
}

LinkInfo ToLinkInfo(rtnl_link* link) {
  const char* const kind = rtnl_link_get_type(link);
  return LinkInfo{.index = rtnl_link_get_ifindex(link),
                  .name = rtnl_link_get_name(link),
                  .kind = kind != nullptr ? kind : ""};
}

}  // namespace

struct RouteSocket::Impl {
  Owned<nl_sock, nl_socket_free> socket;
  int err = 0;  // errno of the last request that the kernel refused

  // libnl folds errno values into its own codes; this keeps the kernel's.
  static int OnError(sockaddr_nl*, nlmsgerr* message, void* self) {
    static_cast<Impl*>(self)->err = -message->error;
    return -NLE_FAILURE;
  }

  // The result of libnl's `status`, where `what` was tried.
  base::Result<> Check(int status, const std::string& what) {
    const int refused = std::exchange(err, 0);
    if (status >= 0) return {};
    if (refused != 0) return base::FailErrno(refused, what);
    if (status == -NLE_OBJ_NOTFOUND || status == -NLE_NODEV) return base::FailErrno(ENODEV, what);
    return base::Fail(base::Code::kInternal, fmt::format("{}: {}", what, nl_geterror(status)));
  }
};

RouteSocket::RouteSocket(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
RouteSocket::RouteSocket(RouteSocket&&) noexcept = default;
RouteSocket& RouteSocket::operator=(RouteSocket&&) noexcept = default;
RouteSocket::~RouteSocket() = default;

base::Result<RouteSocket> RouteSocket::Open() {
  auto impl = std::make_unique<Impl>();
  impl->socket.reset(nl_socket_alloc());
  if (!impl->socket) return OutOfMemory("socket");
  TRY(impl->Check(nl_connect(impl->socket.get(), NETLINK_ROUTE), "open an rtnetlink socket"));
  nl_socket_modify_err_cb(impl->socket.get(), NL_CB_CUSTOM, Impl::OnError, impl.get());
  return RouteSocket(std::move(impl));
}

base::Result<int> RouteSocket::Index(const std::string& link) {
  const auto found = TRY(FindLink(link));
  if (!found) return base::FailErrno(ENODEV, fmt::format("find link '{}'", link));
  return found->index;
}

base::Result<> RouteSocket::AddVeth(const VethSpec& spec) {
  const Owned<rtnl_link, rtnl_link_veth_release> link(rtnl_link_veth_alloc());
  const Address mac = MakeAddress(spec.mac);
  const Address peer_mac = MakeAddress(spec.peer_mac);
  if (!link || !mac || !peer_mac) return OutOfMemory("link");
  rtnl_link_set_name(link.get(), spec.name.c_str());
  rtnl_link_set_addr(link.get(), mac.get());
  const Link peer(rtnl_link_veth_get_peer(link.get()));
  rtnl_link_set_addr(peer.get(), peer_mac.get());
  rtnl_link_set_name(peer.get(), spec.peer_name.c_str());
  rtnl_link_set_ns_fd(peer.get(), spec.peer_netns.get());
  return impl_->Check(rtnl_link_add(impl_->socket.get(), link.get(), NLM_F_CREATE | NLM_F_EXCL),
                      fmt::format("make veth pair '{}', '{}'", spec.name, spec.peer_name));
}

base::Result<> RouteSocket::SetMac(const std::string& link, const Mac& mac) {
  const Link change(rtnl_link_alloc());
  const Address address = MakeAddress(mac);
  if (!change || !address) return OutOfMemory("link");
  rtnl_link_set_ifindex(change.get(), TRY(Index(link)));
  rtnl_link_set_addr(change.get(), address.get());
  return impl_->Check(rtnl_link_change(impl_->socket.get(), change.get(), change.get(), 0),
                      fmt::format("set the MAC of link '{}'", link));
}

base::Result<> RouteSocket::SetUp(const std::string& link) {
  const Link change(rtnl_link_alloc());
  if (!change) return OutOfMemory("link");
  rtnl_link_set_ifindex(change.get(), TRY(Index(link)));
  rtnl_link_set_flags(change.get(), IFF_UP);
  return impl_->Check(rtnl_link_change(impl_->socket.get(), change.get(), change.get(), 0),
                      fmt::format("set link '{}' up", link));
}

base::Result<> RouteSocket::AddAddress(const std::string& link, const Ipv4Prefix& address) {
  const Owned<rtnl_addr, rtnl_addr_put> entry(rtnl_addr_alloc());
  const Address local = MakeAddress(address);
  if (!entry || !local) return OutOfMemory("address");
  rtnl_addr_set_ifindex(entry.get(), TRY(Index(link)));
  rtnl_addr_set_local(entry.get(), local.get());
  return impl_->Check(rtnl_addr_add(impl_->socket.get(), entry.get(), NLM_F_CREATE | NLM_F_EXCL),
                      fmt::format("give link '{}' address {}", link, address.ToString()));
}

base::Result<> RouteSocket::AddRoute(const Ipv4Prefix& destination, Ipv4 gateway,
                                     const std::string& link) {
  const Owned<rtnl_route, rtnl_route_put> route(rtnl_route_alloc());
  Owned<rtnl_nexthop, rtnl_route_nh_free> hop(rtnl_route_nh_alloc());
  const Address to = MakeAddress(destination);
  const Address via = MakeAddress(Ipv4Prefix{gateway, 32});
  if (!route || !hop || !to || !via) return OutOfMemory("route");
  rtnl_route_nh_set_ifindex(hop.get(), TRY(Index(link)));
  rtnl_route_nh_set_gateway(hop.get(), via.get());
  rtnl_route_set_dst(route.get(), to.get());
  rtnl_route_add_nexthop(route.get(), hop.release());  // the route owns it from here
  return impl_->Check(
      rtnl_route_add(impl_->socket.get(), route.get(), NLM_F_CREATE | NLM_F_EXCL),
      fmt::format("route {} by {} on link '{}'", destination.ToString(), gateway.ToString(), link));
}

base::Result<> RouteSocket::AddPermanentNeighbour(const std::string& link, Ipv4 address,
                                                  const Mac& mac) {
  const Owned<rtnl_neigh, rtnl_neigh_put> entry(rtnl_neigh_alloc());
  const Address to = MakeAddress(Ipv4Prefix{address, 32});
  const Address at = MakeAddress(mac);
  if (!entry || !to || !at) return OutOfMemory("neighbour");
  rtnl_neigh_set_ifindex(entry.get(), TRY(Index(link)));
  rtnl_neigh_set_dst(entry.get(), to.get());
  rtnl_neigh_set_lladdr(entry.get(), at.get());
  rtnl_neigh_set_state(entry.get(), NUD_PERMANENT);
  return impl_->Check(
      rtnl_neigh_add(impl_->socket.get(), entry.get(), NLM_F_CREATE | NLM_F_REPLACE),
      fmt::format("add neighbour {} on link '{}'", address.ToString(), link));
}

base::Result<bool> RouteSocket::DeleteLink(const std::string& link) {
  const Link target(rtnl_link_alloc());
  if (!target) return OutOfMemory("link");
  const auto found = TRY(FindLink(link));
  if (!found) return false;
  rtnl_link_set_ifindex(target.get(), found->index);
  const auto deleted = impl_->Check(rtnl_link_delete(impl_->socket.get(), target.get()),
                                    fmt::format("delete link '{}'", link));
  if (deleted) return true;
  if (deleted.error().errno_value() == ENODEV) return false;  // gone between the two calls
  return std::unexpected(deleted.error());
}

base::Result<std::optional<LinkInfo>> RouteSocket::FindLink(const std::string& name) {
  if (name.empty() || name.size() >= IFNAMSIZ) {
    return base::Fail(base::Code::kInvalidArgument, fmt::format("find link '{}'", name));
  }
  rtnl_link* raw = nullptr;
  const int status = rtnl_link_get_kernel(impl_->socket.get(), 0, name.c_str(), &raw);
  const Link link(raw);
  const auto found = impl_->Check(status, fmt::format("find link '{}'", name));
  if (found) return ToLinkInfo(link.get());
  if (found.error().errno_value() == ENODEV) return std::nullopt;
  return std::unexpected(found.error());
}

base::Result<std::vector<LinkInfo>> RouteSocket::Links() {
  nl_cache* raw = nullptr;
  const int status = rtnl_link_alloc_cache(impl_->socket.get(), AF_UNSPEC, &raw);
  const Cache cache(raw);
  TRY(impl_->Check(status, "list links"));
  std::vector<LinkInfo> links;
  for (nl_object* object = nl_cache_get_first(cache.get()); object != nullptr;
       object = nl_cache_get_next(object)) {
    links.push_back(ToLinkInfo(reinterpret_cast<rtnl_link*>(object)));
  }
  return links;
}

base::Result<std::vector<RouteInfo>> RouteSocket::Routes() {
  nl_cache* raw = nullptr;
  const int status = rtnl_route_alloc_cache(impl_->socket.get(), AF_INET, 0, &raw);
  const Cache cache(raw);
  TRY(impl_->Check(status, "list routes"));
  std::vector<RouteInfo> routes;
  for (nl_object* object = nl_cache_get_first(cache.get()); object != nullptr;
       object = nl_cache_get_next(object)) {
    auto* const route = reinterpret_cast<rtnl_route*>(object);
    if (rtnl_route_get_table(route) == RT_TABLE_LOCAL) continue;
    RouteInfo info{.destination = ToPrefix(rtnl_route_get_dst(route)), .link_indexes = {}};
    for (int i = 0; i < rtnl_route_get_nnexthops(route); ++i) {
      info.link_indexes.push_back(rtnl_route_nh_get_ifindex(rtnl_route_nexthop_n(route, i)));
    }
    routes.push_back(std::move(info));
  }
  return routes;
}

base::Result<std::vector<Ipv4Prefix>> RouteSocket::LocalPrefixes() {
  nl_cache* raw = nullptr;
  const int status = rtnl_route_alloc_cache(impl_->socket.get(), AF_INET, 0, &raw);
  const Cache cache(raw);
  TRY(impl_->Check(status, "list local routes"));
  std::vector<Ipv4Prefix> prefixes;
  for (nl_object* object = nl_cache_get_first(cache.get()); object != nullptr;
       object = nl_cache_get_next(object)) {
    auto* const route = reinterpret_cast<rtnl_route*>(object);
    const auto type = rtnl_route_get_type(route);
    if (type != RTN_LOCAL && type != RTN_BROADCAST) continue;
    const Ipv4Prefix prefix = ToPrefix(rtnl_route_get_dst(route));
    if (rtnl_route_get_table(route) != RT_TABLE_LOCAL && prefix.length != 32) continue;
    prefixes.push_back(prefix);
  }
  return prefixes;
}

base::Result<std::optional<uid_t>> RouteSocket::TapOwner(const std::string& link) {
  // libnl 3.7 knows nothing of what a "tun" link tells of itself: read the attributes directly.
  const int index = TRY(Index(link));
  const Owned<nl_msg, nlmsg_free> request(nlmsg_alloc_simple(RTM_GETLINK, 0));
  ifinfomsg header{};
  header.ifi_index = index;
  if (!request || nlmsg_append(request.get(), &header, sizeof(header), NLMSG_ALIGNTO) != 0) {
    return OutOfMemory("message");
  }
  std::optional<uid_t> owner;
  const auto on_valid = [](nl_msg* message, void* out) -> int {
    nlattr* link_attributes[IFLA_MAX + 1];
    nlattr* info[IFLA_INFO_MAX + 1];
    nlattr* tun[IFLA_TUN_MAX + 1];
    if (nlmsg_parse(nlmsg_hdr(message), sizeof(ifinfomsg), link_attributes, IFLA_MAX, nullptr) ==
            0 &&
        link_attributes[IFLA_LINKINFO] != nullptr &&
        nla_parse_nested(info, IFLA_INFO_MAX, link_attributes[IFLA_LINKINFO], nullptr) == 0 &&
        info[IFLA_INFO_DATA] != nullptr &&
        nla_parse_nested(tun, IFLA_TUN_MAX, info[IFLA_INFO_DATA], nullptr) == 0 &&
        tun[IFLA_TUN_OWNER] != nullptr) {
      *static_cast<std::optional<uid_t>*>(out) = nla_get_u32(tun[IFLA_TUN_OWNER]);
    }
    return NL_OK;
  };
  nl_socket_modify_cb(impl_->socket.get(), NL_CB_VALID, NL_CB_CUSTOM, on_valid, &owner);
  int status = nl_send_auto(impl_->socket.get(), request.get());
  if (status >= 0) status = nl_recvmsgs_default(impl_->socket.get());
  if (status >= 0) status = nl_wait_for_ack(impl_->socket.get());
  nl_socket_modify_cb(impl_->socket.get(), NL_CB_VALID, NL_CB_DEFAULT, nullptr, nullptr);
  TRY(impl_->Check(status, fmt::format("read the owner of TAP '{}'", link)));
  return owner;
}

}  // namespace tinderbox::sys
