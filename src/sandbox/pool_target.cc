// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "sandbox/pool_target.h"

#include <algorithm>

namespace tinderbox::sandbox {

namespace {

std::int64_t SecondOf(PoolDemand::Clock::time_point time) {
  return std::chrono::floor<std::chrono::seconds>(time.time_since_epoch()).count();
}

void Subtract(std::uint64_t& from, std::uint64_t amount) {
  if (from != kUnlimited) from -= std::min(from, amount);
}

void Spend(PoolHeadroom& headroom, const Resources& need) {
  Subtract(headroom.free.memory_mib, need.memory_mib);
  Subtract(headroom.free.cpus, need.cpus);
  Subtract(headroom.free.disk_mib, need.disk_mib);
  Subtract(headroom.memory_mib, need.memory_mib);
}

bool MayGrow(const PoolHeadroom& headroom, const Resources& need) {
  return headroom.cpu_idle && headroom.memory_mib >= need.memory_mib;
}

}  // namespace

void PoolDemand::Note(Clock::time_point now) {
  const std::int64_t second = SecondOf(now);
  Second& slot = seconds_.at(static_cast<std::size_t>(second) % seconds_.size());
  if (slot.second != second) slot = {.second = second};
  ++slot.creates;
}

std::uint32_t PoolDemand::CreatesAt(std::int64_t second) const {
  const Second& slot = seconds_.at(static_cast<std::size_t>(second) % seconds_.size());
  return slot.second == second ? slot.creates : 0;
}

std::uint32_t PoolDemand::Peak(Clock::time_point now) const {
  const std::int64_t last = SecondOf(now);
  std::uint32_t peak = 0;
  for (std::int64_t second = last - kRemembered.count() + 1; second <= last; ++second) {
    peak = std::max(peak, CreatesAt(second - 1) + CreatesAt(second));
  }
  return peak;
}

bool FitsTwice(const Resources& free, const Resources& need) {
  return need.memory_mib <= free.memory_mib / 2 && need.cpus <= free.cpus / 2 &&
         need.disk_mib <= free.disk_mib / 2;
}

std::vector<std::uint32_t> PoolTargets(const PoolRule& rule,
                                       std::span<const PoolTemplate> templates,
                                       PoolHeadroom headroom) {
  std::vector<std::uint32_t> targets(templates.size());
  if (headroom.memory_short) return targets;
  for (std::size_t i = 0; i < templates.size(); ++i) {
    const PoolTemplate& each = templates[i];
    targets[i] = std::min(each.size, rule.ready);
    while (targets[i] < rule.ready && FitsTwice(headroom.free, each.need)) {
      ++targets[i];
      Spend(headroom, each.need);
    }
  }
  // One more for each template in turn, so that a busy one leaves something to the others.
  std::uint32_t extra = rule.most_extra;
  for (bool grown = true; grown;) {
    grown = false;
    for (std::size_t i = 0; i < templates.size() && extra > 0; ++i) {
      const PoolTemplate& each = templates[i];
      if (targets[i] < rule.ready || targets[i] >= std::min(each.peak, rule.most)) continue;
      if (targets[i] >= each.size) {
        if (!MayGrow(headroom, each.need) || !FitsTwice(headroom.free, each.need)) continue;
        Spend(headroom, each.need);
      }
      ++targets[i];
      --extra;
      grown = true;
    }
  }
  return targets;
}

}  // namespace tinderbox::sandbox
