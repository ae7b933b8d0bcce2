// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "network/slot_rules.h"

#include <fmt/format.h>

#include <utility>

#include "base/log.h"
#include "network/slot_setup.h"
#include "network/table_guard.h"

namespace tinderbox::network {

using base::Result;

namespace {

// Policies whose printed rules are kept; most sandboxes have the same.
constexpr std::size_t kMostPrinted = 32;

}  // namespace

SlotRuleBook::Draft SlotRuleBook::Write(const EgressPolicy& policy) const {
  const std::lock_guard lock(mutex_);
  return {SlotRules(plan_, policy, facts_), version_};
}

std::string SlotRuleBook::Printed(const std::string& rules) const {
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = printed_.find(rules); found != printed_.end()) return found->second;
  }
  const auto printed = PrintedTable(kInnerTable, rules);
  if (!printed) return "";
  const std::lock_guard lock(mutex_);
  if (printed_.size() >= kMostPrinted) printed_.clear();
  printed_[rules] = *printed;
  return *printed;
}

bool SlotRuleBook::IsInForce(std::uint32_t index, const Draft& draft) const {
  const std::string printed = Printed(draft.rules);
  const auto actual = ListSlotTable(plan_, index);
  return !printed.empty() && actual && printed == *actual;
}

Result<bool> SlotRuleBook::Apply(std::uint32_t index, const EgressPolicy& policy) {
  const Draft draft = Write(policy);
  bool unknown = false;
  {
    const std::lock_guard lock(mutex_);
    const auto found = entries_.find(index);
    unknown = found != entries_.end() && !found->second.policy;
  }
  // To replace rules costs more than to look, and forgets how many connections were counted.
  if (!unknown || !IsInForce(index, draft)) {
    TRY(RunInSlot(plan_, index, RemoveTable(kInnerTable) + draft.rules));
  }
  return Applied(index, policy, draft);
}

bool SlotRuleBook::Applied(std::uint32_t index, const EgressPolicy& policy, const Draft& draft) {
  const std::lock_guard lock(mutex_);
  entries_[index] = {.version = draft.version, .policy = policy};
  return draft.version == version_;
}

void SlotRuleBook::Adopted(std::uint32_t index) {
  const std::lock_guard lock(mutex_);
  entries_[index] = {};
}

void SlotRuleBook::Forget(std::uint32_t index) {
  const std::lock_guard lock(mutex_);
  entries_.erase(index);
}

void SlotRuleBook::SetHost(std::vector<sys::Ipv4Prefix> host) {
  const std::lock_guard lock(mutex_);
  if (host == facts_.host) return;
  facts_.host = std::move(host);
  ++version_;
}

std::optional<SlotRuleBook::Behind> SlotRuleBook::TakeBehind(std::uint32_t after) {
  const std::lock_guard lock(mutex_);
  for (auto entry = entries_.upper_bound(after); entry != entries_.end(); ++entry) {
    if (entry->second.version == version_) continue;
    entry->second.version = version_;
    return Behind{entry->first, version_, facts_.host};
  }
  return std::nullopt;
}

bool SlotRuleBook::CatchUp(const std::function<bool()>& stop) {
  std::size_t failed = 0;
  std::optional<base::Error> failure;
  std::uint32_t after = 0;
  while (!stop()) {
    const auto behind = TakeBehind(after);
    if (!behind) break;
    after = behind->index;
    const auto changed = RunInSlot(plan_, behind->index, ReplaceHostPrefixes(behind->host));
    if (changed) continue;
    const std::lock_guard lock(mutex_);
    const auto entry = entries_.find(behind->index);
    if (entry == entries_.end()) continue;  // removed meanwhile
    entry->second.version = 0;
    ++failed;
    failure = changed.error();
  }
  if (!failure) return true;
  base::LogWarning("network: sandboxes' rules lack addresses of the host; trying again",
                   {{"sandboxes", failed}, {"error", failure->ToString()}});
  return false;
}

bool SlotRuleBook::Knows(std::uint32_t index) const {
  const std::lock_guard lock(mutex_);
  return entries_.contains(index);
}

std::vector<std::string> SlotRuleBook::Differences(base::Deadline deadline,
                                                   std::size_t& compared) const {
  std::map<std::uint32_t, Entry> entries;
  {
    const std::lock_guard lock(mutex_);
    entries = entries_;
  }
  std::vector<std::string> differences;
  for (const auto& [index, entry] : entries) {
    if (!entry.policy) continue;
    if (deadline.passed()) break;
    const Draft draft = Write(*entry.policy);
    // Behind: CatchUp will see to it.
    if (entry.version != draft.version) continue;
    const std::string expected = Printed(draft.rules);
    const auto actual = ListSlotTable(plan_, index);
    ++compared;
    if (actual && *actual == expected) continue;
    if (!actual && !Knows(index)) continue;  // removed meanwhile
    differences.push_back(
        fmt::format("Network namespace '{}': {}", plan_.NetNsName(index),
                    actual ? "nftables table 'tinderbox': " + FirstDifference(expected, *actual)
                           : actual.error().ToString()));
  }
  return differences;
}

}  // namespace tinderbox::network
