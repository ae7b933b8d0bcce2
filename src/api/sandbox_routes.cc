// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// E2B's routes for sandboxes.
#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>

#include "api/control.h"
#include "api/create_body.h"
#include "api/error_map.h"
#include "api/network_body.h"
#include "api/query_fields.h"
#include "api/request_fields.h"
#include "api/sandbox_json.h"
#include "api/sandbox_list.h"
#include "api/transform_rules.h"

namespace tinderbox::api {
namespace {

using base::Code;
using base::Result;
using sandbox::SandboxInfo;

template <typename T>
Answer ErrorOf(const Result<T>& result) {
  return ErrorAnswer(result.error());
}

Answer Create(ControlContext& context, const Request& request, Generation generation) {
  const auto parsed = ParseCreate(request.body, generation);
  if (!parsed) return ErrorOf(parsed);
  const auto timings = WantsTimings(request);
  if (!timings) return ErrorOf(timings);
  const auto create = [&]() -> Answer {
    const auto known = CheckSecrets(context.secrets, parsed->network);
    if (!known) return ErrorOf(known);
    const auto info = context.manager.Create(*parsed);
    if (!info) return ErrorOf(info);
    boost::json::object out = SandboxJson(*info, context.domain);
    if (*timings) AddTimings(out, *info);
    return JsonAnswer(201, std::move(out));
  };
  const auto key = request.headers.Find("Idempotency-Key");
  if (!key) return create();
  if (!IdempotencyCache::IsValidKey(*key)) {
    return ErrorAnswer(Code::kInvalidArgument,
                       "header 'Idempotency-Key' has 1 to 255 characters of [a-z0-9-]");
  }
  return context.creates.Run(std::string(*key), request.path + "\n" + request.body, create);
}

Answer CreateV1(ControlContext& context, const Request& request) {
  return Create(context, request, Generation::kV1);
}

Answer CreateV2(ControlContext& context, const Request& request) {
  return Create(context, request, Generation::kV2);
}

Answer ListV2(ControlContext& context, const Request& request) {
  const auto query = ParseListQuery(request.query);
  if (!query) return ErrorOf(query);
  const Page page = Select(context.manager.List(), *query);
  boost::json::array entries;
  for (const SandboxInfo& info : page.sandboxes) entries.push_back(ListEntryJson(info));
  Answer answer = JsonAnswer(200, std::move(entries));
  answer.headers.Add("X-Total-Running", std::to_string(page.total_running));
  if (!page.next_token.empty()) answer.headers.Add("X-Next-Token", page.next_token);
  return answer;
}

// The old list: running ones only, all of them.
Answer ListV1(ControlContext& context, const Request& request) {
  ListQuery query;
  query.paused = false;
  query.limit = std::numeric_limits<std::ptrdiff_t>::max();
  auto metadata = ParseMetadataFilter(request.Query("metadata"));
  if (!metadata) return ErrorOf(metadata);
  query.metadata = std::move(*metadata);
  boost::json::array entries;
  for (const SandboxInfo& info : Select(context.manager.List(), query).sandboxes) {
    entries.push_back(ListEntryJson(info));
  }
  return JsonAnswer(200, std::move(entries));
}

Answer GetOne(ControlContext& context, const Request& request) {
  const auto info = FindVisible(context, request);
  return info ? JsonAnswer(200, DetailJson(*info, context.domain)) : ErrorOf(info);
}

Answer Kill(ControlContext& context, const Request& request) {
  const auto id = SandboxIdOf(request.params.at(0));
  if (!id) return ErrorOf(id);
  const auto killed = context.manager.Kill(*id);
  return killed ? EmptyAnswer(204) : ErrorOf(killed);
}

Result<std::int64_t> ReadSeconds(const Request& request, std::string_view field, std::int64_t max,
                                 std::optional<std::int64_t> fallback) {
  const boost::json::object object = TRY(ParseObject(request.body, fallback.has_value()));
  FieldReader fields(object);
  std::optional<std::int64_t> seconds = fields.Integer(field, 0, max);
  if (!seconds) {
    if (fallback) {
      seconds = fallback;
    } else {
      fields.Fail(field, "is required");
    }
  }
  TRY(fields.Finish());
  return *seconds;
}

Answer SetTimeout(ControlContext& context, const Request& request) {
  const auto seconds = ReadSeconds(request, "timeout", kMaxTimeoutSeconds, std::nullopt);
  if (!seconds) return ErrorOf(seconds);
  const auto info = FindVisible(context, request);
  if (!info) return ErrorOf(info);
  const auto set = context.manager.SetTimeout(info->id, std::chrono::seconds(*seconds));
  return set ? EmptyAnswer(204) : ErrorOf(set);
}

Answer SetNetwork(ControlContext& context, const Request& request) {
  const auto rules = ParseNetworkUpdate(request.body);
  if (!rules) return ErrorOf(rules);
  const auto info = FindVisible(context, request);
  if (!info) return ErrorOf(info);
  const auto known = CheckSecrets(context.secrets, *rules);
  if (!known) return ErrorOf(known);
  const auto set = context.manager.SetNetwork(info->id, *rules);
  return set ? EmptyAnswer(204) : ErrorOf(set);
}

Answer Refresh(ControlContext& context, const Request& request) {
  constexpr std::int64_t kLeast = 15;
  const auto seconds = ReadSeconds(request, "duration", 3600, kLeast);
  if (!seconds) return ErrorOf(seconds);
  const auto info = FindVisible(context, request);
  if (!info) return ErrorOf(info);
  const auto extended =
      context.manager.Extend(info->id, std::chrono::seconds(std::max(*seconds, kLeast)));
  return extended ? EmptyAnswer(204) : ErrorOf(extended);
}

}  // namespace

Result<SandboxInfo> FindVisible(ControlContext& context, const Request& request) {
  const std::string id = TRY(SandboxIdOf(request.params.at(0)));
  SandboxInfo info = TRY(context.manager.Get(id));
  if (!E2bState(info.state).empty()) return info;
  return base::Fail(Code::kNotFound, fmt::format("sandbox '{}' was not found: it is {}", id,
                                                 sandbox::StateName(info.state)));
}

Result<bool> WantsTimings(const Request& request) { return ReadFlag(request, "timings"); }

std::vector<Route> SandboxRoutes() {
  return {
      {"POST", "/sandboxes", Lane::kSlow, CreateV1},
      {"POST", "/v2/sandboxes", Lane::kSlow, CreateV2},
      {"GET", "/sandboxes", Lane::kQuick, ListV1},
      {"GET", "/v2/sandboxes", Lane::kQuick, ListV2},
      {"GET", "/sandboxes/{id}", Lane::kQuick, GetOne},
      {"DELETE", "/sandboxes/{id}", Lane::kSlow, Kill},
      {"POST", "/sandboxes/{id}/timeout", Lane::kQuick, SetTimeout},
      {"POST", "/sandboxes/{id}/refreshes", Lane::kQuick, Refresh},
      {"PUT", "/sandboxes/{id}/network", Lane::kSlow, SetNetwork},
  };
}

}  // namespace tinderbox::api
