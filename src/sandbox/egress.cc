// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "sandbox/egress.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "network/rules.h"
#include "sandbox/context.h"
#include "sandbox/manager_impl.h"

namespace tinderbox::sandbox {

using base::Code;
using base::Error;
using base::Fail;
using base::Result;
using sys::Ipv4Prefix;

namespace {

std::vector<std::string> TextsOf(const Networks& networks) {
  std::vector<std::string> texts;
  for (const Ipv4Prefix& network : networks) texts.push_back(NetworkText(network));
  return texts;
}

Result<Networks> NetworksOf(const store::SandboxRecord& record,
                            const std::vector<std::string>& texts) {
  Networks networks;
  for (const std::string& text : texts) {
    const auto network = ParseNetwork(text);
    if (!network) {
      return Fail(Code::kDataLoss, fmt::format("read the network rules of sandbox '{}': {}",
                                               record.id, network.error().message()));
    }
    networks.push_back(*network);
  }
  return networks;
}

}  // namespace

Result<> CheckRules(const NetworkRules& rules) {
  if (rules.deny.size() + rules.allow.size() > network::kMostPolicyNetworks) {
    return std::unexpected(
        Error(Code::kInvalidArgument, fmt::format("{} denied and allowed networks are too many",
                                                  rules.deny.size() + rules.allow.size()))
            .WithRemedy(fmt::format("Give at most {} in all.", network::kMostPolicyNetworks)));
  }
  for (const std::string& text : network::DeniedNetworks()) {
    const Ipv4Prefix never = TRY(Ipv4Prefix::Parse(text));
    for (const Ipv4Prefix& allowed : rules.allow) {
      if (allowed.length < never.length || !never.Contains(allowed.address)) continue;
      return std::unexpected(
          Error(Code::kInvalidArgument,
                fmt::format("network '{}' cannot be allowed: no sandbox ever reaches {}",
                            NetworkText(allowed), text))
              .WithRemedy("Allow public addresses only."));
    }
  }
  return {};
}

void PutRules(store::SandboxRecord& record, const NetworkRules& rules) {
  record.allow_internet = rules.allow_internet;
  record.allow_out = TextsOf(rules.allow);
  record.deny_out = TextsOf(rules.deny);
}

Result<NetworkRules> RulesOf(const store::SandboxRecord& record) {
  NetworkRules rules{.allow_internet = record.allow_internet};
  rules.deny = TRY(NetworksOf(record, record.deny_out));
  rules.allow = TRY(NetworksOf(record, record.allow_out));
  return rules;
}

Result<network::EgressPolicy> PolicyOf(const store::SandboxRecord& record) {
  NetworkRules rules = TRY(RulesOf(record));
  return network::EgressPolicy{.allow_internet = rules.allow_internet,
                               .deny = std::move(rules.deny),
                               .allow = std::move(rules.allow)};
}

Result<> ManagerImpl::SetNetwork(std::string_view id, const NetworkRules& rules) {
  TRY(CheckRules(rules));
  const Locked locked = TRY(Lock(id));
  Sandbox& sandbox = *locked.sandbox;
  const State state = sandbox.state();
  if (state == State::kStopping) return NoSuchSandbox(id);
  if (state != State::kRunning && state != State::kPaused) {
    return Fail(Code::kFailedPrecondition,
                fmt::format("sandbox '{}' is {}, not running or paused", id, StateName(state)));
  }
  const store::SandboxRecord before = sandbox.record();
  store::SandboxRecord record = before;
  PutRules(record, rules);
  // A daemon that dies between record and kernel leaves a mark for the next.
  record.network_pending = state == State::kRunning;
  TRY(sandbox.Update(options_.store, record));
  if (state == State::kRunning) {
    if (auto applied = ApplyRules(sandbox); !applied) {
      static_cast<void>(sandbox.Update(options_.store, before));
      return std::unexpected(std::move(applied).error().WithContext(
          fmt::format("change the network rules of sandbox '{}', which keeps its old ones", id)));
    }
  }
  base::LogInfo("network rules changed", {{"sandbox", sandbox.id()}});
  return {};
}

// Makes the kernel's rules those of the record.
Result<> ManagerImpl::ApplyRules(Sandbox& sandbox) {
  store::SandboxRecord record = sandbox.record();
  const network::EgressPolicy policy = TRY(PolicyOf(record));
  TRY(options_.slots.SetPolicy(record.slot, policy));
  record.network_pending = false;
  if (auto updated = sandbox.Update(options_.store, record); !updated) {
    // They hold; the next start of the daemon sets them once more, to the same effect.
    base::LogWarning("cannot record that network rules are in force",
                     {{"sandbox", record.id}, {"error", updated.error().ToString()}});
  }
  return {};
}

}  // namespace tinderbox::sandbox
