// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/json/object.hpp>
#include <string>
#include <string_view>

#include "sandbox/manager.h"

// Templates and snapshots in E2B's shapes, and in ours.
namespace tinderbox::api {

// What E2B calls a build, a UUID: each of our templates is one, so that it derives from the id.
std::string BuildIdOf(std::string_view template_id);

// An entry of GET /templates.
boost::json::object TemplateJson(const sandbox::TemplateInfo& info);
// GET /templates/{id}: the same, and its one build.
boost::json::object TemplateDetailJson(const sandbox::TemplateInfo& info);
// {snapshotID, names}: by its name where it has one, else by its id; both create sandboxes.
boost::json::object SnapshotJson(const sandbox::TemplateInfo& info);
// Everything there is to know: GET /tinderbox/v1/templates.
boost::json::object InspectTemplateJson(const sandbox::TemplateInfo& info);

}  // namespace tinderbox::api
