// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// Loaded into QEMU by its jail's /etc/ld.so.preload, and nowhere else. QEMU before 9.1 opens the
// file behind a memory-backend-file for writing even where it maps it privately (share=off), and
// with readonly=on makes a ROM of it. A memory file that many VMs begin as is bound read-only into
// each jail, so that none of them can write to it; this lets QEMU open it as what it is.
//
// It grants nothing: who can load it can open the file for reading anyway.
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdarg>
#include <cstring>

namespace {

int Open(const char* path, int flags, mode_t mode) {
  if ((flags & O_ACCMODE) == O_RDWR && std::strcmp(path, "/memory.img") == 0)
    flags = (flags & ~O_ACCMODE) | O_RDONLY;
  return static_cast<int>(::syscall(SYS_openat, AT_FDCWD, path, flags | O_LARGEFILE, mode));
}

}  // namespace

// Under which names a QEMU with 64-bit file offsets calls open(2): plainly, and (built with
// _FORTIFY_SOURCE) where the compiler does not know the flags and no mode is given.
extern "C" __attribute__((visibility("default"))) int open64(const char* path, int flags, ...) {
  mode_t mode = 0;
  if ((flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE) {
    va_list arguments;
    va_start(arguments, flags);
    mode = va_arg(arguments, mode_t);
    va_end(arguments);
  }
  return Open(path, flags, mode);
}

extern "C" __attribute__((visibility("default"))) int __open64_2(const char* path, int flags) {
  return Open(path, flags, 0);
}
