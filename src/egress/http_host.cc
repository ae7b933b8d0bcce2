// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include <boost/asio/buffer.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <optional>

#include "egress/domain_pattern.h"
#include "egress/first_bytes.h"

namespace tinderbox::egress {
namespace {

namespace http = boost::beast::http;

// "example.com:8080" without the port. An address in brackets stays one, and is no name.
std::string_view WithoutPort(std::string_view host) {
  const std::size_t colon = host.rfind(':');
  if (colon == host.npos || host.find(']', colon) != host.npos) return host;
  return host.substr(0, colon);
}

// Of a target "http://example.com/x"; nothing for one that begins with '/'.
std::optional<std::string_view> HostOfTarget(std::string_view target) {
  const std::size_t scheme = target.find("://");
  if (target.starts_with('/') || scheme == target.npos) return std::nullopt;
  std::string_view authority = target.substr(scheme + 3);
  return authority.substr(0, authority.find_first_of("/?#"));
}

}  // namespace

FirstWords ReadHttpHost(std::string_view bytes) {
  http::request_parser<http::empty_body> parser;
  parser.header_limit(kMostFirstBytes);
  parser.eager(false);
  boost::system::error_code ec;
  parser.put(boost::asio::buffer(bytes.data(), bytes.size()), ec);
  if (ec == http::error::need_more) return {Said::kMore, {}};
  if (ec || !parser.is_header_done()) return {Said::kForeign, {}};

  const auto& request = parser.get();
  const auto hosts = request.equal_range(http::field::host);
  if (hosts.first == hosts.second) return {Said::kNothing, {}};
  if (std::next(hosts.first) != hosts.second || request.method() == http::verb::connect) {
    return {Said::kForeign, {}};
  }
  const std::string_view host = hosts.first->value();
  auto name = NormalHostName(WithoutPort(host));
  if (const auto wanted = HostOfTarget(request.target())) {
    if (NormalHostName(WithoutPort(*wanted)) != name) return {Said::kForeign, {}};
  }
  if (!name) return {Said::kNothing, {}};
  return {Said::kName, *std::move(name)};
}

}  // namespace tinderbox::egress
