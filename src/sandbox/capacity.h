// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

#include "base/error.h"

namespace tinderbox::sandbox {

// Resources of one VM, or of all together.
struct Resources {
  std::uint64_t memory_mib = 0;
  std::uint64_t cpus = 0;
  std::uint64_t disk_mib = 0;

  bool operator==(const Resources&) const = default;
};

// The host's resources for VMs, and the overcommit factor of each. 0: no limit.
struct CapacityLimits {
  Resources host;
  double memory_overcommit = 1;
  double cpu_overcommit = 1;
  double disk_overcommit = 1;

  // `host`, times the overcommit.
  Resources Allocatable() const;
};

// A VMM needs memory beyond its guest's: each VM counts this much more.
inline constexpr std::uint64_t kVmmShareMib = 64;

// Admission: the sum of what VMs may use stays within what the host has for them. Every VM holds a
// reservation, under its id, from before it is started until it has ended: of sandboxes and of the
// pool. A VM that takes a template's boot snapshot runs in place of the one that waits for it, and
// is not counted.
//
// Safe from any thread.
class Capacity {
 public:
  explicit Capacity(const CapacityLimits& limits) : limits_(limits) {}

  // Reserves for the VM `id`; success if it holds a reservation already. kInvalidArgument if the
  // host could not hold it even if nothing else ran, kResourceExhausted if it cannot now: both name
  // figures. Calls make_room, which may block, until there is room or it returns false. `make_room`
  // may be empty.
  base::Result<> Reserve(const std::string& id, const Resources& need,
                         const std::function<bool()>& make_room);
  // The resources that can be reserved now; the largest number on an axis without a limit.
  Resources Free();
  // For a running VM of an earlier daemon: counted even if there is no room.
  void Adopt(const std::string& id, const Resources& need);
  // Idempotent: each end of a VM calls it. A reservation that is kept stays (see Keep).
  void Release(const std::string& id);

  // While one of these lives, the end of VM `id` does not release its reservation: a rollback ends
  // one VM and starts the next, and no other VM may take its place between.
  class Keep {
   public:
    Keep(Capacity& capacity, std::string id);
    ~Keep();
    Keep(const Keep&) = delete;
    Keep& operator=(const Keep&) = delete;

   private:
    Capacity& capacity_;
    std::string id_;
  };

  // The sum of all reservations.
  Resources Reserved();
  const CapacityLimits& limits() const { return limits_; }

 private:
  struct Entry {
    Resources need;
    int keepers = 0;
    bool released = false;  // while it was kept
  };
  base::Result<> TryReserve(const std::string& id, const Resources& need);
  base::Result<> CheckLocked(const Resources& need) const;
  Resources SumLocked() const;

  const CapacityLimits limits_;
  std::mutex mutex_;  // never held while anything blocks
  std::map<std::string, Entry, std::less<>> entries_;
};

// The reservation of a VM with such a guest.
Resources ResourcesOf(std::uint32_t memory_mib, std::uint32_t cpus, std::uint64_t disk_mib);

// The host's memory and CPUs, minus the share of the host's own programs: a tenth of the memory, at
// least 512 MiB and at most half. Disk is 0: the pool knows its size.
Resources DetectedHost();

}  // namespace tinderbox::sandbox
