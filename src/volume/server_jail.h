// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/error.h"
#include "sys/fd.h"

namespace tinderbox::volume {

// Shuts this process in with one directory for good: `tree` (a mount that is attached nowhere)
// becomes the root of all that there is, every capability goes but those to own, read and write
// whatever is in it, and only the system calls of a file server are left; any other ends the
// process. Must have mount and network namespaces of its own. `path`: any directory, for a moment.
base::Result<> EnterJail(sys::FdRef tree, const char* path);

}  // namespace tinderbox::volume
