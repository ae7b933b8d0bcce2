// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "network/slot_pool.h"

#include <fmt/format.h>
#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <set>
#include <thread>
#include <utility>

#include "base/log.h"
#include "network/address_plan.h"
#include "network/dial.h"
#include "network/host.h"
#include "network/slot_setup.h"
#include "sys/netns.h"

namespace tinderbox::network {
namespace {

using base::Code;
using base::Error;
using base::Result;
using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

// The pool's own work waits until nobody has acquired for so long: both contend for the kernel's
// one lock on network devices.
constexpr milliseconds kCalm{100};
// But no longer than this, however long the burst lasts.
constexpr milliseconds kLongestDelay{1000};
// After a slot could not be made ahead.
constexpr milliseconds kRetryAfter{5000};
// An Acquire waits so long for a slot that is being removed, where all others are in use.
constexpr milliseconds kPatience{10000};
// What the destructor may take.
constexpr milliseconds kLastChores{10000};

enum class Use {
  kFree,     // nothing of it is on the host, as far as we know
  kForeign,  // something that we did not make has its names
  kMaking,   // on its way to kInUse
  kInUse,
  kMakingReady,  // on its way to kReady
  kReady,        // made ahead, with the default policy
  kRemoving,     // on its way to kFree
  kLeft,         // could not be removed
};

struct Entry {
  Use use = Use::kFree;
  Clock::time_point rested{};  // until then in quarantine
};

struct Removal {
  std::uint32_t index = 0;
  Clock::time_point due;  // at the latest
};

Result<> CheckPolicy(const EgressPolicy& policy) {
  const std::size_t networks = policy.allow.size() + policy.deny.size();
  if (networks <= kMostPolicyNetworks && policy.dns.size() <= kMostPolicyDns) return {};
  return base::Fail(Code::kInvalidArgument,
                    fmt::format("set a network policy of {} networks: more than {}", networks,
                                kMostPolicyNetworks));
}

// What the pool's thread does next.
struct Chore {
  enum class Kind { kRemove, kMakeReady, kEnd } kind = Kind::kEnd;
  std::uint32_t index = 0;
};

class Pool final : public SlotPool {
 public:
  Pool(AddressPlan plan, const PoolOptions& options, sys::UniqueFd lock);
  ~Pool() override;

  Result<Slot> Acquire(const EgressPolicy& policy) override;
  Result<Slot> Adopt(std::uint32_t index) override;
  Result<> Release(std::uint32_t index) override;
  Result<> SetPolicy(std::uint32_t index, const EgressPolicy& policy) override;
  Result<std::vector<std::string>> Sweep() override;
  Result<sys::UniqueFd> Namespace(std::uint32_t index) override;
  Result<sys::UniqueFd> Dial(std::uint32_t index, std::uint16_t port,
                             base::Deadline deadline) override;

 private:
  struct Claimed {
    std::uint32_t index = 0;
    bool ready = false;
  };

  // Marks a slot as kMaking. `collision` is what the last try met, if any.
  Result<Claimed> Claim(const EgressPolicy& policy, const std::optional<Error>& collision);
  std::optional<Claimed> Pick(bool is_default);  // under mutex_
  // The lowest free index out of quarantine, else the one that has rested longest; 0: none is free.
  std::uint32_t PickFree() const;  // under mutex_
  std::unexpected<Error> NoneLeft(const std::optional<Error>& collision) const;
  void Settle(std::uint32_t index, Use use);
  void QueueRemoval(std::uint32_t index);  // under mutex_
  Result<> CheckIndex(std::uint32_t index) const;
  Result<> CheckInUse(std::uint32_t index);
  uid_t UidOf(std::uint32_t index) const { return options_.uid_base + index; }

  Result<std::vector<std::string>> SweepStanding();

  // The pool's thread.
  void Tend();
  Chore NextChore();
  std::optional<Chore> DueChore(Clock::time_point now);  // under mutex_; marks what it returns
  Clock::time_point NextDue() const;                     // under mutex_
  void RemoveNow(std::uint32_t index);
  void MakeReady(std::uint32_t index);

  const AddressPlan plan_;
  const PoolOptions options_;
  const sys::UniqueFd lock_;

  // Guards what follows. What touches the host is done outside it, on an entry marked kMaking,
  // kMakingReady or kRemoving, which nobody else touches.
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
  // Sweeps under way: what stands is theirs to look at, and nothing is made ahead in its place.
  int sweeping_ = 0;
  Clock::time_point last_acquire_{};
  Clock::time_point make_due_ = Clock::time_point::max();  // at the latest; max: none is missing
  Clock::time_point retry_at_{};                           // not earlier
  std::optional<Clock::time_point> end_by_;                // the pool ends

  std::thread thread_;  // last: it uses all the rest
};

Pool::Pool(AddressPlan plan, const PoolOptions& options, sys::UniqueFd lock)
    : plan_(std::move(plan)), options_(options), lock_(std::move(lock)), entries_(kMaxSlots + 1) {
  // No signal of the process is for this thread: it starts with all of them blocked.
  sigset_t all, usual;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &usual);
  thread_ = std::thread([this] { Tend(); });
  pthread_sigmask(SIG_SETMASK, &usual, nullptr);
}

Pool::~Pool() {
  {
    const std::lock_guard lock(mutex_);
    end_by_ = Clock::now() + kLastChores;
  }
  chores_.notify_all();
  thread_.join();
}

Result<> Pool::CheckIndex(std::uint32_t index) const {
  if (index >= 1 && index <= kMaxSlots) return {};
  return base::Fail(Code::kInvalidArgument, fmt::format("use network slot {}", index));
}

Result<> Pool::CheckInUse(std::uint32_t index) {
  TRY(CheckIndex(index));
  const std::lock_guard lock(mutex_);
  if (entries_[index].use == Use::kInUse) return {};
  return base::Fail(Code::kNotFound, fmt::format("use network slot {}: it is not in use", index));
}

std::uint32_t Pool::PickFree() const {
  const auto now = Clock::now();
  std::uint32_t best = 0;
  for (std::uint32_t index = 1; index <= plan_.max_slots(); ++index) {
    const Entry& entry = entries_[index];
    if (entry.use != Use::kFree) continue;
    if (entry.rested <= now) return index;
    if (best == 0 || entry.rested < entries_[best].rested) best = index;
  }
  return best;
}

std::optional<Pool::Claimed> Pool::Pick(bool is_default) {
  const std::uint32_t ready = ready_.empty() ? 0 : *ready_.begin();
  if (ready != 0 && is_default) return Claimed{ready, true};
  // Rules that stand already cost more to change than a fresh slot costs altogether: a slot made
  // ahead gets another policy only where no index is left for a fresh one.
  const std::uint32_t free = PickFree();
  if (free != 0 && (ready == 0 || entries_[free].rested <= Clock::now())) {
    return Claimed{free, false};
  }
  if (ready != 0) return Claimed{ready, true};
  return std::nullopt;
}

std::unexpected<Error> Pool::NoneLeft(const std::optional<Error>& collision) const {
  if (collision) {
    return std::unexpected(
        Error(*collision)
            .WithRemedy("Nothing else is free. Remove what has that name if it is not needed (a "
                        "daemon that starts sweeps up what its predecessor left), or choose "
                        "another network prefix."));
  }
  return std::unexpected(
      Error(Code::kResourceExhausted,
            fmt::format("acquire a network slot: all {} are in use", plan_.max_slots()))
          .WithRemedy("Stop a sandbox, or configure more network slots."));
}

Result<Pool::Claimed> Pool::Claim(const EgressPolicy& policy,
                                  const std::optional<Error>& collision) {
  const auto give_up = Clock::now() + kPatience;
  std::unique_lock lock(mutex_);
  may_make_ = true;
  for (;;) {
    last_acquire_ = Clock::now();
    if (const auto picked = Pick(policy == EgressPolicy{})) {
      entries_[picked->index].use = Use::kMaking;
      if (picked->ready) ready_.erase(picked->index);
      if (make_due_ == Clock::time_point::max()) make_due_ = last_acquire_ + kLongestDelay;
      lock.unlock();
      chores_.notify_one();
      return *picked;
    }
    if ((removing_ == 0 && !making_ready_) || last_acquire_ >= give_up) return NoneLeft(collision);
    ++waiting_;
    chores_.notify_one();
    settled_.wait_until(lock, give_up);
    --waiting_;
  }
}

void Pool::Settle(std::uint32_t index, Use use) {
  {
    const std::lock_guard lock(mutex_);
    Entry& entry = entries_[index];
    if (entry.use == Use::kRemoving) {
      entry.rested = Clock::now() + options_.quarantine;
      --removing_;
    }
    if (entry.use == Use::kMakingReady) making_ready_ = false;
    if (use == Use::kReady) ready_.insert(index);
    entry.use = use;
  }
  settled_.notify_all();
}

void Pool::QueueRemoval(std::uint32_t index) {
  entries_[index].use = Use::kRemoving;
  removals_.push_back({index, Clock::now() + kLongestDelay});
  ++removing_;
  chores_.notify_one();
}

Result<Slot> Pool::Acquire(const EgressPolicy& policy) {
  TRY(CheckPolicy(policy));
  std::optional<Error> collision;
  for (;;) {
    const Claimed claimed = TRY(Claim(policy, collision));
    const std::uint32_t index = claimed.index;
    if (claimed.ready) {
      if (policy != EgressPolicy{}) {
        if (auto applied = ApplyPolicy(plan_, index, policy); !applied) {
          const std::lock_guard lock(mutex_);
          QueueRemoval(index);
          return std::unexpected(std::move(applied).error());
        }
      }
      Settle(index, Use::kInUse);
      return DescribeSlot(plan_, index, UidOf(index));
    }
    auto slot = MakeSlot(plan_, index, policy, UidOf(index));
    if (slot) {
      Settle(index, Use::kInUse);
      return slot;
    }
    const bool taken = slot.error().code() == Code::kAlreadyExists;
    Settle(index, taken ? Use::kForeign : Use::kFree);
    if (!taken) return slot;
    collision = std::move(slot).error();
  }
}

Result<Slot> Pool::Adopt(std::uint32_t index) {
  TRY(CheckIndex(index));
  Use before;
  {
    std::unique_lock lock(mutex_);
    ++waiting_;
    chores_.notify_one();
    settled_.wait(lock, [&] {
      return entries_[index].use != Use::kRemoving && entries_[index].use != Use::kMakingReady;
    });
    --waiting_;
    before = entries_[index].use;
    if (before == Use::kMaking || before == Use::kInUse || before == Use::kReady) {
      return base::Fail(Code::kAlreadyExists,
                        fmt::format("adopt network slot {}: it is in use already", index));
    }
    entries_[index].use = Use::kMaking;
  }
  auto slot = InspectSlot(plan_, index);
  Settle(index, slot ? Use::kInUse : before);
  return slot;
}

Result<> Pool::Release(std::uint32_t index) {
  TRY(CheckIndex(index));
  const std::lock_guard lock(mutex_);
  switch (entries_[index].use) {
    case Use::kMaking:
      // A release that comes late must not take the slot from under its next tenant.
      return base::Fail(Code::kAborted,
                        fmt::format("release network slot {}: it is being made", index));
    case Use::kRemoving:     // asked for already
    case Use::kMakingReady:  // removed already, and nobody's
    case Use::kReady: return {};
    case Use::kInUse:
    case Use::kFree:  // may stand on the host all the same: a predecessor's
    case Use::kForeign:
    case Use::kLeft: QueueRemoval(index); return {};
  }
  return {};
}

Result<> Pool::SetPolicy(std::uint32_t index, const EgressPolicy& policy) {
  TRY(CheckPolicy(policy));
  TRY(CheckInUse(index));
  return ApplyPolicy(plan_, index, policy);
}

Result<std::vector<std::string>> Pool::Sweep() {
  {
    std::unique_lock lock(mutex_);
    ++waiting_;
    chores_.notify_one();
    settled_.wait(lock, [&] { return removing_ == 0; });
    --waiting_;
    ++sweeping_;
  }
  auto swept = SweepStanding();
  {
    const std::lock_guard lock(mutex_);
    --sweeping_;
    may_make_ = true;
    if (make_due_ == Clock::time_point::max()) make_due_ = Clock::now();
  }
  chores_.notify_one();
  return swept;
}

Result<std::vector<std::string>> Pool::SweepStanding() {
  const auto standing = TRY(FindSlots(plan_));
  std::vector<std::string> words;
  for (std::uint32_t index = 1; index <= kMaxSlots; ++index) {
    Use before;
    {
      const std::lock_guard lock(mutex_);
      before = entries_[index].use;
      const bool found = std::ranges::binary_search(standing, index);
      // One that could not be removed may have vanished since: that makes it free again.
      const bool swept =
          before == Use::kLeft || (found && (before == Use::kFree || before == Use::kForeign));
      if (!swept) continue;
      entries_[index].use = Use::kRemoving;
      ++removing_;
    }
    const auto removed = RemoveSlot(plan_, index);
    Settle(index, removed ? Use::kFree : before);
    if (removed) {
      words.insert(words.end(), removed->begin(), removed->end());
    } else {
      words.push_back("could not " + removed.error().ToString());
    }
  }
  return words;
}

Result<sys::UniqueFd> Pool::Namespace(std::uint32_t index) {
  TRY(CheckInUse(index));
  return sys::OpenNetNs(plan_.NetNsName(index));
}

Result<sys::UniqueFd> Pool::Dial(std::uint32_t index, std::uint16_t port, base::Deadline deadline) {
  const sys::UniqueFd netns = TRY(Namespace(index));
  return DialGuest(netns, port, deadline);
}

// When something may become due by itself.
Clock::time_point Pool::NextDue() const {
  const auto calm = last_acquire_ + kCalm;
  auto next = Clock::time_point::max();
  if (!removals_.empty()) next = std::min(calm, removals_.front().due);
  if (may_make_ && sweeping_ == 0 && ready_.size() < options_.ready) {
    next = std::min(next, std::max(std::min(calm, make_due_), retry_at_));
  }
  return next;
}

std::optional<Chore> Pool::DueChore(Clock::time_point now) {
  const bool calm = now >= last_acquire_ + kCalm;
  if (!removals_.empty() && (calm || waiting_ > 0 || end_by_ || now >= removals_.front().due)) {
    const std::uint32_t index = removals_.front().index;
    removals_.pop_front();
    return Chore{Chore::Kind::kRemove, index};
  }
  if (end_by_) {
    if (ready_.empty()) return Chore{};
    const std::uint32_t index = *ready_.begin();
    ready_.erase(ready_.begin());
    entries_[index].use = Use::kRemoving;
    ++removing_;
    return Chore{Chore::Kind::kRemove, index};
  }
  if (!may_make_ || sweeping_ > 0 || ready_.size() >= options_.ready) {
    make_due_ = Clock::time_point::max();
    return std::nullopt;
  }
  if (now < retry_at_ || !(calm || now >= make_due_)) return std::nullopt;
  const std::uint32_t index = PickFree();
  if (index == 0 || entries_[index].rested > now) {
    // Every index is in use or in quarantine. What ends that is heard of, but the quarantine's end.
    retry_at_ = now + std::max(options_.quarantine, kCalm);
    return std::nullopt;
  }
  entries_[index].use = Use::kMakingReady;
  making_ready_ = true;
  make_due_ = now + kLongestDelay;  // of the next one
  return Chore{Chore::Kind::kMakeReady, index};
}

Chore Pool::NextChore() {
  std::unique_lock lock(mutex_);
  for (;;) {
    const auto now = Clock::now();
    if (end_by_ && now >= *end_by_) return Chore{};
    if (const auto chore = DueChore(now)) return *chore;
    const auto next = NextDue();
    if (next == Clock::time_point::max()) {
      chores_.wait(lock);
    } else {
      chores_.wait_until(lock, next);
    }
  }
}

void Pool::RemoveNow(std::uint32_t index) {
  const auto removed = RemoveSlot(plan_, index);
  if (!removed) {
    base::LogWarning("network: a released slot stays for now",
                     {{"slot", index}, {"error", removed.error().ToString()}});
  }
  Settle(index, removed ? Use::kFree : Use::kLeft);
}

void Pool::MakeReady(std::uint32_t index) {
  const auto slot = MakeSlot(plan_, index, {}, UidOf(index));
  const bool taken = !slot && slot.error().code() == Code::kAlreadyExists;
  if (!slot && !taken) {
    base::LogWarning("network: no slot could be made ahead", {{"error", slot.error().ToString()}});
  }
  if (!slot && !taken) {
    const std::lock_guard lock(mutex_);
    retry_at_ = Clock::now() + kRetryAfter;
  }
  Settle(index, slot ? Use::kReady : taken ? Use::kForeign : Use::kFree);
}

void Pool::Tend() {
  for (;;) {
    const Chore chore = NextChore();
    switch (chore.kind) {
      case Chore::Kind::kRemove: RemoveNow(chore.index); break;
      case Chore::Kind::kMakeReady: MakeReady(chore.index); break;
      case Chore::Kind::kEnd: return;
    }
  }
}

}  // namespace

Result<std::unique_ptr<SlotPool>> OpenSlotPool(const PoolOptions& options) {
  AddressPlan plan = TRY_CTX(AddressPlan::Make(options), "open the network pool");
  TRY_CTX(CheckCapabilities(), "open the network pool");
  sys::UniqueFd lock = TRY_CTX(LockPrefix(plan), "open the network pool");
  TRY_CTX(CheckHostRoutes(plan), "open the network pool");
  TRY_CTX(PrepareHost(plan), "open the network pool");
  return std::make_unique<Pool>(std::move(plan), options, std::move(lock));
}

Result<> RemoveAll(const PoolOptions& options) {
  const AddressPlan plan = TRY_CTX(AddressPlan::Make(options), "remove the network");
  TRY_CTX(CheckCapabilities(), "remove the network");
  const sys::UniqueFd lock = TRY_CTX(LockPrefix(plan), "remove the network");
  const auto slots = TRY_CTX(FindSlots(plan), "remove the network");
  // One that cannot be removed keeps none of the others.
  std::optional<Error> failure;
  for (const std::uint32_t index : slots) {
    auto removed = RemoveSlot(plan, index);
    if (!removed && !failure) failure = std::move(removed).error();
  }
  if (failure) return std::unexpected(std::move(*failure).WithContext("remove the network"));
  // Last: as long as a slot stands, so do the rules that hold it.
  return RemoveHostTable(plan);
}

}  // namespace tinderbox::network
