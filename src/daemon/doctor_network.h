// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "api/host_view.h"
#include "daemon/config.h"
#include "network/conntrack.h"
#include "network/slot_pool.h"

// What `doctor` says about the network.
namespace tinderbox::daemon {

// Forwarding, routes and other firewalls; the rules in force against those that should be; the size
// of connection tracking. Blocks for about a second; changes nothing.
std::vector<api::Check> CheckNetwork(const Config& config, network::SlotPool& slots);

// The parts that only judge.
std::vector<api::Check> JudgeRules(const network::RulesReport& report);
// `sandboxes` of `connections` each against the host's table.
api::Check JudgeConntrack(const network::Conntrack& conntrack, std::uint32_t connections,
                          std::uint32_t sandboxes);

}  // namespace tinderbox::daemon
