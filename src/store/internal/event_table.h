// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <mutex>

#include "store/event_table.h"
#include "store/internal/sqlite.h"

namespace tinderbox::store::internal {

// On the store's own connection, under its mutex; both outlive it.
class SqliteEvents final : public EventTable {
 public:
  SqliteEvents(Database& database, std::mutex& mutex) : database_(database), mutex_(mutex) {}

  // The caller holds the mutex and a transaction.
  base::Result<> Append(const EventRecord& event);

  base::Result<std::vector<EventRecord>> List(const EventQuery& query) override;
  base::Result<std::size_t> Prune(std::int64_t oldest, std::size_t most) override;
  base::Result<Spawns> SpawnsOf(std::string_view template_id) override;
  base::Result<> ForgetSpawns(std::string_view template_id) override;

 private:
  base::Result<> CountSpawn(const EventRecord& event);

  Database& database_;
  std::mutex& mutex_;
};

}  // namespace tinderbox::store::internal
