// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "daemon/config.h"

// Copies of the database: <state_dir>/backups/tinderbox-<UTC time>.db.
namespace tinderbox::daemon {

inline constexpr std::size_t kKeptBackups = 7;

std::string BackupDirectory(const std::string& state_dir);
// Their paths, the latest last.
base::Result<std::vector<std::string>> BackupsIn(const std::string& state_dir);
// Makes one, and removes the oldest beyond kKeptBackups. Its path.
base::Result<std::string> MakeBackup(const Config& config);

// A thread that makes one a day: at once if the latest is older than that.
class Backups {
 public:
  explicit Backups(const Config& config);
  ~Backups();
  Backups(const Backups&) = delete;
  Backups& operator=(const Backups&) = delete;

 private:
  void Run();
  const Config& config_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace tinderbox::daemon
