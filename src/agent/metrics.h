// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace tinderbox::agent {

// Processor time since boot in clock ticks, of all processors together.
struct CpuTimes {
  std::uint64_t busy = 0;
  std::uint64_t total = 0;
};
CpuTimes ParseCpuTimes(std::string_view proc_stat);

// Bytes, out of /proc/meminfo.
struct Memory {
  std::uint64_t total = 0;
  std::uint64_t used = 0;   // total less available
  std::uint64_t cache = 0;  // page cache and buffers
};
Memory ParseMemory(std::string_view proc_meminfo);

// GET /metrics. Processor use is that since the call before (since boot, for the first).
class Metrics {
 public:
  std::string Json();

 private:
  CpuTimes last_;
};

}  // namespace tinderbox::agent
