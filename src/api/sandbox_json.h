// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/json/object.hpp>
#include <cstdint>
#include <string>

#include "sandbox/manager.h"

// Sandboxes in E2B's shapes, and in ours.
namespace tinderbox::api {

inline constexpr char kClientId[] = "tinderbox";

// "2026-11-24T03:19:08.123Z"
std::string Rfc3339(std::int64_t ms);

// The state as E2B's API knows it: "running" or "paused"; "" for the states in which E2B's API
// shows no sandbox (creating, stopping, dead, failed).
std::string_view E2bState(sandbox::State state);

// The answer to create, connect, resume, and part of that to fork.
boost::json::object SandboxJson(const sandbox::SandboxInfo& info, const std::string& domain);
// startedBy and timingsMs: how the last start went.
void AddTimings(boost::json::object& out, const sandbox::SandboxInfo& info);
// An entry of a list.
boost::json::object ListEntryJson(const sandbox::SandboxInfo& info);
// GET /sandboxes/{id}.
boost::json::object DetailJson(const sandbox::SandboxInfo& info, const std::string& domain);
// GET /tinderbox/v1/sandboxes/{id}: everything there is to know but the token.
boost::json::object InspectJson(const sandbox::SandboxInfo& info);

}  // namespace tinderbox::api
