// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "api/sandbox_json.h"

#include <fmt/format.h>

#include <boost/json.hpp>
#include <ctime>
#include <utility>

#include "api/text.h"
#include "schema/envd_version.h"

namespace tinderbox::api {
namespace {

using sandbox::State;

// What a sandbox without a timeout shows as its end: clients need some date.
constexpr std::int64_t kNoEndMs = 253402300799000;  // the end of the year 9999

// Instead of "running".
constexpr std::string_view kNoSpace = "no-space";

void AddCommon(boost::json::object& out, const sandbox::SandboxInfo& info) {
  out["templateID"] = info.template_id;
  out["sandboxID"] = info.id;
  out["clientID"] = kClientId;
  out["envdVersion"] = schema::kEnvdVersion;
  if (!info.template_name.empty()) out["alias"] = info.template_name;
}

boost::json::object MetadataJson(const sandbox::SandboxInfo& info) {
  boost::json::object metadata;
  for (const auto& [key, value] : info.metadata) metadata[key] = value;
  return metadata;
}

void AddEntry(boost::json::object& out, const sandbox::SandboxInfo& info) {
  AddCommon(out, info);
  out["startedAt"] = Rfc3339(info.started_at_ms);
  out["endAt"] = Rfc3339(info.end_at_ms == 0 ? kNoEndMs : info.end_at_ms);
  out["cpuCount"] = info.cpus;
  out["memoryMB"] = info.memory_mib;
  out["diskSizeMB"] = info.disk_mib;
  out["metadata"] = MetadataJson(info);
  if (info.agent_silent_at_pause) out["envdUnresponsiveAtPause"] = true;
  if (!info.volume_mounts.empty()) {
    boost::json::array mounts;
    for (const auto& [path, name] : info.volume_mounts) {
      mounts.push_back(boost::json::object{{"name", name}, {"path", path}});
    }
    out["volumeMounts"] = std::move(mounts);
  }
}

// What was asked for; {} where that is nothing.
boost::json::object NetworkJson(const sandbox::SandboxInfo& info) {
  boost::json::object network;
  const auto add = [&network](const char* name, const std::vector<std::string>& texts) {
    network[name] = boost::json::array(texts.begin(), texts.end());
  };
  const sandbox::NetworkRules& rules = info.network;
  std::vector<std::string> allowed = sandbox::NetworkTexts(rules.allow);
  for (std::string& name : sandbox::NameTexts(rules.names)) allowed.push_back(std::move(name));
  if (!allowed.empty()) add("allowOut", allowed);
  if (!rules.deny.empty()) add("denyOut", sandbox::NetworkTexts(rules.deny));
  if (rules.dns) add("dnsServers", sandbox::AddressTexts(*rules.dns));
  if (!info.ports.traffic_token.empty()) network["allowPublicTraffic"] = false;
  if (!info.ports.mask_host.empty()) network["maskRequestHost"] = info.ports.mask_host;
  if (!info.ports.https_ports.empty()) {
    network["httpsPorts"] =
        boost::json::array(info.ports.https_ports.begin(), info.ports.https_ports.end());
  }
  if (rules.proxy) {
    boost::json::object proxy{
        {"address", fmt::format("{}:{}", rules.proxy->host, rules.proxy->port)}};
    if (!rules.proxy->username.empty()) proxy["username"] = rules.proxy->username;
    network["egressProxy"] = std::move(proxy);
  }
  if (!rules.transforms.empty()) network["rules"] = egress::TransformsToJson(rules.transforms);
  return network;
}

boost::json::object Lifecycle(const sandbox::SandboxInfo& info) {
  const bool pause = info.on_timeout == sandbox::TimeoutAction::kPause;
  return {{"onTimeout", pause ? "pause" : "kill"}, {"autoResume", info.auto_resume}};
}

}  // namespace

std::string Rfc3339(std::int64_t ms) {
  const std::time_t seconds = static_cast<std::time_t>(ms / 1000);
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z", utc.tm_year + 1900,
                     utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec, ms % 1000);
}

std::string_view E2bState(State state) {
  switch (state) {
    case State::kRunning:
    case State::kPausing:
    case State::kSnapshotting: return "running";
    case State::kPaused:
    case State::kResuming: return "paused";
    case State::kCreating:
    case State::kStopping:
    case State::kDead:
    case State::kFailed: return "";
  }
  return "";
}

boost::json::object SandboxJson(const sandbox::SandboxInfo& info, const std::string& domain) {
  boost::json::object out;
  AddCommon(out, info);
  out["envdAccessToken"] = info.access_token;
  const std::string& token = info.ports.traffic_token;
  out["trafficAccessToken"] =
      token.empty() ? boost::json::value(nullptr) : boost::json::value(token);
  out["domain"] = domain.empty() ? boost::json::value(nullptr) : boost::json::value(domain);
  return out;
}

void AddTimings(boost::json::object& out, const sandbox::SandboxInfo& info) {
  if (!info.started_by.empty()) out["startedBy"] = info.started_by;
  boost::json::object timings;
  for (const auto& [stage, ms] : info.timings_ms) timings[stage] = ms;
  out["timingsMs"] = std::move(timings);
}

boost::json::object ListEntryJson(const sandbox::SandboxInfo& info) {
  boost::json::object out;
  AddEntry(out, info);
  out["state"] = E2bState(info.state);
  return out;
}

boost::json::object DetailJson(const sandbox::SandboxInfo& info, const std::string& domain) {
  boost::json::object out = ListEntryJson(info);
  out["envdAccessToken"] = info.access_token;
  if (!info.ports.traffic_token.empty()) out["trafficAccessToken"] = info.ports.traffic_token;
  if (!domain.empty()) out["domain"] = domain;
  out["allowInternetAccess"] = info.network.allow_internet;
  if (auto network = NetworkJson(info); !network.empty()) out["network"] = std::move(network);
  out["lifecycle"] = Lifecycle(info);
  if (info.state == State::kPaused && info.pause_mode) {
    out["pauseMode"] = sandbox::PauseModeName(*info.pause_mode);
  }
  return out;
}

boost::json::object InspectJson(const sandbox::SandboxInfo& info) {
  boost::json::object out;
  AddEntry(out, info);
  if (info.end_at_ms == 0) out["endAt"] = nullptr;
  out["state"] = info.no_space ? kNoSpace : sandbox::StateName(info.state);
  out["cause"] = info.no_space ? "a write of its disk waits for free space on the host"
                               : ValidUtf8(info.cause);
  out["allowInternetAccess"] = info.network.allow_internet;
  out["network"] = NetworkJson(info);
  out["vmm"] = {{"name", info.vmm},
                {"version", info.vmm_version},
                {"accelerator", info.accelerator},
                {"reason", info.choice_reason}};
  out["slot"] = info.slot;
  out["uid"] = info.uid;
  out["wardenPid"] = info.warden_pid;
  out["vmmPid"] = info.vmm_pid;
  out["exitCode"] =
      info.exit_code ? boost::json::value(*info.exit_code) : boost::json::value(nullptr);
  out["exitDetail"] = ValidUtf8(info.exit_detail);
  boost::json::object lifecycle = Lifecycle(info);
  lifecycle["autoPauseMode"] = sandbox::PauseModeName(info.auto_pause_mode);
  out["lifecycle"] = std::move(lifecycle);
  out["pauseMode"] = info.pause_mode ? boost::json::value(sandbox::PauseModeName(*info.pause_mode))
                                     : boost::json::value(nullptr);
  AddTimings(out, info);
  return out;
}

}  // namespace tinderbox::api
