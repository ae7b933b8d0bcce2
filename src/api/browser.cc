// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "api/browser.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/ip/address.hpp>

#include "api/error_map.h"
#include "api/sandbox_address.h"

namespace tinderbox::api {
namespace {

// "*" stands for every field but Authorization. Those of the SDKs are named for browsers that do
// not know it.
constexpr char kAllowedHeaders[] =
    "*, Authorization, X-API-Key, Content-Type, Content-Length, Origin, User-Agent, "
    "X-Access-Token, "
    "E2b-Sandbox-Id, E2b-Sandbox-Port, E2b-Traffic-Access-Token, Connect-Protocol-Version, "
    "Connect-Timeout-Ms, Idempotency-Key, Keepalive-Ping-Interval, browser, lang, lang_version, "
    "machine, os, package_version, processor, publisher, release, sdk_runtime, system";

// "name." is the same name.
std::string Normal(std::string_view host) {
  std::string name = HostName(host);
  if (name.ends_with('.')) name.pop_back();
  return name;
}

bool HasOddPort(std::string_view host) {
  const auto colon = host.rfind(':');
  return colon != host.npos && !host.ends_with(']') &&
         host.find_first_not_of("0123456789", colon + 1) != host.npos;
}

bool IsSameOrBelow(std::string_view name, std::string_view parent) {
  if (name == parent) return true;
  return name.size() > parent.size() && name.ends_with(parent) &&
         name[name.size() - parent.size() - 1] == '.';
}

}  // namespace

net::HeaderList CorsHeaders() {
  return {{"Access-Control-Allow-Origin", "*"}, {"Access-Control-Expose-Headers", "*"}};
}

bool IsPreflight(const net::RequestHead& head) {
  return head.method == "OPTIONS" && head.headers.Has("Origin") &&
         head.headers.Has("Access-Control-Request-Method");
}

Answer PreflightAnswer() {
  Answer answer = EmptyAnswer(204);
  answer.headers = CorsHeaders();
  answer.headers.Add("Access-Control-Allow-Methods",
                     "GET, POST, PUT, PATCH, DELETE, HEAD, OPTIONS");
  answer.headers.Add("Access-Control-Allow-Headers", kAllowedHeaders);
  answer.headers.Add("Access-Control-Max-Age", "43200");
  return answer;
}

HostNames::HostNames(std::string_view domain, const std::vector<std::string>& allowed)
    : names_{"localhost"} {
  if (!domain.empty()) names_.push_back(Normal(domain));
  for (const std::string& name : allowed) names_.push_back(Normal(name));
}

bool HostNames::Allow(std::string_view host) const {
  if (host.empty()) return true;
  if (HasOddPort(host)) return false;
  std::string name = Normal(host);
  if (std::ranges::any_of(names_, [&](const std::string& own) { return IsSameOrBelow(name, own); }))
    return true;
  if (name.starts_with('[') && name.ends_with(']')) name = name.substr(1, name.size() - 2);
  return IsLoopback(name);
}

Answer ForeignHostAnswer(std::string_view host) {
  return ErrorAnswer(
      base::Code::kPermissionDenied,
      fmt::format("serve host '{}': it is not a name of this daemon", host.substr(0, 100)),
      "Use localhost or 127.0.0.1, or set `domain` or `allowed_hosts` in the configuration.");
}

bool IsLoopback(const std::string& address) {
  boost::system::error_code error;
  const auto parsed = boost::asio::ip::make_address(address, error);
  if (error) return false;
  if (parsed.is_v6() && parsed.to_v6().is_v4_mapped()) {
    return boost::asio::ip::make_address_v4(boost::asio::ip::v4_mapped, parsed.to_v6())
        .is_loopback();
  }
  return parsed.is_loopback();
}

}  // namespace tinderbox::api
