// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "vmm/driver.h"

namespace tinderbox::daemon {

// What this release was tested on, as far as it concerns this VMM and processor, and how this host
// differs from that. One sentence or two, for `doctor`. Pure.
std::string TestedOn(const vmm::Capabilities& vmm);

}  // namespace tinderbox::daemon
