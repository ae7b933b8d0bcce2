// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

// What process 1 does before it serves: from the kernel's bare initramfs to a running system on the
// sandbox's disk. Each function is one step, called once, in the order in which they stand here.
namespace tinderbox::agent {

// What the host says on the kernel's command line.
struct BootOptions {
  std::vector<std::string> dns;      // tinderbox.dns=A,B
  bool root_read_only = false;       // tinderbox.root_ro
  std::string hostname = "sandbox";  // tinderbox.hostname=
};
BootOptions ParseCommandLine(std::string_view cmdline);

// Mounts /dev and /proc in the initramfs and opens the console as the standard streams.
base::Result<> MountEarly();
// Loads what /modules/order lists: one file name below /modules a line, in order. Files that are
// missing and modules that are built in are passed over.
base::Result<> LoadModules();
// Brings up lo, and eth0 with the guest's fixed address and default route.
base::Result<> BringNetworkUp();
// Waits for /dev/vda, mounts it, frees the initramfs and makes the disk the root; then mounts what
// a running system has (/proc, /sys, /dev/pts, /dev/shm, /run, cgroup2).
base::Result<> EnterRoot(const BootOptions& options);
// Limits, sysctls, resolv.conf, host name. What a read-only or odd image refuses is passed over.
void Configure(const BootOptions& options);

// Says why on the console and reboots, which ends the VM.
[[noreturn]] void EndGuest(std::string_view reason);

}  // namespace tinderbox::agent
