// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// The pool's two threads: one makes spare slots and removes released ones, one watches the host.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/log.h"
#include "network/host.h"
#include "network/slot_pool_impl.h"
#include "network/slot_setup.h"

namespace tinderbox::network {

using base::Code;
using base::Result;
using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

namespace {

// The pool's own work starts this long after the last Acquire: both contend for the kernel's one
// lock on network devices.
constexpr milliseconds kCalm{100};
// After a spare slot could not be made.
constexpr milliseconds kRetryAfter{5000};
// What CheckRules may take.
constexpr milliseconds kCheckTime{1000};

}  // namespace

Result<> Pool::Watch() {
  watch_ = TRY(HostWatch::Start(
      plan_, {.addresses = [this](const HostWatch& watch) { return DenyHostPrefixes(watch); },
              .table = [this](const HostWatch&) { return KeepTable(); }}));
  // After the watch has begun, so that no change falls in between; before the first slot is made.
  TRY(table_->Ensure());
  return ReadHostPrefixes();
}

Result<> Pool::ReadHostPrefixes() {
  rules_.SetHost(TRY_CTX(HostPrefixes(plan_), "read the host's addresses"));
  return {};
}

bool Pool::DenyHostPrefixes(const HostWatch& watch) {
  const auto read = ReadHostPrefixes();
  if (!read) {
    base::LogError("network: sandboxes may reach new addresses of the host; trying again",
                   {{"error", read.error().ToString()}});
    return false;
  }
  return rules_.CatchUp([&watch] { return watch.stopping(); });
}

bool Pool::KeepTable() {
  const auto kept = table_->Ensure();
  if (kept) return true;
  base::LogError("network: the host's nftables table is not as it should be; trying again",
                 {{"error", kept.error().ToString()}, {"remedy", kept.error().remedy()}});
  return false;
}

RulesReport Pool::CheckRules() {
  RulesReport report;
  const auto difference = table_->Difference();
  if (!difference) {
    report.host.push_back(difference.error().ToString());
  } else if (!difference->empty()) {
    report.host.push_back(fmt::format("nftables table '{}': {}", plan_.HostTable(), *difference));
  }
  report.namespaces = rules_.Differences(base::Deadline::After(kCheckTime), report.compared);
  const TableGuard::Record record = table_->record();
  report.rebuilds = record.rebuilds;
  report.last_rebuild = record.last;
  report.connections = connections_;
  return report;
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
  const auto removed = Remove(index);
  if (!removed) {
    base::LogWarning("network: a released slot stays for now",
                     {{"slot", index}, {"error", removed.error().ToString()}});
  }
  Settle(index, removed ? Use::kFree : Use::kLeft);
}

void Pool::MakeReady(std::uint32_t index) {
  const auto slot = Make(index, {});
  const bool taken = !slot && slot.error().code() == Code::kAlreadyExists;
  if (!slot && !taken) {
    base::LogWarning("network: cannot make a spare slot", {{"error", slot.error().ToString()}});
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

}  // namespace tinderbox::network
