// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "api/event_json.h"

#include <fmt/format.h>

#include <boost/json.hpp>

#include "api/sandbox_json.h"
#include "api/template_json.h"
#include "api/template_name.h"

namespace tinderbox::api {

using sandbox::Event;

namespace {

// null where there is nothing to say.
boost::json::value DataOf(const Event& event) {
  boost::json::object data;
  if (!event.metadata.empty()) {
    boost::json::object metadata;
    for (const auto& [name, value] : event.metadata) metadata.emplace(name, value);
    data.emplace("sandbox_metadata", std::move(metadata));
  }
  if (event.end_at_ms && *event.end_at_ms != 0) {
    data.emplace("set_timeout", Rfc3339(*event.end_at_ms));
  } else if (event.end_at_ms) {
    data.emplace("set_timeout", nullptr);
  }
  if (event.execution) {
    data.emplace("execution",
                 boost::json::object{{"started_at", Rfc3339(event.execution->started_at_ms)},
                                     {"vcpu_count", event.execution->cpus},
                                     {"memory_mb", event.execution->memory_mib},
                                     {"execution_time", event.execution->ran_ms}});
  }
  if (!event.snapshot_id.empty()) data.emplace("snapshot_id", event.snapshot_id);
  if (!event.detail.empty()) data.emplace("detail", event.detail);
  if (data.empty()) return nullptr;
  return data;
}

}  // namespace

boost::json::object EventJson(const Event& event) {
  return {{"version", "v2"},
          {"id", event.id},
          {"type", fmt::format("{}{}", kEventPrefix, sandbox::EventKindName(event.kind))},
          {"eventData", DataOf(event)},
          {"sandboxBuildId", BuildIdOf(event.template_id)},
          {"sandboxExecutionId", event.execution_id},
          {"sandboxId", event.sandbox_id},
          {"sandboxTeamId", BuildIdOf(kNamespace)},  // a UUID, and always the same
          {"sandboxTemplateId", event.template_id},
          {"timestamp", Rfc3339(event.at_ms)}};
}

std::string EventWords(const Event& event) {
  std::string detail = event.detail;
  if (event.end_at_ms) {
    detail = *event.end_at_ms == 0
                 ? std::string("its time has no end")
                 : fmt::format("its time is over at {}", Rfc3339(*event.end_at_ms));
  }
  return fmt::format("sandbox {} {}{}{}", event.sandbox_id, sandbox::EventKindName(event.kind),
                     detail.empty() ? "" : ": ", detail);
}

}  // namespace tinderbox::api
