// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// Our own routes, below /tinderbox/v1/.
#include <algorithm>
#include <boost/json.hpp>

#include "api/control.h"
#include "api/error_map.h"
#include "api/query_fields.h"
#include "api/sandbox_json.h"

namespace tinderbox::api {
namespace {

using sandbox::SandboxInfo;

constexpr std::int64_t kConsoleDefault = 64 << 10;
constexpr std::int64_t kConsoleMax = 4 << 20;

Answer Info(ControlContext& context, const Request&) {
  boost::json::object info = context.host.Info();
  boost::json::object counts;
  for (const SandboxInfo& sandbox : context.manager.List()) {
    auto& count = counts[sandbox::StateName(sandbox.state)];
    count = count.is_int64() ? count.as_int64() + 1 : 1;
  }
  info["sandboxes"] = std::move(counts);
  info["domain"] = context.domain;
  boost::json::array report;
  for (const std::string& line : context.manager.RecoveryReport()) report.emplace_back(line);
  info["recovery"] = std::move(report);
  return JsonAnswer(200, std::move(info));
}

Answer Doctor(ControlContext& context, const Request&) {
  boost::json::array checks;
  bool failed = false;
  for (const Check& check : context.host.Doctor()) {
    failed = failed || check.status == "fail";
    checks.push_back({{"name", check.name},
                      {"status", check.status},
                      {"detail", check.detail},
                      {"remedy", check.remedy}});
  }
  return JsonAnswer(200, {{"ok", !failed}, {"checks", std::move(checks)}});
}

// All sandboxes, in whatever state.
Answer List(ControlContext& context, const Request&) {
  std::vector<SandboxInfo> all = context.manager.List();
  std::ranges::sort(all, {}, [](const SandboxInfo& info) {
    return std::pair(-info.started_at_ms, std::string_view(info.id));
  });
  boost::json::array list;
  for (const SandboxInfo& info : all) list.push_back(InspectJson(info));
  return JsonAnswer(200, std::move(list));
}

Answer Inspect(ControlContext& context, const Request& request) {
  const auto id = SandboxIdOf(request.params.at(0));
  if (!id) return ErrorAnswer(id.error());
  const auto info = context.manager.Get(*id);
  if (!info) return ErrorAnswer(info.error());
  boost::json::object out = InspectJson(*info);
  for (const auto& [key, value] : context.host.SandboxPaths(*info)) out[key] = value;
  return JsonAnswer(200, std::move(out));
}

Answer Console(ControlContext& context, const Request& request) {
  const auto bytes = ReadInteger(request, "bytes", kConsoleDefault);
  if (!bytes) return ErrorAnswer(bytes.error());
  const auto id = SandboxIdOf(request.params.at(0));
  if (!id) return ErrorAnswer(id.error());
  auto console =
      context.manager.Console(*id, static_cast<std::size_t>(std::min(*bytes, kConsoleMax)));
  if (!console) return ErrorAnswer(console.error());
  Answer answer = TextAnswer(200, "text/plain; charset=utf-8", std::move(*console));
  // It is the guest's text: no browser shall take it for a page.
  answer.headers.Add("X-Content-Type-Options", "nosniff");
  return answer;
}

Answer OpenApi(ControlContext&, const Request&) {
  return TextAnswer(200, "application/yaml", std::string(OpenApiText()));
}

}  // namespace

std::vector<Route> HostRoutes() {
  return {
      {"GET", "/tinderbox/v1/info", Lane::kQuick, Info},
      {"GET", "/tinderbox/v1/doctor", Lane::kSlow, Doctor},
      {"GET", "/tinderbox/v1/sandboxes", Lane::kQuick, List},
      {"GET", "/tinderbox/v1/sandboxes/{id}", Lane::kQuick, Inspect},
      {"GET", "/tinderbox/v1/sandboxes/{id}/console", Lane::kQuick, Console},
      {"GET", "/tinderbox/v1/openapi.yaml", Lane::kQuick, OpenApi},
  };
}

}  // namespace tinderbox::api
