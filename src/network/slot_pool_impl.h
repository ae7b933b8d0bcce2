// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "network/address_plan.h"
#include "network/host_watch.h"
#include "network/prefix_lock.h"
#include "network/slot_pool.h"
#include "network/slot_rules.h"
#include "network/table_guard.h"

// The pool's inside: slot_pool.cc has what callers see, slot_upkeep.cc what its two threads do.
namespace tinderbox::network {

// The pool's own work waits for a calm moment, but no longer than this.
inline constexpr std::chrono::milliseconds kLongestDelay{1000};

enum class Use {
  kFree,     // nothing of it is on the host, as far as we know
  kForeign,  // something that we did not make has its names
  kMaking,   // on its way to kInUse
  kInUse,
  kMakingReady,  // on its way to kReady
  kReady,        // a spare, with the default policy
  kRemoving,     // on its way to kFree
  kLeft,         // could not be removed
};

struct Entry {
  Use use = Use::kFree;
  std::chrono::steady_clock::time_point rested{};  // until then in quarantine
};

struct Removal {
  std::uint32_t index = 0;
  std::chrono::steady_clock::time_point due;  // at the latest
};

// The next work of the pool's thread.
struct Chore {
  enum class Kind { kRemove, kMakeReady, kEnd } kind = Kind::kEnd;
  std::uint32_t index = 0;
};

class Pool final : public SlotPool {
 public:
  Pool(AddressPlan plan, const PoolOptions& options, PrefixLock lock,
       std::unique_ptr<TableGuard> table);
  ~Pool() override;
  // Starts to watch the host; before anything else is called.
  base::Result<> Watch();

  base::Result<Slot> Acquire(const EgressPolicy& policy) override;
  base::Result<Slot> Adopt(std::uint32_t index) override;
  base::Result<> Release(std::uint32_t index) override;
  base::Result<> SetPolicy(std::uint32_t index, const EgressPolicy& policy) override;
  base::Result<std::vector<std::string>> Sweep() override;
  base::Result<sys::UniqueFd> Namespace(std::uint32_t index) override;
  base::Result<sys::UniqueFd> Dial(std::uint32_t index, std::uint16_t port,
                                   base::Deadline deadline) override;
  RulesReport CheckRules() override;

 private:
  struct Claimed {
    std::uint32_t index = 0;
    bool ready = false;
  };

  // Marks a slot as kMaking. `collision` is what the last try met, if any.
  base::Result<Claimed> Claim(const EgressPolicy& policy,
                              const std::optional<base::Error>& collision);
  std::optional<Claimed> Pick(bool is_default);  // under mutex_
  // The lowest free index out of quarantine, else the one that has rested longest; 0: none is free.
  std::uint32_t PickFree() const;  // under mutex_
  std::unexpected<base::Error> NoneLeft(const std::optional<base::Error>& collision) const;
  void Settle(std::uint32_t index, Use use);
  void QueueRemoval(std::uint32_t index);  // under mutex_
  base::Result<> CheckIndex(std::uint32_t index) const;
  base::Result<> CheckInUse(std::uint32_t index);
  uid_t UidOf(std::uint32_t index) const { return options_.uid_base + index; }

  base::Result<std::vector<std::string>> SweepStanding();
  // MakeSlot, with the rules for `policy`.
  base::Result<Slot> Make(std::uint32_t index, const EgressPolicy& policy);
  base::Result<std::vector<std::string>> Remove(std::uint32_t index);
  base::Result<> ApplyPolicy(std::uint32_t index, const EgressPolicy& policy);

  // The watch's thread.
  base::Result<> ReadHostPrefixes();
  bool DenyHostPrefixes(const HostWatch& watch);
  bool KeepTable();

  // The pool's thread.
  void Tend();
  Chore NextChore();
  std::optional<Chore> DueChore(
      std::chrono::steady_clock::time_point now);         // under mutex_; marks what it returns
  std::chrono::steady_clock::time_point NextDue() const;  // under mutex_
  void RemoveNow(std::uint32_t index);
  void MakeReady(std::uint32_t index);

  const AddressPlan plan_;
  const PoolOptions options_;
  const PrefixLock lock_;
  const std::uint32_t connections_;
  const std::unique_ptr<TableGuard> table_;
  SlotRuleBook rules_;
  std::unique_ptr<HostWatch> watch_;  // after all that its thread uses

  // Guards what follows. What touches the host is done outside it, on an entry marked kMaking,
  // kMakingReady or kRemoving, which no other thread touches.
  std::mutex mutex_;
  std::condition_variable settled_;  // an entry has changed
  std::condition_variable chores_;   // the pool's thread may have something to do
  std::vector<Entry> entries_;  // by index; [0] unused. Above max_slots only for Sweep and Release.
  std::set<std::uint32_t> ready_;  // those that are kReady
  std::deque<Removal> removals_;   // kRemoving, not yet begun
  int removing_ = 0;               // how many are kRemoving
  bool making_ready_ = false;      // there is one kMakingReady
  int waiting_ = 0;                // who waits for removals: they do not wait for calm then
  bool may_make_ = false;          // Sweep has ended, or Acquire has been called
  // Sweeps in progress: they look at what exists, so no spare slot is made meanwhile.
  int sweeping_ = 0;
  std::chrono::steady_clock::time_point last_acquire_{};
  std::chrono::steady_clock::time_point make_due_ =
      std::chrono::steady_clock::time_point::max();   // at the latest; max: none is missing
  std::chrono::steady_clock::time_point retry_at_{};  // not earlier
  std::optional<std::chrono::steady_clock::time_point> end_by_;  // the pool ends

  std::thread thread_;  // last: it uses all the rest
};

}  // namespace tinderbox::network
