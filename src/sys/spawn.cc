// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "sys/spawn.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/close_range.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace tinderbox::sys {

using base::FailErrno;
using base::Result;

namespace {

constexpr std::size_t kStackBytes = 16384;

// All that the child reads. It shares our memory, so `error` is how it reports back.
struct ChildPlan {
  const char* path;
  char* const* argv;
  char* const* env;
  int* sources;        // scratch: moved out of the targets' way
  const int* targets;  // ascending
  std::size_t fd_count;
  int error = 0;
};

// Runs in the child, between clone3 and execve: system calls only, nothing that locks or allocates,
// and no sanitizer's interceptors, which know nothing of a second stack in one address space.
__attribute__((no_sanitize("address", "thread", "undefined"), noinline)) void RunChild(
    ChildPlan* plan) {
  const auto fail = [plan] {
    plan->error = errno;
    ::syscall(SYS_exit_group, 127);
  };
  const int past = plan->fd_count == 0 ? 0 : plan->targets[plan->fd_count - 1] + 1;
  // Two passes: a source that happens to have the number of another's target must not be trodden
  // on.
  for (std::size_t i = 0; i < plan->fd_count; ++i) {
    const long moved = ::syscall(SYS_fcntl, plan->sources[i], F_DUPFD_CLOEXEC, past);
    if (moved < 0) return fail();
    plan->sources[i] = static_cast<int>(moved);
  }
  int next = 0;
  for (std::size_t i = 0; i < plan->fd_count; ++i) {
    const int target = plan->targets[i];
    if (::syscall(SYS_dup3, plan->sources[i], target, 0) < 0) return fail();
    if (target > next) ::syscall(SYS_close_range, next, target - 1, 0);
    next = target + 1;
  }
  ::syscall(SYS_close_range, next, ~0u, 0);
  // Handlers are gone already (CLONE_CLEAR_SIGHAND); ignored signals would stay ignored through
  // exec.
  struct {
    void* handler;
    unsigned long flags;
    void* restorer;
    unsigned long mask;
  } action = {};
  for (int signal = 1; signal <= 64; ++signal) {
    ::syscall(SYS_rt_sigaction, signal, &action, nullptr, sizeof action.mask);
  }
  const unsigned long none = 0;
  ::syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, nullptr, sizeof none);
  ::syscall(SYS_execve, plan->path, plan->argv, plan->env);
  fail();
}

// clone3 whose child runs RunChild(plan) on the stack that `args` names: on the parent's own it
// would overwrite the frames that the parent returns through. Yields the pid or a negative errno.
__attribute__((no_sanitize("address", "thread", "undefined"), noinline)) long CloneOntoStack(
    clone_args* args, ChildPlan* plan) {
#if defined(__x86_64__)
  long result;
  register void* r12 __asm__("r12") = reinterpret_cast<void*>(RunChild);
  register void* r13 __asm__("r13") = plan;
  __asm__ volatile(
      "syscall\n\t"
      "test %%rax, %%rax\n\t"
      "jnz 1f\n\t"
      "xor %%ebp, %%ebp\n\t"
      "mov %%r13, %%rdi\n\t"
      "call *%%r12\n\t"
      "ud2\n"
      "1:"
      : "=a"(result)
      : "0"(SYS_clone3), "D"(args), "S"(sizeof *args), "r"(r12), "r"(r13)
      : "rcx", "r11", "memory");
  return result;
#elif defined(__aarch64__)
  register long x8 __asm__("x8") = SYS_clone3;
  register long x0 __asm__("x0") = reinterpret_cast<long>(args);
  register long x1 __asm__("x1") = sizeof *args;
  register void* x9 __asm__("x9") = reinterpret_cast<void*>(RunChild);
  register void* x10 __asm__("x10") = plan;
  __asm__ volatile(
      "svc 0\n\t"
      "cbnz x0, 1f\n\t"
      "mov x29, xzr\n\t"
      "mov x0, x10\n\t"
      "blr x9\n\t"
      "brk 0\n"
      "1:"
      : "+r"(x0)
      : "r"(x8), "r"(x1), "r"(x9), "r"(x10)
      : "x30", "memory");
  return x0;
#else
#error "no clone3 sequence for this architecture"
#endif
}

std::vector<char*> Pointers(const std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  pointers.reserve(strings.size() + 1);
  for (const auto& s : strings) pointers.push_back(const_cast<char*>(s.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

// Blocks every signal on this thread while it lives: a handler of ours must never run in a child
// that shares our memory.
class BlockSignals {
 public:
  BlockSignals() {
    sigset_t all;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~BlockSignals() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  BlockSignals(const BlockSignals&) = delete;
  BlockSignals& operator=(const BlockSignals&) = delete;

 private:
  sigset_t before_;
};

}  // namespace

Result<Child> Spawn(const SpawnSpec& spec) {
  const auto argv = Pointers(spec.argv);
  const auto env = Pointers(spec.env);
  auto fds = spec.fds;
  std::sort(fds.begin(), fds.end(), [](auto& a, auto& b) { return a.child_fd < b.child_fd; });
  std::vector<int> sources;
  std::vector<int> targets;
  for (const auto& fd : fds) {
    sources.push_back(fd.fd.get());
    targets.push_back(fd.child_fd);
  }
  ChildPlan plan{spec.path.c_str(), argv.data(),    env.data(),
                 sources.data(),    targets.data(), fds.size()};
  alignas(16) char stack[kStackBytes];
  int pidfd = -1;
  clone_args args{};
  args.flags = CLONE_VM | CLONE_VFORK | CLONE_PIDFD | CLONE_CLEAR_SIGHAND | spec.namespaces;
  args.pidfd = reinterpret_cast<std::uint64_t>(&pidfd);
  args.exit_signal = static_cast<std::uint64_t>(spec.exit_signal);
  args.stack = reinterpret_cast<std::uint64_t>(stack);
  args.stack_size = sizeof stack;
  if (spec.cgroup_fd >= 0) {
    args.flags |= CLONE_INTO_CGROUP;
    args.cgroup = static_cast<std::uint64_t>(spec.cgroup_fd);
  }
  long pid;
  {
    const BlockSignals blocked;
    pid = CloneOntoStack(&args, &plan);
  }
  if (pid < 0) return FailErrno(static_cast<int>(-pid), fmt::format("clone for '{}'", spec.path));
  Child child{static_cast<pid_t>(pid), UniqueFd(pidfd)};
  if (plan.error != 0) {
    siginfo_t info{};
    while (::waitid(P_PIDFD, static_cast<id_t>(pidfd), &info, WEXITED | __WALL) != 0 &&
           errno == EINTR) {
    }
    return FailErrno(plan.error, fmt::format("execute '{}'", spec.path));
  }
  return child;
}

}  // namespace tinderbox::sys
