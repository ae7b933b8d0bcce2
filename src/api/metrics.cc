// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "api/metrics.h"

#include <algorithm>
#include <atomic>
#include <boost/json.hpp>
#include <cmath>
#include <system_error>
#include <utility>

#include "api/sandbox_address.h"
#include "base/deadline.h"
#include "net/http_client.h"

namespace tinderbox::api {
namespace {

using base::Result;
using sandbox::SandboxInfo;

constexpr std::size_t kMaxAnswer = 64 << 10;
constexpr double kMaxBytes = 1e15;
constexpr std::chrono::seconds kRound{60};  // of the periodic samples: 240 silent agents' time

std::int64_t NowMs() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

// A number in [0, max]; none for anything else.
std::optional<double> Number(const boost::json::object& object, std::string_view name, double max) {
  const boost::json::value* value = object.if_contains(name);
  if (value == nullptr || !value->is_number()) return std::nullopt;
  boost::system::error_code error;
  const double number = value->to_number<double>(error);
  if (error || !std::isfinite(number) || number < 0 || number > max) return std::nullopt;
  return number;
}

Result<std::string> Ask(sandbox::Manager& manager, const SandboxInfo& info,
                        base::Deadline deadline) {
  net::HttpClient client(TRY(manager.Dial(info.id, kAgentPort, deadline)));
  net::HttpRequest request{.method = "GET", .target = "/metrics"};
  request.headers.push_back({"X-Access-Token", info.access_token});
  net::HttpResponse response = TRY(client.Request(request, deadline, kMaxAnswer));
  if (response.status != 200) return std::string();
  return std::move(response.body);
}

}  // namespace

std::optional<MetricSample> ParseAgentMetrics(std::string_view body, std::int64_t at_ms) {
  boost::system::error_code error;
  const boost::json::value value = boost::json::parse(body, error);
  if (error || !value.is_object()) return std::nullopt;
  const boost::json::object& object = value.as_object();
  MetricSample sample;
  sample.at_ms = at_ms;
  const auto cpus = Number(object, "cpu_count", 4096);
  const auto used = Number(object, "cpu_used_pct", 4096 * 100);
  if (!cpus || !used) return std::nullopt;
  sample.cpus = static_cast<std::int64_t>(*cpus);
  sample.cpu_used_pct = *used;
  for (const auto& [name, into] :
       {std::pair("mem_used", &sample.memory_used), std::pair("mem_total", &sample.memory_total),
        std::pair("mem_cache", &sample.memory_cache), std::pair("disk_used", &sample.disk_used),
        std::pair("disk_total", &sample.disk_total)}) {
    const auto bytes = Number(object, name, kMaxBytes);
    if (!bytes) return std::nullopt;
    *into = static_cast<std::uint64_t>(*bytes);
  }
  return sample;
}

MetricSampler::MetricSampler(sandbox::Manager& manager, Options options)
    : manager_(manager), options_(options) {}

MetricSampler::~MetricSampler() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void MetricSampler::MakeRoom(const std::string& id) {
  if (watched_.contains(id) || watched_.size() < options_.sandboxes) return;
  watched_.erase(
      std::ranges::min_element(watched_, {}, [](const auto& entry) { return entry.second.asked; }));
}

bool MetricSampler::Watching(const std::string& id) {
  const std::lock_guard lock(mutex_);
  MakeRoom(id);
  Watch& watch = watched_[id];
  watch.asked = Clock::now();
  if (!thread_.joinable()) thread_ = std::thread([this] { Loop(); });
  return watch.samples.empty() || Clock::now() - watch.sampled > options_.fresh;
}

std::vector<MetricSample> MetricSampler::History(const SandboxInfo& info) {
  if (Watching(info.id)) Sample(info, base::Deadline::After(kSampleTime));
  wake_.notify_all();
  const std::lock_guard lock(mutex_);
  const auto found = watched_.find(info.id);
  if (found == watched_.end()) return {};
  return {found->second.samples.begin(), found->second.samples.end()};
}

// Samples all of them, kAtOnce beside each other and each within `one`, until they are done, `end`
// has come or the sampler stops.
void MetricSampler::SampleAll(const std::vector<std::string>& ids, std::chrono::milliseconds one,
                              base::Deadline end) {
  std::atomic<std::size_t> next = 0;
  const auto work = [&] {
    for (std::size_t i = next++; i < ids.size() && !end.passed(); i = next++) {
      const auto info = manager_.Get(ids[i]);
      {
        const std::lock_guard lock(mutex_);
        if (stopping_) return;
        if (!info) watched_.erase(ids[i]);
      }
      if (info) Sample(*info, base::Deadline::After(one).Earlier(end));
    }
  };
  std::vector<std::thread> helpers;
  try {
    for (std::size_t i = 1; i < std::min(kAtOnce, ids.size()); ++i) helpers.emplace_back(work);
  } catch (const std::system_error&) {
    // Fewer threads take longer.
  }
  work();
  for (std::thread& helper : helpers) helper.join();
}

std::vector<std::optional<MetricSample>> MetricSampler::Latest(
    const std::vector<SandboxInfo>& infos) {
  std::vector<std::string> stale;
  for (const SandboxInfo& info : infos) {
    if (Watching(info.id)) stale.push_back(info.id);
  }
  SampleAll(stale, kOneOfMany, base::Deadline::After(kSampleTime));
  wake_.notify_all();
  std::vector<std::optional<MetricSample>> latest(infos.size());
  const std::lock_guard lock(mutex_);
  for (std::size_t i = 0; i < infos.size(); ++i) {
    const auto found = watched_.find(infos[i].id);
    if (found == watched_.end() || found->second.samples.empty()) continue;
    latest[i] = found->second.samples.back();
  }
  return latest;
}

// Between the look at the state and the call the sandbox may be paused, and the call would wake it;
// that instant is shorter than any pause takes, in which the manager refuses to connect.
void MetricSampler::Sample(const SandboxInfo& info, base::Deadline deadline) {
  if (info.state != sandbox::State::kRunning) return;
  {
    const std::lock_guard lock(mutex_);
    const auto found = watched_.find(info.id);
    // Two at once would halve the time over which the agent counts.
    if (found == watched_.end() || std::exchange(found->second.sampling, true)) return;
  }
  const auto answer = Ask(manager_, info, deadline);
  const auto sample = answer ? ParseAgentMetrics(*answer, NowMs()) : std::nullopt;
  const std::lock_guard lock(mutex_);
  const auto found = watched_.find(info.id);
  if (found == watched_.end()) return;
  Watch& watch = found->second;
  watch.sampling = false;
  if (!sample) return;
  watch.sampled = Clock::now();
  watch.samples.push_back(*sample);
  while (watch.samples.size() > options_.kept) watch.samples.pop_front();
}

void MetricSampler::Loop() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    if (watched_.empty()) {
      wake_.wait(lock, [this] { return stopping_ || !watched_.empty(); });
    } else {
      wake_.wait_for(lock, options_.period, [this] { return stopping_; });
    }
    const auto oldest = Clock::now() - options_.watched;
    std::erase_if(watched_, [oldest](const auto& entry) { return entry.second.asked < oldest; });
    std::vector<std::string> ids;
    for (const auto& [id, watch] : watched_) ids.push_back(id);
    lock.unlock();
    SampleAll(ids, kSampleTime, base::Deadline::After(kRound));
    lock.lock();
  }
}

}  // namespace tinderbox::api
