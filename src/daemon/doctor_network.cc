// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "daemon/doctor_network.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "daemon/wire.h"

namespace tinderbox::daemon {
namespace {

using api::Check;

constexpr char kNetwork[] = "network";
constexpr char kFirewall[] = "firewall";
constexpr char kConntrack[] = "conntrack";

Check WarningCheck(const std::string& warning) {
  // The first sentence tells what is wrong, the rest what to do.
  const auto end = std::min(warning.find(". "), warning.size());
  const std::string rest = end < warning.size() ? warning.substr(end + 2) : "";
  return {kNetwork, "warn", warning.substr(0, end),
          rest.empty() ? "Give the host that route, if sandboxes shall have one." : rest};
}

}  // namespace

std::vector<Check> JudgeRules(const network::RulesReport& report) {
  std::vector<Check> checks;
  for (const std::string& difference : report.host) {
    checks.push_back(
        {kFirewall, "fail", difference,
         "See the daemon's log for why it cannot rebuild the table, and which other "
         "program changes it: sudo nft monitor. New sandboxes are refused until then."});
  }
  for (const std::string& difference : report.namespaces) {
    checks.push_back(
        {kFirewall, "fail", difference,
         "Restart the daemon: it renews the rules of running sandboxes, which live on."});
  }
  if (!checks.empty()) return checks;
  std::string detail = fmt::format(
      "rules as expected on the host and in {} of the sandboxes' "
      "namespaces",
      report.compared);
  if (report.rebuilds == 0) return {{kFirewall, "ok", std::move(detail), ""}};
  return {
      {kFirewall, "warn",
       fmt::format("{}; something changed the host's table, which was rebuilt {} times, last {}",
                   detail, report.rebuilds, report.last_rebuild),
       "Find out what changes it (a restart of nftables.service, firewalld or Docker does), and "
       "have it spare tables that are not its own."}};
}

Check JudgeConntrack(const network::Conntrack& conntrack, std::uint32_t connections,
                     std::uint32_t sandboxes) {
  const std::string detail =
      fmt::format("{} connections for each sandbox; the host tracks {} of at most {}", connections,
                  conntrack.count, conntrack.max);
  const std::uint64_t wanted =
      network::ConntrackMaxFor(std::max(connections, network::kFewestConnections), sandboxes);
  const std::string remedy = fmt::format(
      "Run: sudo sysctl -w net.netfilter.nf_conntrack_max={} (and keep it in /etc/sysctl.d), then "
      "restart the daemon; or lower `sandboxes` under [limits].",
      wanted);
  if (conntrack.count > network::GuestShare(conntrack.max)) {
    return {kConntrack, "warn", detail + ": the host's table is nearly full", remedy};
  }
  if (std::uint64_t{connections} * sandboxes > network::GuestShare(conntrack.max)) {
    return {kConntrack, "warn",
            fmt::format("{}: {} sandboxes together can fill the host's table", detail, sandboxes),
            remedy};
  }
  return {kConntrack, "ok", detail, ""};
}

std::vector<Check> CheckNetwork(const Config& config, network::SlotPool& slots) {
  const network::PoolOptions options = PoolOptionsOf(config);
  std::vector<Check> checks;
  for (const std::string& warning : network::HostWarnings(options)) {
    checks.push_back(WarningCheck(warning));
  }
  if (checks.empty()) {
    checks.push_back(
        {kNetwork, "ok", fmt::format("links in {}, forwarding on", config.network.cidr), ""});
  }
  const network::RulesReport report = slots.CheckRules();
  for (Check& check : JudgeRules(report)) checks.push_back(std::move(check));
  const auto conntrack = network::ReadConntrack();
  if (conntrack) {
    checks.push_back(JudgeConntrack(*conntrack, report.connections, options.max_slots));
  } else {
    checks.push_back({kConntrack, "fail", conntrack.error().ToString(),
                      "Load the module: sudo modprobe nf_conntrack"});
  }
  return checks;
}

}  // namespace tinderbox::daemon
