// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "vmm/driver.h"

namespace tinderbox::daemon {

// Describes on which kind of machine this release was tested with such a VMM, and how this host
// differs from it. For `doctor`. Pure.
std::string TestedOn(const vmm::Capabilities& vmm);

}  // namespace tinderbox::daemon
