// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "base/error.h"
#include "vmm/driver.h"
#include "vmm/firecracker/plan.h"
#include "vmm/host_facts.h"

namespace tinderbox::vmm::firecracker {

// The driver itself, everything about the host given: OpenFirecracker (drivers.h) finds that out.
// Speaks Firecracker's API with whatever program `programs` names.
std::unique_ptr<Driver> MakeDriver(Capabilities capabilities, Programs programs, HostFacts host);

}  // namespace tinderbox::vmm::firecracker
