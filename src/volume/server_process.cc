// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "volume/server_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>

#include <cerrno>
#include <chrono>
#include <utility>

#include "base/log.h"
#include "sys/cgroup.h"
#include "sys/file.h"
#include "sys/mount.h"
#include "sys/oom_score.h"
#include "sys/pidfd.h"
#include "sys/spawn.h"

namespace tinderbox::volume {

using base::Code;
using base::Deadline;
using base::Fail;
using base::FailErrno;
using base::Result;

namespace {

constexpr std::chrono::seconds kEnd{5};

// What it does costs the sandbox, not the daemon.
void Join(const std::string& cgroup, pid_t pid) {
  if (cgroup.empty()) return;
  for (const sys::CgroupHierarchy& hierarchy : sys::HostCgroups()) {
    const auto joined = sys::WriteExisting(
        fmt::format("{}/{}/cgroup.procs", hierarchy.path, cgroup), std::to_string(pid));
    if (!joined && joined.error().code() != Code::kNotFound) {
      base::LogWarning("a volume's server is in no control group: ignoring",
                       {{"cgroup", cgroup}, {"error", joined.error().ToString()}});
    }
  }
}

}  // namespace

Result<ServerProcess> ServerProcess::Start(Options options) {
  const auto tree =
      TRY(sys::CloneMount(options.directory, {.read_only = false, .executable = false}));
  int pair[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
    return FailErrno(errno, "make a socket pair");
  }
  sys::UniqueFd line(pair[0]);
  const sys::UniqueFd its_line(pair[1]);
  const auto null = TRY(sys::Open("/dev/null", O_RDWR));
  sys::SpawnSpec spec;
  spec.path = options.program;
  spec.argv = {"tinderbox-volume", options.directory, std::to_string(options.reserve_bytes)};
  spec.fds = {{0, null},
              {1, null},
              {2, null},
              {3, options.connection},
              {4, tree},
              {5, its_line},
              {6, options.usage->fd()}};
  spec.namespaces = CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS;
  sys::Child child = TRY_CTX(sys::Spawn(spec), "start the server of a volume");
  if (const auto raised = sys::RaiseOomScore(child.pid, 0); !raised) {
    base::LogWarning("a volume's server keeps the daemon's OOM score: ignoring",
                     {{"error", raised.error().ToString()}});
  }
  Join(options.cgroup, child.pid);
  return ServerProcess(std::move(child.pidfd), std::move(line), std::move(options.usage));
}

ServerProcess::~ServerProcess() {
  if (!pidfd_) return;
  static_cast<void>(sys::SignalPidFd(pidfd_, SIGKILL));
  static_cast<void>(sys::WaitPidFd(pidfd_, Deadline::After(kEnd)));
  sys::ReapPidFd(pidfd_);
  // Files that it had open without a name are free now, and were counted.
  usage_->MarkStale();
}

Result<> ServerProcess::AwaitReady(Deadline deadline) const {
  while (!deadline.passed()) {
    pollfd ready{line_.get(), POLLIN, 0};
    const int n = ::poll(&ready, 1, deadline.poll_timeout());
    if (n < 0 && errno != EINTR) return FailErrno(errno, "wait for the server of a volume");
    if (n <= 0) continue;
    char byte = 0;
    if (::recv(line_.get(), &byte, 1, MSG_DONTWAIT) == 1) return {};
    return Fail(Code::kUnavailable, "the server of a volume ended at once");
  }
  return Fail(Code::kDeadlineExceeded, "the guest's kernel does not mount");
}

bool ServerProcess::ended() const {
  const auto over = sys::WaitPidFd(pidfd_, Deadline::After(std::chrono::seconds(0)));
  return !over || *over;
}

}  // namespace tinderbox::volume
