// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "base/deadline.h"
#include "base/error.h"
#include "sandbox/manager.h"

namespace tinderbox::api {

// A connection to `port` of the guest's own loopback, by way of its agent (POST /tunnel):
// everything sent and received is that connection's. Non-blocking, like Manager::Dial's; blocks
// until `deadline` at most. kUnavailable where nobody listens there, or the agent will not.
base::Result<sys::UniqueFd> DialLoopback(sandbox::Manager& manager, const std::string& id,
                                         std::uint16_t port, base::Deadline deadline);

}  // namespace tinderbox::api
