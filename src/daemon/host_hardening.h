// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "api/host_view.h"

namespace tinderbox::daemon {

// Recommendations for a host of untrusted guests; Tinderbox runs without them (Firecracker's
// documentation calls it the production host setup): no swap that keeps guests' memory in the
// clear, no merging of equal pages, no SMT, and mitigations for what the CPU is known to leak. Each
// is "ok" or "warn". `root` is put before every path; tests pass a
// directory.
std::vector<api::Check> CheckHardening(const std::string& root = "");

}  // namespace tinderbox::daemon
