// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "agent/spawn.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "sys/clone.h"

namespace tinderbox::agent {
namespace {

// ioprio_set(2): best effort, level 4. Not from linux/ioprio.h, which since Linux 6.x is no C++ (it
// names a parameter `class`).
constexpr int kIoprioWhoProcess = 1;
constexpr int kBestEffortFour = 2 << 13 | 4;

constexpr std::size_t kStackSize = 128 << 10;
constexpr int kPipeSize = 256 << 10;
constexpr int kTtyGroup = 5;  // as every distribution numbers it

// All that the child needs, made before it exists: it shares our memory and may not allocate.
struct ChildPlan {
  std::vector<char*> argv;
  std::vector<char*> env;
  std::vector<char*> shell_argv;      // for scripts without "#!": /bin/sh SCRIPT ARGS…
  std::vector<std::string> programs;  // what to try to execute, in order
  const char* cwd = nullptr;
  const User* user = nullptr;
  std::array<int, 3> stdio = {-1, -1, -1};
  bool terminal = false;
  bool change_user = false;
  int cgroup = -1;
  rlimit files{};
  std::string not_found;   // what to say on stderr
  std::string not_usable;  // the same for EACCES
  sigset_t signals{};
  // The child's report.
  int failed_errno = 0;
  const char* failed_step = nullptr;
};

std::vector<std::string> Candidates(const std::string& program,
                                    const std::vector<std::string>& env) {
  if (program.find('/') != program.npos) return {program};
  std::string_view path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
  for (const std::string& entry : env) {
    if (entry.starts_with("PATH=")) path = std::string_view(entry).substr(5);
  }
  std::vector<std::string> found;
  while (true) {
    const auto colon = path.find(':');
    const std::string_view dir = path.substr(0, colon);
    found.push_back(fmt::format("{}/{}", dir.empty() ? "." : dir, program));
    if (colon == path.npos) return found;
    path.remove_prefix(colon + 1);
  }
}

std::vector<char*> Pointers(const std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  pointers.reserve(strings.size() + 2);
  for (const std::string& s : strings) pointers.push_back(const_cast<char*>(s.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

[[noreturn]] void FailChild(ChildPlan& plan, const char* step) {
  plan.failed_errno = errno;
  plan.failed_step = step;
  ::_exit(126);
}

// Runs in the child on a stack of its own, in our memory: system calls only.
void BecomeUser(ChildPlan& plan) {
  const User& user = *plan.user;
  if (!plan.change_user) return;
  // The raw calls: the C library's would try to reach the parent's threads.
  if (::syscall(SYS_setgroups, user.groups.size(), user.groups.data()) != 0) {
    FailChild(plan, "set groups");
  }
  if (::syscall(SYS_setresgid, user.gid, user.gid, user.gid) != 0) FailChild(plan, "set group");
  if (::syscall(SYS_setresuid, user.uid, user.uid, user.uid) != 0) FailChild(plan, "set user");
}

void SetStdio(ChildPlan& plan) {
  for (int fd = 0; fd < 3; ++fd) {
    if (plan.stdio[fd] == fd) {
      ::fcntl(fd, F_SETFD, 0);
    } else if (::dup2(plan.stdio[fd], fd) < 0) {
      FailChild(plan, "set standard streams");
    }
  }
  ::syscall(SYS_close_range, 3U, ~0U, 0);
}

void SetPriorities() {
  // Best effort, as E2B has it: the first to go when the guest's memory is full, plain priorities.
  const int fd = ::open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (fd >= 0) {
    (void)!::write(fd, "100", 3);
    ::close(fd);
  }
  ::setpriority(PRIO_PROCESS, 0, 0);
  ::syscall(SYS_ioprio_set, kIoprioWhoProcess, 0, kBestEffortFour);
}

[[noreturn]] void Execute(ChildPlan& plan) {
  int worst = ENOENT;
  for (const std::string& program : plan.programs) {
    ::execve(program.c_str(), plan.argv.data(), plan.env.data());
    if (errno == ENOEXEC) {
      plan.shell_argv[1] = const_cast<char*>(program.c_str());
      ::execve("/bin/sh", plan.shell_argv.data(), plan.env.data());
    }
    if (errno != ENOENT && errno != ENOTDIR) worst = errno;
  }
  const std::string& said = worst == ENOENT ? plan.not_found : plan.not_usable;
  (void)!::write(2, said.data(), said.size());
  ::_exit(worst == ENOENT ? 127 : 126);
}

void ChildMain(void* argument) {
  ChildPlan& plan = *static_cast<ChildPlan*>(argument);
  // Our handlers must not run in the child: they would act on our memory.
  struct sigaction standard{};
  standard.sa_handler = SIG_DFL;
  for (int signal = 1; signal < NSIG; ++signal) ::sigaction(signal, &standard, nullptr);
  ::setsid();
  SetStdio(plan);
  if (plan.terminal && ::ioctl(0, TIOCSCTTY, 0) != 0) FailChild(plan, "take the terminal");
  ::setrlimit(RLIMIT_NOFILE, &plan.files);
  SetPriorities();
  ::umask(022);
  BecomeUser(plan);
  // As the user, who may not be allowed in there.
  if (::chdir(plan.cwd) != 0) FailChild(plan, "enter directory");
  ::sigprocmask(SIG_SETMASK, &plan.signals, nullptr);
  Execute(plan);
}

base::Result<pid_t> CloneChild(ChildPlan& plan) {
  void* stack = ::mmap(nullptr, kStackSize, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
  if (stack == MAP_FAILED) return base::FailErrno(errno, "make stack for new process");
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  sigemptyset(&plan.signals);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  // CLONE_VM: no page table is copied, whatever size we have. CLONE_VFORK: we sleep until the child
  // has left our memory, so that its stack and plan stay valid.
  clone_args args{};
  args.flags = CLONE_VM | CLONE_VFORK;
  args.exit_signal = SIGCHLD;
  args.stack = reinterpret_cast<std::uint64_t>(stack);
  args.stack_size = kStackSize;
  long pid = -1;
  if (plan.cgroup >= 0) {
    clone_args in_cgroup = args;
    in_cgroup.flags |= CLONE_INTO_CGROUP;
    in_cgroup.cgroup = static_cast<std::uint64_t>(plan.cgroup);
    pid = sys::CloneOntoStack(&in_cgroup, ChildMain, &plan);
  }
  // The guest may have removed the cgroup, or use it in a way that lets no process in.
  if (pid < 0) pid = sys::CloneOntoStack(&args, ChildMain, &plan);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  ::munmap(stack, kStackSize);
  if (pid < 0) return base::FailErrno(static_cast<int>(-pid), "start process");
  return static_cast<pid_t>(pid);
}

struct Pipe {
  sys::UniqueFd read;
  sys::UniqueFd write;
};

base::Result<Pipe> MakePipe() {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC) != 0) return base::FailErrno(errno, "make pipe");
  Pipe pipe{sys::UniqueFd(fds[0]), sys::UniqueFd(fds[1])};
  // Fewer turns per megabyte; a user over its pipe quota keeps the usual size.
  ::fcntl(pipe.read.get(), F_SETPIPE_SZ, kPipeSize);
  return pipe;
}

void SetNonBlocking(const sys::UniqueFd& fd) {
  ::fcntl(fd.get(), F_SETFL, ::fcntl(fd.get(), F_GETFL) | O_NONBLOCK);
}

struct ChildEnds {
  sys::UniqueFd in;
  sys::UniqueFd out;
  sys::UniqueFd err;
};

base::Result<ChildEnds> OpenTerminal(const SpawnSpec& spec, Spawned& ours) {
  ours.terminal.Reset(::open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!ours.terminal) return base::FailErrno(errno, "open '/dev/ptmx'");
  const int master = ours.terminal.get();
  int unlock = 0;
  if (::ioctl(master, TIOCSPTLCK, &unlock) != 0) return base::FailErrno(errno, "unlock terminal");
  ChildEnds ends;
  ends.in.Reset(::ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!ends.in) return base::FailErrno(errno, "open the terminal's other side");
  (void)!::fchown(ends.in.get(), spec.user.uid, kTtyGroup);
  (void)!::fchmod(ends.in.get(), 0620);
  TRY(SetTerminalSize(ours.terminal, *spec.terminal));
  SetNonBlocking(ours.terminal);
  return ends;
}

base::Result<ChildEnds> OpenPipes(const SpawnSpec& spec, Spawned& ours) {
  ChildEnds ends;
  Pipe out = TRY(MakePipe());
  Pipe err = TRY(MakePipe());
  if (spec.stdin_pipe) {
    Pipe in = TRY(MakePipe());
    ends.in = std::move(in.read);
    ours.stdin_pipe = std::move(in.write);
    SetNonBlocking(ours.stdin_pipe);
  } else {
    ends.in.Reset(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    if (!ends.in) return base::FailErrno(errno, "open '/dev/null'");
  }
  ends.out = std::move(out.write);
  ends.err = std::move(err.write);
  ours.stdout_pipe = std::move(out.read);
  ours.stderr_pipe = std::move(err.read);
  // A program that reopens its streams through /proc/self/fd must be allowed to, as another user
  // too.
  for (const sys::UniqueFd* fd : {&ends.in, &ends.out, &ends.err}) {
    if (spec.stdin_pipe || fd != &ends.in) (void)!::fchown(fd->get(), spec.user.uid, spec.user.gid);
  }
  SetNonBlocking(ours.stdout_pipe);
  SetNonBlocking(ours.stderr_pipe);
  return ends;
}

}  // namespace

base::Result<> SetTerminalSize(sys::FdRef terminal, TerminalSize size) {
  winsize window{};
  window.ws_col = size.cols;
  window.ws_row = size.rows;
  if (::ioctl(terminal.get(), TIOCSWINSZ, &window) != 0) {
    return base::FailErrno(errno, fmt::format("resize terminal to {}x{}", size.cols, size.rows));
  }
  return {};
}

base::Result<Spawned> Spawn(const SpawnSpec& spec) {
  Spawned ours;
  const ChildEnds ends = spec.terminal ? TRY(OpenTerminal(spec, ours)) : TRY(OpenPipes(spec, ours));
  ChildPlan plan;
  plan.argv = Pointers(spec.argv);
  plan.env = Pointers(spec.env);
  plan.shell_argv = plan.argv;
  plan.shell_argv.insert(plan.shell_argv.begin(), const_cast<char*>("/bin/sh"));
  plan.programs = Candidates(spec.argv[0], spec.env);
  plan.cwd = spec.cwd.c_str();
  plan.user = &spec.user;
  plan.cgroup = spec.cgroup;
  // Tests run the agent as an ordinary user, who can only be itself.
  plan.change_user = ::geteuid() == 0 || spec.user.uid != ::geteuid();
  plan.terminal = spec.terminal.has_value();
  plan.stdio = plan.terminal ? std::array<int, 3>{ends.in.get(), ends.in.get(), ends.in.get()}
                             : std::array<int, 3>{ends.in.get(), ends.out.get(), ends.err.get()};
  ::getrlimit(RLIMIT_NOFILE, &plan.files);
  // Programs that still use select(2) break above the usual soft limit.
  plan.files.rlim_cur = std::min<rlim_t>(plan.files.rlim_max, 1024);
  plan.not_found = fmt::format("{}: not found\n", spec.argv[0]);
  plan.not_usable = fmt::format("{}: cannot execute: permission denied\n", spec.argv[0]);
  ours.pid = TRY(CloneChild(plan));
  if (plan.failed_step != nullptr) {
    // The reaper collects it like any other child that nobody knows.
    return base::FailErrno(plan.failed_errno,
                           fmt::format("start process: {} ('{}')", plan.failed_step, spec.cwd));
  }
  return ours;
}

}  // namespace tinderbox::agent
