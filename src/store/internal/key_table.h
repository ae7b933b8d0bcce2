// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <mutex>

#include "store/internal/sqlite.h"
#include "store/key_table.h"

namespace tinderbox::store::internal {

// On the store's own connection, under its mutex; both outlive it.
class SqliteKeys final : public KeyTable {
 public:
  SqliteKeys(Database& database, std::mutex& mutex) : database_(database), mutex_(mutex) {}

  base::Result<Made> Create(const std::string& label, std::int64_t expires_at) override;
  base::Result<std::optional<KeyRecord>> Find(std::string_view key) override;
  base::Result<std::vector<KeyRecord>> List() override;
  base::Result<std::size_t> Count() override;
  base::Result<> Touch(std::string_view id, std::int64_t at) override;
  base::Result<bool> Remove(std::string_view id) override;
  base::Result<Made> Rotate(std::string_view id, std::int64_t old_expires_at) override;
  std::uint64_t generation() const override { return generation_; }

 private:
  // The caller holds the mutex and a transaction.
  base::Result<Made> Insert(const std::string& label, std::int64_t expires_at);
  base::Result<std::size_t> CountLocked();

  Database& database_;
  std::mutex& mutex_;
  std::atomic<std::uint64_t> generation_ = 0;
};

}  // namespace tinderbox::store::internal
