// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "vmm/disk_limits.h"
#include "vmm/driver.h"
#include "vmm/host_facts.h"

namespace tinderbox::vmm::qemu {

struct Programs {
  std::string qemu;
  std::string warden;
  // memory_opener.cc, built, and an ld.so.preload that names it; both empty: QEMU opens memory
  // files for writing, and each VM needs one of its own.
  std::string memory_opener = {};
  std::string preload = {};
  DiskLimits disk = {};
  std::vector<JailBind> runtime = {};  // Runtime::Binds()
};

// A second QMP, for IoEvents; it listens before the API socket does.
inline constexpr char kJailEventSocket[] = "/run/events.sock";

// Where memory_opener stands in the jail; `preload` holds this name.
inline constexpr char kJailMemoryOpener[] = "/qemu-memory.so";
inline constexpr char kJailPreload[] = "/etc/ld.so.preload";

// See Driver::Plan. Pure.
base::Result<LaunchPlan> MakePlan(const VmSpec& spec, const Programs& programs,
                                  const HostFacts& host, Accelerator accelerator);

}  // namespace tinderbox::vmm::qemu
