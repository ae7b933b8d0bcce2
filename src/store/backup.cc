// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "store/backup.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sqlite3.h>
#include <stdio.h>
#include <unistd.h>

#include <cerrno>
#include <memory>

#include "base/id.h"
#include "store/internal/migrations.h"
#include "store/internal/sqlite.h"

namespace tinderbox::store {

using base::Code;
using base::Fail;
using base::FailErrno;
using base::Result;

namespace {

using Handle = std::unique_ptr<sqlite3, int (*)(sqlite3*)>;

Result<Handle> Open(const std::string& path, int flags) {
  sqlite3* db = nullptr;
  const int rc = sqlite3_open_v2(path.c_str(), &db, flags | SQLITE_OPEN_NOFOLLOW, nullptr);
  Handle handle(db, sqlite3_close_v2);
  if (rc == SQLITE_OK) return handle;
  const char* const why = db == nullptr ? sqlite3_errstr(rc) : sqlite3_errmsg(db);
  return Fail(Code::kUnavailable, fmt::format("open database '{}': {}", path, why));
}

// Nobody but root may read the copy, from its first byte on.
Result<> MakePrivateFile(const std::string& path) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return FailErrno(errno, fmt::format("create '{}'", path));
  ::close(fd);
  return {};
}

Result<> Sync(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return FailErrno(errno, fmt::format("open '{}'", path));
  const int failed = ::fsync(fd) != 0 ? errno : 0;
  ::close(fd);
  if (failed != 0) return FailErrno(failed, fmt::format("fsync '{}'", path));
  return {};
}

Result<> Copy(const std::string& from, const std::string& to) {
  const Handle source = TRY(Open(from, SQLITE_OPEN_READWRITE));
  sqlite3_busy_timeout(source.get(), 5000);
  const Handle target = TRY(Open(to, SQLITE_OPEN_READWRITE));
  sqlite3_backup* const backup = sqlite3_backup_init(target.get(), "main", source.get(), "main");
  if (backup != nullptr) {
    // All in one step: it holds up no writer, as the source is in WAL mode.
    while (sqlite3_backup_step(backup, -1) == SQLITE_OK) {
    }
  }
  if (backup == nullptr || sqlite3_backup_finish(backup) != SQLITE_OK) {
    const int rc = sqlite3_errcode(target.get());
    const bool full = (rc & 0xff) == SQLITE_FULL;
    return Fail(
        full ? Code::kResourceExhausted : Code::kDataLoss,
        fmt::format("back up database '{}' to '{}': {}", from, to, sqlite3_errmsg(target.get())));
  }
  return {};
}

}  // namespace

Result<> BackUpDatabase(const std::string& from, const std::string& to) {
  if (::access(from.c_str(), F_OK) != 0) {
    return FailErrno(errno, fmt::format("back up database '{}'", from));
  }
  const std::string pending = fmt::format("{}.{}.tmp", to, base::RandomHex(8));
  TRY(MakePrivateFile(pending));
  const auto make = [&]() -> Result<> {
    TRY(Copy(from, pending));
    TRY(CheckDatabase(pending));
    TRY(Sync(pending));
    if (::rename(pending.c_str(), to.c_str()) != 0) {
      return FailErrno(errno, fmt::format("rename '{}' to '{}'", pending, to));
    }
    const auto slash = to.rfind('/');
    return Sync(slash == std::string::npos ? "." : to.substr(0, slash + 1));
  };
  auto made = make();
  for (const char* suffix : {"", "-wal", "-shm", "-journal"}) {
    if (!made || *suffix != '\0') ::unlink((pending + suffix).c_str());
  }
  return made;
}

Result<> CheckDatabase(const std::string& path) {
  if (::access(path.c_str(), F_OK) != 0) {
    return FailErrno(errno, fmt::format("check database '{}'", path));
  }
  internal::Database database = TRY(internal::Database::Open(path));
  const std::string check = TRY_CTX(database.QueryText("PRAGMA quick_check(1)"),
                                    fmt::format("check database '{}'", path));
  if (check != "ok") return Fail(Code::kDataLoss, fmt::format("database '{}': {}", path, check));
  return internal::CheckVersion(database);
}

}  // namespace tinderbox::store
