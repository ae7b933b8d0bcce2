// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/error.h"
#include "sys/cgroup.h"

namespace tinderbox::sys {

// Limits the memory of group `name` and of all groups below it together; makes the group if it is
// missing. Processes that are in there already lose nothing: kFailedPrecondition if they use more
// than `bytes` now, and the old limit stays. kUnimplemented if the host has no memory controller.
base::Result<> LimitGroupMemory(const std::vector<CgroupHierarchy>& hierarchies,
                                const std::string& name, std::uint64_t bytes);

}  // namespace tinderbox::sys
