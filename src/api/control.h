// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "api/host_view.h"
#include "api/idempotency.h"
#include "api/router.h"
#include "sandbox/manager.h"
#include "store/store.h"

namespace tinderbox::api {

// What the handlers of the control API work on. Everything referred to is safe from any thread.
struct ControlContext {
  sandbox::Manager& manager;
  store::Store& store;
  HostView& host;
  std::string domain;  // of the sandboxes' host names; empty: none
  IdempotencyCache creates;
};

// Every route of the control API: E2B's (sandbox_routes.cc, template_routes.cc), those of E2B that
// this version refuses (unsupported_routes.cc), and our own (host_routes.cc).
std::vector<Route> ControlRoutes();

// The routes of each file.
std::vector<Route> SandboxRoutes();
std::vector<Route> TemplateRoutes();
std::vector<Route> HostRoutes();
std::vector<Route> UnsupportedRoutes();

// The sandbox's id of a path: "id" or "id-clientID". kInvalidArgument for what can be neither.
base::Result<std::string> SandboxIdOf(std::string_view parameter);

// src/schema/openapi.yaml
std::string_view OpenApiText();

}  // namespace tinderbox::api
