// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "api/network_body.h"

#include <fmt/format.h>

#include <boost/json.hpp>
#include <vector>

#include "api/port_access.h"
#include "api/sandbox_address.h"
#include "api/transform_rules.h"

namespace tinderbox::api {
namespace {

using base::Result;
using sandbox::NetworkRules;

constexpr std::size_t kMaxHttpsPorts = 128;
// RFC 1929: one byte holds its length.
constexpr std::size_t kMostCredential = 255;
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

void ReadAllowed(FieldReader& fields, NetworkRules& rules) {
  const auto* items = fields.Array("allowOut");
  if (items == nullptr) return;
  for (const auto& item : *items) {
    if (!item.is_string()) return fields.Fail("allowOut", "must hold strings");
    const auto added = sandbox::AddAllowed(rules, std::string_view(item.as_string()));
    if (added) continue;
    return fields.Take(base::Error(added.error())
                           .WithContext(fmt::format("field '{}'", fields.NameOf("allowOut"))));
  }
}

void ReadDnsServers(FieldReader& fields, NetworkRules& rules) {
  const auto* servers = fields.Array("dnsServers");
  if (servers == nullptr) return;
  auto& addresses = rules.dns.emplace();
  if (servers->size() > 10) return fields.Fail("dnsServers", "holds more than 10 addresses");
  for (const auto& server : *servers) {
    if (!server.is_string()) return fields.Fail("dnsServers", "must hold strings");
    const auto address = sys::Ipv4::Parse(std::string_view(server.as_string()));
    if (!address) return fields.Fail("dnsServers", "holds what is no IPv4 address");
    addresses.push_back(*address);
  }
}

// SOCKS 5 without TLS. Credentials are kept, and never shown but the user's name.
void ReadProxy(FieldReader& fields, NetworkRules& rules) {
  const auto* object = fields.Object("egressProxy");
  if (object == nullptr) return;
  FieldReader inner(*object, fields.NameOf("egressProxy."));
  const std::string address = inner.String("address").value_or("");
  auto proxy = sandbox::ParseProxyAddress(address);
  if (!proxy) inner.Fail("address", proxy.error().message());
  const auto read = [&](std::string_view name) {
    std::string text = inner.String(name).value_or("");
    if (text.size() > kMostCredential) inner.Fail(name, "is longer than 255 bytes");
    return text;
  };
  const std::string username = read("username");
  const std::string password = read("password");
  if (username.empty() && !password.empty()) inner.Fail("password", "needs a username");
  if (const auto* tls = inner.Object("tls")) {
    FieldReader wish(*tls, inner.NameOf("tls."));
    if (wish.Bool("enabled").value_or(true)) wish.Unsupported("enabled", kLater);
    static_cast<void>(wish.String("serverName"));
    static_cast<void>(wish.String("caCert"));
    if (auto checked = wish.Finish(); !checked) inner.Take(checked.error());
  }
  if (auto checked = inner.Finish(); !checked) return fields.Take(checked.error());
  proxy->username = username;
  proxy->password = password;
  rules.proxy = *std::move(proxy);
}

// What stands in both bodies: in one as the object `network`, in the other by itself.
void ReadEgress(FieldReader& fields, NetworkRules& rules) {
  ReadAllowed(fields, rules);
  rules.deny = ReadNetworks(fields, "denyOut");
  // "Nothing" may be said in either way, and is shown in both.
  for (const auto& network : rules.deny) {
    if (network.length == 0) rules.allow_internet = false;
  }
  ReadDnsServers(fields, rules);
  ReadTransforms(fields, rules);
  ReadProxy(fields, rules);
}

// Who may reach the sandbox's ports, and how the proxy speaks to them. Only at create.
void ReadAccess(FieldReader& fields, NetworkOptions& options) {
  options.public_ports = fields.Bool("allowPublicTraffic").value_or(true);
  options.mask_host = fields.String("maskRequestHost").value_or("");
  if (!options.mask_host.empty()) {
    const auto good = CheckMaskHost(options.mask_host);
    if (!good) fields.Fail("maskRequestHost", good.error().message());
  }
  const auto* ports = fields.Array("httpsPorts");
  if (ports == nullptr) return;
  if (ports->size() > kMaxHttpsPorts) {
    return fields.Fail("httpsPorts", fmt::format("holds more than {} ports", kMaxHttpsPorts));
  }
  for (const auto& item : *ports) {
    boost::system::error_code error;
    const auto port = item.is_number() ? item.to_number<std::uint16_t>(error) : 0;
    if (error || port == 0) {
      return fields.Fail("httpsPorts", "must hold integers from 1 to 65535");
    }
    if (port == kAgentPort) {
      return fields.Fail("httpsPorts", fmt::format("may not hold {}, the agent's port", port));
    }
    options.https_ports.push_back(port);
  }
}

}  // namespace

NetworkOptions ReadNetwork(FieldReader& fields) {
  NetworkOptions options;
  options.rules.allow_internet = fields.Bool("allow_internet_access").value_or(true);
  const auto* network = fields.Object("network");
  if (network == nullptr) return options;
  FieldReader inner(*network, fields.NameOf("network."));
  ReadEgress(inner, options.rules);
  ReadAccess(inner, options);
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
