// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "store/internal/migrations.h"

#include <fmt/format.h>

#include <charconv>
#include <iterator>

namespace tinderbox::store::internal {
namespace {

using base::Code;

// "TBOX": marks the file as ours, so that nobody's other database is ever migrated.
constexpr long kApplicationId = 0x54424f58;

// Migration N brings version N to N + 1. Never edit one that was released: append.
constexpr const char* kMigrations[] = {
    R"(
CREATE TABLE sandboxes (
  id TEXT PRIMARY KEY NOT NULL,
  state TEXT NOT NULL,
  cause TEXT NOT NULL,
  template_id TEXT NOT NULL,
  template_name TEXT NOT NULL,
  started_at INTEGER NOT NULL,
  end_at INTEGER NOT NULL,
  memory_mib INTEGER NOT NULL,
  cpus INTEGER NOT NULL,
  disk_mib INTEGER NOT NULL,
  metadata TEXT NOT NULL,
  env TEXT NOT NULL,
  access_token TEXT NOT NULL,
  allow_internet INTEGER NOT NULL,
  options TEXT NOT NULL,
  vmm TEXT NOT NULL,
  accelerator TEXT NOT NULL,
  choice_reason TEXT NOT NULL,
  slot INTEGER NOT NULL,
  uid INTEGER NOT NULL,
  run_dir TEXT NOT NULL,
  exit_code INTEGER,
  exit_detail TEXT NOT NULL,
  timings TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE api_keys (
  hash TEXT PRIMARY KEY NOT NULL,  -- SHA-256 of the key, hexadecimal
  label TEXT NOT NULL,
  created_at INTEGER NOT NULL      -- seconds since the epoch
) WITHOUT ROWID;
CREATE TABLE settings (
  name TEXT PRIMARY KEY NOT NULL,
  value TEXT NOT NULL
) WITHOUT ROWID;
)",
    R"(
ALTER TABLE sandboxes ADD COLUMN started_by TEXT NOT NULL DEFAULT 'boot';
ALTER TABLE sandboxes ADD COLUMN on_timeout TEXT NOT NULL DEFAULT 'kill';
ALTER TABLE sandboxes ADD COLUMN auto_pause_mode TEXT NOT NULL DEFAULT 'full';
ALTER TABLE sandboxes ADD COLUMN auto_resume INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sandboxes ADD COLUMN pause_mode TEXT NOT NULL DEFAULT '';
ALTER TABLE sandboxes ADD COLUMN agent_silent INTEGER NOT NULL DEFAULT 0;
)",
    R"(
ALTER TABLE sandboxes ADD COLUMN allow_out TEXT NOT NULL DEFAULT '[]';
ALTER TABLE sandboxes ADD COLUMN deny_out TEXT NOT NULL DEFAULT '[]';
ALTER TABLE sandboxes ADD COLUMN network_pending INTEGER NOT NULL DEFAULT 0;
)",
    R"(
ALTER TABLE sandboxes ADD COLUMN allow_names TEXT NOT NULL DEFAULT '[]';
ALTER TABLE sandboxes ADD COLUMN dns_servers TEXT;
ALTER TABLE sandboxes ADD COLUMN transforms TEXT NOT NULL DEFAULT '';
ALTER TABLE sandboxes ADD COLUMN traffic_token TEXT NOT NULL DEFAULT '';
ALTER TABLE sandboxes ADD COLUMN mask_host TEXT NOT NULL DEFAULT '';
ALTER TABLE sandboxes ADD COLUMN https_ports TEXT NOT NULL DEFAULT '[]';
ALTER TABLE sandboxes ADD COLUMN volume_mounts TEXT NOT NULL DEFAULT '{}';
CREATE TABLE volumes (
  id TEXT PRIMARY KEY NOT NULL,
  name TEXT NOT NULL UNIQUE,
  token TEXT NOT NULL,
  created_at INTEGER NOT NULL      -- milliseconds since the epoch
) WITHOUT ROWID;
CREATE TABLE secrets (
  id TEXT PRIMARY KEY NOT NULL,
  name TEXT NOT NULL UNIQUE,
  version INTEGER NOT NULL,
  nonce BLOB NOT NULL,
  ciphertext BLOB NOT NULL,
  metadata TEXT NOT NULL,          -- JSON
  created_at INTEGER NOT NULL,     -- milliseconds since the epoch
  updated_at INTEGER NOT NULL
) WITHOUT ROWID;
)",
    R"(
ALTER TABLE sandboxes ADD COLUMN egress_proxy TEXT;  -- JSON
)",
    R"(
ALTER TABLE sandboxes DROP COLUMN options;
)",
    R"(
ALTER TABLE sandboxes ADD COLUMN execution_id TEXT NOT NULL DEFAULT '';
ALTER TABLE sandboxes ADD COLUMN execution_at INTEGER NOT NULL DEFAULT 0;
CREATE TABLE sandbox_events (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL,
  at INTEGER NOT NULL,             -- milliseconds since the epoch
  kind TEXT NOT NULL,
  sandbox_id TEXT NOT NULL,
  execution_id TEXT NOT NULL,
  template_id TEXT NOT NULL,
  facts TEXT NOT NULL              -- JSON
);
CREATE INDEX sandbox_events_of ON sandbox_events (sandbox_id, number);
CREATE INDEX sandbox_events_at ON sandbox_events (at);
)",
    R"(
ALTER TABLE sandboxes ADD COLUMN warden_pid INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sandboxes ADD COLUMN warden_start INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sandboxes ADD COLUMN boot_id TEXT NOT NULL DEFAULT '';
)",
    // Begins with what is still known: events are kept for a week only.
    R"(
CREATE TABLE template_spawns (
  template_id TEXT PRIMARY KEY NOT NULL,
  count INTEGER NOT NULL,
  last_at INTEGER NOT NULL         -- milliseconds since the epoch
) WITHOUT ROWID;
INSERT INTO template_spawns SELECT template_id, count(*), max(at) FROM (
  SELECT template_id, at FROM sandbox_events WHERE kind = 'created'
  UNION ALL
  SELECT template_id, started_at FROM sandboxes WHERE started_at > 0 AND id NOT IN
    (SELECT sandbox_id FROM sandbox_events WHERE kind = 'created')
) GROUP BY template_id;
)",
    // Milliseconds since the epoch; 0: never.
    R"(
ALTER TABLE api_keys ADD COLUMN last_used_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE api_keys ADD COLUMN expires_at INTEGER NOT NULL DEFAULT 0;
)",
};

base::Result<long> PragmaNumber(Database& database, std::string_view pragma) {
  const std::string text = TRY(database.QueryText(pragma));
  long value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

base::Result<> CheckOwner(Database& database, long version) {
  const long owner = TRY(PragmaNumber(database, "PRAGMA application_id"));
  if (owner == kApplicationId) return {};
  const long tables = TRY(PragmaNumber(database, "SELECT count(*) FROM sqlite_schema"));
  if (owner == 0 && version == 0 && tables == 0) return {};  // new and empty
  return std::unexpected(
      base::Error(Code::kFailedPrecondition,
                  fmt::format("open database '{}': it belongs to another program", database.path()))
          .WithRemedy("Choose another state directory, or move that file away."));
}

}  // namespace

int SchemaVersion() { return static_cast<int>(std::size(kMigrations)); }

base::Result<> CheckVersion(Database& database) {
  const long found = TRY(PragmaNumber(database, "PRAGMA user_version"));
  TRY(CheckOwner(database, found));
  if (found <= SchemaVersion() && found >= 0) return {};
  return std::unexpected(
      base::Error(Code::kFailedPrecondition,
                  fmt::format("open database '{}': its schema has version {}, this program knows "
                              "versions up to {}",
                              database.path(), found, SchemaVersion()))
          .WithRemedy(
              "It was written by a newer tinderboxd: install that version or a later one."));
}

base::Result<> Migrate(Database& database) { return MigrateTo(database, SchemaVersion()); }

base::Result<> MigrateTo(Database& database, int target) {
  TRY(CheckVersion(database));
  const long found = TRY(PragmaNumber(database, "PRAGMA user_version"));
  for (long version = found; version < target; ++version) {
    Transaction transaction = TRY(Transaction::Begin(database));
    // Looked at again under the write lock: two processes may have opened an empty file at once.
    if (TRY(PragmaNumber(database, "PRAGMA user_version")) != version) continue;
    TRY(database.Execute(kMigrations[version]));
    TRY(database.Execute(fmt::format("PRAGMA user_version = {}; PRAGMA application_id = {}",
                                     version + 1, kApplicationId)));
    TRY(transaction.Commit());
  }
  return {};
}

}  // namespace tinderbox::store::internal
