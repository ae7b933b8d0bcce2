// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "store/internal/key_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "base/id.h"
#include "base/sha256.h"

namespace tinderbox::store::internal {
namespace {

using base::Code;
using base::Fail;
using base::Result;

constexpr std::int64_t kKeepExpired = std::int64_t{30} * 24 * 3600 * 1000;
// created_at is in seconds.
constexpr char kColumns[] = "substr(hash, 1, 12), label, created_at, last_used_at, expires_at";

std::int64_t NowMs() {
  using std::chrono::milliseconds;
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<milliseconds>(now).count();
}

std::string HashOf(std::string_view key) {
  std::string hex;
  for (const auto byte : base::Sha256(key)) hex += fmt::format("{:02x}", byte);
  return hex;
}

KeyRecord Read(const Statement& s) {
  return {.id = s.Text(0),
          .label = s.Text(1),
          .created_at = s.Integer(2) * 1000,
          .last_used_at = s.Integer(3),
          .expires_at = s.Integer(4)};
}

}  // namespace

Result<std::size_t> SqliteKeys::CountLocked() {
  Statement s = TRY(database_.Prepare("SELECT count(*) FROM api_keys"));
  TRY(s.Step());
  return static_cast<std::size_t>(s.Integer(0));
}

Result<KeyTable::Made> SqliteKeys::Insert(const std::string& label, std::int64_t expires_at) {
  const std::int64_t now = NowMs();
  Statement old =
      TRY(database_.Prepare("DELETE FROM api_keys WHERE expires_at > 0 AND expires_at < ?1"));
  old.Bind(1, now - kKeepExpired);
  TRY(old.Step());
  if (TRY(CountLocked()) >= kMost) {
    return std::unexpected(base::Error(Code::kResourceExhausted,
                                       fmt::format("make an API key: there are {} already", kMost))
                               .WithRemedy("Remove some: see 'tinderbox key ls'."));
  }
  Made made{.record = {.label = label, .created_at = now / 1000 * 1000, .expires_at = expires_at},
            .key = "e2b_" + base::RandomHex(20)};
  const std::string hash = HashOf(made.key);
  made.record.id = hash.substr(0, 12);
  Statement s = TRY(database_.Prepare(
      "INSERT INTO api_keys (hash, label, created_at, expires_at) VALUES (?1, ?2, ?3, ?4)"));
  s.Bind(1, hash).Bind(2, label).Bind(3, now / 1000).Bind(4, expires_at);
  TRY_CTX(s.Step(), fmt::format("record API key '{}'", label));
  return made;
}

Result<KeyTable::Made> SqliteKeys::Create(const std::string& label, std::int64_t expires_at) {
  const std::lock_guard lock(mutex_);
  auto transaction = TRY(Transaction::Begin(database_));
  Made made = TRY(Insert(label, expires_at));
  TRY(transaction.Commit());
  return made;
}

Result<std::optional<KeyRecord>> SqliteKeys::Find(std::string_view key) {
  const std::string hash = HashOf(key);
  const std::lock_guard lock(mutex_);
  Statement s =
      TRY(database_.Prepare(fmt::format("SELECT {} FROM api_keys WHERE hash = ?1", kColumns)));
  s.Bind(1, hash);
  if (!TRY(s.Step())) return std::optional<KeyRecord>();
  return std::optional(Read(s));
}

Result<std::vector<KeyRecord>> SqliteKeys::List() {
  const std::lock_guard lock(mutex_);
  Statement s = TRY(database_.Prepare(
      fmt::format("SELECT {} FROM api_keys ORDER BY created_at, hash", kColumns)));
  std::vector<KeyRecord> keys;
  while (TRY(s.Step())) keys.push_back(Read(s));
  return keys;
}

Result<std::size_t> SqliteKeys::Count() {
  const std::lock_guard lock(mutex_);
  return CountLocked();
}

Result<> SqliteKeys::Touch(std::string_view id, std::int64_t at) {
  const std::lock_guard lock(mutex_);
  Statement s = TRY(database_.Prepare(
      "UPDATE api_keys SET last_used_at = max(last_used_at, ?2) WHERE substr(hash, 1, 12) = ?1"));
  s.Bind(1, id).Bind(2, at);
  TRY_CTX(s.Step(), fmt::format("record the use of API key '{}'", id));
  return {};
}

Result<bool> SqliteKeys::Remove(std::string_view id) {
  const std::lock_guard lock(mutex_);
  Statement s = TRY(database_.Prepare("DELETE FROM api_keys WHERE substr(hash, 1, 12) = ?1"));
  s.Bind(1, id);
  TRY_CTX(s.Step(), fmt::format("remove API key '{}'", id));
  ++generation_;
  return database_.changes() > 0;
}

Result<KeyTable::Made> SqliteKeys::Rotate(std::string_view id, std::int64_t old_expires_at) {
  const std::lock_guard lock(mutex_);
  auto transaction = TRY(Transaction::Begin(database_));
  Statement find = TRY(database_.Prepare(
      fmt::format("SELECT {} FROM api_keys WHERE substr(hash, 1, 12) = ?1", kColumns)));
  find.Bind(1, id);
  if (!TRY(find.Step())) return Fail(Code::kNotFound, fmt::format("API key '{}' not found", id));
  const KeyRecord old = Read(find);
  if (!old.ValidAt(NowMs())) {
    return Fail(Code::kFailedPrecondition, fmt::format("rotate API key '{}': it has expired", id));
  }
  Made made = TRY(Insert(old.label, old.expires_at));
  Statement change = TRY(database_.Prepare(
      old_expires_at == 0
          ? "DELETE FROM api_keys WHERE substr(hash, 1, 12) = ?1"
          : "UPDATE api_keys SET expires_at = CASE WHEN expires_at = 0 THEN ?2 ELSE "
            "min(expires_at, ?2) END WHERE substr(hash, 1, 12) = ?1"));
  change.Bind(1, id);
  if (old_expires_at != 0) change.Bind(2, old_expires_at);
  TRY_CTX(change.Step(), fmt::format("end API key '{}'", id));
  TRY(transaction.Commit());
  ++generation_;
  return made;
}

}  // namespace tinderbox::store::internal
