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
// Installing a filter costs about a microsecond an instruction: the kernel compiles it, and runs it
// once for each of its system calls, to learn which ones need it at all. Hence numbers sorted and
// entered by chunks, and one return for all that is refused.
constexpr size_t kChunk = 7;

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

constexpr size_t kMaxInstructions = kDeniedCount + kDeniedCount / kChunk + 16;

// A program whose jumps to its last instructions, the verdicts, are filled in at the end.
struct Program {
  enum Verdict { kAllow, kRefuse, kNoSuchCall, kKill, kVerdicts };

  sock_filter code[kMaxInstructions + kVerdicts];
  unsigned char verdict[kMaxInstructions + kVerdicts];  // of the jump there, plus one; or 0
  unsigned char size = 0;

  void Load(uint32_t offset) { Add(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset)); }
  // Ends with `what` where the loaded word compares to `value` by `comparison`; else goes on.
  void EndIf(unsigned short comparison, uint32_t value, Verdict what) {
    verdict[size] = static_cast<unsigned char>(what + 1);
    Add(BPF_JUMP(static_cast<unsigned short>(BPF_JMP | comparison | BPF_K), value, 0, 0));
  }
  // Goes on `skip` instructions further where the loaded word is greater than `value`.
  void SkipIfGreater(uint32_t value, size_t skip) {
    Add(BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, value, static_cast<unsigned char>(skip), 0));
  }
  // The verdicts. What comes here by itself is allowed.
  void Finish() {
    for (unsigned char i = 0; i < size; ++i) {
      if (verdict[i] != 0) {
        code[i].jt = static_cast<unsigned char>(size + verdict[i] - 1 - (i + 1));
      }
    }
    Add(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
    Add(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM));
    Add(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS));
    Add(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS));
  }

 private:
  void Add(sock_filter instruction) { code[size++] = instruction; }
};
static_assert(kMaxInstructions + Program::kVerdicts < 256, "jumps reach 255 instructions");

Program program;

}  // namespace

long InstallFilter() {
  program.Load(offsetof(seccomp_data, arch));
  // Any other architecture has other numbers for the same calls: none of it is let through.
  program.EndIf(BPF_JGT, kArchitecture, Program::kKill);
  program.SkipIfGreater(kArchitecture - 1, 1);
  program.EndIf(BPF_JGE, 0, Program::kKill);
  program.Load(offsetof(seccomp_data, nr));
#if defined(__x86_64__)
  program.EndIf(BPF_JGE, 0x40000000, Program::kRefuse);  // the x32 numbers
#endif
  for (size_t begin = 0; begin < kDeniedCount; begin += kChunk) {
    const size_t end = begin + kChunk < kDeniedCount ? begin + kChunk : kDeniedCount;
    program.SkipIfGreater(kSorted.numbers[end - 1], end - begin);
    for (size_t i = begin; i < end; ++i) {
      program.EndIf(BPF_JEQ, kSorted.numbers[i], Program::kRefuse);
    }
  }
  // clone3's flags are behind a pointer, out of a filter's sight. C libraries fall back to clone.
  program.EndIf(BPF_JEQ, __NR_clone3, Program::kNoSuchCall);
  program.EndIf(BPF_JGT, __NR_clone, Program::kAllow);
  program.SkipIfGreater(__NR_clone - 1, 1);
  program.EndIf(BPF_JGE, 0, Program::kAllow);
  program.Load(offsetof(seccomp_data, args[0]));
  program.EndIf(BPF_JSET, kNewNamespaces, Program::kRefuse);
  program.Finish();
  const sock_fprog described = {program.size, program.code};
  return Call(__NR_seccomp, SECCOMP_SET_MODE_FILTER, 0, &described);
}

}  // namespace tinderbox::warden
