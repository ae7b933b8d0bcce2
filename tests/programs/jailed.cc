// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// A stand-in for a VMM in the launcher's tests: static, and what its first argument names:
//   exit CODE        ends at once with that code
//   abort            dies of SIGABRT
//   hello            prints a line, then waits for a signal
//   spin             waits for a signal, default handling
//   stubborn         ignores SIGTERM, prints "ready"
//   polite CODE      on SIGTERM exits with CODE
//   family           forks two children that ignore SIGTERM, prints "ready", waits
//   orphans          forks grandchildren whose parents die, then exits 3
//   flood            writes to stdout without end
//   look             prints what it can see of itself: ids, files, devices, environment, limits
//   serve            listens on /run/api.sock and answers "pong" to every connection
//   serve-late MS    the same, after MS milliseconds
//   deaf             binds /run/api.sock and never listens
//   fill             writes to /run/fill until the workspace is full, prints how much
//   escape           tries to reach beyond the jail, prints each attempt that succeeded
//   flip             maps /memory.img as a VMM does and changes it all the time; maps it far beyond
//                    its end, too, and puts memory of its own there, in turns
//   grow             tries to make /rootfs.ext4 larger, prints each attempt that succeeded
//   time             prints CLOCK_MONOTONIC in nanoseconds and exits 0
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

namespace {

int polite_code = 0;

[[noreturn]] void WaitForever() {
  for (;;) pause();
}

int Listen(bool listening) {
  const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  strcpy(address.sun_path, "/run/api.sock");
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    perror("bind");
    exit(1);
  }
  if (!listening) WaitForever();
  listen(fd, 16);
  for (;;) {
    const int client = accept(fd, nullptr, nullptr);
    if (client < 0) continue;
    if (write(client, "pong", 4) != 4) perror("write");
    close(client);
  }
}

void List(const char* path, int depth) {
  DIR* directory = opendir(path);
  if (directory == nullptr) return;
  while (const dirent* entry = readdir(directory)) {
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    char child[512];
    snprintf(child, sizeof child, "%s/%s", strcmp(path, "/") == 0 ? "" : path, entry->d_name);
    struct stat st{};
    lstat(child, &st);
    printf("file %s mode=%o uid=%u rdev=%lx\n", child, st.st_mode, st.st_uid,
           static_cast<unsigned long>(st.st_rdev));
    if (S_ISDIR(st.st_mode) && depth > 0) List(child, depth - 1);
  }
  closedir(directory);
}

int Look(char** environment) {
  printf("pid %d\nuid %u %u\ngid %u %u\ngroups %d\n", getpid(), getuid(), geteuid(), getgid(),
         getegid(), getgroups(0, nullptr));
  printf("session %d\n", getsid(0));
  for (char** e = environment; *e != nullptr; ++e) printf("env %s\n", *e);
  for (int fd = 0; fd < 1024; ++fd) {
    struct stat st{};
    if (fstat(fd, &st) == 0) printf("fd %d mode=%o\n", fd, st.st_mode & S_IFMT);
  }
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  printf("nofile %lu\n", static_cast<unsigned long>(limit.rlim_cur));
  getrlimit(RLIMIT_CORE, &limit);
  printf("core %lu\n", static_cast<unsigned long>(limit.rlim_max));
  getrlimit(RLIMIT_FSIZE, &limit);
  printf("fsize %lu\n", static_cast<unsigned long>(limit.rlim_max));
  const mode_t mask = umask(0);
  printf("umask %o\n", mask);
  sigset_t blocked;
  sigprocmask(SIG_BLOCK, nullptr, &blocked);
  int odd = 0;
  for (int s = 1; s < 32; ++s) {
    struct sigaction action{};
    sigaction(s, nullptr, &action);
    if (sigismember(&blocked, s) == 1 || (action.sa_handler == SIG_IGN) != (s == SIGXFSZ)) ++odd;
  }
  printf("odd-signals %d\n", odd);
  utsname name{};
  uname(&name);
  printf("hostname %s\n", name.nodename);
  List("/", 3);
  printf("end\n");
  fflush(stdout);
  WaitForever();
}

void Attempt(const char* what, bool succeeded) {
  if (succeeded) printf("escaped: %s\n", what);
}

int Escape() {
  Attempt("write /", open("/x", O_CREAT | O_WRONLY, 0600) >= 0);
  Attempt("write /dev", open("/dev/x", O_CREAT | O_WRONLY, 0600) >= 0);
  Attempt("mknod", mknod("/run/disk", S_IFBLK | 0600, (254u << 8)) == 0);
  Attempt("mount", mount("none", "/run", "tmpfs", 0, nullptr) == 0);
  Attempt("chroot", chroot("/run") == 0);
  Attempt("setuid", setuid(0) == 0);
  Attempt("unshare net", unshare(CLONE_NEWNET) == 0);
  Attempt("unshare user", unshare(CLONE_NEWUSER) == 0);
  Attempt("clone user", [] {
    const long pid = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, nullptr, nullptr, nullptr, 0L);
    if (pid == 0) _exit(0);
    return pid > 0;
  }());
  Attempt("clone3", syscall(SYS_clone3, nullptr, 0) >= 0 || errno != ENOSYS);
  Attempt("trace", syscall(SYS_ptrace, 0, 0, nullptr, nullptr) >= 0);
  Attempt("kill warden", kill(1, SIGKILL) == 0);
  Attempt("see /proc", access("/proc/self", F_OK) == 0);
  Attempt("see host root", access("/../etc/passwd", F_OK) == 0);
  Attempt("open files beyond the limit", [] {
    const rlimit more{1u << 20, 1u << 20};
    return setrlimit(RLIMIT_NOFILE, &more) == 0;
  }());
  Attempt("execute from the workspace", [] {
    const int fd = open("/run/program", O_CREAT | O_WRONLY, 0700);
    const bool written = write(fd, "#!/vmm\n", 7) == 7;
    close(fd);
    const char* const arguments[] = {"/run/program", nullptr};
    if (written) execve("/run/program", const_cast<char**>(arguments), environ);
    return false;
  }());
  printf("end\n");
  fflush(stdout);
  WaitForever();
}

int Grow() {
  const int disk = open("/rootfs.ext4", O_RDWR);
  struct stat st{};
  if (disk < 0 || fstat(disk, &st) != 0) return 1;
  Attempt("write in the disk", pwrite(disk, "x", 1, st.st_size - 1) != 1);
  Attempt("punch a hole",
          fallocate(disk, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096) != 0);
  Attempt("write zeros",
          fallocate(disk, FALLOC_FL_ZERO_RANGE, 0, 4096) != 0 && errno != EOPNOTSUPP);
  Attempt("write beyond the end", pwrite(disk, "x", 1, st.st_size) == 1 || errno != EFBIG);
  Attempt("ftruncate", ftruncate(disk, st.st_size + 1) == 0 || errno != EFBIG);
  Attempt("fallocate", fallocate(disk, 0, st.st_size, 4096) == 0);
  Attempt("fallocate, same size", fallocate(disk, FALLOC_FL_KEEP_SIZE, st.st_size, 4096) == 0);
  Attempt("fallocate zeros, same size",
          fallocate(disk, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, st.st_size, 4096) == 0);
  Attempt("insert a range", fallocate(disk, FALLOC_FL_INSERT_RANGE, 0, 4096) == 0);
  printf("end\n");
  fflush(stdout);
  WaitForever();
}

int Fill() {
  const int fd = open("/run/fill", O_CREAT | O_WRONLY, 0600);
  static char block[65536];
  long total = 0;
  for (ssize_t n; (n = write(fd, block, sizeof block)) > 0;) total += n;
  printf("filled %ld\n", total);
  fflush(stdout);
  WaitForever();
}

int Family() {
  signal(SIGTERM, SIG_IGN);
  for (int i = 0; i < 2; ++i) {
    if (fork() == 0) WaitForever();
  }
  signal(SIGTERM, SIG_DFL);
  puts("ready");
  fflush(stdout);
  WaitForever();
}

int Orphans() {
  for (int i = 0; i < 8; ++i) {
    if (fork() == 0) {
      if (fork() == 0) usleep(10000);
      _exit(0);
    }
  }
  usleep(50000);
  return 3;
}

int Flip() {
  constexpr int kRegions = 300;
  constexpr size_t kPage = 4096;
  constexpr off_t kFar = off_t{1} << 40;
  const int file = open("/memory.img", O_RDONLY);
  struct stat st{};
  if (file < 0 || fstat(file, &st) != 0) return 1;
  const auto size = static_cast<size_t>(st.st_size);
  void* const map = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
  if (map == MAP_FAILED) return 1;
  auto* const memory = static_cast<volatile char*>(map);
  memory[0] = 'A';
  memory[size - 1] = 'Z';
  void* regions[kRegions];
  for (void*& region : regions)
    region = mmap(nullptr, 2 * kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  puts("ready");
  fflush(stdout);
  for (unsigned round = 0;; ++round) {
    for (int i = 0; i < kRegions; ++i) {
      mmap(regions[i], kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, file,
           kFar + i * off_t{8192});
    }
    usleep(200);
    for (void* region : regions) {
      mmap(region, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
      *static_cast<volatile char*>(region) = 'B';
    }
    // The count is in the second page and in the middle: equal when this does not run.
    memory[kPage] = static_cast<char>(round);
    memory[size / 2] = static_cast<char>(round);
    usleep(200);
  }
}

}  // namespace

int main(int argc, char** argv, char** environment) {
  const char* what = argc > 1 ? argv[1] : "";
  const auto is = [what](const char* name) { return strcmp(what, name) == 0; };
  const int number = argc > 2 ? atoi(argv[2]) : 0;
  if (is("exit")) return number;
  if (is("abort")) abort();
  if (is("spin")) WaitForever();
  if (is("look")) return Look(environment);
  if (is("escape")) return Escape();
  if (is("fill")) return Fill();
  if (is("grow")) return Grow();
  if (is("family")) return Family();
  if (is("orphans")) return Orphans();
  if (is("flip")) return Flip();
  if (is("serve")) return Listen(true);
  if (is("deaf")) return Listen(false);
  if (is("serve-late")) {
    usleep(static_cast<useconds_t>(number) * 1000);
    return Listen(true);
  }
  if (is("hello")) {
    puts("hello from the jail");
    fflush(stdout);
    WaitForever();
  }
  if (is("stubborn")) {
    signal(SIGTERM, SIG_IGN);
    puts("ready");
    fflush(stdout);
    WaitForever();
  }
  if (is("polite")) {
    polite_code = number;
    signal(SIGTERM, [](int) { _exit(polite_code); });
    puts("ready");
    fflush(stdout);
    WaitForever();
  }
  if (is("flood")) {
    char block[4096];
    memset(block, 'x', sizeof block);
    block[sizeof block - 1] = '\n';
    for (;;) {
      if (write(1, block, sizeof block) < 0) return 1;
    }
  }
  if (is("time")) {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    printf("%lld\n", static_cast<long long>(now.tv_sec) * 1000000000 + now.tv_nsec);
    return 0;
  }
  return 99;
}
