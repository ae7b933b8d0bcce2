// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "sandbox/capacity.h"

// How many VMs the warm pool should hold. No clock, no locks, no system calls: the caller passes
// the time and what the host has left.
namespace tinderbox::sandbox {

// The recent creates of one template. Bounded; for one thread at a time.
class PoolDemand {
 public:
  using Clock = std::chrono::steady_clock;
  // A burst counts this long after it ended.
  static constexpr std::chrono::seconds kRemembered{40};

  void Note(Clock::time_point now);
  // The most creates within any two seconds of the last kRemembered.
  std::uint32_t Peak(Clock::time_point now) const;

 private:
  struct Second {
    std::int64_t second = -1;  // of the clock
    std::uint32_t creates = 0;
  };
  std::uint32_t CreatesAt(std::int64_t second) const;
  // With the second before the first, which Peak() reads, too.
  std::array<Second, kRemembered.count() + 1> seconds_{};
};

struct PoolRule {
  std::uint32_t ready = 0;  // VMs of each template, whatever the demand
  std::uint32_t most = 0;   // at most so many of each template; less than `ready` counts as `ready`
  // At most so many beyond `ready`, of all templates together: each holds a network slot, and those
  // are limited, too.
  std::uint32_t most_extra = 32;
};

struct PoolTemplate {
  Resources need;          // of one VM
  std::uint32_t peak = 0;  // PoolDemand::Peak
  std::uint32_t size = 0;  // VMs that the pool holds
};

// The host's free resources, without those that the pool's VMs hold already.
struct PoolHeadroom {
  Resources free;                // that can be reserved
  std::uint64_t memory_mib = 0;  // available beyond the pool's reserve
  bool memory_short = false;     // less than the reserve is available
  bool cpu_idle = false;         // some CPU is idle, or used by the pool alone
};
inline constexpr std::uint64_t kUnlimited = std::numeric_limits<std::uint64_t>::max();

// Whether another VM of the same size still fits beside one.
bool FitsTwice(const Resources& free, const Resources& need);

// The target of each template, in the order of `templates`; earlier ones come first if not all fit.
// The target is the peak, within `ready` and `most`. Each VM that is to be made must leave room for
// another one of its size, which a client may create meanwhile. Beyond `ready` it also needs idle
// CPU, and as much available memory as it may use in the end. VMs that exist need nothing. If
// memory is short, all targets are 0.
std::vector<std::uint32_t> PoolTargets(const PoolRule& rule,
                                       std::span<const PoolTemplate> templates,
                                       PoolHeadroom headroom);

}  // namespace tinderbox::sandbox
