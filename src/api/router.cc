// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "api/router.h"

#include <optional>
#include <utility>

namespace tinderbox::api {
namespace {

// Takes the next segment off `path`, which starts with '/'.
std::string_view NextSegment(std::string_view& path) {
  path.remove_prefix(1);
  const std::string_view segment = path.substr(0, path.find('/'));
  path.remove_prefix(segment.size());
  return segment;
}

std::optional<std::vector<std::string>> Match(std::string_view pattern, std::string_view path) {
  std::vector<std::string> params;
  while (!pattern.empty() && !path.empty() && path.front() == '/') {
    const std::string_view want = NextSegment(pattern);
    const std::string_view have = NextSegment(path);
    if (want.starts_with('{')) {
      auto decoded = net::PercentDecode(have);
      if (!decoded || decoded->empty()) return std::nullopt;
      params.push_back(std::move(*decoded));
    } else if (want != have) {
      return std::nullopt;
    }
  }
  if (!pattern.empty() || !path.empty()) return std::nullopt;
  return params;
}

}  // namespace

RouteMatch FindRoute(const std::vector<Route>& routes, std::string_view method,
                     std::string_view path) {
  if (method == "HEAD") method = "GET";
  RouteMatch match;
  for (const Route& route : routes) {
    auto params = Match(route.pattern, path);
    if (!params) continue;
    if (route.method == method) {
      match.route = &route;
      match.params = std::move(*params);
      return match;
    }
    match.allowed.emplace_back(route.method);
  }
  return match;
}

}  // namespace tinderbox::api
