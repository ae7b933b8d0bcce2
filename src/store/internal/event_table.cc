// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "store/internal/event_table.h"

#include <fmt/format.h>

namespace tinderbox::store::internal {

using base::Result;

namespace {

constexpr char kColumns[] = "id, at, kind, sandbox_id, execution_id, template_id, facts";

EventRecord Read(const Statement& s) {
  return {.id = s.Text(0),
          .at = s.Integer(1),
          .kind = s.Text(2),
          .sandbox_id = s.Text(3),
          .execution_id = s.Text(4),
          .template_id = s.Text(5),
          .facts = s.Text(6)};
}

// " WHERE …" with numbered parameters from 3 on, to which Bind gives values in the same order.
std::string Where(const EventQuery& query) {
  std::string where;
  int next = 3;
  if (!query.sandbox_id.empty()) where = fmt::format(" WHERE sandbox_id = ?{}", next++);
  if (query.kinds.empty()) return where;
  where += where.empty() ? " WHERE kind IN (" : " AND kind IN (";
  for (std::size_t i = 0; i < query.kinds.size(); ++i) {
    where += fmt::format("{}?{}", i == 0 ? "" : ", ", next++);
  }
  return where + ")";
}

void Bind(Statement& s, const EventQuery& query) {
  s.Bind(1, static_cast<std::int64_t>(query.limit));
  s.Bind(2, static_cast<std::int64_t>(query.offset));
  int next = 3;
  if (!query.sandbox_id.empty()) s.Bind(next++, query.sandbox_id);
  for (const std::string& kind : query.kinds) s.Bind(next++, kind);
}

}  // namespace

Result<> SqliteEvents::Append(const EventRecord& event) {
  Statement s = TRY(database_.Prepare(fmt::format(
      "INSERT INTO sandbox_events ({}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)", kColumns)));
  s.Bind(1, event.id).Bind(2, event.at).Bind(3, event.kind).Bind(4, event.sandbox_id);
  s.Bind(5, event.execution_id).Bind(6, event.template_id).Bind(7, event.facts);
  TRY_CTX(s.Step(), fmt::format("record an event of sandbox '{}'", event.sandbox_id));
  return event.kind == kCreatedKind ? CountSpawn(event) : Result<>();
}

Result<> SqliteEvents::CountSpawn(const EventRecord& event) {
  Statement s = TRY(database_.Prepare(
      "INSERT INTO template_spawns (template_id, count, last_at) VALUES (?1, 1, ?2) ON CONFLICT "
      "(template_id) DO UPDATE SET count = count + 1, last_at = max(last_at, ?2)"));
  s.Bind(1, event.template_id).Bind(2, event.at);
  TRY_CTX(s.Step(), fmt::format("count the sandboxes of template '{}'", event.template_id));
  return {};
}

Result<Spawns> SqliteEvents::SpawnsOf(std::string_view template_id) {
  const std::lock_guard lock(mutex_);
  Statement s =
      TRY(database_.Prepare("SELECT count, last_at FROM template_spawns WHERE template_id = ?1"));
  s.Bind(1, template_id);
  if (!TRY(s.Step())) return Spawns{};
  return Spawns{.count = s.Integer(0), .last_at = s.Integer(1)};
}

Result<> SqliteEvents::ForgetSpawns(std::string_view template_id) {
  const std::lock_guard lock(mutex_);
  Statement s = TRY(database_.Prepare("DELETE FROM template_spawns WHERE template_id = ?1"));
  s.Bind(1, template_id);
  TRY_CTX(s.Step(), fmt::format("forget the sandboxes of template '{}'", template_id));
  return {};
}

Result<std::vector<EventRecord>> SqliteEvents::List(const EventQuery& query) {
  const std::lock_guard lock(mutex_);
  const std::string way = query.ascending ? "ASC" : "DESC";
  // What one sandbox went through has an order of its own, whatever the clock did meanwhile.
  const std::string order = query.sandbox_id.empty() ? fmt::format("at {0}, number {0}", way)
                                                     : fmt::format("number {}", way);
  Statement s = TRY(database_.Prepare(
      fmt::format("SELECT {} FROM sandbox_events{} ORDER BY {} LIMIT ?1 OFFSET ?2", kColumns,
                  Where(query), order)));
  Bind(s, query);
  std::vector<EventRecord> events;
  while (TRY(s.Step())) events.push_back(Read(s));
  return events;
}

Result<std::size_t> SqliteEvents::Prune(std::int64_t oldest, std::size_t most) {
  const std::lock_guard lock(mutex_);
  Statement s =
      TRY(database_.Prepare("DELETE FROM sandbox_events WHERE at < ?1 OR "
                            "number <= (SELECT max(number) FROM sandbox_events) - ?2"));
  s.Bind(1, oldest).Bind(2, static_cast<std::int64_t>(most));
  TRY_CTX(s.Step(), "remove old events");
  return static_cast<std::size_t>(database_.changes());
}

}  // namespace tinderbox::store::internal
