// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// E2B's lifecycle events: what happened to sandboxes, those that are gone included.
#include <fmt/format.h>

#include <boost/json.hpp>

#include "api/control.h"
#include "api/error_map.h"
#include "api/event_json.h"
#include "api/query_fields.h"

namespace tinderbox::api {
namespace {

using base::Code;
using base::Result;

constexpr std::size_t kDefaultLimit = 10;
constexpr std::size_t kMaxLimit = 100;
constexpr std::int64_t kMaxOffset = 1'000'000'000;

Result<sandbox::EventRequest> ReadQuery(const Request& request) {
  sandbox::EventRequest wanted;
  wanted.offset = TRY(ReadCount(request, "offset", 0, {0, kMaxOffset}));
  wanted.limit = TRY(ReadCount(request, "limit", kDefaultLimit, {1, kMaxLimit}));
  wanted.ascending = TRY(ReadFlag(request, "orderAsc"));
  for (const auto& [name, value] : request.query) {
    if (name != "types") continue;
    const std::string_view type = value;
    const auto kind = type.starts_with(kEventPrefix)
                          ? sandbox::ParseEventKind(type.substr(kEventPrefix.size()))
                          : std::nullopt;
    if (!kind) {
      return base::Fail(Code::kInvalidArgument,
                        "query parameter 'types' is one of sandbox.lifecycle.created, .paused, "
                        ".resumed, .updated, .checkpointed, .killed; it may be there several "
                        "times");
    }
    wanted.kinds.push_back(*kind);
    if (wanted.kinds.size() > kMaxLimit) {
      return base::Fail(Code::kInvalidArgument, "query parameter 'types' is there too often");
    }
  }
  return wanted;
}

Answer Tell(ControlContext& context, const sandbox::EventRequest& wanted) {
  const auto events = context.manager.Events(wanted);
  if (!events) return ErrorAnswer(events.error());
  boost::json::array list;
  for (const sandbox::Event& event : *events) list.push_back(EventJson(event));
  return JsonAnswer(200, std::move(list));
}

Answer OfAll(ControlContext& context, const Request& request) {
  const auto wanted = ReadQuery(request);
  if (!wanted) return ErrorAnswer(wanted.error());
  return Tell(context, *wanted);
}

// One that never was has no events, and one that is gone has them still: there is no 404.
Answer OfOne(ControlContext& context, const Request& request) {
  auto id = SandboxIdOf(request.params[0]);
  if (!id) return ErrorAnswer(id.error());
  auto wanted = ReadQuery(request);
  if (!wanted) return ErrorAnswer(wanted.error());
  wanted->sandbox_id = *std::move(id);
  return Tell(context, *wanted);
}

}  // namespace

std::vector<Route> EventRoutes() {
  return {
      {"GET", "/events/sandboxes", Lane::kQuick, OfAll},
      {"GET", "/events/sandboxes/{id}", Lane::kQuick, OfOne},
  };
}

}  // namespace tinderbox::api
