// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace tinderbox::warden {

// A system call filter for everything that runs in the jail, in force from the VMM's first
// instruction: no new namespaces (a user namespace would hand out capabilities again), no mounts,
// no tracing, no keys, no kernel modules, no programs for the kernel. Refused calls fail with
// EPERM. VMMs put their own, far stricter filters on top of it once they know what they need; this
// one holds before that, and for those that have none. Needs no_new_privs. A negative errno on
// failure.
long InstallFilter();

}  // namespace tinderbox::warden
