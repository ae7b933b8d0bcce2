// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "sandbox/capacity.h"

#include <fmt/format.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace tinderbox::sandbox {

using base::Code;
using base::Error;
using base::Result;

namespace {

std::uint64_t Times(std::uint64_t amount, double factor) {
  return static_cast<std::uint64_t>(std::floor(static_cast<double>(amount) * factor));
}

// One of the three resources, with its names.
struct Axis {
  std::uint64_t Resources::* member;
  std::string_view what;
  std::string_view unit;
  std::string_view with;  // what is counted besides the guest's
  std::string_view setting;
};
constexpr Axis kAxes[] = {
    {&Resources::memory_mib, "memory", " MiB", " with its VMM",
     "host.memory_mib or host.overcommit.memory"},
    {&Resources::cpus, "CPUs", "", "", "host.cpus or host.overcommit.cpus"},
    {&Resources::disk_mib, "disk", " MiB", "", "host.disk_gib or host.overcommit.disk"},
};

std::unexpected<Error> NeverFits(const Axis& axis, std::uint64_t need, std::uint64_t all) {
  return std::unexpected(
      Error(Code::kInvalidArgument,
            fmt::format("not enough {}: the sandbox needs {}{}{}, this host has {}{} for all "
                        "sandboxes together",
                        axis.what, need, axis.unit, axis.with, all, axis.unit))
          .WithRemedy(
              fmt::format("Ask for less, or raise {} in the configuration.", axis.setting)));
}

std::unexpected<Error> NoRoomNow(const Axis& axis, std::uint64_t need, std::uint64_t used,
                                 std::uint64_t all) {
  return std::unexpected(
      Error(Code::kResourceExhausted,
            fmt::format("not enough {}: the sandbox needs {}{}{}, {}{} of {}{} are free", axis.what,
                        need, axis.unit, axis.with, all - std::min(used, all), axis.unit, all,
                        axis.unit))
          .WithRemedy(fmt::format("Remove or pause sandboxes, or raise {} in the configuration.",
                                  axis.setting)));
}

}  // namespace

Resources CapacityLimits::Allocatable() const {
  return {.memory_mib = Times(host.memory_mib, memory_overcommit),
          .cpus = Times(host.cpus, cpu_overcommit),
          .disk_mib = Times(host.disk_mib, disk_overcommit)};
}

Result<> Capacity::CheckLocked(const Resources& need) const {
  const Resources all = limits_.Allocatable();
  const Resources used = SumLocked();
  for (const Axis& axis : kAxes) {
    if (limits_.host.*axis.member == 0) continue;
    const std::uint64_t wanted = need.*axis.member;
    if (wanted > all.*axis.member) return NeverFits(axis, wanted, all.*axis.member);
  }
  for (const Axis& axis : kAxes) {
    if (limits_.host.*axis.member == 0) continue;
    const std::uint64_t wanted = need.*axis.member;
    if (used.*axis.member + wanted > all.*axis.member) {
      return NoRoomNow(axis, wanted, used.*axis.member, all.*axis.member);
    }
  }
  return {};
}

Result<> Capacity::TryReserve(const std::string& id, const Resources& need) {
  const std::lock_guard lock(mutex_);
  if (const auto held = entries_.find(id); held != entries_.end()) {
    held->second.released = false;
    return {};
  }
  TRY(CheckLocked(need));
  entries_.emplace(id, Entry{.need = need});
  return {};
}

Resources Capacity::Free() {
  const Resources all = limits_.Allocatable();
  const Resources used = Reserved();
  Resources free;
  for (const Axis& axis : kAxes) {
    const std::uint64_t most = all.*axis.member;
    free.*axis.member = limits_.host.*axis.member == 0 ? std::numeric_limits<std::uint64_t>::max()
                                                       : most - std::min(most, used.*axis.member);
  }
  return free;
}

Result<> Capacity::Reserve(const std::string& id, const Resources& need,
                           const std::function<bool()>& make_room) {
  for (;;) {
    auto reserved = TryReserve(id, need);
    if (reserved || reserved.error().code() != Code::kResourceExhausted) return reserved;
    if (!make_room || !make_room()) return reserved;
  }
}

void Capacity::Adopt(const std::string& id, const Resources& need) {
  const std::lock_guard lock(mutex_);
  entries_.insert_or_assign(id, Entry{.need = need});
}

void Capacity::Release(const std::string& id) {
  const std::lock_guard lock(mutex_);
  const auto held = entries_.find(id);
  if (held == entries_.end()) return;
  if (held->second.keepers > 0) {
    held->second.released = true;
  } else {
    entries_.erase(held);
  }
}

Resources Capacity::SumLocked() const {
  Resources sum;
  for (const auto& [id, entry] : entries_) {
    sum.memory_mib += entry.need.memory_mib;
    sum.cpus += entry.need.cpus;
    sum.disk_mib += entry.need.disk_mib;
  }
  return sum;
}

Resources Capacity::Reserved() {
  const std::lock_guard lock(mutex_);
  return SumLocked();
}

Capacity::Keep::Keep(Capacity& capacity, std::string id) : capacity_(capacity), id_(std::move(id)) {
  const std::lock_guard lock(capacity_.mutex_);
  if (const auto held = capacity_.entries_.find(id_); held != capacity_.entries_.end()) {
    ++held->second.keepers;
  } else {
    id_.clear();
  }
}

Capacity::Keep::~Keep() {
  const std::lock_guard lock(capacity_.mutex_);
  const auto held = capacity_.entries_.find(id_);
  if (held == capacity_.entries_.end()) return;
  if (--held->second.keepers == 0 && held->second.released) capacity_.entries_.erase(held);
}

Resources ResourcesOf(std::uint32_t memory_mib, std::uint32_t cpus, std::uint64_t disk_mib) {
  return {.memory_mib = memory_mib + kVmmShareMib, .cpus = cpus, .disk_mib = disk_mib};
}

Resources DetectedHost() {
  Resources host;
  struct sysinfo info{};
  if (::sysinfo(&info) == 0) {
    const std::uint64_t all = (std::uint64_t{info.totalram} * info.mem_unit) >> 20;
    host.memory_mib = all - std::min(all / 2, std::max<std::uint64_t>(all / 10, 512));
  }
  host.cpus = static_cast<std::uint64_t>(std::max(1L, ::sysconf(_SC_NPROCESSORS_ONLN)));
  return host;
}

}  // namespace tinderbox::sandbox
