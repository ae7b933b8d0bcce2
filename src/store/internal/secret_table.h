// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <mutex>

#include "store/internal/sqlite.h"
#include "store/secret_table.h"

namespace tinderbox::store::internal {

// On the store's own connection, under its mutex; both outlive it.
class SqliteSecrets final : public SecretTable {
 public:
  SqliteSecrets(Database& database, std::mutex& mutex) : database_(database), mutex_(mutex) {}

  base::Result<> Insert(const SecretRecord& record) override;
  base::Result<SecretRecord> GetById(std::string_view id) override;
  base::Result<SecretRecord> GetByName(std::string_view name) override;
  base::Result<std::vector<SecretRecord>> List(std::string_view after, std::size_t limit) override;
  base::Result<> Update(const SecretRecord& record, std::int64_t expected_version) override;
  base::Result<bool> Remove(std::string_view id) override;
  base::Result<std::size_t> Count() override;

 private:
  base::Result<SecretRecord> GetWhere(std::string_view column, std::string_view value);

  Database& database_;
  std::mutex& mutex_;
};

}  // namespace tinderbox::store::internal
