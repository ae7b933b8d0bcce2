// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "network/slot_setup.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

#include "network/nftables.h"
#include "network/rules.h"
#include "network/table_guard.h"
#include "sys/file.h"
#include "sys/netlink.h"
#include "sys/netlink_tap.h"
#include "sys/netns.h"

namespace tinderbox::network {
namespace {

using base::Result;

// Settings of /proc/sys/net, which shows those of the calling thread's namespace. IPv6 may be
// absent from the kernel altogether: nothing to turn off then.
Result<> SetNet(const std::string& name, const char* value) {
  const std::string path = "/proc/sys/net/" + name;
  auto written = sys::WriteExisting(path, value);
  if (!written && name.starts_with("ipv6/") && !sys::Exists(path)) return {};
  return written;
}

Result<> SetInnerOptions() {
  // IPv6 before any link is made, so that none ever gets a link-local address.
  TRY(SetNet("ipv6/conf/all/disable_ipv6", "1"));
  TRY(SetNet("ipv6/conf/default/disable_ipv6", "1"));
  TRY(SetNet("ipv4/ip_forward", "1"));
  // A guest that tries what it may not shall hear so every time, not once a second.
  TRY(SetNet("ipv4/icmp_ratelimit", "10"));
  // The guest learns of no address but the gateway's, and turns no route of this namespace.
  TRY(SetNet("ipv4/conf/all/arp_ignore", "1"));
  TRY(SetNet("ipv4/conf/all/rp_filter", "1"));
  for (const char* scope : {"all", "default"}) {
    for (const char* option :
         {"accept_redirects", "send_redirects", "accept_source_route", "route_localnet"}) {
      TRY(SetNet(fmt::format("ipv4/conf/{}/{}", scope, option), "0"));
    }
  }
  return {};
}

Result<> MakeTap(sys::RouteSocket& route, uid_t uid) {
  const sys::Ipv4 guest = TRY(sys::Ipv4::Parse(kGuestAddress));
  const sys::Ipv4 gateway = TRY(sys::Ipv4::Parse(kGatewayAddress));
  const sys::Mac guest_mac = TRY(sys::ParseMac(kGuestMac));
  const sys::Mac gateway_mac = TRY(sys::ParseMac(kGatewayMac));
  TRY(sys::AddTap(kTapName, uid, uid));
  TRY(route.SetMac(kTapName, gateway_mac));
  TRY(route.AddAddress(kTapName, {gateway, kGuestPrefix}));
  TRY(route.SetUp(kTapName));
  // After SetUp: taking a link up or down flushes neighbours. With this entry no ARP request ever
  // waits for a guest that is not up yet.
  return route.AddPermanentNeighbour(kTapName, guest, guest_mac);
}

// What of a slot is on the host so far: what its undo has to take away.
struct Progress {
  bool name = false;
  bool veth = false;
};

struct SlotSpec {
  const AddressPlan& plan;
  std::uint32_t index;
  const std::string& rules;
  uid_t uid;
};

// Everything inside the namespace; runs on a thread that has entered it.
Result<> SetUpInside(const SlotSpec& spec, sys::FdRef host, Progress& progress) {
  TRY_CTX(SetInnerOptions(), "set namespace options");
  // The rules stand before the first link is up: there is no moment without them.
  TRY(RunNft(spec.rules));
  sys::RouteSocket route = TRY(sys::RouteSocket::Open());
  TRY(route.SetUp("lo"));
  TRY(MakeTap(route, spec.uid));
  TRY(route.AddVeth({.name = kUplinkName,
                     .mac = AddressPlan::UplinkMac(spec.index),
                     .peer_name = spec.plan.VethName(spec.index),
                     .peer_mac = AddressPlan::HostMac(spec.index),
                     .peer_netns = host}));
  progress.veth = true;
  TRY(route.AddAddress(kUplinkName, spec.plan.UplinkAddress(spec.index)));
  TRY(route.SetUp(kUplinkName));
  // Permanent at both ends: the kernel's neighbour table is one for all namespaces, holds 1024
  // entries by default, and those that never expire do not count.
  const sys::Ipv4 gateway = spec.plan.HostAddress(spec.index).address;
  TRY(route.AddPermanentNeighbour(kUplinkName, gateway, AddressPlan::HostMac(spec.index)));
  return route.AddRoute({sys::Ipv4{0}, 0}, gateway, kUplinkName);
}

Result<> SetUpHostEnd(const AddressPlan& plan, std::uint32_t index, sys::RouteSocket& route) {
  const std::string veth = plan.VethName(index);
  TRY(SetNet(fmt::format("ipv6/conf/{}/disable_ipv6", veth), "1"));
  TRY(SetNet(fmt::format("ipv4/conf/{}/rp_filter", veth), "1"));
  TRY(SetNet(fmt::format("ipv4/conf/{}/accept_redirects", veth), "0"));
  TRY(SetNet(fmt::format("ipv4/conf/{}/send_redirects", veth), "0"));
  TRY(route.AddAddress(veth, plan.HostAddress(index)));
  TRY(route.SetUp(veth));
  return route.AddPermanentNeighbour(veth, plan.UplinkAddress(index).address,
                                     AddressPlan::UplinkMac(index));
}

Result<> Build(const SlotSpec& spec, sys::RouteSocket& route, Progress& progress) {
  const std::string veth = spec.plan.VethName(spec.index);
  // Looked at first: it costs little, and a namespace made for nothing costs much.
  if (TRY(route.FindLink(veth))) {
    return base::Fail(base::Code::kAlreadyExists, fmt::format("link '{}' exists already", veth));
  }
  const sys::UniqueFd host = TRY(sys::CurrentNetNs());
  const sys::UniqueFd netns = TRY(sys::NewNetNs());
  TRY(sys::NameNetNs(netns, spec.plan.NetNsName(spec.index)));
  progress.name = true;
  TRY(sys::RunInNetNs(netns, [&] { return SetUpInside(spec, host, progress); }));
  return SetUpHostEnd(spec.plan, spec.index, route);
}

}  // namespace

Slot DescribeSlot(const AddressPlan& plan, std::uint32_t index, uid_t uid) {
  const std::string name = plan.NetNsName(index);
  return Slot{.index = index,
              .netns_name = name,
              .netns_path = sys::NetNsPath(name),
              .tap = kTapName,
              .uid = uid};
}

Result<Slot> MakeSlot(const AddressPlan& plan, std::uint32_t index, const std::string& rules,
                      uid_t uid) {
  const std::string what = fmt::format("make network slot {}", index);
  // Opened now, so that the undo of a failure for want of descriptors needs none.
  sys::RouteSocket route = TRY_CTX(sys::RouteSocket::Open(), what);
  const SlotSpec spec{.plan = plan, .index = index, .rules = rules, .uid = uid};
  Progress progress;
  auto built = Build(spec, route, progress);
  if (built) return DescribeSlot(plan, index, uid);
  auto error = std::move(built).error().WithContext(what);
  if (progress.veth) {
    const auto undone = route.DeleteLink(plan.VethName(index));
    if (!undone) error = std::move(error).WithContext("not undone: " + undone.error().ToString());
  }
  if (progress.name) {
    const auto undone = sys::UnnameNetNs(plan.NetNsName(index));
    if (!undone) error = std::move(error).WithContext("not undone: " + undone.error().ToString());
  }
  return std::unexpected(std::move(error));
}

Result<Slot> InspectSlot(const AddressPlan& plan, std::uint32_t index) {
  const std::string what = fmt::format("look at network slot {}", index);
  const sys::UniqueFd netns = TRY_CTX(sys::OpenNetNs(plan.NetNsName(index)), what);
  sys::RouteSocket host = TRY_CTX(sys::RouteSocket::Open(), what);
  if (!TRY_CTX(host.FindLink(plan.VethName(index)), what)) {
    return base::Fail(base::Code::kFailedPrecondition,
                      fmt::format("{}: link '{}' is gone", what, plan.VethName(index)));
  }
  std::optional<uid_t> owner;
  const auto look = [&]() -> Result<> {
    sys::RouteSocket route = TRY(sys::RouteSocket::Open());
    if (TRY(route.FindLink(kTapName))) owner = TRY(route.TapOwner(kTapName));
    return {};
  };
  TRY_CTX(sys::RunInNetNs(netns, look), what);
  if (!owner) {
    return base::Fail(base::Code::kFailedPrecondition,
                      fmt::format("{}: its TAP device is gone", what));
  }
  return DescribeSlot(plan, index, *owner);
}

Result<> RunInSlot(const AddressPlan& plan, std::uint32_t index, const std::string& commands) {
  const std::string what = fmt::format("set the rules of network slot {}", index);
  const sys::UniqueFd netns = TRY_CTX(sys::OpenNetNs(plan.NetNsName(index)), what);
  const auto apply = [&]() -> Result<> {
    TRY(RunNft(commands));
    return {};
  };
  TRY_CTX(sys::RunInNetNs(netns, apply), what);
  return {};
}

Result<std::string> ListSlotTable(const AddressPlan& plan, std::uint32_t index) {
  const std::string what = fmt::format("read the rules of network slot {}", index);
  const sys::UniqueFd netns = TRY_CTX(sys::OpenNetNs(plan.NetNsName(index)), what);
  std::string table;
  const auto list = [&]() -> Result<> {
    table = TRY(ListTable(kInnerTable));
    return {};
  };
  TRY_CTX(sys::RunInNetNs(netns, list), what);
  return table;
}

Result<std::vector<std::string>> RemoveSlot(const AddressPlan& plan, std::uint32_t index) {
  const std::string what = fmt::format("remove network slot {}", index);
  std::vector<std::string> words;
  sys::RouteSocket route = TRY_CTX(sys::RouteSocket::Open(), what);
  const auto link = TRY_CTX(route.FindLink(plan.VethName(index)), what);
  if (link && link->kind != "veth") {
    words.push_back(fmt::format("link {} is not a veth pair and not ours: left alone", link->name));
  } else if (link) {
    if (TRY_CTX(route.DeleteLink(link->name), what)) {
      words.push_back(fmt::format("removed link {}", link->name));
    }
  }
  // Last, because the name is what tells that the slot is taken.
  if (TRY_CTX(sys::UnnameNetNs(plan.NetNsName(index)), what)) {
    words.push_back(fmt::format("removed network namespace {}", plan.NetNsName(index)));
  }
  return words;
}

Result<std::vector<std::uint32_t>> FindSlots(const AddressPlan& plan) {
  std::set<std::uint32_t> found;
  for (const std::string& name : TRY(sys::NetNsNames())) found.insert(plan.IndexOfNetNs(name));
  sys::RouteSocket route = TRY(sys::RouteSocket::Open());
  for (const sys::LinkInfo& link : TRY(route.Links())) found.insert(plan.IndexOfVeth(link.name));
  found.erase(0);
  return std::vector<std::uint32_t>(found.begin(), found.end());
}

}  // namespace tinderbox::network
