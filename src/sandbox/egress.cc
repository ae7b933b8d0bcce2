// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "sandbox/egress.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>
#include <chrono>
#include <iterator>
#include <utility>

#include "base/log.h"
#include "network/rules.h"
#include "sandbox/agent_link.h"
#include "sandbox/context.h"
#include "sandbox/event_record.h"
#include "sandbox/lost.h"
#include "sandbox/manager_impl.h"
#include "sandbox/stage.h"

namespace tinderbox::sandbox {

using base::Code;
using base::Error;
using base::Fail;
using base::Result;
using sys::Ipv4Prefix;

namespace {

// For the guest to take a certificate authority.
constexpr std::chrono::seconds kTrust{10};
constexpr std::size_t kMostNameServers = 10;
constexpr std::size_t kMostNames = 256;

store::EventRecord RulesEvent(const Sandbox& sandbox, const store::SandboxRecord& record) {
  return EventOf(sandbox, record,
                 {.kind = EventKind::kUpdated, .detail = "its network rules were changed"});
}

bool DeniesAll(const NetworkRules& rules) {
  return !rules.allow_internet || std::ranges::any_of(rules.deny, [](const Ipv4Prefix& network) {
    return network.length == 0;
  });
}

std::unexpected<Error> NeverReachable(std::string_view what, const std::string& which,
                                      const std::string& network) {
  return std::unexpected(Error(Code::kInvalidArgument,
                               fmt::format("{} '{}' cannot be allowed: no sandbox ever reaches {}",
                                           what, which, network))
                             .WithRemedy("Allow public addresses only."));
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
  const auto most = [](std::size_t count, std::size_t bound, std::string_view what) -> Result<> {
    if (count <= bound) return {};
    return std::unexpected(
        Error(Code::kInvalidArgument, fmt::format("{} {} are too many", count, what))
            .WithRemedy(fmt::format("Give at most {} in all.", bound)));
  };
  TRY(most(rules.deny.size() + rules.allow.size(), network::kMostPolicyNetworks,
           "denied and allowed networks"));
  TRY(most(rules.names.size(), kMostNames, "allowed names"));
  TRY(most(rules.dns ? rules.dns->size() : 0, kMostNameServers, "name servers"));
  if (!rules.names.empty() && !DeniesAll(rules)) {
    return std::unexpected(
        Error(Code::kInvalidArgument,
              fmt::format("'{}' can only be allowed where everything else is denied",
                          rules.names.front().text()))
            .WithRemedy("Deny '0.0.0.0/0' as well, or leave names out."));
  }
  for (const std::string& text : network::DeniedNetworks()) {
    const Ipv4Prefix never = TRY(Ipv4Prefix::Parse(text));
    for (const Ipv4Prefix& allowed : rules.allow) {
      if (allowed.length < never.length || !never.Contains(allowed.address)) continue;
      return NeverReachable("network", NetworkText(allowed), text);
    }
    const auto proxy = rules.proxy ? sys::Ipv4::Parse(rules.proxy->host) : sys::Ipv4::Parse("");
    if (proxy && never.Contains(*proxy)) return NeverReachable("proxy", rules.proxy->host, text);
    for (const sys::Ipv4 server : rules.dns.value_or(std::vector<sys::Ipv4>{})) {
      if (never.Contains(server)) return NeverReachable("name server", server.ToString(), text);
    }
  }
  return {};
}

void PutRules(store::SandboxRecord& record, const NetworkRules& rules) {
  record.allow_internet = rules.allow_internet;
  record.allow_out = NetworkTexts(rules.allow);
  record.deny_out = NetworkTexts(rules.deny);
  record.allow_names = NameTexts(rules.names);
  record.dns_servers.reset();
  if (rules.dns) record.dns_servers = AddressTexts(*rules.dns);
  record.egress_proxy.reset();
  if (rules.proxy) {
    record.egress_proxy = {{.address = fmt::format("{}:{}", rules.proxy->host, rules.proxy->port),
                            .username = rules.proxy->username,
                            .password = rules.proxy->password}};
  }
  record.transforms.clear();
  if (!rules.transforms.empty()) {
    record.transforms = boost::json::serialize(egress::TransformsToJson(rules.transforms));
  }
}

Result<NetworkRules> RulesOf(const store::SandboxRecord& record) {
  const auto context = fmt::format("read the network rules of sandbox '{}'", record.id);
  const auto damaged = [&](const Error& error) {
    return Fail(Code::kDataLoss, fmt::format("{}: {}", context, error.message()));
  };
  NetworkRules rules{.allow_internet = record.allow_internet};
  rules.deny = TRY(NetworksOf(record, record.deny_out));
  rules.allow = TRY(NetworksOf(record, record.allow_out));
  for (const std::string& text : record.allow_names) {
    auto name = egress::DomainPattern::Parse(text);
    if (!name) return damaged(name.error());
    rules.names.push_back(*std::move(name));
  }
  if (!record.transforms.empty()) {
    boost::system::error_code error;
    const auto json = boost::json::parse(record.transforms, error);
    if (error || !json.is_object()) {
      return damaged(Error(Code::kDataLoss, "its transforms are no JSON object"));
    }
    auto transforms = egress::TransformsFromJson(json.as_object());
    if (!transforms) return damaged(transforms.error());
    rules.transforms = *std::move(transforms);
  }
  if (record.egress_proxy) {
    auto proxy = ParseProxyAddress(record.egress_proxy->address);
    if (!proxy) return damaged(proxy.error());
    proxy->username = record.egress_proxy->username;
    proxy->password = record.egress_proxy->password;
    rules.proxy = *std::move(proxy);
  }
  if (!record.dns_servers) return rules;
  auto& servers = rules.dns.emplace();
  for (const std::string& text : *record.dns_servers) {
    const auto server = sys::Ipv4::Parse(text);
    if (!server) return damaged(server.error());
    servers.push_back(*server);
  }
  return rules;
}

network::EgressPolicy PolicyOf(const ManagerOptions& options, const NetworkRules& rules) {
  network::EgressPolicy policy{
      .allow_internet = rules.allow_internet, .deny = rules.deny, .allow = rules.allow};
  using Redirect = network::EgressPolicy::Redirect;
  if (!rules.by_gateway()) return policy;
  policy.redirect = rules.transforms.empty() ? Redirect::kDenied : Redirect::kAll;
  if (rules.proxy) {
    // All goes to the gateway, which has the rules too; nothing finds a way past the proxy.
    policy = {.allow_internet = false, .redirect = Redirect::kEveryPort};
  } else if (rules.names.empty()) {
    return policy;
  }
  if (rules.dns) {
    policy.dns = *rules.dns;
    return policy;
  }
  for (const std::string& text : options.dns) {
    if (policy.dns.size() == network::kMostPolicyDns) break;
    if (const auto server = sys::Ipv4::Parse(text)) policy.dns.push_back(*server);
  }
  return policy;
}

namespace {

egress::Rules GatewayRules(const NetworkRules& rules) {
  return {.names = rules.names,
          .allow_internet = rules.allow_internet,
          .deny = rules.deny,
          .allow = rules.allow,
          .transforms = rules.transforms,
          .proxy = rules.proxy};
}

// What both allow. What is done to requests is of the new ones: no connection goes on by the old.
NetworkRules Common(const NetworkRules& a, const NetworkRules& b) {
  NetworkRules common{.allow_internet = a.allow_internet && b.allow_internet};
  common.deny = a.deny;
  common.deny.insert(common.deny.end(), b.deny.begin(), b.deny.end());
  std::ranges::copy_if(a.allow, std::back_inserter(common.allow), [&](const Ipv4Prefix& network) {
    return std::ranges::find(b.allow, network) != b.allow.end();
  });
  common.transforms = b.transforms;
  common.proxy = b.proxy;
  std::ranges::copy_if(a.names, std::back_inserter(common.names), [&](const auto& name) {
    return std::ranges::find(b.names, name) != b.names.end();
  });
  return common;
}

}  // namespace

Result<> ServeAtGateway(const ManagerOptions& options, std::uint32_t slot,
                        const NetworkRules& rules) {
  if (!rules.by_gateway()) {
    options.gateway.Forget(slot);
    return {};
  }
  sys::UniqueFd netns = TRY(options.slots.Namespace(slot));
  return options.gateway.Serve(slot, std::move(netns), GatewayRules(rules));
}

Result<std::string> AuthorityFor(const ManagerOptions& options, const NetworkRules& rules) {
  if (rules.transforms.empty()) return std::string();
  return options.gateway.Certificate();
}

Result<> ChangeSlotRules(const ManagerOptions& options, std::uint32_t slot,
                         const NetworkRules& before, const NetworkRules& rules) {
  TRY(ServeAtGateway(options, slot, Common(before, rules)));
  Result<> changed = options.slots.SetPolicy(slot, PolicyOf(options, rules));
  if (changed) changed = ServeAtGateway(options, slot, rules);
  if (changed) return {};
  static_cast<void>(options.slots.SetPolicy(slot, PolicyOf(options, before)));
  static_cast<void>(ServeAtGateway(options, slot, before));
  return changed;
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
  // First: what the guest does not trust it cannot use, which harms nobody.
  if (state == State::kRunning) TRY(TrustAuthority(before, rules));
  store::SandboxRecord record = before;
  PutRules(record, rules);
  // A daemon that dies between record and kernel leaves a mark for the next.
  record.network_pending = state == State::kRunning;
  // Those of a running one are told when they are in force.
  std::optional<store::EventRecord> event;
  if (state == State::kPaused) event = RulesEvent(sandbox, record);
  TRY(sandbox.Update(options_.store, record, event));
  KeepRecordBeside(options_.store, options_.library, sandbox.id(), state == State::kPaused);
  AtStage(options_, "network.recorded");
  if (state == State::kRunning) {
    if (auto applied = ApplyRules(sandbox, TRY(RulesOf(before))); !applied) {
      static_cast<void>(sandbox.Update(options_.store, before));
      return std::unexpected(std::move(applied).error().WithContext(
          fmt::format("change the network rules of sandbox '{}', which keeps its old ones", id)));
    }
  }
  AtStage(options_, "network.applied");
  base::LogInfo("network rules changed", {{"sandbox", sandbox.id()}});
  return {};
}

Result<> ManagerImpl::TrustAuthority(const store::SandboxRecord& record,
                                     const NetworkRules& rules) {
  const std::string authority = TRY(AuthorityFor(options_, rules));
  if (authority.empty()) return {};
  const AgentLink agent(options_.slots, record.slot);
  return agent.Trust(record.access_token, authority, base::Deadline::After(kTrust));
}

// Of a sandbox that outlived its daemon, and with that its gateway.
Result<> ManagerImpl::TakeUpRules(Sandbox& sandbox) {
  const store::SandboxRecord record = sandbox.record();
  if (record.network_pending) return ApplyRules(sandbox, {});
  const NetworkRules rules = TRY(RulesOf(record));
  // An earlier release, or an administrator, may have left other rules there.
  TRY(options_.slots.SetPolicy(record.slot, PolicyOf(options_, rules)));
  if (!rules.by_gateway()) return {};
  return ServeAtGateway(options_, record.slot, rules);
}

// Makes the rules in force those of the record.
Result<> ManagerImpl::ApplyRules(Sandbox& sandbox, const NetworkRules& before) {
  store::SandboxRecord record = sandbox.record();
  const NetworkRules rules = TRY(RulesOf(record));
  TRY(ChangeSlotRules(options_, record.slot, before, rules));
  record.network_pending = false;
  if (auto updated = sandbox.Update(options_.store, record, RulesEvent(sandbox, record));
      !updated) {
    // They hold; the next start of the daemon sets them once more, to the same effect.
    base::LogWarning("cannot record that network rules are in force",
                     {{"sandbox", record.id}, {"error", updated.error().ToString()}});
  }
  return {};
}

}  // namespace tinderbox::sandbox
