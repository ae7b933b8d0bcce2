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
#include "sandbox/open.h"
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

// The pool of such VMs, for each of the hot templates. Filled by a thread of its own, one VM at a
// time and only while no sandbox is being started; given back while the host is short of memory.
// A member is recorded nowhere: a daemon that is killed leaves VMs that belong to no sandbox, and
// the next one sweeps them.
class WarmPool {
 public:
  WarmPool(const ManagerOptions& options, Boots& boots);
  ~WarmPool();  // as Stop()

  void Start();
  // Ends all members. Idempotent.
  void Stop();

  // A member for that template and shape that lives, or none. It makes the template hot, be there a
  // member or not; it is the caller's from now on.
  std::optional<WarmVm> Take(const image::Template& source, Shape shape);
  // Around everything that starts a VM for somebody: the pool waits with its own.
  class Busy {
   public:
    explicit Busy(WarmPool& pool) : pool_(pool) { pool_.Begin(); }
    ~Busy() { pool_.End(); }
    Busy(const Busy&) = delete;
    Busy& operator=(const Busy&) = delete;

   private:
    WarmPool& pool_;
  };

  std::size_t size();

  // Ends one member, of the least recently used template, so that what it holds is free. False if
  // there is none. Blocks until the VM has ended.
  bool DropOne();

 private:
  struct Hot {
    std::string boot_id;
    std::string template_id;
    Shape shape;
    std::deque<WarmVm> members;
    std::chrono::steady_clock::time_point not_before{};  // after a failure
  };

  void Begin();
  void End();
  void Run();
  void AddConfigured();
  bool Calm() const;
  bool ShortOfMemory() const;
  bool HasRoom(Shape shape) const;
  base::Result<> Reserve(const std::string& id, const image::Template& source, Shape shape);
  std::optional<Hot> NextToFill();
  base::Result<WarmVm> Make(const Hot& hot);
  void Add(const std::string& boot_id, base::Result<WarmVm> made);
  void Discard(const WarmVm& member);
  void GiveBack();
  std::list<Hot>::iterator Touch(std::string boot_id, const std::string& template_id, Shape shape,
                                 std::vector<WarmVm>& cooled);

  const ManagerOptions& options_;
  Boots& boots_;
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::list<Hot> hot_;  // the most recently used first
  int busy_ = 0;
  std::chrono::steady_clock::time_point last_busy_{};
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace tinderbox::sandbox
