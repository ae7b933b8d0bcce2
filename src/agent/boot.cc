// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "agent/boot.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "agent/guest_address.h"
#include "base/deadline.h"
#include "base/log.h"
#include "sys/file.h"

namespace tinderbox::agent {
namespace {

constexpr char kDisk[] = "/dev/vda";
constexpr char kNewRoot[] = "/newroot";
constexpr std::chrono::seconds kDiskWait{10};
constexpr rlim_t kMaxFiles = 1 << 20;
constexpr rlim_t kOwnFiles = 65536;

struct MountPoint {
  const char* type;
  const char* path;
  unsigned long flags;
  const char* options;
};

constexpr unsigned long kPlain = MS_NOSUID | MS_NODEV | MS_NOEXEC;

base::Result<> Mount(const MountPoint& point) {
  // EEXIST is the usual case; on a read-only disk a missing directory shows in the mount's error.
  ::mkdir(point.path, 0755);
  if (::mount(point.type, point.path, point.type, point.flags, point.options) != 0) {
    return base::FailErrno(errno, fmt::format("mount {} on '{}'", point.type, point.path));
  }
  return {};
}

void Tolerate(const base::Result<>& done) {
  if (!done) base::LogWarning("boot: ignoring", {{"error", done.error().ToString()}});
}

// The disk's driver may announce it a moment after its module was loaded.
base::Result<> AwaitDisk() {
  const sys::UniqueFd watch(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (!watch || ::inotify_add_watch(watch.get(), "/dev", IN_CREATE) < 0) {
    return base::FailErrno(errno, "watch '/dev'");
  }
  const base::Deadline deadline = base::Deadline::After(kDiskWait);
  while (!sys::Exists(kDisk)) {
    if (deadline.passed()) {
      return base::Fail(base::Code::kNotFound,
                        fmt::format("find disk '{}': it did not appear", kDisk));
    }
    pollfd ready{watch.get(), POLLIN, 0};
    ::poll(&ready, 1, deadline.poll_timeout());
    char events[4096];
    while (::read(watch.get(), events, sizeof(events)) > 0) {
    }
  }
  return {};
}

base::Result<> MountDisk(bool read_only) {
  ::mkdir(kNewRoot, 0755);
  const unsigned long flags = MS_NOATIME | (read_only ? MS_RDONLY : 0);
  if (::mount(kDisk, kNewRoot, "ext4", flags, nullptr) != 0) {
    return base::FailErrno(errno, fmt::format("mount '{}' on '{}'", kDisk, kNewRoot));
  }
  return {};
}

// Makes the mounted disk the root. pivot_root does not work on an initramfs; moving over "/" does.
base::Result<> SwitchRoot() {
  const std::string new_dev = fmt::format("{}/dev", kNewRoot);
  ::mkdir(new_dev.c_str(), 0755);
  if (::mount("/dev", new_dev.c_str(), nullptr, MS_MOVE, nullptr) != 0) {
    return base::FailErrno(errno, fmt::format("move '/dev' to '{}'", new_dev));
  }
  ::umount2("/proc", MNT_DETACH);
  // The initramfs is memory that the guest would never get back. Our own program stays: it is open.
  Tolerate(sys::RemoveTree("/modules"));
  ::unlink("/init");
  if (::chdir(kNewRoot) != 0 || ::mount(".", "/", nullptr, MS_MOVE, nullptr) != 0 ||
      ::chroot(".") != 0 || ::chdir("/") != 0) {
    return base::FailErrno(errno, "make the disk the root");
  }
  return {};
}

// What device managers make elsewhere.
void LinkDevices() {
  constexpr const char* kLinks[][2] = {{"/proc/self/fd", "/dev/fd"},
                                       {"/proc/self/fd/0", "/dev/stdin"},
                                       {"/proc/self/fd/1", "/dev/stdout"},
                                       {"/proc/self/fd/2", "/dev/stderr"}};
  for (const auto& [target, path] : kLinks) (void)!::symlink(target, path);
}

void RaiseLimits() {
  const rlimit all{kMaxFiles, kMaxFiles};
  ::setrlimit(RLIMIT_NOFILE, &all);
  // For ourselves; children get the usual soft limit back (Spawn).
  const rlimit own{kOwnFiles, kMaxFiles};
  ::setrlimit(RLIMIT_NOFILE, &own);
}

void SetSysctls() {
  constexpr const char* kValues[][2] = {
      {"/proc/sys/fs/inotify/max_user_watches", "524288"},
      {"/proc/sys/fs/inotify/max_user_instances", "1024"},
      // Work that wakes an idle guest several times a second, and its host's CPU with it: memory
      // compaction ahead of need, statistics, and a watchdog that only ever sees that the VM was
      // paused.
      {"/proc/sys/vm/compaction_proactiveness", "0"},
      {"/proc/sys/vm/stat_interval", "60"},
      {"/proc/sys/kernel/watchdog", "0"},
      {"/proc/sys/vm/max_map_count", "262144"},
      // ping without privileges, as distributions have it.
      {"/proc/sys/net/ipv4/ping_group_range", "0 2147483647"},
  };
  for (const auto& [path, value] : kValues) (void)sys::WriteExisting(path, value);
}

// Writes a file of /etc, or, where the disk is read-only, binds one of /run over it.
base::Result<> WriteEtc(const std::string& name, const std::string& text) {
  const std::string path = "/etc/" + name;
  struct stat found{};
  // A link into the directory of a service that does not run here would dangle.
  if (::lstat(path.c_str(), &found) == 0 && S_ISLNK(found.st_mode)) ::unlink(path.c_str());
  sys::UniqueFd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (file) return sys::WriteAll(file, text);
  if (errno != EROFS) return base::FailErrno(errno, fmt::format("write '{}'", path));
  ::mkdir("/run/tinderbox", 0755);
  const std::string shadow = "/run/tinderbox/" + name;
  file.Reset(::open(shadow.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!file) return base::FailErrno(errno, fmt::format("write '{}'", shadow));
  TRY(sys::WriteAll(file, text));
  if (::mount(shadow.c_str(), path.c_str(), nullptr, MS_BIND, nullptr) != 0) {
    return base::FailErrno(errno, fmt::format("bind '{}' on '{}'", shadow, path));
  }
  return {};
}

// One file of /modules; absence and a module that is there already are success.
base::Result<> LoadModule(const std::string& name) {
  const std::string path = "/modules/" + name;
  const sys::UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return {};
  if (::syscall(SYS_finit_module, file.get(), "", 0) != 0 && errno != EEXIST) {
    return base::FailErrno(errno, fmt::format("load module '{}'", path));
  }
  return {};
}

}  // namespace

BootOptions ParseCommandLine(std::string_view cmdline) {
  BootOptions options;
  constexpr std::string_view kDns = "tinderbox.dns=";
  constexpr std::string_view kHostname = "tinderbox.hostname=";
  while (!cmdline.empty()) {
    const auto end = std::min(cmdline.find_first_of(" \n"), cmdline.size());
    std::string_view word = cmdline.substr(0, end);
    cmdline.remove_prefix(std::min(end + 1, cmdline.size()));
    if (word == "tinderbox.root_ro" || word == "tinderbox.root_ro=1") options.root_read_only = true;
    if (word.starts_with(kHostname)) options.hostname = word.substr(kHostname.size());
    if (!word.starts_with(kDns)) continue;
    word.remove_prefix(kDns.size());
    while (!word.empty()) {
      const auto comma = std::min(word.find(','), word.size());
      if (comma > 0) options.dns.emplace_back(word.substr(0, comma));
      word.remove_prefix(std::min(comma + 1, word.size()));
    }
  }
  return options;
}

base::Result<> MountEarly() {
  TRY(Mount({"devtmpfs", "/dev", MS_NOSUID, "mode=0755"}));
  TRY(Mount({"proc", "/proc", kPlain, nullptr}));
  // Where the kernel found no console in the initramfs, the standard streams are closed.
  const int console = ::open("/dev/console", O_RDWR | O_NOCTTY);
  if (console >= 0) {
    for (int fd = 0; fd < 3; ++fd) {
      if (fd != console) ::dup2(console, fd);
    }
    if (console > 2) ::close(console);
  }
  return {};
}

base::Result<> LoadModules() {
  const std::string order = sys::ReadFile("/modules/order", 64 << 10).value_or("");
  for (std::string_view rest = order; !rest.empty();) {
    const auto end = std::min(rest.find('\n'), rest.size());
    const std::string_view name = rest.substr(0, end);
    // A module that does not fit is only fatal if the disk or the network is missing for it later.
    if (!name.empty() && name[0] != '#') Tolerate(LoadModule(std::string(name)));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return {};
}

base::Result<> EnterRoot(const BootOptions& options) {
  TRY(AwaitDisk());
  TRY(MountDisk(options.root_read_only));
  TRY(SwitchRoot());
  ::umask(0);
  TRY(Mount({"proc", "/proc", kPlain, nullptr}));
  TRY(Mount({"sysfs", "/sys", kPlain, nullptr}));
  TRY(Mount({"devpts", "/dev/pts", MS_NOSUID | MS_NOEXEC, "gid=5,mode=620,ptmxmode=666"}));
  TRY(Mount({"tmpfs", "/dev/shm", MS_NOSUID | MS_NODEV, "mode=1777"}));
  TRY(Mount({"tmpfs", "/run", MS_NOSUID | MS_NODEV, "mode=755,size=20%"}));
  // Kernels without it run sandboxes all the same.
  Tolerate(Mount({"cgroup2", "/sys/fs/cgroup", kPlain, nullptr}));
  if (options.root_read_only) {
    TRY(Mount({"tmpfs", "/tmp", MS_NOSUID | MS_NODEV, "mode=1777,size=50%"}));
  } else if (::mkdir("/tmp", 01777) == 0) {
    ::chmod("/tmp", 01777);
  }
  ::umask(022);
  LinkDevices();
  return {};
}

void Configure(const BootOptions& options) {
  RaiseLimits();
  SetSysctls();
  if (!options.dns.empty()) {
    std::string text;
    for (const std::string& server : options.dns) text += fmt::format("nameserver {}\n", server);
    Tolerate(WriteEtc("resolv.conf", text));
  }
  if (::sethostname(options.hostname.data(), options.hostname.size()) != 0) {
    Tolerate(base::FailErrno(errno, "set host name"));
  }
}

void EndGuest(std::string_view reason) {
  base::LogError("tinderbox-agent ends the guest", {{"reason", std::string(reason)}});
  ::sync();
  // Not power-off: a VMM without ACPI would idle on for ever, but every one of them ends on reboot.
  ::reboot(RB_AUTOBOOT);
  while (true) ::pause();
}

}  // namespace tinderbox::agent
