// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace tinderbox::warden {

// The system call filter of everything that runs in the jail, in force from the VMM's first
// instruction: a list of what is allowed (allowed_calls.h); the rest fails. VMMs put their own
// filters on top of it once they know what they need. Without `may_fork` the VMM starts threads and
// no processes. Needs no_new_privs. A negative errno on failure.
long InstallFilter(bool may_fork);

}  // namespace tinderbox::warden
