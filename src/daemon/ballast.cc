// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "daemon/ballast.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cstdint>

#include "base/log.h"
#include "sys/file.h"

namespace tinderbox::daemon {
namespace {

constexpr std::uint64_t kBallast = 16 << 20;
constexpr off_t kAhead = 4 << 20;

std::string PathOf(const std::string& state_dir) { return state_dir + "/ballast"; }

std::uint64_t FreeBytes(const std::string& path) {
  struct statvfs fs{};
  return ::statvfs(path.c_str(), &fs) == 0 ? fs.f_bavail * std::uint64_t{fs.f_frsize} : 0;
}

}  // namespace

void MakeBallast(const std::string& state_dir) {
  const std::string path = PathOf(state_dir);
  // Not from the last that there is.
  if (sys::Exists(path) || FreeBytes(state_dir) < 4 * kBallast) return;
  const auto file = sys::Open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
  if (!file) return;
  if (::fallocate(file->get(), 0, 0, kBallast) != 0) ::unlink(path.c_str());
}

void UseBallastIfFull(const std::string& state_dir) {
  const std::string path = PathOf(state_dir);
  if (!sys::Exists(path) || FreeBytes(state_dir) >= kBallast) return;
  if (::unlink(path.c_str()) == 0) {
    base::LogWarning("the disk is full: the daemon uses what it kept for that", {{"file", path}});
  }
}

void AllocateAhead(const std::string& database) {
  for (const char* suffix : {"", "-wal"}) {
    const auto file = sys::Open(database + suffix, O_WRONLY | O_NOFOLLOW);
    struct stat st{};
    // Not every file system can do it, and a full one cannot any more.
    if (file && ::fstat(file->get(), &st) == 0) {
      static_cast<void>(::fallocate(file->get(), FALLOC_FL_KEEP_SIZE, 0, st.st_size + kAhead));
    }
  }
}

}  // namespace tinderbox::daemon
