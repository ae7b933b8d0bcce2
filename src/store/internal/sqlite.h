// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"

struct sqlite3;
struct sqlite3_stmt;

// As much RAII over SQLite's C interface as the store needs.
namespace tinderbox::store::internal {

// Remedy for a damaged database. No step of it destroys data.
inline constexpr std::string_view kDamagedRemedy =
    "Put back the latest backup: run 'sudo tinderboxd restore'. If there is no backup, run 'sudo "
    "tinderboxd restore --none', then start with 'tinderboxd run --adopt': it takes up volumes and "
    "sandboxes from the files beside them and deletes nothing. API keys and secrets are only in "
    "the database.";

// One prepared statement. Parameters are numbered from 1, columns from 0. Bound text is copied.
class Statement {
 public:
  explicit Statement(sqlite3* db, sqlite3_stmt* statement) : db_(db), statement_(statement) {}
  Statement(Statement&& other) noexcept;
  Statement& operator=(Statement&&) = delete;
  ~Statement();

  Statement& Bind(int index, std::string_view text);
  Statement& Bind(int index, std::int64_t value);
  Statement& BindNull(int index);
  Statement& BindBlob(int index, std::string_view bytes);

  // True for a row, false at the end.
  base::Result<bool> Step();

  std::string Text(int column) const;
  std::string Blob(int column) const;
  std::int64_t Integer(int column) const;
  bool IsNull(int column) const;

 private:
  sqlite3* db_;
  sqlite3_stmt* statement_;
};

// A connection. Not safe from several threads at once.
class Database {
 public:
  // Opens (or makes) the file. Nothing is read yet: a file that is no database shows at first use.
  static base::Result<Database> Open(const std::string& path);
  Database(Database&& other) noexcept;
  Database& operator=(Database&&) = delete;
  ~Database();

  base::Result<Statement> Prepare(std::string_view sql);
  // Any number of statements, their rows dropped.
  base::Result<> Execute(const std::string& sql);
  // The first column of the first row, as text; "" where there is none.
  base::Result<std::string> QueryText(std::string_view sql);
  // Rows that the last INSERT, UPDATE or DELETE changed.
  std::int64_t changes() const;
  const std::string& path() const { return path_; }

 private:
  Database(sqlite3* db, std::string path) : db_(db), path_(std::move(path)) {}
  sqlite3* db_;
  std::string path_;
};

// BEGIN IMMEDIATE; rolled back on destruction unless committed.
class Transaction {
 public:
  static base::Result<Transaction> Begin(Database& database);
  Transaction(Transaction&& other) noexcept;
  Transaction& operator=(Transaction&&) = delete;
  ~Transaction();
  base::Result<> Commit();

 private:
  explicit Transaction(Database& database) : database_(&database) {}
  Database* database_;
};

}  // namespace tinderbox::store::internal
