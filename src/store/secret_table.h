// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace tinderbox::store {

// One secret as it is stored: its value is there as ciphertext alone. What made that, and what
// opens it, is not the store's to know (src/secret).
struct SecretRecord {
  std::string id;
  std::string name;
  std::int64_t version = 1;
  std::string nonce;
  std::string ciphertext;
  std::map<std::string, std::string> metadata;
  std::int64_t created_at = 0;  // milliseconds since the epoch
  std::int64_t updated_at = 0;
};

// The table of secrets. Like the store that it belongs to: blocks, safe from any thread.
class SecretTable {
 public:
  virtual ~SecretTable() = default;

  // kAlreadyExists for a name (or an id) that is there.
  virtual base::Result<> Insert(const SecretRecord& record) = 0;
  virtual base::Result<SecretRecord> GetById(std::string_view id) = 0;      // kNotFound
  virtual base::Result<SecretRecord> GetByName(std::string_view name) = 0;  // kNotFound
  // Up to `limit` by name, those behind `after`; "" for the first ones.
  virtual base::Result<std::vector<SecretRecord>> List(std::string_view after,
                                                       std::size_t limit) = 0;
  // Replaces version, value, metadata and time of update, if the version is still
  // `expected_version`; kAborted otherwise.
  virtual base::Result<> Update(const SecretRecord& record, std::int64_t expected_version) = 0;
  // Whether there was one.
  virtual base::Result<bool> Remove(std::string_view id) = 0;
  virtual base::Result<std::size_t> Count() = 0;
};

}  // namespace tinderbox::store
