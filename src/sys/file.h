// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/error.h"
#include "sys/fd.h"

// Thin wrappers over open(2) and friends. All block; all descriptors are close-on-exec; every error
// names the path.
namespace tinderbox::sys {

base::Result<UniqueFd> Open(const std::string& path, int flags, mode_t mode = 0);
base::Result<UniqueFd> OpenAt(FdRef dir, const std::string& name, int flags, mode_t mode = 0);
// Absence is not an error here: no value where `path` does not exist.
base::Result<std::optional<UniqueFd>> OpenIfExists(const std::string& path, int flags);

// Reads until end of file, but never more than `max` bytes: a longer file is kResourceExhausted.
// Files of /proc and /sys, whose st_size lies, are read right.
base::Result<std::string> ReadAll(FdRef fd, std::size_t max);
base::Result<std::string> ReadFile(const std::string& path, std::size_t max = 16 << 20);

// Writes all of `data`, over short writes and EINTR.
base::Result<> WriteAll(FdRef fd, std::string_view data);
// Opens an existing file (of /proc, /sys, cgroupfs), writes once, closes.
base::Result<> WriteExisting(const std::string& path, std::string_view data);
// Replaces `path` atomically: temporary name in the same directory, fsync, rename, fsync of the
// directory.
base::Result<> WriteFileAtomic(const std::string& path, std::string_view data, mode_t mode = 0644);
// Removes the temporary files that WriteFileAtomic has left in this directory where it was killed;
// how many. For whoever knows that nobody is writing there.
base::Result<std::size_t> RemoveTemporaries(const std::string& directory);

base::Result<struct stat> Stat(const std::string& path);
bool Exists(const std::string& path);

// mkdir -p; directories that exist are left as they are.
base::Result<> MakeDirs(const std::string& path, mode_t mode = 0755);
// unlink(2); absence is success.
base::Result<> RemoveFile(const std::string& path);
// rm -r without following links and without crossing into a mounted file system (an error then);
// absence is success.
base::Result<> RemoveTree(const std::string& path);

}  // namespace tinderbox::sys
