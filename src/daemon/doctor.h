// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "api/host_view.h"
#include "daemon/config.h"
#include "daemon/wire.h"

namespace tinderbox::daemon {

// Looks at everything that sandboxes need of this host. Blocks for up to a second; changes nothing.
std::vector<api::Check> RunDoctor(const Config& config, System& system);

// "6.18.5-x" → {6, 18}; {0, 0} where it is of another form.
std::pair<int, int> KernelVersion(std::string_view release);

}  // namespace tinderbox::daemon
