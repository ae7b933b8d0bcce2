// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// Loaded into the real QEMU, in the place of tinderbox-qemu-memory.so: what a guest could do that
// had taken QEMU over, under the jail's filter and under QEMU's own. Prints "probe: WHAT: ok" or
// the error for each attempt, then "probe: end". Calls for which QEMU's filter ends the process
// (fork, execve) are left out.
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/vm_sockets.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace {

void Say(const char* what, long result) {
  char line[200];
  const char* const error = result < 0 ? strerrorname_np(errno) : "ok";
  const int size = snprintf(line, sizeof line, "probe: %s: %s\n", what, error);
  if (write(1, line, static_cast<size_t>(size)) < 0) _exit(1);
}

void* Probe(void*) {
  usleep(100000);  // not amid the start of QEMU
  for (int family = 0; family < 46; ++family) {
    if (family == AF_UNIX) continue;
    const int fd = socket(family, SOCK_STREAM, 0);
    if (fd >= 0 || errno != EAFNOSUPPORT) Say("another socket", fd);
  }
  Say("vsock", socket(AF_VSOCK, SOCK_STREAM, 0));
  Say("unix", socket(AF_UNIX, SOCK_STREAM, 0));
  static char parameters[256];
  Say("io_uring", syscall(SYS_io_uring_setup, 4, parameters));
  Say("userfaultfd", syscall(SYS_userfaultfd, 1));
  Say("memfd_secret", syscall(SYS_memfd_secret, 0));
  Say("vmsplice", syscall(SYS_vmsplice, 1, nullptr, 0, 0));
  Say("shmget", syscall(SYS_shmget, 0, 4096, 01600));
  static char page[8192];
  char* const aligned = page + 4096 - reinterpret_cast<unsigned long>(page) % 4096;
  Say("merge", madvise(aligned, 4096, MADV_MERGEABLE));
  const int memory = open("/memory.img", O_RDWR);
  Say("write to the base", memory < 0 ? -1 : pwrite(memory, "x", 1, 0));
  Say("python", access("/usr/bin/python3", F_OK));
  Say("shell", access("/bin/sh", F_OK));
  const int disk = open("/rootfs.ext4", O_RDWR);
  struct stat st{};
  fstat(disk, &st);
  Say("open the disk", disk);
  Say("grow the disk", ftruncate(disk, st.st_size + 4096));
  Say("allocate beyond the disk", fallocate(disk, 0, st.st_size, 1 << 20));
  Say("reserve beyond the disk", fallocate(disk, FALLOC_FL_KEEP_SIZE, st.st_size, 1 << 20));
  Say("write beyond the disk", pwrite(disk, "x", 1, st.st_size));
  Say("end", 0);
  return nullptr;
}

__attribute__((constructor)) void Begin() {
  pthread_t thread;
  pthread_create(&thread, nullptr, Probe, nullptr);
}

}  // namespace
