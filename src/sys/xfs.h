// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "base/error.h"
#include "sys/fd.h"

namespace tinderbox::sys {

// Grows the mounted XFS that `root` (any file or directory of it) is on to `bytes`, or to all of
// its device where `bytes` is more than that. Its use goes on meanwhile. Smaller than it is: no
// change.
base::Result<> GrowXfs(FdRef root, std::uint64_t bytes);

}  // namespace tinderbox::sys
