// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "network/address_plan.h"
#include "network/slot_pool.h"

// What one slot is on the host: made, looked at and removed. No bookkeeping here; see slot_pool.cc.
namespace tinderbox::network {

// The slot's names; touches nothing.
Slot DescribeSlot(const AddressPlan& plan, std::uint32_t index, uid_t uid);

// Makes namespace, TAP, veth pair and `rules` (SlotRules). On failure nothing is left.
// kAlreadyExists if one of its names is taken; the existing object is not touched.
base::Result<Slot> MakeSlot(const AddressPlan& plan, std::uint32_t index, const std::string& rules,
                            uid_t uid);

// Reads a slot that stands already. kNotFound without its namespace, kFailedPrecondition where the
// TAP or the veth pair is gone.
base::Result<Slot> InspectSlot(const AddressPlan& plan, std::uint32_t index);

// Runs nftables commands inside the namespace, in one transaction. kNotFound without its namespace.
base::Result<> RunInSlot(const AddressPlan& plan, std::uint32_t index, const std::string& commands);

// The table inside the namespace as nftables prints it; empty if there is none.
base::Result<std::string> ListSlotTable(const AddressPlan& plan, std::uint32_t index);

// Removes whatever of the slot is there and says in words what that was. A link that has the slot's
// name but is no veth is not ours: it stays, and the words say so.
base::Result<std::vector<std::string>> RemoveSlot(const AddressPlan& plan, std::uint32_t index);

// Every index that a name on this host stands for, sorted, also above max_slots.
base::Result<std::vector<std::uint32_t>> FindSlots(const AddressPlan& plan);

}  // namespace tinderbox::network
