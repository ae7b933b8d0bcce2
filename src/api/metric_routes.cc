// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// E2B's metrics: what sandboxes use, by their agents' account.
#include <algorithm>
#include <boost/json.hpp>
#include <limits>
#include <utility>
#include <vector>

#include "api/control.h"
#include "api/error_map.h"
#include "api/query_fields.h"
#include "api/sandbox_json.h"
#include "base/split.h"

namespace tinderbox::api {
namespace {

using base::Code;
using base::Result;

constexpr std::size_t kMaxSandboxes = 100;

boost::json::object MetricJson(const MetricSample& sample) {
  return {{"timestamp", Rfc3339(sample.at_ms)},
          {"timestampUnix", sample.at_ms / 1000},
          {"cpuCount", sample.cpus},
          {"cpuUsedPct", sample.cpu_used_pct},
          {"memUsed", sample.memory_used},
          {"memTotal", sample.memory_total},
          {"memCache", sample.memory_cache},
          {"diskUsed", sample.disk_used},
          {"diskTotal", sample.disk_total}};
}

Answer OfOne(ControlContext& context, const Request& request) {
  const auto start = ReadInteger(request, "start", 0);
  if (!start) return ErrorAnswer(start.error());
  const auto end = ReadInteger(request, "end", std::numeric_limits<std::int64_t>::max());
  if (!end) return ErrorAnswer(end.error());
  const auto info = FindVisible(context, request);
  if (!info) return ErrorAnswer(info.error());
  boost::json::array list;
  for (const MetricSample& sample : context.metrics.History(*info)) {
    const std::int64_t at = sample.at_ms / 1000;
    if (at >= *start && at <= *end) list.push_back(MetricJson(sample));
  }
  return JsonAnswer(200, std::move(list));
}

// The latest of each; those that are not there, or of which nothing is known, are left out.
Answer OfSome(ControlContext& context, const Request& request) {
  boost::json::object found;
  const std::string_view ids = request.Query("sandbox_ids");
  const auto parts = base::Split(ids, ',');
  if (ids.empty() || parts.size() > kMaxSandboxes) {
    return ErrorAnswer(Code::kInvalidArgument,
                       "query parameter 'sandbox_ids' is a list of 1 to 100 ids, joined by commas");
  }
  std::vector<sandbox::SandboxInfo> infos;
  for (const std::string_view part : parts) {
    const auto id = SandboxIdOf(part);
    if (!id) return ErrorAnswer(id.error());
    auto info = context.manager.Get(*id);
    if (info && !E2bState(info->state).empty()) infos.push_back(*std::move(info));
  }
  const auto latest = context.metrics.Latest(infos);
  for (std::size_t i = 0; i < infos.size(); ++i) {
    if (latest[i]) found[infos[i].id] = MetricJson(*latest[i]);
  }
  return JsonAnswer(200, {{"sandboxes", std::move(found)}});
}

}  // namespace

std::vector<Route> MetricRoutes() {
  return {
      {"GET", "/sandboxes/metrics", Lane::kSlow, OfSome},
      {"GET", "/sandboxes/{id}/metrics", Lane::kSlow, OfOne},
  };
}

}  // namespace tinderbox::api
