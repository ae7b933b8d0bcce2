// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "api/host_view.h"
#include "api/idempotency.h"
#include "api/metrics.h"
#include "api/router.h"
#include "sandbox/manager.h"
#include "secret/vault.h"
#include "store/store.h"
#include "volume/volumes.h"

namespace tinderbox::api {

// What the handlers of the control API work on. Everything referred to is safe from any thread.
struct ControlContext {
  sandbox::Manager& manager;
  store::Store& store;
  secret::Vault& secrets;
  HostView& host;
  std::string domain;  // of the sandboxes' host names; empty: none
  IdempotencyCache creates;
  MetricSampler metrics;
  volume::Volumes* volumes;
};

// Every route of the control API: E2B's, our own, and those of E2B that this version refuses.
std::vector<Route> ControlRoutes();

// The routes of each file.
std::vector<Route> SandboxRoutes();
std::vector<Route> LifecycleRoutes();
std::vector<Route> LogRoutes();
std::vector<Route> EventRoutes();
std::vector<Route> MetricRoutes();
std::vector<Route> TemplateRoutes();
std::vector<Route> SecretRoutes();
std::vector<Route> VolumeRoutes();
std::vector<Route> HostRoutes();
std::vector<Route> KeyRoutes();
std::vector<Route> RecoverRoutes();  // recover_routes.cc
std::vector<Route> UnsupportedRoutes();

// The sandbox's id of a path: "id" or "id-clientID". kInvalidArgument for what can be neither.
base::Result<std::string> SandboxIdOf(std::string_view parameter);

// The sandbox of a path, if E2B's API shows it: one that runs or is paused. kNotFound otherwise.
base::Result<sandbox::SandboxInfo> FindVisible(ControlContext& context, const Request& request);

// "?timings=true": the caller wants to know how long the stages of the start took. kInvalidArgument
// for what is neither true nor false.
base::Result<bool> WantsTimings(const Request& request);

// src/schema/openapi.yaml
std::string_view OpenApiText();

}  // namespace tinderbox::api
