// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "network/table_guard.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <set>
#include <string_view>
#include <utility>

#include "base/log.h"
#include "base/split.h"
#include "network/nftables.h"
#include "network/rules.h"
#include "sys/netlink_events.h"
#include "sys/netns.h"

namespace tinderbox::network {
namespace {

using base::Result;

constexpr char kRemedy[] =
    "See that no other program keeps a table of that name (`nft list tables`), or choose another "
    "`prefix` under [network] in the configuration.";

std::string Now() { return fmt::format("{:%FT%TZ}", fmt::gmtime(std::time(nullptr))); }

}  // namespace

Result<std::string> ListTable(const std::string& table) {
  auto listed = RunNft(fmt::format("list table inet {}\n", table));
  if (listed) return listed;
  // Why it failed libnftables says in words only.
  const std::string tables = TRY(RunNft("list tables inet\n"));
  if (!tables.contains(fmt::format("table inet {}\n", table))) return std::string();
  return listed;
}

Result<std::string> PrintedTable(const std::string& table, const std::string& rules) {
  const sys::UniqueFd netns = TRY(sys::NewNetNs());
  std::string printed;
  TRY(sys::RunInNetNs(netns, [&]() -> Result<> {
    TRY(RunNft(rules));
    printed = TRY(ListTable(table));
    return {};
  }));
  return printed;
}

std::string FirstDifference(const std::string& expected, const std::string& actual) {
  if (actual.empty()) return "it is missing";
  const auto lines = [](const std::string& text) {
    std::vector<std::string_view> found;
    for (std::string_view line : base::Split(text, '\n')) {
      line.remove_prefix(std::min(line.find_first_not_of("\t "), line.size()));
      if (!line.empty()) found.push_back(line);
    }
    return found;
  };
  const auto wanted = lines(expected), there = lines(actual);
  const auto missing_from = [](const auto& all, std::string_view line) {
    return std::ranges::find(all, line) == all.end();
  };
  for (const std::string_view line : wanted) {
    if (missing_from(there, line)) return fmt::format("it lacks '{}'", line);
  }
  for (const std::string_view line : there) {
    if (missing_from(wanted, line)) return fmt::format("it has '{}' in addition", line);
  }
  return "its rules are in another order";
}

TableGuard::TableGuard(std::string table, std::string rules, std::string expected,
                       sys::UniqueFd netfilter)
    : table_(std::move(table)),
      rules_(std::move(rules)),
      expected_(std::move(expected)),
      netfilter_(std::move(netfilter)) {}

Result<std::unique_ptr<TableGuard>> TableGuard::Make(const AddressPlan& plan) {
  const std::string table = plan.HostTable();
  const std::string rules = HostRules(plan);
  const std::string what = fmt::format("make nftables table '{}'", table);
  TRY_CTX(RunNft(RemoveTable(table) + rules), what);
  std::string expected = TRY_CTX(PrintedTable(table, rules), what);
  sys::UniqueFd netfilter = TRY_CTX(sys::OpenNetfilter(), what);
  return std::unique_ptr<TableGuard>(
      new TableGuard(table, rules, std::move(expected), std::move(netfilter)));
}

Result<> TableGuard::Rebuild(const std::string& why) {
  auto rebuilt = RunNft(RemoveTable(table_) + rules_);
  if (!rebuilt) {
    return std::unexpected(std::move(rebuilt)
                               .error()
                               .WithContext(fmt::format("rebuild nftables table '{}'", table_))
                               .WithRemedy(kRemedy));
  }
  ++record_.rebuilds;
  record_.last = fmt::format("{}: {}", Now(), why);
  base::LogWarning("network: something changed the host's nftables table; it was rebuilt",
                   {{"table", table_}, {"why", why}, {"rebuilds", record_.rebuilds}});
  return {};
}

Result<> TableGuard::Ensure() {
  constexpr int kMostTries = 3;
  const std::lock_guard lock(mutex_);
  for (int tries = 0; tries <= kMostTries; ++tries) {
    // Read first: a change that comes after it shows as another generation next time.
    const std::uint32_t generation = TRY(sys::NftGeneration(netfilter_));
    if (generation == verified_) return {};
    verified_.reset();
    const std::string actual = TRY(ListTable(table_));
    if (actual == expected_) {
      verified_ = generation;
      return {};
    }
    if (tries < kMostTries) TRY(Rebuild(FirstDifference(expected_, actual)));
  }
  return std::unexpected(base::Error(base::Code::kUnavailable,
                                     fmt::format("rebuild nftables table '{}': something else "
                                                 "changes it all the time",
                                                 table_))
                             .WithRemedy(kRemedy));
}

Result<std::string> TableGuard::Difference() const {
  const std::string actual = TRY(ListTable(table_));
  return actual == expected_ ? std::string() : FirstDifference(expected_, actual);
}

TableGuard::Record TableGuard::record() const {
  const std::lock_guard lock(mutex_);
  return record_;
}

}  // namespace tinderbox::network
