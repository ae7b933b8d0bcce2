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
//   link             makes /run/api.sock a symbolic link to a file of the host
//   fill             writes to /run/fill until the workspace is full, prints how much
//   escape           tries to reach beyond the jail, prints each attempt that succeeded
//   time             prints CLOCK_MONOTONIC in nanoseconds and exits 0
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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
  const mode_t mask = umask(0);
  printf("umask %o\n", mask);
  sigset_t blocked;
  sigprocmask(SIG_BLOCK, nullptr, &blocked);
  int odd = 0;
  for (int s = 1; s < 32; ++s) {
    struct sigaction action{};
    sigaction(s, nullptr, &action);
    if (sigismember(&blocked, s) == 1 || action.sa_handler == SIG_IGN) ++odd;
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
  if (is("family")) return Family();
  if (is("orphans")) return Orphans();
  if (is("serve")) return Listen(true);
  if (is("deaf")) return Listen(false);
  if (is("serve-late")) {
    usleep(static_cast<useconds_t>(number) * 1000);
    return Listen(true);
  }
  if (is("link")) {
    if (symlink("/etc/passwd", "/run/api.sock") != 0) return 1;
    WaitForever();
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
