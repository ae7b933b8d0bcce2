// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "sandbox/event_record.h"

#include <algorithm>
#include <boost/json.hpp>
#include <utility>

#include "base/id.h"

namespace tinderbox::sandbox {

namespace json = boost::json;

namespace {

constexpr std::pair<EventKind, std::string_view> kKinds[] = {
    {EventKind::kCreated, store::kCreatedKind},
    {EventKind::kPaused, "paused"},
    {EventKind::kResumed, "resumed"},
    {EventKind::kUpdated, "updated"},
    {EventKind::kKilled, "killed"},
    {EventKind::kCheckpointed, "checkpointed"},
};

std::string FactsOf(const Event& event) {
  json::object facts;
  if (!event.metadata.empty()) {
    json::object metadata;
    for (const auto& [name, value] : event.metadata) metadata.emplace(name, value);
    facts.emplace("metadata", std::move(metadata));
  }
  if (!event.detail.empty()) facts.emplace("detail", event.detail);
  if (event.end_at_ms) facts.emplace("endAt", *event.end_at_ms);
  if (!event.snapshot_id.empty()) facts.emplace("snapshot", event.snapshot_id);
  if (event.execution) {
    facts.emplace("execution", json::object{{"startedAt", event.execution->started_at_ms},
                                            {"ranMs", event.execution->ran_ms},
                                            {"cpus", event.execution->cpus},
                                            {"memoryMib", event.execution->memory_mib}});
  }
  if (event.console_lines != 0) facts.emplace("consoleLines", event.console_lines);
  return json::serialize(facts);
}

template <typename Number = std::int64_t>
Number NumberIn(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  boost::system::error_code error;
  const Number number = value == nullptr ? Number{} : value->to_number<Number>(error);
  return error ? Number{} : number;
}

std::string TextIn(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  return value != nullptr && value->is_string() ? std::string(value->as_string()) : std::string();
}

// What this daemon wrote itself. Of facts that cannot be read, the event alone is told.
void ReadFacts(const std::string& text, Event& event) {
  boost::system::error_code error;
  const json::value value = json::parse(text, error);
  if (error || !value.is_object()) return;
  const json::object& facts = value.as_object();
  const json::value* metadata = facts.if_contains("metadata");
  if (metadata != nullptr && metadata->is_object()) {
    for (const auto& [name, each] : metadata->as_object()) {
      if (each.is_string()) event.metadata.emplace(name, each.as_string());
    }
  }
  event.detail = TextIn(facts, "detail");
  event.snapshot_id = TextIn(facts, "snapshot");
  if (facts.contains("endAt")) event.end_at_ms = NumberIn(facts, "endAt");
  event.console_lines = NumberIn<std::size_t>(facts, "consoleLines");
  const json::value* execution = facts.if_contains("execution");
  if (execution == nullptr || !execution->is_object()) return;
  const json::object& life = execution->as_object();
  event.execution = {.started_at_ms = NumberIn(life, "startedAt"),
                     .ran_ms = NumberIn(life, "ranMs"),
                     .cpus = NumberIn<std::uint32_t>(life, "cpus"),
                     .memory_mib = NumberIn<std::uint32_t>(life, "memoryMib")};
}

}  // namespace

std::string_view EventKindName(EventKind kind) {
  return std::ranges::find(kKinds, kind, &std::pair<EventKind, std::string_view>::first)->second;
}

std::optional<EventKind> ParseEventKind(std::string_view name) {
  const auto* found =
      std::ranges::find(kKinds, name, &std::pair<EventKind, std::string_view>::second);
  if (found == std::end(kKinds)) return std::nullopt;
  return found->first;
}

store::EventRecord EventOf(const Sandbox& sandbox, const store::SandboxRecord& record,
                           Event event) {
  event.metadata = record.metadata;
  if (const auto vm = sandbox.vm()) {
    const std::string console = vm->ConsoleTail(kLogConsoleBytes).value_or("");
    event.console_lines = static_cast<std::size_t>(std::ranges::count(console, '\n'));
  }
  return {.id = base::NewUuid(),
          .at = NowMs(),
          .kind = std::string(EventKindName(event.kind)),
          .sandbox_id = record.id,
          .execution_id = record.execution_id,
          .template_id = record.template_id,
          .facts = FactsOf(event)};
}

store::EventRecord PausedEvent(const Sandbox& sandbox, const store::SandboxRecord& record) {
  std::string detail = PauseModeOf(record.pause_mode) == PauseMode::kFull
                           ? "memory and disk are kept"
                           : "the disk alone is kept";
  if (record.agent_silent) detail += "; its agent did not answer";
  return EventOf(
      sandbox, record,
      {.kind = EventKind::kPaused, .detail = std::move(detail), .execution = ExecutionOf(record)});
}

store::EventRecord KilledEvent(const Sandbox& sandbox, const store::SandboxRecord& record,
                               std::string_view why, bool was_running) {
  Event event{.kind = EventKind::kKilled, .detail = std::string(why)};
  if (was_running) event.execution = ExecutionOf(record);
  return EventOf(sandbox, record, std::move(event));
}

Event ReadEvent(const store::EventRecord& record) {
  Event event;
  event.id = record.id;
  event.at_ms = record.at;
  event.kind = ParseEventKind(record.kind).value_or(EventKind::kUpdated);
  event.sandbox_id = record.sandbox_id;
  event.execution_id = record.execution_id;
  event.template_id = record.template_id;
  ReadFacts(record.facts, event);
  return event;
}

Event::Execution ExecutionOf(const store::SandboxRecord& record) {
  // One that began under a daemon that knew no executions began with its sandbox, for all we know.
  const std::int64_t began = record.execution_at != 0 ? record.execution_at : record.started_at;
  return {.started_at_ms = began,
          .ran_ms = std::max<std::int64_t>(NowMs() - began, 0),
          .cpus = record.cpus,
          .memory_mib = record.memory_mib};
}

void BeginExecution(store::SandboxRecord& record) {
  record.execution_id = base::NewUuid();
  record.execution_at = NowMs();
}

std::string_view HowStarted(const store::SandboxRecord& record) {
  if (record.started_by == "boot") return "it booted";
  if (record.started_by == "pool") return "a VM of the pool, its memory restored ahead";
  return "its memory was restored";
}

}  // namespace tinderbox::sandbox
