// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "base/error.h"
#include "vmm/disk_limits.h"
#include "vmm/driver.h"
#include "vmm/host_facts.h"

namespace tinderbox::vmm::firecracker {

// The programs that a plan names.
struct Programs {
  std::string firecracker;
  std::string warden;
  DiskLimits disk = {};
};

// See Driver::Plan. Pure.
base::Result<LaunchPlan> MakePlan(const VmSpec& spec, const Programs& programs,
                                  const HostFacts& host);

}  // namespace tinderbox::vmm::firecracker
