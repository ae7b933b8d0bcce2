// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace tinderbox::store {

// An API key as it is kept: by its SHA-256 alone. Times are milliseconds since the epoch.
struct KeyRecord {
  std::string id;  // the first 12 hexadecimal digits of that hash; not a secret
  std::string label;
  std::int64_t created_at = 0;
  std::int64_t last_used_at = 0;  // 0: never
  std::int64_t expires_at = 0;    // 0: never
  bool operator==(const KeyRecord&) const = default;

  bool ValidAt(std::int64_t now) const { return expires_at == 0 || now < expires_at; }
};

// The API keys. Like the store that it belongs to: blocks (but for generation), safe from any
// thread.
class KeyTable {
 public:
  static constexpr std::size_t kMost = 1000;

  struct Made {
    KeyRecord record;
    std::string key;  // "e2b_" + 40 hexadecimal digits; not kept
  };

  virtual ~KeyTable() = default;

  // `expires_at` as in KeyRecord. Removes keys that expired more than 30 days ago.
  // kResourceExhausted if there are kMost.
  virtual base::Result<Made> Create(const std::string& label, std::int64_t expires_at) = 0;
  // The key with this text, expired or not; no value if it is unknown.
  virtual base::Result<std::optional<KeyRecord>> Find(std::string_view key) = 0;
  // In the order in which they were made.
  virtual base::Result<std::vector<KeyRecord>> List() = 0;
  virtual base::Result<std::size_t> Count() = 0;
  // Records a use. Absence is success.
  virtual base::Result<> Touch(std::string_view id, std::int64_t at) = 0;
  // False if there is none.
  virtual base::Result<bool> Remove(std::string_view id) = 0;
  // Makes a key that takes the place of another: it gets that one's label and expiry. The old one
  // expires at `old_expires_at`, or earlier if it would anyway; 0 removes it at once. kNotFound;
  // kFailedPrecondition if it has expired.
  virtual base::Result<Made> Rotate(std::string_view id, std::int64_t old_expires_at) = 0;

  // Another number after each change that can make a known key invalid. Does not block.
  virtual std::uint64_t generation() const = 0;
};

}  // namespace tinderbox::store
