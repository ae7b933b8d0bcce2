// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "base/error.h"

namespace tinderbox::vmm {

// What a launch plan depends on besides its VmSpec. Measured once per driver, so that Plan is pure.
struct HostFacts {
  std::uint64_t memory_mib = 0;
  std::uint32_t cpus = 0;
  std::uint64_t tsc_khz = 0;  // rate of the time stamp counter; 0 where there is none

  bool operator==(const HostFacts&) const = default;
};

// The host's CPU, as Capabilities::cpu and Capabilities::cpu_features describe it.
struct HostCpu {
  std::string name;
  std::string features;
};
HostCpu ReadHostCpu();

// Blocks for about 20 ms.
base::Result<HostFacts> MeasureHost();

}  // namespace tinderbox::vmm
