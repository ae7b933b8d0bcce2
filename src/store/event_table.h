// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace tinderbox::store {

// The kind of the event that a sandbox was made. With it the store counts its template's sandboxes.
inline constexpr std::string_view kCreatedKind = "created";

// One thing that happened to a sandbox; it outlives the sandbox's record. It is written together
// with the change that it tells of (Store::UpdateSandbox, Store::DeleteSandbox), so that neither is
// there without the other.
struct EventRecord {
  std::string id;       // a UUID
  std::int64_t at = 0;  // milliseconds since the epoch
  std::string kind;     // one of sandbox/events.h's names
  std::string sandbox_id;
  std::string execution_id;  // of the life that it happened in
  std::string template_id;
  std::string facts;  // JSON, as sandbox/events.cc writes it
};

// The sandboxes that were ever made from one template.
struct Spawns {
  std::int64_t count = 0;
  std::int64_t last_at = 0;  // when the last was made, milliseconds since the epoch; 0: never
  bool operator==(const Spawns&) const = default;
};

struct EventQuery {
  std::string sandbox_id;            // empty: of all
  std::vector<std::string> kinds{};  // empty: all
  std::size_t offset = 0;
  std::size_t limit = 100;
  bool ascending = false;  // the oldest first; else the newest
};

// The table of events: one sandbox's in the order in which they were written, those of all by their
// times (of events that come at once, an earlier one may be written later). Like the store that it
// belongs to: blocks, safe from any thread.
class EventTable {
 public:
  virtual ~EventTable() = default;

  virtual base::Result<std::vector<EventRecord>> List(const EventQuery& query) = 0;
  // Removes those before `oldest` (milliseconds since the epoch), and the oldest beyond `most`. How
  // many that were.
  virtual base::Result<std::size_t> Prune(std::int64_t oldest, std::size_t most) = 0;

  // How many events of kCreatedKind there ever were for that template, the pruned ones included.
  virtual base::Result<Spawns> SpawnsOf(std::string_view template_id) = 0;
  // Begins at zero again, for a template that is gone. Absence is success.
  virtual base::Result<> ForgetSpawns(std::string_view template_id) = 0;
};

}  // namespace tinderbox::store
