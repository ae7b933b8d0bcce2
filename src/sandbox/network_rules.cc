// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "sandbox/network_rules.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace tinderbox::sandbox {

using base::Code;
using base::Error;
using base::Result;
using sys::Ipv4Prefix;

Result<Ipv4Prefix> ParseNetwork(std::string_view text) {
  if (const auto address = sys::Ipv4::Parse(text)) return Ipv4Prefix{*address, 32};
  if (const auto network = Ipv4Prefix::Parse(text)) {
    return Ipv4Prefix{network->network(), network->length};
  }
  const std::string shown(text.substr(0, 100));
  if (text.find(':') != text.npos) {
    return std::unexpected(
        Error(Code::kInvalidArgument,
              fmt::format("'{}' is no IPv4 network: sandboxes have no IPv6, whatever the rules",
                          shown))
            .WithRemedy("Leave networks of IPv6 out."));
  }
  return std::unexpected(
      Error(Code::kInvalidArgument, fmt::format("'{}' is no IPv4 address or network", shown))
          .WithRemedy("Write an address as '192.0.2.1', a network as '192.0.2.0/24'."));
}

Result<egress::Proxy> ParseProxyAddress(std::string_view text) {
  const std::size_t colon = text.rfind(':');
  const std::string_view host = text.substr(0, colon);
  egress::Proxy proxy;
  const std::string_view digits = colon == text.npos ? "" : text.substr(colon + 1);
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), proxy.port);
  const bool good_port = error == std::errc() && end == digits.data() + digits.size() &&
                         proxy.port != 0 && !digits.empty();
  if (const auto address = sys::Ipv4::Parse(host)) {
    proxy.host = address->ToString();
  } else if (auto name = egress::NormalHostName(host)) {
    proxy.host = *std::move(name);
  }
  if (good_port && !proxy.host.empty()) return proxy;
  return std::unexpected(
      Error(Code::kInvalidArgument, fmt::format("'{}' is no host with a port", text.substr(0, 100)))
          .WithRemedy("Write 'proxy.example.com:1080', or an address of IPv4 with a port."));
}

Result<> AddAllowed(NetworkRules& rules, std::string_view text) {
  const bool like_address = std::ranges::all_of(
      text, [](char c) { return (c >= '0' && c <= '9') || c == '.' || c == '/'; });
  if (like_address || text.find(':') != text.npos) {
    rules.allow.push_back(TRY(ParseNetwork(text)));
  } else {
    rules.names.push_back(TRY(egress::DomainPattern::Parse(text)));
  }
  return {};
}

std::string NetworkText(const Ipv4Prefix& network) {
  return network.length == 32 ? network.address.ToString() : network.ToString();
}

std::vector<std::string> NetworkTexts(const Networks& networks) {
  std::vector<std::string> texts;
  for (const Ipv4Prefix& network : networks) texts.push_back(NetworkText(network));
  return texts;
}

std::vector<std::string> NameTexts(const egress::DomainPatterns& names) {
  std::vector<std::string> texts;
  for (const egress::DomainPattern& name : names) texts.push_back(name.text());
  return texts;
}

std::vector<std::string> AddressTexts(const std::vector<sys::Ipv4>& addresses) {
  std::vector<std::string> texts;
  for (const sys::Ipv4 address : addresses) texts.push_back(address.ToString());
  return texts;
}

}  // namespace tinderbox::sandbox
