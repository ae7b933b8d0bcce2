// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// E2B's routes for templates that read or remove, and our own.
#include <fmt/format.h>

#include <boost/json.hpp>

#include "api/control.h"
#include "api/error_map.h"
#include "api/request_fields.h"
#include "api/template_json.h"
#include "api/template_name.h"

namespace tinderbox::api {
namespace {

using base::Code;
using base::Result;
using sandbox::TemplateInfo;

Result<TemplateInfo> Find(ControlContext& context, const Request& request) {
  const std::string name = TRY(NormalTemplateName(request.params.at(0)));
  return context.manager.GetTemplate(name);
}

Result<> CheckTeam(const Request& request) {
  const std::string_view team = request.Query("teamID");
  if (team.empty() || team == kNamespace) return {};
  return base::Fail(Code::kInvalidArgument,
                    fmt::format("query parameter 'teamID' can only be '{}' here", kNamespace));
}

// Templates alone; GET /snapshots has the snapshots.
Answer List(ControlContext& context, const Request& request) {
  if (const auto team = CheckTeam(request); !team) return ErrorAnswer(team.error());
  const auto templates = context.manager.Templates();
  if (!templates) return ErrorAnswer(templates.error());
  boost::json::array list;
  for (const TemplateInfo& info : *templates) {
    if (!info.is_snapshot) list.push_back(TemplateJson(info));
  }
  return JsonAnswer(200, std::move(list));
}

Answer GetOne(ControlContext& context, const Request& request) {
  const auto info = Find(context, request);
  return info ? JsonAnswer(200, TemplateDetailJson(*info)) : ErrorAnswer(info.error());
}

Answer Remove(ControlContext& context, const Request& request) {
  const auto name = NormalTemplateName(request.params.at(0));
  if (!name) return ErrorAnswer(name.error());
  const auto removed = context.manager.RemoveTemplate(*name);
  if (removed) return EmptyAnswer(204);
  // E2B's word for one that is in use.
  if (removed.error().code() == Code::kFailedPrecondition) return Refusal(400, removed.error());
  return ErrorAnswer(removed.error());
}

Answer Alias(ControlContext& context, const Request& request) {
  const auto info = Find(context, request);
  if (!info) return ErrorAnswer(info.error());
  return JsonAnswer(200, {{"templateID", info->id}, {"public", true}});
}

// Of all that bear this name, whatever the tag.
Answer Tags(ControlContext& context, const Request& request) {
  const auto info = Find(context, request);
  const auto asked = NormalTemplateName(request.params.at(0));
  if (!asked) return ErrorAnswer(asked.error());
  const auto templates = context.manager.Templates();
  if (!templates) return ErrorAnswer(templates.error());
  const std::string_view wanted = SplitTemplateName(*asked).name;
  boost::json::array tags;
  for (const TemplateInfo& each : *templates) {
    for (const std::string& name : each.names) {
      const auto [base, tag] = SplitTemplateName(name);
      if (base != wanted && each.id != wanted) continue;
      tags.push_back(
          {{"tag", tag}, {"buildID", BuildIdOf(each.id)}, {"createdAt", each.created_at}});
    }
  }
  // One without a name has no tag, but is there.
  if (tags.empty() && !info) return ErrorAnswer(info.error());
  return JsonAnswer(200, std::move(tags));
}

Answer ListOurs(ControlContext& context, const Request&) {
  const auto templates = context.manager.Templates();
  if (!templates) return ErrorAnswer(templates.error());
  boost::json::array list;
  for (const TemplateInfo& info : *templates) list.push_back(InspectTemplateJson(info));
  return JsonAnswer(200, std::move(list));
}

Answer GetOurs(ControlContext& context, const Request& request) {
  const auto info = Find(context, request);
  return info ? JsonAnswer(200, InspectTemplateJson(*info)) : ErrorAnswer(info.error());
}

Answer Verify(ControlContext& context, const Request& request) {
  if (const auto empty = ExpectNoFields(request.body); !empty) return ErrorAnswer(empty.error());
  const auto name = NormalTemplateName(request.params.at(0));
  if (!name) return ErrorAnswer(name.error());
  const auto whole = context.manager.Verify(*name);
  return whole ? JsonAnswer(200, {{"ok", true}}) : ErrorAnswer(whole.error());
}

Answer Prune(ControlContext& context, const Request& request) {
  if (const auto empty = ExpectNoFields(request.body); !empty) return ErrorAnswer(empty.error());
  const auto pruned = context.manager.Prune();
  if (!pruned) return ErrorAnswer(pruned.error());
  return JsonAnswer(
      200, {{"removed", boost::json::array(pruned->removed.begin(), pruned->removed.end())},
            {"freedBytes", pruned->freed_bytes}});
}

}  // namespace

std::vector<Route> TemplateRoutes() {
  return {
      {"GET", "/templates", Lane::kQuick, List},
      {"GET", "/v2/templates", Lane::kQuick, List},
      {"GET", "/templates/aliases/{alias}", Lane::kQuick, Alias},
      {"GET", "/templates/{template}", Lane::kQuick, GetOne},
      {"DELETE", "/templates/{template}", Lane::kSlow, Remove},
      {"GET", "/templates/{template}/tags", Lane::kQuick, Tags},
      {"GET", "/tinderbox/v1/templates", Lane::kQuick, ListOurs},
      {"GET", "/tinderbox/v1/templates/{template}", Lane::kQuick, GetOurs},
      {"POST", "/tinderbox/v1/templates/{template}/verify", Lane::kSlow, Verify},
      {"POST", "/tinderbox/v1/prune", Lane::kSlow, Prune},
  };
}

}  // namespace tinderbox::api
