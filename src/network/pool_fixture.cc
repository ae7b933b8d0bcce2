// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "network/pool_fixture.h"

#include <filesystem>
#include <iterator>
#include <ostream>

#include "sys/netlink.h"
#include "sys/netns.h"

namespace tinderbox::network::testing {

HostState::HostState(const std::string& prefix) {
  const auto names = sys::NetNsNames().value();
  for (const std::string& name : names) {
    if (name.starts_with(prefix + "-")) namespaces.push_back(name);
  }
  sys::RouteSocket route = std::move(sys::RouteSocket::Open()).value();
  const auto all_links = route.Links().value();
  for (const sys::LinkInfo& link : all_links) links.push_back(link.name);
  tables = Tool({"nft", "list", "tables"});
  routes = Tool({"ip", "route"});
  const std::filesystem::directory_iterator open("/proc/self/fd");
  descriptors = static_cast<std::size_t>(std::distance(begin(open), end(open)));
}

std::ostream& operator<<(std::ostream& out, const HostState& state) {
  for (const std::string& name : state.namespaces) out << "netns " << name << "\n";
  for (const std::string& name : state.links) out << "link " << name << "\n";
  return out << state.tables << "\n" << state.routes << "\ndescriptors " << state.descriptors;
}

}  // namespace tinderbox::network::testing
