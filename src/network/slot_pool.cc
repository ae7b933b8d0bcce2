// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "network/slot_pool.h"

#include <fmt/format.h>

#include <condition_variable>
#include <mutex>
#include <optional>
#include <utility>

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
using Clock = std::chrono::steady_clock;

enum class Use {
  kFree,     // nothing of it is on the host, as far as we know
  kForeign,  // something that we did not make has its names
  kMaking,   // on its way to kInUse
  kInUse,
  kRemoving,  // on its way to kFree
};

struct Entry {
  Use use = Use::kFree;
  Clock::time_point rested{};  // until then in quarantine
};

class Pool final : public SlotPool {
 public:
  Pool(AddressPlan plan, const PoolOptions& options, sys::UniqueFd lock)
      : plan_(std::move(plan)),
        quarantine_(options.quarantine),
        lock_(std::move(lock)),
        entries_(kMaxSlots + 1) {}

  Result<Slot> Acquire(const EgressPolicy& policy, uid_t uid_base) override;
  Result<Slot> Adopt(std::uint32_t index) override;
  Result<> Release(std::uint32_t index) override;
  Result<> SetPolicy(std::uint32_t index, const EgressPolicy& policy) override;
  Result<std::vector<std::string>> Sweep() override;
  Result<sys::UniqueFd> Dial(std::uint32_t index, std::uint16_t port,
                             base::Deadline deadline) override;

 private:
  // Marks a slot as kMaking and returns its index. `collision` is what the last try met, if any.
  Result<std::uint32_t> Claim(const std::optional<Error>& collision);
  void Settle(std::uint32_t index, Use use);
  Result<> CheckIndex(std::uint32_t index) const;
  Result<> CheckInUse(std::uint32_t index);

  const AddressPlan plan_;
  const std::chrono::milliseconds quarantine_;
  const sys::UniqueFd lock_;

  // Guards entries_ alone: what touches the host is done outside it, on an entry marked kMaking or
  // kRemoving, which nobody else touches.
  std::mutex mutex_;
  std::condition_variable settled_;
  std::vector<Entry> entries_;  // by index; [0] unused. Above max_slots only for Sweep and Release.
};

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

Result<std::uint32_t> Pool::Claim(const std::optional<Error>& collision) {
  const std::lock_guard lock(mutex_);
  const auto now = Clock::now();
  std::uint32_t best = 0;
  for (std::uint32_t index = 1; index <= plan_.max_slots(); ++index) {
    const Entry& entry = entries_[index];
    if (entry.use != Use::kFree) continue;
    if (best == 0 || entry.rested < entries_[best].rested) best = index;
    if (entry.rested <= now) {
      best = index;
      break;
    }
  }
  if (best != 0) {
    entries_[best].use = Use::kMaking;
    return best;
  }
  if (collision) {
    return std::unexpected(
        Error(*collision)
            .WithRemedy("Nothing else is free. Remove what has that name if it is not needed (a "
                        "daemon that starts "
                        "sweeps up what its predecessor left), or choose another network prefix."));
  }
  return std::unexpected(
      Error(Code::kResourceExhausted,
            fmt::format("acquire a network slot: all {} are in use", plan_.max_slots()))
          .WithRemedy("Stop a sandbox, or configure more network slots."));
}

void Pool::Settle(std::uint32_t index, Use use) {
  {
    const std::lock_guard lock(mutex_);
    Entry& entry = entries_[index];
    if (entry.use == Use::kRemoving) entry.rested = Clock::now() + quarantine_;
    entry.use = use;
  }
  settled_.notify_all();
}

Result<Slot> Pool::Acquire(const EgressPolicy& policy, uid_t uid_base) {
  std::optional<Error> collision;
  for (;;) {
    const std::uint32_t index = TRY(Claim(collision));
    auto slot = MakeSlot(plan_, index, policy, uid_base + index);
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
    settled_.wait(lock, [&] { return entries_[index].use != Use::kRemoving; });
    before = entries_[index].use;
    if (before == Use::kMaking || before == Use::kInUse) {
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
  Use before;
  {
    std::unique_lock lock(mutex_);
    settled_.wait(lock, [&] { return entries_[index].use != Use::kRemoving; });
    before = entries_[index].use;
    // A release that comes late must not take the slot from under its next tenant.
    if (before == Use::kMaking) {
      return base::Fail(Code::kAborted,
                        fmt::format("release network slot {}: it is being made", index));
    }
    entries_[index].use = Use::kRemoving;
  }
  const auto removed = RemoveSlot(plan_, index);
  Settle(index, removed ? Use::kFree : before);
  if (!removed) return std::unexpected(removed.error());
  return {};
}

Result<> Pool::SetPolicy(std::uint32_t index, const EgressPolicy& policy) {
  TRY(CheckInUse(index));
  return ApplyPolicy(plan_, index, policy);
}

Result<std::vector<std::string>> Pool::Sweep() {
  std::vector<std::string> words;
  for (const std::uint32_t index : TRY(FindSlots(plan_))) {
    Use before;
    {
      const std::lock_guard lock(mutex_);
      before = entries_[index].use;
      if (before != Use::kFree && before != Use::kForeign) continue;
      entries_[index].use = Use::kRemoving;
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

Result<sys::UniqueFd> Pool::Dial(std::uint32_t index, std::uint16_t port, base::Deadline deadline) {
  TRY(CheckInUse(index));
  const sys::UniqueFd netns = TRY(sys::OpenNetNs(plan_.NetNsName(index)));
  return DialGuest(netns, port, deadline);
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
