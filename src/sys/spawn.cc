// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "sys/spawn.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/futex.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>

#include "sys/clone.h"
#include "sys/pidfd.h"

namespace tinderbox::sys {

using base::FailErrno;
using base::Result;

namespace {

constexpr std::size_t kStackBytes = 16384;

// A system call that leaves errno alone: the child shares it with the thread that made it.
__attribute__((no_sanitize("address", "thread", "undefined"), always_inline)) inline long Call(
    long number, long a = 0, long b = 0, long c = 0, long d = 0) {
#if defined(__x86_64__)
  long result;
  register long r10 __asm__("r10") = d;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "0"(number), "D"(a), "S"(b), "d"(c), "r"(r10)
                   : "rcx", "r11", "memory");
  return result;
#elif defined(__aarch64__)
  register long x8 __asm__("x8") = number;
  register long x0 __asm__("x0") = a;
  register long x1 __asm__("x1") = b;
  register long x2 __asm__("x2") = c;
  register long x3 __asm__("x3") = d;
  __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
  return x0;
#else
#error "no system call sequence for this architecture"
#endif
}

inline long Word(const void* pointer) { return reinterpret_cast<long>(pointer); }

// All that the child reads; `error` is how it reports back.
struct ChildPlan {
  const char* path;
  char* const* argv;
  char* const* env;
  int* sources;        // moved out of the targets' way first
  const int* targets;  // ascending
  std::size_t fd_count;
  long error = 0;
};

// Gives the child its descriptors; 0 or a negative errno.
__attribute__((no_sanitize("address", "thread", "undefined"), always_inline)) inline long PlaceFds(
    ChildPlan* plan) {
  const int past = plan->fd_count == 0 ? 0 : plan->targets[plan->fd_count - 1] + 1;
  // Two passes: a source that happens to have the number of another's target must not be trodden
  // on.
  for (std::size_t i = 0; i < plan->fd_count; ++i) {
    const long moved = Call(SYS_fcntl, plan->sources[i], F_DUPFD_CLOEXEC, past);
    if (moved < 0) return moved;
    plan->sources[i] = static_cast<int>(moved);
  }
  int next = 0;
  for (std::size_t i = 0; i < plan->fd_count; ++i) {
    const int target = plan->targets[i];
    if (const long placed = Call(SYS_dup3, plan->sources[i], target, 0); placed < 0) return placed;
    if (target > next) Call(SYS_close_range, next, target - 1, 0);
    next = target + 1;
  }
  Call(SYS_close_range, next, ~0u, 0);
  return 0;
}

// Runs in the child, between clone3 and execve: system calls only, nothing that locks, allocates or
// touches errno, and no sanitizer's instrumentation, which knows nothing of a second stack.
__attribute__((no_sanitize("address", "thread", "undefined"), noinline)) void RunChild(
    void* argument) {
  auto* plan = static_cast<ChildPlan*>(argument);
  plan->error = PlaceFds(plan);
  if (plan->error >= 0) {
    // Handlers are gone already (CLONE_CLEAR_SIGHAND); what is ignored would stay so through exec.
    const unsigned long action[4] = {};  // SIG_DFL; the kernel's struct, not the library's
    for (int signal = 1; signal <= 64; ++signal) {
      Call(SYS_rt_sigaction, signal, Word(action), 0, sizeof action[0]);
    }
    const unsigned long none = 0;
    Call(SYS_rt_sigprocmask, SIG_SETMASK, Word(&none), 0, sizeof none);
    plan->error = Call(SYS_execve, Word(plan->path), Word(plan->argv), Word(plan->env));
  }
  for (;;) Call(SYS_exit_group, 127);
}

std::vector<char*> Pointers(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  pointers.reserve(strings.size() + 1);
  for (auto& s : strings) pointers.push_back(s.data());
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

// Everything that must stay where it is until the child has left our memory.
struct PendingSpawn::Block {
  explicit Block(const SpawnSpec& from) : spec(from) {
    std::ranges::sort(spec.fds, {}, &InheritedFd::child_fd);
    for (const auto& fd : spec.fds) {
      sources.push_back(fd.fd.get());
      targets.push_back(fd.child_fd);
    }
    plan = {spec.path.c_str(), argv.data(),    env.data(),
            sources.data(),    targets.data(), targets.size()};
  }

  SpawnSpec spec;
  std::vector<char*> argv = Pointers(spec.argv);
  std::vector<char*> env = Pointers(spec.env);
  std::vector<int> sources;
  std::vector<int> targets;
  ChildPlan plan{};
  // The child's number while it is in our memory; then the kernel clears it and wakes a waiter
  // (CLONE_CHILD_CLEARTID acts at exec as well as at exit).
  std::atomic<std::uint32_t> inside{0};
  alignas(16) char stack[kStackBytes];
};

PendingSpawn::PendingSpawn(std::unique_ptr<Block> block, Child child)
    : block_(std::move(block)), child_(std::move(child)) {}
PendingSpawn::PendingSpawn(PendingSpawn&&) noexcept = default;

PendingSpawn::~PendingSpawn() {
  if (!block_) return;
  (void)SignalPidFd(child_.pidfd, SIGKILL);
  AwaitExec();
  (void)WaitPidFd(child_.pidfd, base::Deadline::Never());
  ReapPidFd(child_.pidfd);
}

void PendingSpawn::AwaitExec() {
  for (std::uint32_t tid; (tid = block_->inside.load(std::memory_order_acquire)) != 0;) {
    // Not the private kind of futex: the kernel's wake-up is of the shared one.
    ::syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(&block_->inside), FUTEX_WAIT, tid,
              nullptr, nullptr, 0);
  }
}

Result<PendingSpawn> PendingSpawn::Start(const SpawnSpec& spec) {
  auto block = std::make_unique<Block>(spec);
  int pidfd = -1;
  clone_args args{};
  args.flags = CLONE_VM | CLONE_PIDFD | CLONE_CLEAR_SIGHAND | CLONE_PARENT_SETTID |
               CLONE_CHILD_CLEARTID | spec.namespaces;
  args.pidfd = reinterpret_cast<std::uint64_t>(&pidfd);
  // Set by the kernel before the child runs, cleared when it has left.
  args.parent_tid = reinterpret_cast<std::uint64_t>(&block->inside);
  args.child_tid = args.parent_tid;
  args.exit_signal = static_cast<std::uint64_t>(spec.exit_signal);
  args.stack = reinterpret_cast<std::uint64_t>(block->stack);
  args.stack_size = sizeof block->stack;
  if (spec.cgroup_fd >= 0) {
    args.flags |= CLONE_INTO_CGROUP;
    args.cgroup = static_cast<std::uint64_t>(spec.cgroup_fd);
  }
  long pid;
  {
    const BlockSignals blocked;
    pid = CloneOntoStack(&args, RunChild, &block->plan);
  }
  if (pid < 0) return FailErrno(static_cast<int>(-pid), fmt::format("clone for '{}'", spec.path));
  return PendingSpawn(std::move(block), Child{static_cast<pid_t>(pid), UniqueFd(pidfd)});
}

Result<Child> PendingSpawn::Finish() {
  AwaitExec();
  const auto block = std::move(block_);
  if (block->plan.error >= 0) return std::move(child_);
  (void)WaitPidFd(child_.pidfd, base::Deadline::Never());  // it is on its last instructions
  ReapPidFd(child_.pidfd);
  return FailErrno(static_cast<int>(-block->plan.error),
                   fmt::format("execute '{}'", block->spec.path));
}

Result<Child> Spawn(const SpawnSpec& spec) { return TRY(PendingSpawn::Start(spec)).Finish(); }

}  // namespace tinderbox::sys
