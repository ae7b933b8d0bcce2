// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "base/error.h"
#include "vmm/launcher.h"

namespace tinderbox::vmm {

enum class DiskSync {
  kLook,   // only asks whether a write failed; nearly free
  kFlush,  // writes everything out first
};

// Whether every write of the VM's disk (the host file `path`) got to the file system since the VM
// started. The VMM's writes succeed when they are in the host's page cache; what fails later, the
// kernel reports once to each open file. So this asks through the file that the VMM opened at its
// start, which works after a restart of the daemon, too.
//
// kDataLoss, with the errno: something is lost, and this is said only once. kNotFound: the VMM does
// not have that file open, or has ended.
base::Result<> CheckDisk(LaunchedVm& vm, const std::string& path, DiskSync sync);

}  // namespace tinderbox::vmm
