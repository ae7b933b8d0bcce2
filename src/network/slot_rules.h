// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/deadline.h"
#include "network/address_plan.h"
#include "network/rules.h"
#include "network/slot_pool.h"

namespace tinderbox::network {

// Which rules are in force in which namespace, and whether they know the host's addresses as they
// are now. Every call may come from any thread.
class SlotRuleBook {
 public:
  SlotRuleBook(const AddressPlan& plan, SlotFacts facts) : plan_(plan), facts_(std::move(facts)) {}

  // Rules for `policy`, with the host's addresses as they are now known.
  struct Draft {
    std::string rules;
    std::uint64_t version = 0;  // of the host's addresses
  };
  Draft Write(const EgressPolicy& policy) const;

  // Replaces the rules of a slot. If their origin is unknown (an earlier daemon), rules that are
  // right stay. False, besides errors: see Applied.
  base::Result<bool> Apply(std::uint32_t index, const EgressPolicy& policy);
  // Notes that `draft` is in force. False: the host's addresses have changed meanwhile, and CatchUp
  // has something to do.
  bool Applied(std::uint32_t index, const EgressPolicy& policy, const Draft& draft);
  // A slot of an earlier daemon: CatchUp brings its host's addresses up to date.
  void Adopted(std::uint32_t index);
  // The slot is removed.
  void Forget(std::uint32_t index);

  void SetHost(std::vector<sys::Ipv4Prefix> host);
  // Brings every namespace that is behind up to date, one by one, until `stop`. False if one could
  // not be changed (it is logged).
  bool CatchUp(const std::function<bool()>& stop);

  // The differences in the namespaces whose policy is known, and how many were compared.
  std::vector<std::string> Differences(base::Deadline deadline, std::size_t& compared) const;

 private:
  struct Entry {
    std::uint64_t version = 0;           // of the host's addresses; 0: unknown
    std::optional<EgressPolicy> policy;  // none: an earlier daemon's
  };
  struct Behind {
    std::uint32_t index = 0;
    std::uint64_t version = 0;
    std::vector<sys::Ipv4Prefix> host;
  };
  // The first slot above `after` that is behind. It counts as up to date from here on.
  std::optional<Behind> TakeBehind(std::uint32_t after);
  bool Knows(std::uint32_t index) const;
  // How nftables prints `rules`; empty if that cannot be found out.
  std::string Printed(const std::string& rules) const;
  bool IsInForce(std::uint32_t index, const Draft& draft) const;

  const AddressPlan plan_;
  mutable std::mutex mutex_;
  SlotFacts facts_;
  std::uint64_t version_ = 1;
  std::map<std::uint32_t, Entry> entries_;
  mutable std::map<std::string, std::string> printed_;  // by rules
};

}  // namespace tinderbox::network
