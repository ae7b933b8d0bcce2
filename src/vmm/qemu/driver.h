// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "vmm/driver.h"
#include "vmm/host_facts.h"
#include "vmm/qemu/plan.h"
#include "vmm/qemu/runtime.h"

namespace tinderbox::vmm::qemu {

// The driver itself, everything about the host given: OpenQemu (drivers.h) finds that out. Each
// plan gets its Programs::runtime from `runtime`, unless that is null (a static program).
std::unique_ptr<Driver> MakeDriver(Capabilities capabilities, Programs programs, HostFacts host,
                                   std::unique_ptr<Runtime> runtime);

}  // namespace tinderbox::vmm::qemu
