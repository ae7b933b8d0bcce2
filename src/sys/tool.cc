// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "sys/tool.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "sys/fd.h"
#include "sys/file.h"

namespace tinderbox::sys {

using base::Code;
using base::Fail;
using base::FailErrno;
using base::Result;

namespace {

constexpr std::size_t kMaxLine = 4096;
constexpr std::size_t kErrorTail = 8192;

struct Pipe {
  UniqueFd read;
  UniqueFd write;
};

Result<Pipe> MakePipe() {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC) != 0) return FailErrno(errno, "make a pipe");
  return Pipe{UniqueFd(fds[0]), UniqueFd(fds[1])};
}

// What the child needs, all made before clone3: after it only async-signal-safe calls are allowed.
struct Child {
  const char* program;
  char* const* argv;
  char* const* envp;
  const char* cwd;
  int go;  // readable once the parent lives and has everything in place
  int output;
  int error;
  int failure;  // takes {step, errno} when exec was not reached
};

enum Step : int { kParentDied, kPrivateMounts, kMountProc, kChangeDir, kRedirect, kExec };

constexpr std::array kStepNames = {"wait for the parent", "make mounts private", "mount /proc",
                                   "change directory",    "redirect output",     "execute"};

struct Failure {
  int step;
  int err;
};

[[noreturn]] void ChildFail(const Child& child, Step step) {
  const Failure failure{step, errno};
  [[maybe_unused]] const auto n = ::write(child.failure, &failure, sizeof failure);
  ::_exit(127);
}

// RaiseOomScore(getpid(), 0) by async-signal-safe calls.
void RaiseOwnOomScore() {
  const int fd = ::open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);
  if (fd < 0) return;
  char sign = 0;
  if (::read(fd, &sign, 1) == 1 && sign == '-') {
    [[maybe_unused]] const auto n = ::pwrite(fd, "0", 1, 0);
  }
  ::close(fd);
}

[[noreturn]] void RunChild(const Child& child) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  // A parent that died before the prctl would never be noticed: it cannot write this byte then.
  char byte = 0;
  if (::read(child.go, &byte, 1) != 1) ChildFail(child, kParentDied);
  ::setsid();
  for (int signal = 1; signal < NSIG; ++signal) ::signal(signal, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::umask(022);
  // The service's unit protects the daemon, not what it runs. Before /proc is that of the tool's
  // own pid namespace, and best effort: a host may run without OOM scores.
  RaiseOwnOomScore();
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
    ChildFail(child, kPrivateMounts);
  }
  // Process ids in /proc must be those that the tool itself sees.
  if (::mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) != 0) {
    ChildFail(child, kMountProc);
  }
  if (::chdir(child.cwd) != 0) ChildFail(child, kChangeDir);
  const int null = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (null < 0 || ::dup2(null, 0) < 0 || ::dup2(child.output, 1) < 0 ||
      ::dup2(child.error, 2) < 0) {
    ChildFail(child, kRedirect);
  }
  ::syscall(SYS_close_range, 3, ~0U, 4 /* CLOSE_RANGE_CLOEXEC */);
  ::execve(child.program, child.argv, child.envp);
  ChildFail(child, kExec);
}

std::vector<char*> Pointers(const std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  pointers.reserve(strings.size() + 1);
  for (const auto& s : strings) pointers.push_back(const_cast<char*>(s.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

Result<std::string> FindProgram(const std::string& name) {
  if (name.find('/') != std::string::npos) {
    if (::access(name.c_str(), X_OK) == 0) return name;
    return FailErrno(errno, fmt::format("run '{}'", name));
  }
  for (std::string_view rest = kToolPath; !rest.empty();) {
    const auto colon = rest.find(':');
    const std::string path = fmt::format("{}/{}", rest.substr(0, colon), name);
    if (::access(path.c_str(), X_OK) == 0) return path;
    rest = colon == std::string_view::npos ? "" : rest.substr(colon + 1);
  }
  return std::unexpected(
      base::Error(Code::kNotFound, fmt::format("run '{}': no such program", name))
          .WithRemedy(fmt::format("Install the Debian package that holds '{}'.", name)));
}

// Splits a stream into lines and hands them on; keeps the stream's tail.
class LineSplitter {
 public:
  explicit LineSplitter(const std::function<void(std::string_view)>& on_line) : on_line_(on_line) {}

  void Take(std::string_view data) {
    tail_.append(data);
    if (tail_.size() > kErrorTail) tail_.erase(0, tail_.size() - kErrorTail);
    for (const char c : data) {
      // Progress meters end their lines with a carriage return.
      if (c == '\n' || c == '\r') {
        Flush();
      } else if (line_.size() < kMaxLine) {
        line_.push_back(c);
      }
    }
  }
  void Flush() {
    if (!line_.empty() && on_line_) on_line_(line_);
    line_.clear();
  }
  std::string TakeTail() { return std::move(tail_); }

 private:
  const std::function<void(std::string_view)>& on_line_;
  std::string line_;
  std::string tail_;
};

// The running tool; killed and reaped on every path.
class Process {
 public:
  Process(pid_t pid, UniqueFd pidfd) : pid_(pid), pidfd_(std::move(pidfd)) {}
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;
  ~Process() {
    if (pid_ < 0) return;
    ::syscall(SYS_pidfd_send_signal, pidfd_.get(), SIGKILL, nullptr, 0);
    Reap();
  }
  int Reap() {
    int status = 0;
    while (::waitpid(pid_, &status, __WALL) < 0 && errno == EINTR) {
    }
    pid_ = -1;
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  }

 private:
  pid_t pid_;
  UniqueFd pidfd_;
};

// Reads once; false at end of file.
Result<bool> ReadSome(FdRef fd, std::string& into) {
  char buffer[16384];
  ssize_t n;
  do {
    n = ::read(fd.get(), buffer, sizeof buffer);
  } while (n < 0 && errno == EINTR);
  if (n < 0) return FailErrno(errno, "read");
  into.append(buffer, static_cast<std::size_t>(n));
  return n > 0;
}

Result<> Pump(const ToolSpec& spec, FdRef output, FdRef error, ToolResult& result) {
  LineSplitter lines(spec.on_line);
  bool output_open = true;
  bool error_open = true;
  while (output_open || error_open) {
    pollfd fds[2] = {{.fd = output_open ? output.get() : -1, .events = POLLIN, .revents = 0},
                     {.fd = error_open ? error.get() : -1, .events = POLLIN, .revents = 0}};
    const int ready = ::poll(fds, 2, spec.deadline.poll_timeout());
    if (ready < 0 && errno == EINTR) continue;
    if (ready < 0) return FailErrno(errno, "poll");
    if (ready == 0) {
      return Fail(Code::kDeadlineExceeded, fmt::format("run '{}': took too long", spec.argv[0]));
    }
    if (fds[0].revents != 0) {
      output_open = TRY(ReadSome(output, result.output));
      if (result.output.size() > spec.max_output) {
        return Fail(Code::kResourceExhausted, fmt::format("run '{}': more than {} bytes of output",
                                                          spec.argv[0], spec.max_output));
      }
    }
    if (fds[1].revents != 0) {
      std::string data;
      error_open = TRY(ReadSome(error, data));
      lines.Take(data);
    }
  }
  lines.Flush();
  result.error_tail = lines.TakeTail();
  return {};
}

}  // namespace

Result<ToolResult> RunTool(const ToolSpec& spec) {
  const std::string program = TRY(FindProgram(spec.argv.at(0)));
  std::vector<std::string> env = spec.env;
  env.push_back(fmt::format("PATH={}", kToolPath));
  env.emplace_back("LC_ALL=C.UTF-8");
  const auto argv = Pointers(spec.argv);
  const auto envp = Pointers(env);
  Pipe go = TRY(MakePipe());
  Pipe output = TRY(MakePipe());
  Pipe error = TRY(MakePipe());
  Pipe failure = TRY(MakePipe());
  const Child child{program.c_str(), argv.data(),        envp.data(),       spec.cwd.c_str(),
                    go.read.get(),   output.write.get(), error.write.get(), failure.write.get()};

  int pidfd = -1;
  clone_args args{};
  args.flags = CLONE_PIDFD | CLONE_NEWNS | CLONE_NEWPID;
  args.pidfd = reinterpret_cast<std::uintptr_t>(&pidfd);
  args.exit_signal = SIGCHLD;
  const auto pid = static_cast<pid_t>(::syscall(SYS_clone3, &args, sizeof args));
  if (pid < 0) {
    return std::unexpected(
        base::Error::FromErrno(errno, fmt::format("start '{}' in namespaces of its own", program))
            .WithRemedy("Run this as root."));
  }
  if (pid == 0) {
    ::close(go.write.get());
    RunChild(child);
  }
  Process process(pid, UniqueFd(pidfd));
  output.write.Reset();
  error.write.Reset();
  failure.write.Reset();
  // Our own copy of the reading end is still open: no SIGPIPE, even if the child is dead already.
  if (::write(go.write.get(), "", 1) != 1) return FailErrno(errno, "start the tool");

  Failure failed{};
  ssize_t n;
  do {
    n = ::read(failure.read.get(), &failed, sizeof failed);
  } while (n < 0 && errno == EINTR);
  if (n == sizeof failed) {
    return FailErrno(failed.err, fmt::format("run '{}': {}", program,
                                             kStepNames.at(static_cast<std::size_t>(failed.step))));
  }
  ToolResult result;
  TRY(Pump(spec, output.read, error.read, result));
  result.exit_code = process.Reap();
  return result;
}

}  // namespace tinderbox::sys
