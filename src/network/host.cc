// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "network/host.h"

#include <fmt/format.h>
#include <linux/capability.h>

#include <algorithm>
#include <boost/json.hpp>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <map>
#include <utility>

#include "network/nftables.h"
#include "network/rules.h"
#include "sys/file.h"
#include "sys/netlink.h"

namespace tinderbox::network {
namespace {

using base::Code;
using base::Error;

constexpr char kForwarding[] = "/proc/sys/net/ipv4/ip_forward";

bool IsOn(const std::string& path) {
  const auto value = sys::ReadFile(path);
  return value && value->starts_with('1');
}

std::string_view Field(const boost::json::object& object, std::string_view name) {
  const auto* const value = object.if_contains(name);
  const auto* const text = value != nullptr ? value->if_string() : nullptr;
  return text != nullptr ? std::string_view(*text) : std::string_view();
}

}  // namespace

base::Result<> CheckCapabilities() {
  const std::string status = TRY(sys::ReadFile("/proc/thread-self/status"));
  constexpr std::string_view kKey = "\nCapEff:\t";
  const std::size_t at = status.find(kKey);
  std::uint64_t effective = 0;
  if (at != std::string::npos) {
    const char* const from = status.data() + at + kKey.size();
    std::from_chars(from, status.data() + status.size(), effective, 16);
  }
  for (const auto& [bit, name] :
       {std::pair(CAP_NET_ADMIN, "CAP_NET_ADMIN"), std::pair(CAP_SYS_ADMIN, "CAP_SYS_ADMIN")}) {
    if ((effective >> bit & 1) == 0) {
      return std::unexpected(
          Error(Code::kPermissionDenied, fmt::format("set up networks without {}", name))
              .WithRemedy("Run as root."));
    }
  }
  return {};
}

base::Result<> CheckHostRoutes(const AddressPlan& plan) {
  sys::RouteSocket route = TRY(sys::RouteSocket::Open());
  std::map<int, std::string> links;
  for (const sys::LinkInfo& link : TRY(route.Links())) links[link.index] = link.name;
  const auto is_ours = [&](int index) { return plan.IndexOfVeth(links[index]) != 0; };
  for (const sys::RouteInfo& info : TRY(route.Routes())) {
    // The default route overlaps everything and means nothing here.
    if (info.destination.length == 0 || !info.destination.Overlaps(plan.cidr())) continue;
    if (!info.link_indexes.empty() && std::ranges::all_of(info.link_indexes, is_ours)) continue;
    const std::string by = info.link_indexes.empty() ? "nowhere" : links[info.link_indexes.front()];
    return std::unexpected(
        Error(Code::kFailedPrecondition,
              fmt::format("use network {}: the host routes {} to {}", plan.cidr().ToString(),
                          info.destination.ToString(), by))
            .WithRemedy("Choose a private network that this host has no route to (network cidr in "
                        "the configuration)."));
  }
  return {};
}

base::Result<> TurnForwardingOn() {
  // Written only where it is off: the write also resets other settings of every interface.
  if (!IsOn(kForwarding)) {
    auto written = sys::WriteExisting(kForwarding, "1");
    if (!written) {
      return std::unexpected(std::move(written)
                                 .error()
                                 .WithContext("turn IPv4 forwarding on")
                                 .WithRemedy("Run as root, with /proc/sys writable; or set "
                                             "net.ipv4.ip_forward=1 beforehand."));
    }
  }
  return {};
}

base::Result<std::vector<sys::Ipv4Prefix>> HostPrefixes(const AddressPlan& plan) {
  sys::RouteSocket route = TRY(sys::RouteSocket::Open());
  std::vector<sys::Ipv4Prefix> prefixes;
  for (const sys::Ipv4Prefix& prefix : TRY(route.LocalPrefixes())) {
    if (!IsDenied(plan, prefix)) prefixes.push_back(prefix);
  }
  return WithoutOverlaps(std::move(prefixes));
}

base::Result<> RemoveHostTable(const AddressPlan& plan) {
  TRY_CTX(RunNft(RemoveTable(plan.HostTable())),
          fmt::format("remove nftables table '{}'", plan.HostTable()));
  return {};
}

std::vector<std::string> DroppingForwardChains(std::string_view json, std::string_view own_table) {
  std::vector<std::string> chains;
  boost::system::error_code error;
  const boost::json::value parsed = boost::json::parse(json, error);
  const auto* const root = error ? nullptr : parsed.if_object();
  const auto* const list = root != nullptr ? root->if_contains("nftables") : nullptr;
  const auto* const items = list != nullptr ? list->if_array() : nullptr;
  if (items == nullptr) return chains;
  for (const boost::json::value& item : *items) {
    const auto* const object = item.if_object();
    const auto* const entry = object != nullptr ? object->if_contains("chain") : nullptr;
    const auto* const chain = entry != nullptr ? entry->if_object() : nullptr;
    if (chain == nullptr || Field(*chain, "table") == own_table) continue;
    const std::string_view family = Field(*chain, "family");
    if ((family == "ip" || family == "inet") && Field(*chain, "hook") == "forward" &&
        Field(*chain, "policy") == "drop") {
      chains.push_back(
          fmt::format("{} {} {}", family, Field(*chain, "table"), Field(*chain, "name")));
    }
  }
  return chains;
}

std::vector<std::string> HostWarnings(const PoolOptions& options) {
  std::vector<std::string> warnings;
  const auto plan = AddressPlan::Make(options);
  if (!plan) return {plan.error().ToString()};
  if (!IsOn(kForwarding)) {
    warnings.push_back(
        "IPv4 forwarding is off, so sandboxes reach nothing outside. Set net.ipv4.ip_forward=1 "
        "(the daemon does so when it starts; something turned it off, or it has not run yet).");
  }
  if (auto route = sys::RouteSocket::Open()) {
    const auto routes = route->Routes();
    const auto is_default = [](const sys::RouteInfo& r) { return r.destination.length == 0; };
    if (routes && std::ranges::none_of(*routes, is_default)) {
      warnings.push_back("The host has no IPv4 default route, so sandboxes reach no internet.");
    }
  }
  const auto chains = RunNft("list chains\n", /*json=*/true);
  if (!chains) {
    warnings.push_back(fmt::format("The firewall could not be read: {}. {}",
                                   chains.error().ToString(), chains.error().remedy()));
    return warnings;
  }
  for (const std::string& chain : DroppingForwardChains(*chains, plan->HostTable())) {
    warnings.push_back(fmt::format(
        "The nftables chain '{0}' drops forwarded packets that it does not know, those of "
        "sandboxes "
        "included. Let them pass: nft insert rule {0} iifname \"{1}\" accept; nft insert rule {0} "
        "oifname \"{1}\" ct state established,related accept.",
        chain, plan->VethPattern()));
  }
  return warnings;
}

}  // namespace tinderbox::network
