// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "api/answer.h"

namespace tinderbox::api {

struct ControlContext;

// Where a handler runs: what may take seconds has threads of its own, so that it never holds up the
// rest.
enum class Lane { kQuick, kSlow };

struct Route {
  std::string_view method;
  std::string_view pattern;  // "/sandboxes/{id}/timeout"
  Lane lane;
  // Blocks; runs on a worker thread, several at once.
  Answer (*handler)(ControlContext& context, const Request& request);
};

struct RouteMatch {
  const Route* route = nullptr;
  std::vector<std::string> params;   // decoded
  std::vector<std::string> allowed;  // methods, where the path is known but not with this method
};

// `path` is still percent-encoded; a parameter takes one segment, never an empty one. HEAD finds
// GET.
RouteMatch FindRoute(const std::vector<Route>& routes, std::string_view method,
                     std::string_view path);

}  // namespace tinderbox::api
