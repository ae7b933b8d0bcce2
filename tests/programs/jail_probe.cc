// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// Stands in for a VMM and prints which system calls its jail's filter lets through, without making
// one of them: a filter of its own passes each to a thread that answers it instead of the kernel.
// Static. Prints a line for each, and "end":
//   call NUMBER                    a system call that is allowed for some arguments at least
//   family NUMBER                  an address family of socket(2)
//   pair NUMBER                    one of socketpair(2)
//   clone HEX                      flags that are allowed, of those that are tried
//   fallocate NUMBER, madvise NUMBER, prctl NUMBER    a mode, advice or option that is allowed
//   refused NUMBER ERRNO           a call that is refused with another error than ENOSYS
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <iterator>

namespace {

constexpr int kNumbers = 1024;
constexpr int kFamilies = 64;
constexpr int kAllowed = EXDEV;  // what the answering thread says; no filter does

std::atomic<int> listener = -1;
std::atomic<bool> done = false;

// The results of the asking thread. The other one prints them, since the asking one can call
// nothing.
int calls[kNumbers];
int families[kFamilies];
int pairs[kFamilies];
constexpr unsigned long kCloneFlags[] = {0,
                                         SIGCHLD,
                                         CLONE_VM | SIGCHLD,
                                         CLONE_VM | CLONE_VFORK | SIGCHLD,
                                         CLONE_THREAD | CLONE_SIGHAND | CLONE_VM,
                                         CLONE_THREAD | CLONE_NEWUSER,
                                         CLONE_NEWNS,
                                         CLONE_NEWUSER,
                                         CLONE_NEWNET,
                                         CLONE_NEWPID};
int clones[std::size(kCloneFlags)];
int fallocates[0x80];
int advice[128];
int controls[128];

int Ask(long number, long a = 0, long b = 0, long c = 0) {
  return syscall(number, a, b, c, 0L, 0L, 0L) == 0 ? 0 : errno;
}

void* AskAll(void*) {
  // Everything goes to the other thread, this very call's return included.
  sock_filter code[] = {
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
  };
  const sock_fprog program = {std::size(code), code};
  const long fd =
      syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
  if (fd < 0) {
    perror("seccomp");
    _exit(1);
  }
  listener = static_cast<int>(fd);
  for (int i = 0; i < kNumbers; ++i) {
    // The kernel makes uretprobe and uprobe past any filter, and ends who is not in a probe.
    calls[i] = i == 335 || i == 336
                   ? ENOSYS
                   : Ask(i, i == SYS_socket || i == SYS_socketpair ? 1 : CLONE_THREAD);
  }
  calls[SYS_fallocate] = Ask(SYS_fallocate, 0, 0);
  for (int i = 0; i < kFamilies; ++i) families[i] = Ask(SYS_socket, i, 1);
  for (int i = 0; i < kFamilies; ++i) pairs[i] = Ask(SYS_socketpair, i, 1);
  for (size_t i = 0; i < std::size(kCloneFlags); ++i)
    clones[i] = Ask(SYS_clone, static_cast<long>(kCloneFlags[i]));
  for (size_t i = 0; i < std::size(fallocates); ++i)
    fallocates[i] = Ask(SYS_fallocate, 0, static_cast<long>(i));
  for (size_t i = 0; i < std::size(advice); ++i)
    advice[i] = Ask(SYS_madvise, 0, 0, static_cast<long>(i));
  for (size_t i = 0; i < std::size(controls); ++i)
    controls[i] = Ask(SYS_prctl, static_cast<long>(i));
  done = true;
  for (;;) {
  }
}

// Answers each call of the asking thread.
void* AnswerAll(void*) {
  while (listener < 0) sched_yield();
  for (;;) {
    seccomp_notif call;
    memset(&call, 0, sizeof call);
    if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &call) != 0) continue;
    seccomp_notif_resp answer;
    memset(&answer, 0, sizeof answer);
    answer.id = call.id;
    answer.error = -kAllowed;
    ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer);
  }
}

}  // namespace

int main() {
  pthread_t asking, answering;
  if (pthread_create(&answering, nullptr, AnswerAll, nullptr) != 0 ||
      pthread_create(&asking, nullptr, AskAll, nullptr) != 0) {
    return 1;
  }
  while (!done) usleep(1000);
  for (int i = 0; i < kNumbers; ++i) {
    if (calls[i] == kAllowed) {
      printf("call %d\n", i);
    } else if (calls[i] != ENOSYS) {
      printf("refused %d %d\n", i, calls[i]);
    }
  }
  const auto print = [](const char* what, const int* found, size_t count) {
    for (size_t i = 0; i < count; ++i) {
      if (found[i] == kAllowed) printf("%s %zu\n", what, i);
    }
  };
  print("family", families, kFamilies);
  print("pair", pairs, kFamilies);
  print("fallocate", fallocates, std::size(fallocates));
  print("madvise", advice, std::size(advice));
  print("prctl", controls, std::size(controls));
  for (size_t i = 0; i < std::size(kCloneFlags); ++i) {
    if (clones[i] == kAllowed) printf("clone %lx\n", kCloneFlags[i]);
  }
  printf("end\n");
  fflush(stdout);
  for (;;) pause();
}
