// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "store/internal/secret_table.h"

#include <fmt/format.h>

#include "store/internal/json_map.h"

namespace tinderbox::store::internal {
namespace {

using base::Code;
using base::Fail;
using base::Result;

constexpr char kColumns[] =
    "id, name, version, nonce, ciphertext, metadata, created_at, updated_at";

Result<SecretRecord> Read(const Statement& s) {
  SecretRecord r;
  r.id = s.Text(0);
  r.name = s.Text(1);
  r.version = s.Integer(2);
  r.nonce = s.Blob(3);
  r.ciphertext = s.Blob(4);
  r.metadata = TRY_CTX(MapFromJson(s.Text(5)), fmt::format("read metadata of secret '{}'", r.name));
  r.created_at = s.Integer(6);
  r.updated_at = s.Integer(7);
  return r;
}

}  // namespace

Result<> SqliteSecrets::Insert(const SecretRecord& record) {
  const std::lock_guard lock(mutex_);
  Statement s = TRY(database_.Prepare(
      fmt::format("INSERT INTO secrets ({}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)", kColumns)));
  s.Bind(1, record.id).Bind(2, record.name).Bind(3, record.version);
  s.BindBlob(4, record.nonce).BindBlob(5, record.ciphertext).Bind(6, MapToJson(record.metadata));
  s.Bind(7, record.created_at).Bind(8, record.updated_at);
  TRY_CTX(s.Step(), fmt::format("record secret '{}'", record.name));
  return {};
}

// `column` is one of ours, never a caller's text.
Result<SecretRecord> SqliteSecrets::GetWhere(std::string_view column, std::string_view value) {
  const std::lock_guard lock(mutex_);
  Statement s =
      TRY(database_.Prepare(fmt::format("SELECT {} FROM secrets WHERE {} = ?1", kColumns, column)));
  s.Bind(1, value);
  if (!TRY(s.Step())) return Fail(Code::kNotFound, fmt::format("secret '{}' not found", value));
  return Read(s);
}

Result<SecretRecord> SqliteSecrets::GetById(std::string_view id) { return GetWhere("id", id); }

Result<SecretRecord> SqliteSecrets::GetByName(std::string_view name) {
  return GetWhere("name", name);
}

Result<std::vector<SecretRecord>> SqliteSecrets::List(std::string_view after, std::size_t limit) {
  const std::lock_guard lock(mutex_);
  Statement s = TRY(database_.Prepare(
      fmt::format("SELECT {} FROM secrets WHERE name > ?1 ORDER BY name LIMIT ?2", kColumns)));
  s.Bind(1, after).Bind(2, static_cast<std::int64_t>(limit));
  std::vector<SecretRecord> records;
  while (TRY(s.Step())) records.push_back(TRY(Read(s)));
  return records;
}

Result<> SqliteSecrets::Update(const SecretRecord& record, std::int64_t expected_version) {
  const std::lock_guard lock(mutex_);
  Statement s = TRY(
      database_.Prepare("UPDATE secrets SET version = ?3, nonce = ?4, ciphertext = ?5, metadata = "
                        "?6, updated_at = ?7 WHERE id = ?1 AND version = ?2"));
  s.Bind(1, record.id).Bind(2, expected_version).Bind(3, record.version);
  s.BindBlob(4, record.nonce).BindBlob(5, record.ciphertext).Bind(6, MapToJson(record.metadata));
  s.Bind(7, record.updated_at);
  TRY_CTX(s.Step(), fmt::format("record secret '{}'", record.name));
  if (database_.changes() == 1) return {};
  return Fail(Code::kAborted, fmt::format("record secret '{}': it is no longer of version {}",
                                          record.name, expected_version));
}

Result<bool> SqliteSecrets::Remove(std::string_view id) {
  const std::lock_guard lock(mutex_);
  Statement s = TRY(database_.Prepare("DELETE FROM secrets WHERE id = ?1"));
  s.Bind(1, id);
  TRY_CTX(s.Step(), fmt::format("forget secret '{}'", id));
  return database_.changes() == 1;
}

Result<std::size_t> SqliteSecrets::Count() {
  const std::lock_guard lock(mutex_);
  Statement s = TRY(database_.Prepare("SELECT count(*) FROM secrets"));
  TRY(s.Step());
  return static_cast<std::size_t>(s.Integer(0));
}

}  // namespace tinderbox::store::internal
