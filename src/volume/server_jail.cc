// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "volume/server_jail.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <vector>

namespace tinderbox::volume {

using base::FailErrno;
using base::Result;

namespace {

constexpr rlim_t kMemory = 1ull << 30;  // address space; NodeTable::kMaxNodes take a third of it
constexpr rlim_t kFiles = 16384;

// To give files to the guest's users and to read and write whatever they made. Not among them:
// CAP_DAC_READ_SEARCH, with which open_by_handle_at(2) reaches any file of the file system.
constexpr std::uint32_t kCapabilities =
    1u << CAP_CHOWN | 1u << CAP_DAC_OVERRIDE | 1u << CAP_FOWNER | 1u << CAP_FSETID;

constexpr int kAllowed[] = {
    SYS_read,
    SYS_write,
    SYS_recvfrom,
    SYS_sendto,
    SYS_poll,
    SYS_ppoll,
    SYS_openat,
    SYS_close,
    SYS_fstat,
    SYS_newfstatat,
    SYS_statx,
    SYS_lseek,
    SYS_pread64,
    SYS_pwrite64,
    SYS_getdents64,
    SYS_mkdirat,
    SYS_mknodat,
    SYS_unlinkat,
    SYS_renameat2,
    SYS_linkat,
    SYS_symlinkat,
    SYS_readlinkat,
    SYS_fchmod,
    SYS_fchmodat,
    SYS_fchown,
    SYS_fchownat,
    SYS_utimensat,
    SYS_ftruncate,
    SYS_fallocate,
    SYS_fsync,
    SYS_fdatasync,
    SYS_fstatfs,
    SYS_mmap,
    SYS_munmap,
    SYS_mremap,
    SYS_brk,
    SYS_madvise,
    SYS_futex,
    SYS_exit,
    SYS_exit_group,
    SYS_rt_sigreturn,
    SYS_clock_gettime,
    SYS_restart_syscall,
};

#if defined(__x86_64__)
constexpr std::uint32_t kArchitecture = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr std::uint32_t kArchitecture = AUDIT_ARCH_AARCH64;
#endif

Result<> EnterRoot(sys::FdRef tree, const char* path) {
  // Nothing of what follows shows on the host.
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
    return FailErrno(errno, "make mounts private");
  }
  if (::move_mount(tree.get(), "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH) != 0 ||
      ::chdir(path) != 0) {
    return FailErrno(errno, fmt::format("mount the volume on '{}'", path));
  }
  // The old root ends up on top of the new one, and is let go.
  if (::syscall(SYS_pivot_root, ".", ".") != 0 || ::umount2(".", MNT_DETACH) != 0 ||
      ::chdir("/") != 0) {
    return FailErrno(errno, "make the volume the root");
  }
  return {};
}

Result<> SetLimits() {
  const auto limit = [](int what, rlim_t value) {
    const rlimit both{value, value};
    return ::setrlimit(static_cast<__rlimit_resource>(what), &both) == 0;
  };
  if (!limit(RLIMIT_AS, kMemory) || !limit(RLIMIT_NOFILE, kFiles) || !limit(RLIMIT_CORE, 0)) {
    return FailErrno(errno, "set limits");
  }
  return {};
}

Result<> DropCapabilities() {
  for (int i = 0; i <= CAP_LAST_CAP; ++i) {
    if (::prctl(PR_CAPBSET_DROP, i, 0, 0, 0) != 0 && errno != EINVAL) {
      return FailErrno(errno, "drop the bounding set");
    }
  }
  if (::setgroups(0, nullptr) != 0) return FailErrno(errno, "drop groups");
  if (::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0) {
    return FailErrno(errno, "clear ambient capabilities");
  }
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  __user_cap_data_struct data[2] = {{kCapabilities, kCapabilities, 0}, {0, 0, 0}};
  if (::syscall(SYS_capset, &header, data) != 0) return FailErrno(errno, "drop capabilities");
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return FailErrno(errno, "no_new_privs");
  return {};
}

Result<> InstallFilter() {
  constexpr auto kCount = std::size(kAllowed);
  static_assert(kCount < 200, "jumps reach 255 instructions");
  std::vector<sock_filter> code;
  code.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch)));
  code.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kArchitecture, 1, 0));
  code.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS));
  code.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)));
  for (std::size_t i = 0; i < kCount; ++i) {
    const auto to_the_end = static_cast<unsigned char>(kCount - i);
    code.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<std::uint32_t>(kAllowed[i]),
                            to_the_end, 0));
  }
  code.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS));
  code.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  const sock_fprog program{static_cast<unsigned short>(code.size()), code.data()};
  if (::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
    return FailErrno(errno, "install the system call filter");
  }
  return {};
}

}  // namespace

Result<> EnterJail(sys::FdRef tree, const char* path) {
  ::umask(0);
  TRY(EnterRoot(tree, path));
  TRY(SetLimits());
  TRY(DropCapabilities());
  return InstallFilter();
}

}  // namespace tinderbox::volume
