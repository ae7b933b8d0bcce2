// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// E2B's routes for templates: those that read.
#include <fmt/format.h>

#include <boost/json.hpp>

#include "api/control.h"
#include "api/create_body.h"
#include "api/error_map.h"
#include "schema/envd_version.h"

namespace tinderbox::api {
namespace {

boost::json::object TemplateJson(const TemplateView& view) {
  return {{"templateID", view.id},
          {"buildID", "00000000-0000-0000-0000-000000000000"},
          {"cpuCount", view.cpus},
          {"memoryMB", view.memory_mib},
          {"diskSizeMB", view.disk_mib},
          {"public", true},
          {"aliases", {view.name}},
          {"names", {view.name}},
          {"createdAt", view.created_at},
          {"updatedAt", view.created_at},
          {"createdBy", nullptr},
          {"lastSpawnedAt", nullptr},
          {"spawnCount", 0},
          {"buildCount", 1},
          {"buildStatus", "ready"},
          {"envdVersion", schema::kEnvdVersion}};
}

Answer List(ControlContext& context, const Request&) {
  const auto templates = context.host.Templates();
  if (!templates) return ErrorAnswer(templates.error());
  boost::json::array list;
  for (const TemplateView& view : *templates) list.push_back(TemplateJson(view));
  return JsonAnswer(200, std::move(list));
}

Answer Alias(ControlContext& context, const Request& request) {
  const auto name = NormalTemplateName(request.params.at(0));
  if (!name) return ErrorAnswer(name.error());
  const auto templates = context.host.Templates();
  if (!templates) return ErrorAnswer(templates.error());
  for (const TemplateView& view : *templates) {
    if (view.name == *name || view.id == *name) {
      return JsonAnswer(200, {{"templateID", view.id}, {"public", true}});
    }
  }
  return ErrorAnswer(base::Code::kNotFound, fmt::format("template '{}' not found", *name));
}

}  // namespace

std::vector<Route> TemplateRoutes() {
  return {
      {"GET", "/templates", Lane::kQuick, List},
      {"GET", "/v2/templates", Lane::kQuick, List},
      {"GET", "/templates/aliases/{alias}", Lane::kQuick, Alias},
      {"GET", "/tinderbox/v1/templates", Lane::kQuick, List},
  };
}

}  // namespace tinderbox::api
