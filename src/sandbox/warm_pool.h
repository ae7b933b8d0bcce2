// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "image/library.h"
#include "network/slot_pool.h"
#include "sandbox/boots.h"
#include "sandbox/idle_cores.h"
#include "sandbox/manager.h"
#include "sandbox/open.h"
#include "sandbox/pool_target.h"
#include "vmm/driver.h"

namespace tinderbox::sandbox {

// A VM that waits for somebody: restored, made to answer once, and stopped. It bears the id of the
// sandbox that it will be, but nothing in it is anybody's yet.
struct WarmVm {
  std::string id;
  network::Slot slot;
  std::shared_ptr<vmm::Vm> vm;
  image::Template source;  // its boot snapshot
};

// The pool of such VMs, for each of the hot templates. It follows demand (pool_target.h). A thread
// of its own makes one VM at a time: while no sandbox is being started, or if a core is idle. The
// pool gives VMs back while the host is short of memory. A member is recorded nowhere: a daemon
// that is killed leaves VMs that belong to no sandbox, and the next one sweeps them.
class WarmPool {
 public:
  WarmPool(const ManagerOptions& options, Boots& boots);
  ~WarmPool();  // as Stop()

  void Start();
  // Ends all members. Idempotent.
  void Stop();

  // A member for that template and shape that lives, or none; the caller owns it from now on.
  // Counts as demand and makes the template hot, whether there is a member or not.
  std::optional<WarmVm> Take(const image::Template& source, Shape shape);
  // Around everything that starts a VM for a client: the pool leaves it a core.
  class Busy {
   public:
    explicit Busy(WarmPool& pool) : pool_(pool) { pool_.Begin(); }
    ~Busy() { pool_.End(); }
    Busy(const Busy&) = delete;
    Busy& operator=(const Busy&) = delete;

   private:
    WarmPool& pool_;
  };

  Manager::PoolSize size();

  // Ends one member, of the least recently used template, so that what it reserved is free. If
  // there is none, but a VM of the pool is being made or ended, waits for that: the caller should
  // try again. False if the pool holds nothing. Blocks. The pool makes nothing for a while
  // afterwards.
  bool DropOne();

 private:
  struct Hot {
    std::string boot_id;
    std::string template_id;
    Shape shape;
    Resources need;  // of one VM
    std::deque<WarmVm> members;
    PoolDemand demand;
    std::uint32_t target = 0;
    std::chrono::steady_clock::time_point not_before{};  // after a failure
  };
  // The next VM to make.
  struct Order {
    std::string boot_id;
    std::string template_id;
    Shape shape;
  };

  void Begin();
  void End();
  void Run();
  void AddConfigured();
  PoolHeadroom Headroom();
  base::Result<> Reserve(const std::string& id, const image::Template& source, Shape shape);
  base::Result<WarmVm> Make(const Order& order);
  void Discard(const WarmVm& member);

  // With mutex_ held:
  bool Calm() const;
  void SetTargets(const PoolHeadroom& headroom);
  std::optional<WarmVm> NextToEnd(bool memory_short);
  std::optional<Order> NextToFill(bool cpu_idle) const;
  void Add(const std::string& boot_id, base::Result<WarmVm> made);
  void EndMember(const WarmVm& member, std::unique_lock<std::mutex>& lock);  // unlocks meanwhile
  void Landed();
  std::list<Hot>::iterator Touch(std::string boot_id, const image::Template& source, Shape shape);
  void Cool(std::list<Hot>::iterator hot);

  const ManagerOptions& options_;
  Boots& boots_;
  IdleCores idle_cores_;  // the thread's own
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::list<Hot> hot_;          // the most recently used first
  std::deque<WarmVm> leaving_;  // in no template's list: the thread ends them
  int busy_ = 0;
  std::chrono::steady_clock::time_point last_busy_{};
  std::chrono::steady_clock::time_point yield_until_{};  // a client needed what the pool held
  // VMs that are being made or ended, in no list: their reservations are still held.
  int in_flight_ = 0;
  std::uint64_t landed_ = 0;  // counts the ends of those
  std::condition_variable landed_changed_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace tinderbox::sandbox
