// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "api/network_body.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <boost/json.hpp>
#include <vector>

namespace tinderbox::api {
namespace {

using base::Result;
using sandbox::NetworkRules;

constexpr char kLater[] = "it is not supported yet";

sandbox::Networks ReadNetworks(FieldReader& fields, std::string_view name) {
  sandbox::Networks networks;
  const auto* items = fields.Array(name);
  if (items == nullptr) return networks;
  for (const auto& item : *items) {
    if (!item.is_string()) {
      fields.Fail(name, "must hold strings");
      break;
    }
    const auto network = sandbox::ParseNetwork(std::string_view(item.as_string()));
    if (!network) {
      fields.Take(
          base::Error(network.error()).WithContext(fmt::format("field '{}'", fields.NameOf(name))));
      break;
    }
    networks.push_back(*network);
  }
  return networks;
}

void ReadDnsServers(FieldReader& fields) {
  // They open the firewall for name lookups of allowed domains, of which there can be none here: a
  // valid list is of no effect.
  const auto* servers = fields.Array("dnsServers");
  if (servers == nullptr) return;
  if (servers->size() > 10) fields.Fail("dnsServers", "holds more than 10 addresses");
  for (const auto& server : *servers) {
    in_addr address{};
    if (!server.is_string() || inet_pton(AF_INET, server.as_string().c_str(), &address) != 1) {
      fields.Fail("dnsServers", "holds what is no IPv4 address");
    }
  }
}

// What stands in both bodies: in one as the object `network`, in the other by itself.
void ReadEgress(FieldReader& fields, NetworkRules& rules) {
  rules.allow = ReadNetworks(fields, "allowOut");
  rules.deny = ReadNetworks(fields, "denyOut");
  // "Nothing" may be said in either way, and is shown in both.
  for (const auto& network : rules.deny) {
    if (network.length == 0) rules.allow_internet = false;
  }
  ReadDnsServers(fields);
  if (const auto* transforms = fields.Object("rules");
      transforms != nullptr && !transforms->empty()) {
    fields.Unsupported("rules", kLater);
  }
  if (fields.Object("egressProxy") != nullptr) fields.Unsupported("egressProxy", kLater);
}

}  // namespace

NetworkOptions ReadNetwork(FieldReader& fields) {
  NetworkOptions options;
  options.rules.allow_internet = fields.Bool("allow_internet_access").value_or(true);
  const auto* network = fields.Object("network");
  if (network == nullptr) return options;
  FieldReader inner(*network, fields.NameOf("network."));
  ReadEgress(inner, options.rules);
  inner.UnsupportedUnlessEmpty("httpsPorts", kLater);
  if (!inner.Bool("allowPublicTraffic").value_or(true)) {
    inner.Unsupported("allowPublicTraffic", "access to its ports cannot be restricted yet");
  }
  if (!inner.String("maskRequestHost").value_or("").empty()) {
    inner.Unsupported("maskRequestHost", kLater);
  }
  if (auto checked = inner.Finish(); !checked) fields.Take(checked.error());
  return options;
}

Result<NetworkRules> ParseNetworkUpdate(std::string_view body) {
  const boost::json::object object = TRY(ParseObject(body, false));
  FieldReader fields(object);
  NetworkRules rules;
  rules.allow_internet = fields.Bool("allow_internet_access").value_or(true);
  ReadEgress(fields, rules);
  TRY(fields.Finish());
  return rules;
}

}  // namespace tinderbox::api
