// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "secret/key_file.h"
#include "secret/secret_text.h"
#include "store/secret_table.h"

namespace tinderbox::secret {

inline constexpr std::size_t kMaxValue = 16 << 10;
inline constexpr std::size_t kMaxMetadataEntries = 32;
inline constexpr std::size_t kMaxMetadataKey = 128;
inline constexpr std::size_t kMaxMetadataValue = 1024;
inline constexpr std::size_t kMaxMetadata = 8192;
inline constexpr std::size_t kMaxSecrets = 10000;

using Metadata = std::map<std::string, std::string>;

// What may be known of a secret: never its value.
struct SecretInfo {
  std::string id;  // "sec_…"
  std::string name;
  std::int64_t version = 1;
  Metadata metadata;
  std::int64_t created_at_ms = 0;
  std::int64_t updated_at_ms = 0;
};

// The name in the form in which it is stored: lower case. kInvalidArgument for what is not 1 to 128
// of [A-Za-z0-9_-], or begins as ids do.
base::Result<std::string> NormalSecretName(std::string_view name);

// Secrets by name, encrypted under a key that stands in a file of its own, apart from the database
// that holds them. Blocks; safe from any thread.
class Vault {
 public:
  // `table` outlives it. The key is read at its first use, and made at the first Create.
  Vault(store::SecretTable& table, std::string key_path)
      : table_(table), key_path_(std::move(key_path)) {}

  // kInvalidArgument for a name, value or metadata out of bounds, kAlreadyExists for a name that is
  // taken, kResourceExhausted beyond kMaxSecrets; kDataLoss where there are secrets and no key.
  base::Result<SecretInfo> Create(std::string_view name, const SecretText& value,
                                  const Metadata& metadata);
  // A new value, as the next version; metadata replaces what was there, where it is given.
  base::Result<SecretInfo> Update(std::string_view id_or_name, const SecretText& value,
                                  const std::optional<Metadata>& metadata);
  base::Result<SecretInfo> Get(std::string_view id_or_name);  // kNotFound
  // In the order of names, those behind the name `after`; "" for the first ones.
  base::Result<std::vector<SecretInfo>> List(std::string_view after, std::size_t limit);
  base::Result<> Remove(std::string_view id_or_name);  // kNotFound

  // The value of now. kNotFound; kDataLoss where it cannot be decrypted.
  base::Result<SecretText> Value(std::string_view name);

 private:
  base::Result<store::SecretRecord> Find(std::string_view id_or_name);
  // The key, kept from its first use on. `make`: one is made where there is none and no secret
  // either.
  base::Result<const Key*> TheKey(bool make);

  store::SecretTable& table_;
  const std::string key_path_;
  std::mutex mutex_;  // guards key_
  std::optional<Key> key_;
};

}  // namespace tinderbox::secret
