// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "base/error.h"
#include "image/library.h"
#include "sandbox/open.h"
#include "sandbox/sandbox.h"
#include "sandbox/timings.h"

namespace tinderbox::sandbox {

// Brings a sandbox that is recorded as `creating` to the point where its agent has answered and its
// identity is set: network slot, disk, VM, agent, identity, in this order. What each stage took
// goes to `clock`. On failure the caller runs Teardown(); this function leaves everything where it
// is, recorded, so that a daemon killed in the middle finds it again.
base::Result<> LaunchSandbox(const ManagerOptions& options, const image::Template& source,
                             Sandbox& sandbox, StageClock& clock);

}  // namespace tinderbox::sandbox
