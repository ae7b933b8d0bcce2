// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// Routes of E2B's API that this version knows and refuses: 501, never the 404 that the SDKs would
// take for a missing sandbox.
#include <fmt/format.h>

#include "api/control.h"
#include "api/error_map.h"

namespace tinderbox::api {
namespace {

Answer Refuse(ControlContext&, const Request& request) {
  return ErrorAnswer(base::Code::kUnimplemented,
                     fmt::format("this server does not support {} {} yet", request.method,
                                 request.path.substr(0, 200)));
}

}  // namespace

std::vector<Route> UnsupportedRoutes() {
  std::vector<Route> routes;
  const auto refuse = [&routes](std::string_view pattern,
                                std::initializer_list<std::string_view> methods) {
    for (const std::string_view method : methods) {
      routes.push_back({method, pattern, Lane::kQuick, Refuse});
    }
  };
  // What the clients that are generated from E2B's own description call (PyPI e2b 2.63, npm e2b
  // 2.51).
  refuse("/default-templates", {"GET"});
  refuse("/teams", {"GET"});
  refuse("/teams/{id}/metrics", {"GET"});
  refuse("/teams/{id}/metrics/max", {"GET"});
  refuse("/v3/templates", {"POST"});
  refuse("/templates/tags", {"POST", "DELETE"});
  refuse("/templates/{id}/tags/count", {"GET"});
  refuse("/templates/{id}/tags/exists", {"GET"});
  refuse("/templates/{id}/tags/groups", {"GET"});
  refuse("/templates/{id}/tags/{tag}/assignments", {"GET"});
  refuse("/templates/{id}", {"PATCH"});
  refuse("/templates/{id}/builds/{build}/logs", {"GET"});
  refuse("/templates/{id}/files/{hash}", {"GET"});
  refuse("/v2/templates/{id}", {"PATCH"});
  refuse("/v2/templates/{id}/builds/{build}", {"POST"});
  refuse("/templates/{id}/builds/{build}/status", {"GET"});
  refuse("/events/webhooks", {"GET", "POST"});
  refuse("/events/webhooks/{id}", {"GET", "PATCH", "DELETE"});
  return routes;
}

std::vector<Route> ControlRoutes() {
  std::vector<Route> all;
  // The first route that fits is taken: a fixed word stands before a parameter in its place, as
  // "/templates/tags" (refused) before "/templates/{template}".
  for (auto* routes :
       {UnsupportedRoutes, MetricRoutes, SandboxRoutes, LifecycleRoutes, LogRoutes, EventRoutes,
        TemplateRoutes, SecretRoutes, VolumeRoutes, HostRoutes, KeyRoutes, RecoverRoutes}) {
    for (const Route& route : routes()) all.push_back(route);
  }
  return all;
}

}  // namespace tinderbox::api
