// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/deadline.h"
#include "sandbox/manager.h"

namespace tinderbox::api {

// What a sandbox used at one instant, by its own account.
struct MetricSample {
  std::int64_t at_ms = 0;  // by the host's clock
  std::int64_t cpus = 0;
  double cpu_used_pct = 0;  // of one processor: 200 where two are busy
  std::uint64_t memory_used = 0, memory_total = 0, memory_cache = 0;  // bytes
  std::uint64_t disk_used = 0, disk_total = 0;                        // bytes
};

// The answer of the agent's GET /metrics, which may be anything: none where it does not add up.
std::optional<MetricSample> ParseAgentMetrics(std::string_view body, std::int64_t at_ms);

// Samples of sandboxes that somebody asks about: one at once, and then one every few seconds until
// nobody has asked for a while. So a host full of sandboxes costs nothing until it is looked at. A
// paused sandbox is never asked (that might wake it), but keeps its history.
//
// Safe from any thread; History and Latest block for as long as the agents take, at most
// kSampleTime.
class MetricSampler {
 public:
  struct Options {
    std::chrono::milliseconds period{5000};
    std::chrono::milliseconds fresh{1000};  // a sample is good for so long
    std::chrono::seconds watched{600};      // since it was asked about last
    std::size_t kept = 720;                 // samples per sandbox: an hour's
    std::size_t sandboxes = 256;            // watched at once; beyond, the one asked about longest
                                            // ago is forgotten
  };
  static constexpr std::chrono::seconds kSampleTime{2};
  // Of one agent among many: some that are silent do not take the time of all.
  static constexpr std::chrono::milliseconds kOneOfMany{500};
  static constexpr std::size_t kAtOnce = 8;  // agents that one call asks at a time

  MetricSampler(sandbox::Manager& manager, Options options);
  ~MetricSampler();
  MetricSampler(const MetricSampler&) = delete;
  MetricSampler& operator=(const MetricSampler&) = delete;

  // All that is known, oldest first.
  std::vector<MetricSample> History(const sandbox::SandboxInfo& info);
  // The last of each, in their order; none where nothing is known. The agents are asked beside each
  // other; of one that has not answered when the time of all is over, what was known before counts.
  std::vector<std::optional<MetricSample>> Latest(const std::vector<sandbox::SandboxInfo>& infos);

 private:
  using Clock = std::chrono::steady_clock;
  struct Watch {
    std::deque<MetricSample> samples;
    Clock::time_point sampled, asked;
    bool sampling = false;
  };
  void Loop();
  // Notes that somebody asked; whether what is known of it is old.
  bool Watching(const std::string& id);
  void Sample(const sandbox::SandboxInfo& info, base::Deadline deadline);
  void SampleAll(const std::vector<std::string>& ids, std::chrono::milliseconds one,
                 base::Deadline end);
  void MakeRoom(const std::string& id);

  sandbox::Manager& manager_;
  const Options options_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stopping_ = false;
  std::map<std::string, Watch> watched_;
  std::thread thread_;
};

}  // namespace tinderbox::api
