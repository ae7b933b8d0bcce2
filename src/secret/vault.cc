// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "secret/vault.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/id.h"
#include "secret/seal.h"

namespace tinderbox::secret {
namespace {

using base::Code;
using base::Fail;
using base::Result;
using store::SecretRecord;

constexpr std::string_view kIdPrefix = "sec_";
constexpr std::size_t kMaxName = 128;
// Two who change one secret at once: each of them has to win in the end.
constexpr int kTries = 8;

std::int64_t NowMs() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

bool IsId(std::string_view text) { return text.starts_with(kIdPrefix); }

SecretInfo InfoOf(SecretRecord record) {
  return {.id = std::move(record.id),
          .name = std::move(record.name),
          .version = record.version,
          .metadata = std::move(record.metadata),
          .created_at_ms = record.created_at,
          .updated_at_ms = record.updated_at};
}

// What a value is bound to: put under another name, or back to an earlier version, it does not
// open.
std::string ContextOf(const SecretRecord& record) {
  return fmt::format("tinderbox secret\n{}\n{}\n{}", record.id, record.name, record.version);
}

// What headers can carry, which is all that secrets are for: a value that no request could ever
// bear is better refused now than at its first use.
Result<> CheckValue(std::string_view value) {
  if (value.empty()) return Fail(Code::kInvalidArgument, "the secret's value is empty");
  if (value.size() > kMaxValue) {
    return Fail(Code::kInvalidArgument,
                fmt::format("the secret's value has more than {} bytes", kMaxValue));
  }
  const bool plain = std::ranges::all_of(value, [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return (byte >= 0x20 && byte != 0x7f) || byte == '\t';
  });
  if (plain) return {};
  return std::unexpected(base::Error(Code::kInvalidArgument,
                                     "the secret's value holds a line break or another control "
                                     "character, which no HTTP header can carry")
                             .WithRemedy("Store it in one line, as base64 for example."));
}

Result<> CheckMetadata(const Metadata& metadata) {
  const auto bad = [](std::string_view limit) {
    return Fail(Code::kInvalidArgument, fmt::format("the secret's metadata has {}", limit));
  };
  if (metadata.size() > kMaxMetadataEntries) {
    return bad(fmt::format("more than {} entries", kMaxMetadataEntries));
  }
  std::size_t total = 0;
  for (const auto& [key, value] : metadata) {
    if (key.size() > kMaxMetadataKey) {
      return bad(fmt::format("a key of more than {} bytes", kMaxMetadataKey));
    }
    if (value.size() > kMaxMetadataValue) {
      return bad(fmt::format("a value of more than {} bytes", kMaxMetadataValue));
    }
    total += key.size() + value.size();
  }
  if (total > kMaxMetadata) return bad(fmt::format("more than {} bytes in all", kMaxMetadata));
  return {};
}

}  // namespace

Result<std::string> NormalSecretName(std::string_view name) {
  const bool words = std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-';
  });
  if (name.empty() || name.size() > kMaxName || !words) {
    return Fail(
        Code::kInvalidArgument,
        fmt::format("a secret's name consists of 1 to {} letters, digits, '_' and '-'", kMaxName));
  }
  std::string normal(name);
  std::ranges::transform(normal, normal.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  if (IsId(normal)) {
    return Fail(Code::kInvalidArgument,
                fmt::format("secret name '{}': names do not begin with '{}', as ids do", normal,
                            kIdPrefix));
  }
  return normal;
}

Result<const Key*> Vault::TheKey(bool make) {
  const std::lock_guard lock(mutex_);
  if (key_) return &*key_;
  key_ = TRY(ReadKeyFile(key_path_));
  if (key_) return &*key_;
  const std::size_t stored = TRY(table_.Count());
  if (stored == 0 && make) {
    key_ = TRY(MakeKeyFile(key_path_));
    return &*key_;
  }
  return std::unexpected(
      base::Error(Code::kDataLoss,
                  fmt::format("open the secrets: their key '{}' is gone, and {} are stored",
                              key_path_, stored))
          .WithRemedy(
              "Put the file back from a backup, or remove all secrets (tinderbox secret rm) "
              "and set them anew."));
}

Result<SecretRecord> Vault::Find(std::string_view id_or_name) {
  if (IsId(id_or_name)) return table_.GetById(id_or_name);
  const auto name = NormalSecretName(id_or_name);
  // A name that no secret can have is one that none has.
  if (!name) return Fail(Code::kNotFound, "there is no such secret: its name is not possible");
  return table_.GetByName(*name);
}

Result<SecretInfo> Vault::Create(std::string_view name, const SecretText& value,
                                 const Metadata& metadata) {
  SecretRecord record;
  record.name = TRY(NormalSecretName(name));
  TRY(CheckValue(value.Reveal()));
  TRY(CheckMetadata(metadata));
  record.id = std::string(kIdPrefix) + base::RandomHex(12);
  record.metadata = metadata;
  record.created_at = record.updated_at = NowMs();
  if (TRY(table_.Count()) >= kMaxSecrets) {
    return Fail(Code::kResourceExhausted,
                fmt::format("there are {} secrets already, which is the most", kMaxSecrets));
  }
  const Key* const key = TRY(TheKey(true));
  Sealed sealed = TRY(Seal(*key, ContextOf(record), value.Reveal()));
  record.nonce = std::move(sealed.nonce);
  record.ciphertext = std::move(sealed.ciphertext);
  const auto stored = table_.Insert(record);
  if (!stored && stored.error().code() == Code::kAlreadyExists) {
    return Fail(Code::kAlreadyExists, fmt::format("a secret named '{}' exists", record.name));
  }
  TRY(std::move(stored));
  return InfoOf(std::move(record));
}

Result<SecretInfo> Vault::Update(std::string_view id_or_name, const SecretText& value,
                                 const std::optional<Metadata>& metadata) {
  TRY(CheckValue(value.Reveal()));
  if (metadata) TRY(CheckMetadata(*metadata));
  for (int tries = 1;; ++tries) {
    SecretRecord record = TRY(Find(id_or_name));
    const std::int64_t before = record.version++;
    if (metadata) record.metadata = *metadata;
    record.updated_at = std::max(NowMs(), record.updated_at);
    const Key* const key = TRY(TheKey(false));
    Sealed sealed = TRY(Seal(*key, ContextOf(record), value.Reveal()));
    record.nonce = std::move(sealed.nonce);
    record.ciphertext = std::move(sealed.ciphertext);
    const auto stored = table_.Update(record, before);
    if (stored) return InfoOf(std::move(record));
    if (stored.error().code() != Code::kAborted || tries == kTries) {
      return std::unexpected(stored.error());
    }
  }
}

Result<SecretInfo> Vault::Get(std::string_view id_or_name) { return InfoOf(TRY(Find(id_or_name))); }

Result<std::vector<SecretInfo>> Vault::List(std::string_view after, std::size_t limit) {
  std::vector<SecretInfo> list;
  for (SecretRecord& record : TRY(table_.List(after, limit))) {
    list.push_back(InfoOf(std::move(record)));
  }
  return list;
}

Result<> Vault::Remove(std::string_view id_or_name) {
  const SecretRecord record = TRY(Find(id_or_name));
  if (TRY(table_.Remove(record.id))) return {};
  return Fail(Code::kNotFound, fmt::format("secret '{}' not found", record.name));
}

Result<SecretText> Vault::Value(std::string_view name) {
  SecretRecord record = TRY(Find(name));
  const Key* const key = TRY(TheKey(false));
  std::optional<SecretText> value =
      Open(*key, ContextOf(record),
           {.nonce = std::move(record.nonce), .ciphertext = std::move(record.ciphertext)});
  if (value) return *std::move(value);
  return std::unexpected(
      base::Error(Code::kDataLoss,
                  fmt::format("open secret '{}': the key '{}' is not the one that it was stored "
                              "with, or the record is damaged",
                              record.name, key_path_))
          .WithRemedy(fmt::format("Put the right key back from a backup, or set the secret anew: "
                                  "tinderbox secret set {}",
                                  record.name)));
}

}  // namespace tinderbox::secret
