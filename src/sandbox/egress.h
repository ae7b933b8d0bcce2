// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/error.h"
#include "network/slot_pool.h"
#include "sandbox/network_rules.h"
#include "sandbox/open.h"
#include "store/store.h"

// The rules of a sandbox, between its record and the kernel.
namespace tinderbox::sandbox {

// kInvalidArgument for more than the rules may hold, for names without a `deny` of everything else,
// and for an exception that could never be one, since it lies in what nobody may reach.
base::Result<> CheckRules(const NetworkRules& rules);

void PutRules(store::SandboxRecord& record, const NetworkRules& rules);
// kDataLoss where the record holds what PutRules has not put there.
base::Result<NetworkRules> RulesOf(const store::SandboxRecord& record);

// The two that hold them: the kernel's firewall, and the gateway for what is allowed by name.
network::EgressPolicy PolicyOf(const ManagerOptions& options, const NetworkRules& rules);

// Makes `rules` those of a slot whose rules are `before`: tightened first, loosened last. On
// failure the old ones hold.
base::Result<> ChangeSlotRules(const ManagerOptions& options, std::uint32_t slot,
                               const NetworkRules& before, const NetworkRules& rules);
// The certificate authority that its guest has to trust; "" where none of its requests are changed.
base::Result<std::string> AuthorityFor(const ManagerOptions& options, const NetworkRules& rules);
// The gateway's part alone, for a slot whose firewall has the rules already.
base::Result<> ServeAtGateway(const ManagerOptions& options, std::uint32_t slot,
                              const NetworkRules& rules);

}  // namespace tinderbox::sandbox
