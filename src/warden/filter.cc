// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "warden/filter.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <linux/seccomp.h>

#include "warden/kernel.h"

namespace tinderbox::warden {
namespace {

#if defined(__x86_64__)
constexpr uint32_t kArchitecture = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr uint32_t kArchitecture = AUDIT_ARCH_AARCH64;
#endif

constexpr uint32_t kDenied[] = {
    __NR_unshare,
    __NR_setns,
    __NR_mount,
    __NR_umount2,
    __NR_pivot_root,
    __NR_chroot,
    __NR_open_tree,
    __NR_move_mount,
    __NR_fsopen,
    __NR_fsconfig,
    __NR_fsmount,
    __NR_fspick,
    __NR_mount_setattr,
    __NR_ptrace,
    __NR_process_vm_readv,
    __NR_process_vm_writev,
    __NR_pidfd_getfd,
    __NR_kcmp,
    __NR_bpf,
    __NR_perf_event_open,
    __NR_keyctl,
    __NR_add_key,
    __NR_request_key,
    __NR_kexec_load,
    __NR_kexec_file_load,
    __NR_init_module,
    __NR_finit_module,
    __NR_delete_module,
    __NR_reboot,
    __NR_swapon,
    __NR_swapoff,
    __NR_acct,
    __NR_quotactl,
    __NR_syslog,
    __NR_open_by_handle_at,
    __NR_name_to_handle_at,
    __NR_settimeofday,
    __NR_clock_settime,
    __NR_clock_adjtime,
    __NR_adjtimex,
    __NR_sethostname,
    __NR_setdomainname,
};
constexpr uint32_t kNewNamespaces = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET |
                                    CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP;

constexpr size_t kDeniedCount = sizeof kDenied / sizeof kDenied[0];
// When a filter is installed, the kernel runs it once for each of its system calls, to learn which
// ones need it at all. A list of 42 comparisons makes that the dearest step of the launch; sorted,
// and entered by chunks, it is a dozen.
constexpr size_t kChunk = 7;
constexpr size_t kMaxInstructions = kDeniedCount * 2 + kDeniedCount / kChunk + 33;

struct SortedNumbers {
  uint32_t numbers[kDeniedCount];
};
constexpr SortedNumbers Sort() {
  SortedNumbers sorted = {};
  for (size_t i = 0; i < kDeniedCount; ++i) {
    size_t at = i;
    for (; at > 0 && sorted.numbers[at - 1] > kDenied[i]; --at) {
      sorted.numbers[at] = sorted.numbers[at - 1];
    }
    sorted.numbers[at] = kDenied[i];
  }
  return sorted;
}
constexpr SortedNumbers kSorted = Sort();
constexpr uint32_t kRefuse = SECCOMP_RET_ERRNO | EPERM;

struct Program {
  sock_filter code[kMaxInstructions];
  unsigned short size = 0;

  void Load(uint32_t offset) { code[size++] = BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset); }
  // Returns `action` where the loaded word compares to `value` by `comparison`; else goes on.
  void ReturnIf(unsigned short comparison, uint32_t value, uint32_t action) {
    code[size++] = BPF_JUMP(static_cast<unsigned short>(BPF_JMP | comparison | BPF_K), value, 0, 1);
    Return(action);
  }
  void Return(uint32_t action) { code[size++] = BPF_STMT(BPF_RET | BPF_K, action); }
};

Program program;

}  // namespace

long InstallFilter() {
  program.size = 0;
  program.Load(offsetof(seccomp_data, arch));
  // Any other architecture has other numbers for the same calls: none of it is let through.
  program.code[program.size++] = BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kArchitecture, 1, 0);
  program.Return(SECCOMP_RET_KILL_PROCESS);
  program.Load(offsetof(seccomp_data, nr));
#if defined(__x86_64__)
  program.ReturnIf(BPF_JGE, 0x40000000, kRefuse);  // the x32 numbers
#endif
  for (size_t begin = 0; begin < kDeniedCount; begin += kChunk) {
    const size_t end = begin + kChunk < kDeniedCount ? begin + kChunk : kDeniedCount;
    // Past this chunk for numbers behind its last; below, each comparison is two instructions.
    program.code[program.size++] = BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, kSorted.numbers[end - 1],
                                            static_cast<unsigned char>(2 * (end - begin)), 0);
    for (size_t i = begin; i < end; ++i) program.ReturnIf(BPF_JEQ, kSorted.numbers[i], kRefuse);
  }
  // clone3's flags are behind a pointer, out of a filter's sight. C libraries fall back to clone.
  program.ReturnIf(BPF_JEQ, __NR_clone3, SECCOMP_RET_ERRNO | ENOSYS);
  program.code[program.size++] = BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_clone, 1, 0);
  program.Return(SECCOMP_RET_ALLOW);
  program.Load(offsetof(seccomp_data, args[0]));
  program.ReturnIf(BPF_JSET, kNewNamespaces, kRefuse);
  program.Return(SECCOMP_RET_ALLOW);
  const sock_fprog described = {program.size, program.code};
  return Call(__NR_seccomp, SECCOMP_SET_MODE_FILTER, 0, &described);
}

}  // namespace tinderbox::warden
