// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <string_view>

#include "sandbox/open.h"

namespace tinderbox::sandbox {

// The points of an operation between which a daemon may be killed with different things half done.
// A test walks them: the daemon dies at each, and the next one must find the sandbox as before or
// as after (tests/e2e/crash_test.py).
inline constexpr std::array<std::string_view, 24> kStages = {
    "create.recorded",   "create.network",   "create.files",       "create.launched",
    "create.identity",   "create.pooled",    "pause.recorded",     "pause.stopped",
    "pause.captured",    "pause.committed",  "pause.paused",       "pause.ended",
    "resume.recorded",   "resume.launched",  "resume.running",     "snapshot.recorded",
    "snapshot.captured", "snapshot.resumed", "snapshot.committed", "fork.committed",
    "rollback.recorded", "rollback.paused",  "network.recorded",   "network.applied",
};

inline void AtStage(const ManagerOptions& options, std::string_view stage) {
  if (options.at_stage) options.at_stage(stage);
}

}  // namespace tinderbox::sandbox
