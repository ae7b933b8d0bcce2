// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/error.h"
#include "network/slot_pool.h"
#include "sandbox/network_rules.h"
#include "store/store.h"

// The rules of a sandbox, between its record and the kernel.
namespace tinderbox::sandbox {

// kInvalidArgument for more networks than the kernel's rules may hold, and for an exception that
// could never be one, since it lies in what nobody may reach.
base::Result<> CheckRules(const NetworkRules& rules);

void PutRules(store::SandboxRecord& record, const NetworkRules& rules);
// kDataLoss where the record holds what PutRules has not put there.
base::Result<NetworkRules> RulesOf(const store::SandboxRecord& record);
base::Result<network::EgressPolicy> PolicyOf(const store::SandboxRecord& record);

}  // namespace tinderbox::sandbox
