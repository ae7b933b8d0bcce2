// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "store/internal/sqlite.h"

#include <fmt/format.h>
#include <sqlite3.h>

#include <utility>

namespace tinderbox::store::internal {
namespace {

using base::Code;

base::Error SqliteError(sqlite3* db, std::string_view what) {
  const int rc = sqlite3_errcode(db);
  std::string message = fmt::format("{}: {}", what, sqlite3_errmsg(db));
  switch (rc & 0xff) {
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT:
      return base::Error(Code::kDataLoss, std::move(message))
          .WithRemedy(std::string(kDamagedRemedy));
    case SQLITE_FULL:
      return base::Error(Code::kResourceExhausted, std::move(message))
          .WithRemedy("Free disk space on the file system of the state directory.");
    case SQLITE_CONSTRAINT: return base::Error(Code::kAlreadyExists, std::move(message));
    case SQLITE_BUSY:
    case SQLITE_LOCKED: return base::Error(Code::kUnavailable, std::move(message));
    case SQLITE_PERM:
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
    case SQLITE_AUTH:
      return base::Error(Code::kPermissionDenied, std::move(message))
          .WithRemedy("Check that the state directory exists and is writable for root.");
    default: return base::Error(Code::kInternal, std::move(message));
  }
}

}  // namespace

Statement::Statement(Statement&& other) noexcept
    : db_(other.db_), statement_(std::exchange(other.statement_, nullptr)) {}

Statement::~Statement() { sqlite3_finalize(statement_); }

// A failed bind (no memory, a wrong index) leaves the parameter NULL, which the schema's NOT NULL
// turns into an error of Step.
Statement& Statement::Bind(int index, std::string_view text) {
  sqlite3_bind_text64(statement_, index, text.data() == nullptr ? "" : text.data(), text.size(),
                      SQLITE_TRANSIENT, SQLITE_UTF8);
  return *this;
}

Statement& Statement::Bind(int index, std::int64_t value) {
  sqlite3_bind_int64(statement_, index, value);
  return *this;
}

Statement& Statement::BindNull(int index) {
  sqlite3_bind_null(statement_, index);
  return *this;
}

Statement& Statement::BindBlob(int index, std::string_view bytes) {
  sqlite3_bind_blob64(statement_, index, bytes.data() == nullptr ? "" : bytes.data(), bytes.size(),
                      SQLITE_TRANSIENT);
  return *this;
}

base::Result<bool> Statement::Step() {
  const int rc = sqlite3_step(statement_);
  if (rc == SQLITE_ROW) return true;
  if (rc == SQLITE_DONE) return false;
  return std::unexpected(SqliteError(db_, fmt::format("run '{}'", sqlite3_sql(statement_))));
}

std::string Statement::Text(int column) const {
  const auto* text = sqlite3_column_text(statement_, column);
  const int bytes = sqlite3_column_bytes(statement_, column);
  if (text == nullptr) return {};
  return std::string(reinterpret_cast<const char*>(text), static_cast<std::size_t>(bytes));
}

std::string Statement::Blob(int column) const {
  const void* bytes = sqlite3_column_blob(statement_, column);
  const int size = sqlite3_column_bytes(statement_, column);
  if (bytes == nullptr) return {};
  return std::string(static_cast<const char*>(bytes), static_cast<std::size_t>(size));
}

std::int64_t Statement::Integer(int column) const {
  return sqlite3_column_int64(statement_, column);
}

bool Statement::IsNull(int column) const {
  return sqlite3_column_type(statement_, column) == SQLITE_NULL;
}

base::Result<Database> Database::Open(const std::string& path) {
  sqlite3* db = nullptr;
  const int rc = sqlite3_open_v2(
      path.c_str(), &db,
      SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW,
      nullptr);
  Database database(db, path);  // SQLite hands out an object even where it fails
  if (rc != SQLITE_OK) {
    return std::unexpected(SqliteError(db, fmt::format("open database '{}'", path)));
  }
  sqlite3_extended_result_codes(db, 1);
  sqlite3_busy_timeout(db, 5000);
  return database;
}

Database::Database(Database&& other) noexcept
    : db_(std::exchange(other.db_, nullptr)), path_(std::move(other.path_)) {}

Database::~Database() { sqlite3_close_v2(db_); }

base::Result<Statement> Database::Prepare(std::string_view sql) {
  sqlite3_stmt* statement = nullptr;
  if (sqlite3_prepare_v2(db_, sql.data(), static_cast<int>(sql.size()), &statement, nullptr) !=
      SQLITE_OK) {
    return std::unexpected(SqliteError(db_, fmt::format("read database '{}'", path_)));
  }
  return Statement(db_, statement);
}

base::Result<> Database::Execute(const std::string& sql) {
  if (sqlite3_exec(db_, sql.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK) {
    return std::unexpected(SqliteError(db_, fmt::format("change database '{}'", path_)));
  }
  return {};
}

base::Result<std::string> Database::QueryText(std::string_view sql) {
  Statement statement = TRY(Prepare(sql));
  if (!TRY(statement.Step())) return std::string();
  return statement.Text(0);
}

std::int64_t Database::changes() const { return sqlite3_changes64(db_); }

base::Result<Transaction> Transaction::Begin(Database& database) {
  TRY(database.Execute("BEGIN IMMEDIATE"));
  return Transaction(database);
}

Transaction::Transaction(Transaction&& other) noexcept
    : database_(std::exchange(other.database_, nullptr)) {}

Transaction::~Transaction() {
  // A rollback that fails has happened already: SQLite rolls back by itself on I/O errors.
  if (database_ != nullptr) static_cast<void>(database_->Execute("ROLLBACK"));
}

base::Result<> Transaction::Commit() {
  TRY(database_->Execute("COMMIT"));
  database_ = nullptr;
  return {};
}

}  // namespace tinderbox::store::internal
