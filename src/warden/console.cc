// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "warden/console.h"

#include <fcntl.h>

#include "warden/kernel.h"
#include "warden/protocol.h"

namespace tinderbox::warden {
namespace {

char buffer[16384];

}  // namespace

Console::Console(int directory, int file, uint64_t max_bytes, int64_t now)
    : directory_(directory),
      file_(file),
      half_(max_bytes / 2 > 0 ? max_bytes / 2 : 1),
      rate_(kConsoleBytesPerSecond, kConsoleBurst, kConsoleQuantum, now) {}

void Console::Write(const char* data, size_t size) {
  while (size > 0) {
    if (size_ >= half_) {
      // Where the disk is full or the directory is gone, the console stops growing; the VM goes on.
      Call(__NR_renameat2, directory_, kConsoleFile, directory_, kOldConsoleFile, 0);
      const long fresh =
          Call(__NR_openat, directory_, kConsoleFile,
               O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
      if (fresh < 0) return;
      Close(file_);
      file_ = static_cast<int>(fresh);
      size_ = 0;
    }
    const uint64_t room = half_ - size_;
    const long n = Call(__NR_write, file_, data, size < room ? size : room);
    if (n <= 0) return;
    data += n;
    size -= static_cast<size_t>(n);
    size_ += static_cast<uint64_t>(n);
  }
}

long Console::Pump(int pipe) {
  const long n = Call(__NR_read, pipe, buffer, sizeof buffer);
  if (n == -EAGAIN || n == -EINTR) return 1;
  if (n <= 0) return n;
  rate_.Take(n);
  Write(buffer, static_cast<size_t>(n));
  return 1;
}

void Console::Drain(int pipe, size_t max) {
  while (max > 0) {
    const long n = Call(__NR_read, pipe, buffer, max < sizeof buffer ? max : sizeof buffer);
    if (n <= 0) return;
    Write(buffer, static_cast<size_t>(n));
    max -= static_cast<size_t>(n);
  }
}

}  // namespace tinderbox::warden
