// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "base/error.h"
#include "network/address_plan.h"
#include "sys/fd.h"

// Tables of nftables as they are against what they should be.
namespace tinderbox::network {

// A table of family inet in the calling thread's network namespace, as nftables prints it; empty if
// there is none.
base::Result<std::string> ListTable(const std::string& table);

// How nftables prints `table` once `rules` (which make it) are in force. Found out in a network
// namespace made for that. Costs some milliseconds.
base::Result<std::string> PrintedTable(const std::string& table, const std::string& rules);

// The first line in which `actual` differs from `expected`, for people: "it lacks '…'".
std::string FirstDifference(const std::string& expected, const std::string& actual);

// Keeps the host's table as it should be. Everything else on the host may change nftables, too:
// `nft flush ruleset`, a restart of the firewall's service, an administrator.
class TableGuard {
 public:
  struct Record {
    std::uint64_t rebuilds = 0;
    std::string last;  // when and why the table was last rebuilt; empty: never
  };

  // Puts the table in place. Works on the network namespace of the calling thread; everything else
  // must be called in the same one.
  static base::Result<std::unique_ptr<TableGuard>> Make(const AddressPlan& plan);

  // Compares the table with what it should be and rebuilds it, in one transaction, if it differs.
  // Costs a system call or two if no rule of the host has changed since the last time. Any thread.
  base::Result<> Ensure();
  // Empty: the table is as it should be. Otherwise what differs. Changes nothing.
  base::Result<std::string> Difference() const;
  Record record() const;

 private:
  TableGuard(std::string table, std::string rules, std::string expected, sys::UniqueFd netfilter);
  base::Result<> Rebuild(const std::string& why);  // under mutex_

  const std::string table_;
  const std::string rules_;
  const std::string expected_;
  const sys::UniqueFd netfilter_;
  mutable std::mutex mutex_;               // guards what follows, and the use of netfilter_
  std::optional<std::uint32_t> verified_;  // the generation in which the table was right
  Record record_;
};

}  // namespace tinderbox::network
