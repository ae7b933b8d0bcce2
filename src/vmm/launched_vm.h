// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "sys/fd.h"
#include "vmm/launch_record.h"
#include "vmm/launcher.h"

namespace tinderbox::vmm {

// The handle for the VM of `record`. `pidfd` refers to its warden, or, where that is gone, to any
// descriptor that is readable at once. `exit_file` is its exit.json, open for reading and writing.
std::unique_ptr<LaunchedVm> MakeLaunchedVm(const std::string& run_dir, VmRecord record,
                                           sys::UniqueFd pidfd, sys::UniqueFd exit_file,
                                           std::optional<LaunchReport> report = std::nullopt);

// The warden of `record` as a pidfd; none where it is gone, whoever has its number now.
base::Result<std::optional<sys::UniqueFd>> FindWarden(const VmRecord& record);

// Connects to the unix socket at `jail_path` as the process `pid` sees it. No symbolic link is
// followed: what stands in the jail was put there by the VMM. Waits until the socket is there and
// listens. kUnavailable where the process of `pidfd` ends first.
base::Result<sys::UniqueFd> ConnectInJail(sys::FdRef pidfd, pid_t pid, const std::string& jail_path,
                                          base::Deadline deadline);

}  // namespace tinderbox::vmm
