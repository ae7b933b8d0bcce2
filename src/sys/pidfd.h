// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <string>

#include "base/deadline.h"
#include "base/error.h"
#include "sys/fd.h"

// Processes without the races of their numbers. A pidfd refers to one process for good; a pid alone
// may have been given to another by the time that it is used.
namespace tinderbox::sys {

// pidfd_open(2). kNotFound where there is no process `pid`.
base::Result<UniqueFd> OpenPidFd(pid_t pid);

// Sends `signal`; a process that has ended already is kNotFound.
base::Result<> SignalPidFd(FdRef pidfd, int signal);

// A copy of the process's descriptor `fd`: of the same open file, not of the same number. Needs the
// right to trace the process. kNotFound if it has ended or has no such descriptor.
base::Result<UniqueFd> TakeFd(FdRef pidfd, int fd);

// Waits until the process has ended, as a zombie or altogether; false where `deadline` passes
// first.
base::Result<bool> WaitPidFd(FdRef pidfd, base::Deadline deadline);

// Takes the zombie away where the process is an ended child of this one; otherwise does nothing.
// Never waits. Needs no SIGCHLD handler, and disturbs nobody else's wait calls.
void ReapPidFd(FdRef pidfd);

// What tells one process `pid` from a later one of that number: field 22 of /proc/PID/stat, in
// clock ticks after boot. kNotFound where there is no such process.
base::Result<std::uint64_t> ProcessStartTime(pid_t pid);
// The same out of the text of /proc/PID/stat.
base::Result<std::uint64_t> ParseStartTime(const std::string& stat);

// The CPU time that all threads of process `pid` have used together. kNotFound if there is no such
// process.
base::Result<std::chrono::nanoseconds> ProcessCpuTime(pid_t pid);

// The kernel's id of this boot.
base::Result<std::string> BootId();

}  // namespace tinderbox::sys
