// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "sys/process_freeze.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <future>
#include <map>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "sys/file.h"

namespace tinderbox::sys {

using base::Code;
using base::Deadline;
using base::Error;
using base::Fail;
using base::FailErrno;
using base::Result;

namespace {

constexpr std::chrono::microseconds kLookAgain{100};

Result<std::vector<pid_t>> ThreadsOf(FdRef process) {
  auto opened = OpenAt(process, "task", O_RDONLY | O_DIRECTORY);
  if (!opened) {
    const int err = opened.error().errno_value();
    if (err == ENOENT || err == ESRCH) return std::vector<pid_t>();  // it has ended
    return std::unexpected(std::move(opened).error());
  }
  UniqueFd tasks = std::move(*opened);
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(::fdopendir(tasks.get()), &::closedir);
  if (!directory) return FailErrno(errno, "list a process's threads");
  (void)tasks.Release();  // closedir closes it
  std::vector<pid_t> threads;
  while (const dirent* const entry = ::readdir(directory.get())) {
    if (const int tid = std::atoi(entry->d_name); tid > 0) threads.push_back(tid);
  }
  return threads;
}

// Whether the thread has ended and only waits to be reaped: such a one cannot be traced.
bool HasEnded(FdRef process, pid_t tid) {
  const auto file = OpenAt(process, fmt::format("task/{}/stat", tid), O_RDONLY);
  if (!file) return true;
  const auto stat = ReadAll(*file, 4096);
  if (!stat) return true;
  const auto name_end = stat->rfind(')');
  if (name_end == std::string::npos || name_end + 2 >= stat->size()) return false;
  return (*stat)[name_end + 2] == 'Z' || (*stat)[name_end + 2] == 'X';
}

long Trace(__ptrace_request request, pid_t tid, long data) {
  return ::ptrace(request, tid, nullptr, reinterpret_cast<void*>(data));
}

// The threads that this thread traces. When this thread ends, the kernel lets all of them go on.
class TracedThreads {
 public:
  explicit TracedThreads(FdRef process) : process_(process) {}

  Result<> StopAll(Deadline deadline) {
    // A thread that runs may start another one: only when none is left that runs, all are known.
    for (;;) {
      const bool new_ones = TRY(SeizeNew());
      TRY(AwaitStops(deadline));
      if (!new_ones) break;
    }
    if (threads_.empty()) return Fail(Code::kNotFound, "stop a process: it has ended");
    return {};
  }

  void LetGo() {
    for (const auto& [tid, stopped] : threads_) {
      if (stopped) Trace(PTRACE_DETACH, tid, 0);
    }
  }

 private:
  Result<bool> SeizeNew() {
    bool any = false;
    for (const pid_t tid : TRY(ThreadsOf(process_))) {
      if (threads_.contains(tid)) continue;
      if (Trace(PTRACE_SEIZE, tid, 0) != 0) {
        const int err = errno;
        if (err == ESRCH || HasEnded(process_, tid)) continue;
        return std::unexpected(
            Error::FromErrno(err, fmt::format("stop thread {} of a process", tid))
                .WithRemedy("End the debugger that traces it, and allow this process to trace "
                            "(CAP_SYS_PTRACE; kernel.yama.ptrace_scope below 3)."));
      }
      any = true;
      threads_[tid] = false;
      Trace(PTRACE_INTERRUPT, tid, 0);  // fails for a thread that has just ended: its wait tells
    }
    return any;
  }

  Result<> AwaitStops(Deadline deadline) {
    for (auto thread = threads_.begin(); thread != threads_.end();) {
      if (thread->second) {
        ++thread;
        continue;
      }
      int status = 0;
      const pid_t found = ::waitpid(thread->first, &status, __WALL | WNOHANG);
      if (found < 0 && errno == EINTR) continue;
      if (found == 0) {
        if (deadline.passed())
          return Fail(Code::kDeadlineExceeded,
                      fmt::format("stop thread {} of a process", thread->first));
        std::this_thread::sleep_for(kLookAgain);
      } else if (found < 0 || !WIFSTOPPED(status)) {
        thread = threads_.erase(thread);  // it has ended
      } else if (status >> 16 == PTRACE_EVENT_STOP) {
        thread->second = true;
        ++thread;
      } else {
        // A signal was about to be delivered: it is, and the stop that was asked for comes next.
        Trace(PTRACE_CONT, thread->first, WSTOPSIG(status));
      }
    }
    return {};
  }

  FdRef process_;
  std::map<pid_t, bool> threads_;  // whether it has stopped
};

}  // namespace

class FrozenProcess::Tracer {
 public:
  ~Tracer() {
    thaw_.set_value();
    if (thread_.joinable()) thread_.join();
  }

  Result<> Start(FdRef process, Deadline deadline) {
    std::promise<Result<>> stopped;
    auto answer = stopped.get_future();
    const auto trace = [this, process, deadline, &stopped] {
      const auto thaw = thaw_.get_future();
      TracedThreads threads(process);
      auto result = threads.StopAll(deadline);
      const bool frozen = result.has_value();
      if (!frozen) threads.LetGo();
      stopped.set_value(std::move(result));
      if (!frozen) return;
      thaw.wait();
      threads.LetGo();
    };
    try {
      thread_ = std::thread(trace);
    } catch (const std::system_error& error) {
      return FailErrno(error.code().value(), "start a thread to stop a process");
    }
    return answer.get();
  }

 private:
  std::promise<void> thaw_;
  std::thread thread_;
};

FrozenProcess::FrozenProcess(std::unique_ptr<Tracer> tracer) : tracer_(std::move(tracer)) {}
FrozenProcess::FrozenProcess(FrozenProcess&&) noexcept = default;
FrozenProcess::~FrozenProcess() = default;

Result<FrozenProcess> FrozenProcess::Freeze(FdRef process, Deadline deadline) {
  auto tracer = std::make_unique<Tracer>();
  TRY(tracer->Start(process, deadline));
  return FrozenProcess(std::move(tracer));
}

}  // namespace tinderbox::sys
