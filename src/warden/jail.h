// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warden/protocol.h"

namespace tinderbox::warden {

// The plan as received: pointers into the message, descriptors by their use.
struct Launch {
  const Plan* plan = nullptr;
  const char* run_dir_path = nullptr;
  const char* vmm_path = nullptr;
  const char* argv[kMaxArgs + 1] = {};
  const char* bind_targets[kMaxBinds] = {};
  int socket = -1;
  int run_dir = -1;
  int console = -1;
  int exit_file = -1;
  int listener = -1;
  int netns = -1;
  int cgroups[kMaxFds] = {};
  int binds[kMaxBinds] = {};
  long bounding_set = 0;  // what DropBoundingSet said
  Report report;
};

// Receives the plan from `socket`. False where it is not one.
bool ReceivePlan(int socket, Launch* launch);
// Waits for a message of one byte that brings exactly `count` descriptors.
bool ReceiveFds(int socket, int* fds, size_t count);
// Waits for the commit, and closes the socket. False where the launcher is gone.
bool ReceiveCommit(Launch* launch);

// Begins `step`: from here on failures are booked to it, and so is the time. Fails with EIO where a
// test asked for that. `object` names what the step works on.
long BeginStep(Launch* launch, Step step, const char* object);
// Books the time since BeginStep to its step.
void EndStep(Launch* launch, Step step);
// Puts `object` into the report, as that on which the next failure happens.
void NoteObject(Launch* launch, const char* object);

// The steps from mount-private to pivot, then cgroup-join and session. Afterwards this process
// stands in the jail, and nothing of the host's file system is mounted in its namespace but the
// binds. Returns a negative errno after having booked what failed in the report.
long EnterJail(Launch* launch);

// The steps limits, credentials and exec, in a child that becomes the VMM. `output` is the pipe's
// end for its stdout and stderr. Yields the child's pid in this pid namespace.
long StartVmm(Launch* launch, int output);

// Empties the capability bounding set, for this process and the VMM after it. The capabilities that
// this process has already stay in force. Some forty system calls: made while the plan is awaited.
long DropBoundingSet();

// Leaves this process with CAP_KILL alone, out of reach of exec'ed privilege.
long DropPrivileges();

// Closes what only the launch needed: cgroup files, namespace, detached mounts.
void CloseLaunchFds(Launch* launch);

}  // namespace tinderbox::warden
