// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string_view>

namespace tinderbox::daemon {

// The daemon calls this at the points of sandbox/stage.h; empty in the daemon that is installed.
// The tests' daemon (stage_hook_test_build.cc) kills itself at the point that TINDERBOX_DIE_AT
// names.
std::function<void(std::string_view stage)> StageHook();

}  // namespace tinderbox::daemon
