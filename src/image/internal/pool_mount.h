// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "base/error.h"

namespace tinderbox::image {

// Makes what stands at `pool` nosuid, nodev and noexec: a file that a guest makes in a volume or
// that a template holds must be nothing for the host's users. Where nothing is mounted, the
// directory is bound onto itself. Idempotent.
base::Result<> ProtectPool(const std::string& pool);

// Takes that bind mount away again, if `pool` is a part of the file system of `state_dir`. What an
// administrator has mounted there stays. kFailedPrecondition names the processes that use it.
base::Result<> UnprotectPool(const std::string& pool, const std::string& state_dir);

// The processes that keep `device`, mounted at `pool`, in use, in words: "process 71 (bash)"; those
// of other mount namespaces, which hold a copy of the mount, are marked. Empty if none is found.
std::string PoolUsers(const std::string& pool, const std::string& device);

}  // namespace tinderbox::image
