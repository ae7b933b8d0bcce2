// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "base/error.h"
#include "vmm/driver.h"
#include "vmm/host_facts.h"

namespace tinderbox::vmm::qemu {

struct Programs {
  std::string qemu;
  std::string warden;
};

// See Driver::Plan. Pure.
base::Result<LaunchPlan> MakePlan(const VmSpec& spec, const Programs& programs,
                                  const HostFacts& host, Accelerator accelerator);

}  // namespace tinderbox::vmm::qemu
