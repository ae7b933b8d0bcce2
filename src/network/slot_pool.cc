// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "network/slot_pool.h"

#include <fmt/format.h>
#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "network/address_plan.h"
#include "network/conntrack.h"
#include "network/dial.h"
#include "network/host.h"
#include "network/slot_pool_impl.h"
#include "network/slot_setup.h"
#include "sys/netns.h"

namespace tinderbox::network {

using base::Code;
using base::Error;
using base::Result;
using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

namespace {

// An Acquire waits so long for a slot that is being removed, where all others are in use.
constexpr milliseconds kPatience{10000};
// What the destructor may take.
constexpr milliseconds kLastChores{10000};

Result<> CheckPolicy(const EgressPolicy& policy) {
  const std::size_t networks = policy.allow.size() + policy.deny.size();
  if (networks <= kMostPolicyNetworks && policy.dns.size() <= kMostPolicyDns) return {};
  return base::Fail(Code::kInvalidArgument,
                    fmt::format("set a network policy of {} networks: more than {}", networks,
                                kMostPolicyNetworks));
}

// The limit on one guest. The kernel tracks connections by now: the host's table asks for it.
std::uint32_t ConnectionsOf(const PoolOptions& options) {
  if (options.connections != 0) return options.connections;
  const auto conntrack = ReadConntrack();
  return conntrack ? ConnectionsPerSlot(conntrack->max, options.max_slots) : kFewestConnections;
}

}  // namespace

Pool::Pool(AddressPlan plan, const PoolOptions& options, PrefixLock lock,
           std::unique_ptr<TableGuard> table)
    : plan_(std::move(plan)),
      options_(options),
      lock_(std::move(lock)),
      connections_(ConnectionsOf(options)),
      table_(std::move(table)),
      rules_(plan_, {.host = {}, .connections = connections_}),
      entries_(kMaxSlots + 1) {
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

Result<Slot> Pool::Make(std::uint32_t index, const EgressPolicy& policy) {
  const SlotRuleBook::Draft draft = rules_.Write(policy);
  auto slot = MakeSlot(plan_, index, draft.rules, UidOf(index));
  if (slot && !rules_.Applied(index, policy, draft)) watch_->Poke();
  return slot;
}

Result<std::vector<std::string>> Pool::Remove(std::uint32_t index) {
  rules_.Forget(index);
  return RemoveSlot(plan_, index);
}

Result<> Pool::ApplyPolicy(std::uint32_t index, const EgressPolicy& policy) {
  if (!TRY(rules_.Apply(index, policy))) watch_->Poke();
  return {};
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
  TRY_CTX(table_->Ensure(), "acquire a network slot");
  std::optional<Error> collision;
  for (;;) {
    const Claimed claimed = TRY(Claim(policy, collision));
    const std::uint32_t index = claimed.index;
    if (claimed.ready) {
      if (policy != EgressPolicy{}) {
        if (auto applied = ApplyPolicy(index, policy); !applied) {
          const std::lock_guard lock(mutex_);
          QueueRemoval(index);
          return std::unexpected(std::move(applied).error());
        }
      }
      Settle(index, Use::kInUse);
      return DescribeSlot(plan_, index, UidOf(index));
    }
    auto slot = Make(index, policy);
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
  if (slot) rules_.Adopted(index);
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
  TRY(ApplyPolicy(index, policy));
  // Released meanwhile: the note belongs to no slot.
  if (!CheckInUse(index)) rules_.Forget(index);
  return {};
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
  watch_->Poke();  // for those that were adopted
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
    const auto removed = Remove(index);
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

Result<std::unique_ptr<SlotPool>> OpenSlotPool(const PoolOptions& options) {
  AddressPlan plan = TRY_CTX(AddressPlan::Make(options), "open the network pool");
  TRY_CTX(CheckCapabilities(), "open the network pool");
  PrefixLock lock = TRY_CTX(PrefixLock::Take(plan), "open the network pool");
  TRY_CTX(CheckHostRoutes(plan), "open the network pool");
  TRY_CTX(TurnForwardingOn(), "open the network pool");
  auto table = TRY_CTX(TableGuard::Make(plan), "open the network pool");
  auto pool = std::make_unique<Pool>(std::move(plan), options, std::move(lock), std::move(table));
  TRY_CTX(pool->Watch(), "open the network pool");
  return pool;
}

Result<> RemoveAll(const PoolOptions& options) {
  const AddressPlan plan = TRY_CTX(AddressPlan::Make(options), "remove the network");
  TRY_CTX(CheckCapabilities(), "remove the network");
  const PrefixLock lock = TRY_CTX(PrefixLock::Take(plan), "remove the network");
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
