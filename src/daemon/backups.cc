// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "daemon/backups.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <stdio.h>
#include <sys/stat.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <ctime>

#include "base/id.h"
#include "base/log.h"
#include "daemon/claim.h"
#include "daemon/commands.h"
#include "daemon/reconcile.h"
#include "store/backup.h"
#include "sys/directory.h"
#include "sys/file.h"

namespace tinderbox::daemon {

using base::Code;
using base::Result;

namespace {

constexpr std::time_t kDay = 24 * 60 * 60;
constexpr std::chrono::hours kLook{1};
constexpr char kPrefix[] = "tinderbox-";
constexpr char kSuffix[] = ".db";

std::string Now() { return fmt::format("{:%Y%m%dT%H%M%SZ}", fmt::gmtime(std::time(nullptr))); }

bool IsDue(const std::string& state_dir) {
  const auto all = BackupsIn(state_dir);
  if (!all || all->empty()) return true;
  const auto st = sys::Stat(all->back());
  // One of the future was made before the clock was put back.
  const std::time_t age = st ? std::time(nullptr) - st->st_mtime : kDay;
  return age >= kDay || age < 0;
}

// Moves the present database, with what SQLite keeps beside it, out of the way; where to.
Result<std::string> PutAside(const Config& config) {
  const std::string kept = fmt::format("{}/replaced-{}-{}", BackupDirectory(config.state_dir),
                                       Now(), base::RandomHex(2));
  TRY(sys::MakeDirs(kept, 0700));
  // The main file last: an interrupted restore is then repeated with the rest gone, which only a
  // database that was not closed would miss, and that is in `kept`.
  for (const char* suffix : {"-wal", "-shm", ""}) {
    const std::string from = StorePath(config) + suffix;
    const std::string to = fmt::format("{}/tinderbox.db{}", kept, suffix);
    if (::rename(from.c_str(), to.c_str()) != 0 && errno != ENOENT) {
      return base::FailErrno(errno, fmt::format("move '{}' to '{}'", from, to));
    }
  }
  return kept;
}

Result<std::string> ChooseBackup(const Config& config, const std::string& file) {
  if (!file.empty()) return file;
  const auto all = TRY(BackupsIn(config.state_dir));
  if (!all.empty()) return all.back();
  return std::unexpected(
      base::Error(Code::kNotFound, fmt::format("'{}' holds no backup of the database",
                                               BackupDirectory(config.state_dir)))
          .WithRemedy("Name a file. If there is none, run 'sudo tinderboxd restore --none', then "
                      "'tinderboxd run --adopt'."));
}

}  // namespace

std::string BackupDirectory(const std::string& state_dir) { return state_dir + "/backups"; }

Result<std::vector<std::string>> BackupsIn(const std::string& state_dir) {
  std::vector<std::string> paths;
  for (const std::string& name : TRY(sys::NamesIn(BackupDirectory(state_dir)))) {
    if (!name.starts_with(kPrefix) || !name.ends_with(kSuffix)) continue;
    paths.push_back(fmt::format("{}/{}", BackupDirectory(state_dir), name));
  }
  return paths;
}

Result<std::string> MakeBackup(const Config& config) {
  const std::string directory = BackupDirectory(config.state_dir);
  TRY(sys::MakeDirs(directory, 0700));
  const std::string path = fmt::format("{}/{}{}{}", directory, kPrefix, Now(), kSuffix);
  TRY(store::BackUpDatabase(StorePath(config), path));
  const auto all = TRY(BackupsIn(config.state_dir));
  for (std::size_t i = 0; i + kKeptBackups < all.size(); ++i) TRY(sys::RemoveFile(all[i]));
  return path;
}

Backups::Backups(const Config& config) : config_(config), thread_([this] { Run(); }) {}

Backups::~Backups() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

void Backups::Run() {
  // A daemon that was killed during a backup leaves these.
  static_cast<void>(sys::RemoveTemporaries(BackupDirectory(config_.state_dir)));
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    lock.unlock();
    if (IsDue(config_.state_dir)) {
      if (auto made = MakeBackup(config_); made) {
        base::LogInfo("backed up the database", {{"file", *made}});
      } else {
        base::LogError("cannot back up the database", {{"error", made.error().ToString()}});
      }
    }
    lock.lock();
    wake_.wait_for(lock, kLook, [this] { return stopping_; });
  }
}

Result<> BackUp(const Config& config, const std::string& file) {
  std::string made = file;
  if (file.empty()) {
    made = TRY(MakeBackup(config));
  } else {
    TRY(store::BackUpDatabase(StorePath(config), file));
  }
  fmt::print("{}\n", made);
  return {};
}

Result<> Restore(const Config& config, const std::string& file, bool none) {
  TRY(PrepareDirectories(config));
  const auto lock = TRY(InstanceLock::Take(config.state_dir, InstanceLock::Of::kStateDir));
  const std::string pending = StorePath(config) + ".restore";
  std::string from;
  if (!none) {
    from = TRY(ChooseBackup(config, file));
    TRY_CTX(store::CheckDatabase(from), fmt::format("restore '{}'", from));
    TRY(sys::RemoveFile(pending));
    TRY(store::BackUpDatabase(from, pending));
    TRY(sys::WriteFileAtomic(RestoredMark(config), from + "\n", 0600));
  }
  const std::string kept = TRY(PutAside(config));
  if (!none && ::rename(pending.c_str(), StorePath(config).c_str()) != 0) {
    return base::FailErrno(errno, fmt::format("rename '{}'", pending));
  }
  fmt::print("The former database is kept in {}.\n", kept);
  if (none) {
    fmt::print("Start with 'tinderboxd run --adopt' to take up what is in the pool.\n");
  } else {
    fmt::print("Put back {}. Start the daemon: it takes up what was made since.\n", from);
  }
  return {};
}

}  // namespace tinderbox::daemon
