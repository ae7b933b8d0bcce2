// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "image/library.h"
#include "sys/fd.h"

namespace tinderbox::image {

// Locks the file at `path` (made where it is not there) until the descriptor is closed. Waits for
// another holder, after calling `on_wait` once.
base::Result<sys::UniqueFd> LockFile(const std::string& path,
                                     const std::function<void()>& on_wait = {});

// The same, but nothing where another holds it.
base::Result<std::optional<sys::UniqueFd>> TryLockFile(const std::string& path);

// The right to prepare things below one state directory, and a place for what is half made. One
// process at a time holds it; what a predecessor that was killed has left is swept away first.
class Workspace {
 public:
  // Waits for another process that is preparing, and says so.
  static base::Result<Workspace> Enter(const std::string& state_dir, const Progress& progress);
  // Removes what a preparation that was killed has left; does nothing while one is running.
  static base::Result<> SweepAbandoned(const std::string& state_dir);
  Workspace(Workspace&&) = default;
  Workspace& operator=(Workspace&&) = default;
  // Removes everything in dir().
  ~Workspace();

  const std::string& dir() const { return dir_; }  // <state_dir>/tmp
  // Makes the empty directory dir()/name.
  base::Result<std::string> MakeDir(std::string_view name) const;

 private:
  Workspace(std::string dir, sys::UniqueFd lock) : dir_(std::move(dir)), lock_(std::move(lock)) {}

  std::string dir_;
  sys::UniqueFd lock_;
};

// kResourceExhausted, with a remedy, where the file system of `path` has less than `bytes` free.
base::Result<> RequireFreeSpace(const std::string& path, std::uint64_t bytes);

// What stands at `from` becomes `to`; a directory that stood there is removed afterwards. Both on
// one file system. Durable when it returns.
base::Result<> ReplaceDirectory(const std::string& from, const std::string& to);

// Flushes `path` (a file or directory) to disk.
base::Result<> SyncPath(const std::string& path);

}  // namespace tinderbox::image
