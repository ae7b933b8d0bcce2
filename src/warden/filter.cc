// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "warden/filter.h"

#include <linux/audit.h>
#include <linux/falloc.h>
#include <linux/filter.h>
#include <linux/mman.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <sys/socket.h>

#include "warden/allowed_calls.h"
#include "warden/kernel.h"

namespace tinderbox::warden {
namespace {

#if defined(__x86_64__)
constexpr uint32_t kArchitecture = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr uint32_t kArchitecture = AUDIT_ARCH_AARCH64;
#endif

constexpr uint32_t kNewNamespaces = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET |
                                    CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP | 0x80;  // time
constexpr uint32_t kMergeable = 12;    // MADV_MERGEABLE
constexpr uint32_t kMemoryMerge = 67;  // PR_SET_MEMORY_MERGE, since Linux 6.4
constexpr uint32_t kSchedCore = 62;    // PR_SCHED_CORE

constexpr uint32_t kNumbers = 512;  // no call has a higher one yet

// The allowed numbers as intervals: [at[0], at[1]) is allowed, [at[1], at[2]) is not, and so on.
struct Intervals {
  uint32_t at[kNumbers] = {};
  uint32_t count = 0;
};
constexpr Intervals MakeIntervals() {
  bool allowed[kNumbers + 1] = {};
  for (const uint32_t number : kAllowedCalls) allowed[number] = true;
  Intervals intervals;
  for (uint32_t number = 0; number <= kNumbers; ++number) {
    if (allowed[number] != (intervals.count % 2 == 1)) intervals.at[intervals.count++] = number;
  }
  return intervals;
}
constexpr Intervals kIntervals = MakeIntervals();

// A program whose jumps to labels are filled in at the end. Installing a filter costs about a
// microsecond an instruction that is executed: the kernel compiles it, and runs it once for each of
// its system calls, to learn for which the arguments do not matter. Hence a tree.
class Program {
 public:
  enum Label : unsigned char {
    kNext,  // the instruction after the jump
    kAllow,
    kNoSuchCall,
    kRefuse,
    kNoSuchFamily,
    kNotSupported,
    kInvalid,
    kKill,
    kSocket,
    kClone,
    kFallocate,
    kMadvise,
    kPrctl,
    kLabels
  };

  void Here(Label label) { where_[label] = size_; }
  void Load(size_t offset) {
    Add(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<uint32_t>(offset)));
  }
  // The lower half of an argument: all that the kernel looks at of an int.
  void LoadArgument(unsigned index) {
    Load(offsetof(seccomp_data, args) + index * sizeof(uint64_t));
  }
  void Jump(unsigned short comparison, uint32_t value, Label yes, Label no) {
    yes_[size_] = yes;
    no_[size_] = no;
    Add(BPF_JUMP(static_cast<unsigned short>(BPF_JMP | comparison | BPF_K), value, 0, 0));
  }
  void Return(Label label, uint32_t verdict) {
    Here(label);
    Add(BPF_STMT(BPF_RET | BPF_K, verdict));
  }
  // Allows the loaded number if it lies in an allowed interval: a binary search over the borders
  // [begin, end).
  void Search(uint32_t begin, uint32_t end) {
    const uint32_t middle = begin + (end - begin) / 2;
    const unsigned node = size_;
    // An odd number of borders at or below the number means that it is inside an interval.
    const auto leaf = [](uint32_t below) { return below % 2 == 1 ? kAllow : kNoSuchCall; };
    const bool left = begin < middle;
    const bool right = middle + 1 < end;
    Jump(BPF_JGE, kIntervals.at[middle], right ? kNext : leaf(middle + 1),
         left ? kNext : leaf(middle));
    if (left) Search(begin, middle);
    if (!right) return;
    code_[node].jt = static_cast<unsigned char>(size_ - (node + 1));
    Search(middle + 1, end);
  }
  sock_fprog Finish() {
    for (unsigned i = 0; i < size_; ++i) {
      if (yes_[i] != kNext) code_[i].jt = static_cast<unsigned char>(where_[yes_[i]] - (i + 1));
      if (no_[i] != kNext) code_[i].jf = static_cast<unsigned char>(where_[no_[i]] - (i + 1));
    }
    return {static_cast<unsigned short>(size_), code_};
  }

  static constexpr unsigned kOthers = 64;  // instructions besides the search
  static constexpr unsigned kMax = kIntervals.count + kOthers;
  static_assert(kMax < 256, "a jump reaches 255 instructions");

 private:
  void Add(sock_filter instruction) { code_[size_++] = instruction; }

  sock_filter code_[kMax] = {};
  Label yes_[kMax] = {};
  Label no_[kMax] = {};
  unsigned where_[kLabels] = {};
  unsigned size_ = 0;
};

Program program;

using P = Program;

// The calls that are allowed for some arguments only.
void CheckArguments(bool may_fork) {
  // vsock, packet, netlink and crypto sockets reach beyond a network namespace, or code of the
  // kernel that no VMM needs; network devices are TAPs, which are not sockets.
  program.Here(P::kSocket);
  program.LoadArgument(0);
  program.Jump(BPF_JEQ, AF_UNIX, P::kAllow, P::kNoSuchFamily);
  // A process that shared the VMM's memory could change it while the VMM is stopped.
  program.Here(P::kClone);
  program.LoadArgument(0);
  program.Jump(BPF_JSET, kNewNamespaces, P::kRefuse, P::kNext);
  program.Jump(BPF_JSET, CLONE_THREAD, P::kAllow, may_fork ? P::kAllow : P::kRefuse);
  // Other modes make a file take up room beyond its end, which RLIMIT_FSIZE does not count.
  program.Here(P::kFallocate);
  program.LoadArgument(1);
  program.Jump(BPF_JEQ, 0, P::kAllow, P::kNext);
  program.Jump(BPF_JEQ, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, P::kAllow, P::kNext);
  program.Jump(BPF_JEQ, FALLOC_FL_ZERO_RANGE, P::kAllow, P::kNotSupported);
  // Memory that the kernel merges with that of other VMs tells each what the others hold.
  program.Here(P::kMadvise);
  program.LoadArgument(2);
  program.Jump(BPF_JEQ, kMergeable, P::kInvalid, P::kAllow);
  program.Here(P::kPrctl);
  program.LoadArgument(0);
  program.Jump(BPF_JEQ, kMemoryMerge, P::kInvalid, P::kNext);
  program.Jump(BPF_JEQ, kSchedCore, P::kInvalid, P::kAllow);
}

}  // namespace

long InstallFilter(bool may_fork) {
  program.Load(offsetof(seccomp_data, arch));
  // Any other architecture has other numbers for the same calls: none of it is let through.
  program.Jump(BPF_JEQ, kArchitecture, P::kNext, P::kKill);
  program.Load(offsetof(seccomp_data, nr));
  program.Jump(BPF_JEQ, __NR_madvise, P::kMadvise, P::kNext);
  program.Jump(BPF_JEQ, __NR_clone, P::kClone, P::kNext);
  program.Jump(BPF_JEQ, __NR_prctl, P::kPrctl, P::kNext);
  program.Jump(BPF_JEQ, __NR_fallocate, P::kFallocate, P::kNext);
  program.Jump(BPF_JEQ, __NR_socket, P::kSocket, P::kNext);
  program.Jump(BPF_JEQ, __NR_socketpair, P::kSocket, P::kNext);
  for (const uint32_t number : kCallsToFork) {
    if (may_fork) program.Jump(BPF_JEQ, number, P::kAllow, P::kNext);
  }
  // Not clone3, whose flags are behind a pointer, out of a filter's sight: C libraries fall back to
  // clone. The numbers of x32 are beyond the last border.
  program.Search(0, kIntervals.count);
  CheckArguments(may_fork);
  program.Return(P::kAllow, SECCOMP_RET_ALLOW);
  program.Return(P::kNoSuchCall, SECCOMP_RET_ERRNO | ENOSYS);
  program.Return(P::kRefuse, SECCOMP_RET_ERRNO | EPERM);
  program.Return(P::kNoSuchFamily, SECCOMP_RET_ERRNO | EAFNOSUPPORT);
  program.Return(P::kNotSupported, SECCOMP_RET_ERRNO | EOPNOTSUPP);
  program.Return(P::kInvalid, SECCOMP_RET_ERRNO | EINVAL);
  program.Return(P::kKill, SECCOMP_RET_KILL_PROCESS);
  const sock_fprog described = program.Finish();
  return Call(__NR_seccomp, SECCOMP_SET_MODE_FILTER, 0, &described);
}

}  // namespace tinderbox::warden
