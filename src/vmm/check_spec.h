// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "base/error.h"
#include "vmm/driver.h"
#include "vmm/host_facts.h"

// What both drivers demand of a VmSpec before anything is launched.
namespace tinderbox::vmm {

// What a driver's machine can have at most.
struct MachineLimits {
  std::uint32_t min_memory_mib = 1;
  std::uint32_t max_cpus = 32;
  std::size_t max_cmdline = 2048;  // of the caller's own part
};

// Pure. kInvalidArgument, with a remedy, for anything that cannot work on such a host: names, paths
// that must be set and absolute, memory, cpus, the command line's characters, uid 0.
base::Result<> CheckSpec(const VmSpec& spec, const HostFacts& host, const MachineLimits& limits);

// Looks at the files. Kernel: a 64-bit x86 ELF (kNotFound, kInvalidArgument). Initrd and root file
// system, where given: regular files (or a block device) that are not empty.
base::Result<> CheckFiles(const VmSpec& spec);

}  // namespace tinderbox::vmm
