// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <set>
#include <string>

#include "agent/freeze.h"
#include "base/deadline.h"
#include "sys/fd.h"

namespace tinderbox::agent {

// All user processes of a guest but the agent, in whatever cgroup they are: those that clients
// started, and what these left behind.
//
// Why they are frozen: until a copy of a running guest is reseeded, its kernel's generator yields
// what every other copy's yields. So they are stopped before the guest is captured, and go on only
// when POST /init has set clock, random seed and identity; or, if that does not come in time,
// when the generator was reseeded from the CPU, whose numbers differ in every copy. A copy cannot
// tell that it is one, so this is the rule for the original too.
//
// How: version 2's freezer, on every cgroup below the root. Only the agent stays in the root; what
// else is found there is moved into the cgroup that new processes begin in. A process counts as
// frozen when it has left the kernel, so none is in the middle of a draw. One that waits in the
// kernel for a device for longer than kSettle is not waited for: it stops before it runs again.
// Cgroups that the guest froze itself stay frozen at the thaw. To a process it is as if it had been
// stopped and continued (signal(7)): some waits, epoll_wait(2) for one, end with EINTR.
class UserProcesses : public Freezable {
 public:
  // For this guest. kFailedPrecondition if the kernel has no cgroups of version 2.
  static base::Result<std::unique_ptr<UserProcesses>> Open();
  // `root`: the directory of a cgroup that stands for the hierarchy's root. For tests.
  explicit UserProcesses(sys::UniqueFd root);

  // The directory of the cgroup for new processes; -1 if it could not be made. Changes only in
  // Stop, and nothing may be started in it until the thaw: it would not reach its exec.
  int cgroup() const { return cgroup_ ? cgroup_.get() : -1; }

  base::Result<> Stop() override;
  base::Result<> GoOn() override;
  base::Result<> PrepareOwnThaw() override;

 private:
  base::Result<> MakeCgroup();
  base::Result<> StopAll();
  base::Result<bool> FreezeCgroups();
  base::Result<bool> Sweep();
  void AwaitFrozen(const std::string& name, base::Deadline deadline) const;

  sys::UniqueFd root_;
  sys::UniqueFd cgroup_;
  std::set<std::string> frozen_;   // by Stop, below the root
  std::set<std::string> foreign_;  // by the guest, found so by Stop
};

}  // namespace tinderbox::agent
