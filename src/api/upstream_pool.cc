// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "api/upstream_pool.h"

namespace tinderbox::api {
namespace {

// As many as a busy server has callers at once: each that is not kept costs the next one a
// connection, and that a thread that enters the guest's namespace.
constexpr std::size_t kPerPort = 64;
constexpr std::size_t kInAll = 1024;
// Below the idle limits of the agent (300 s) and of the usual servers (Node closes after 5 s).
constexpr std::chrono::seconds kKept{4};
constexpr std::chrono::seconds kSweep{2};

}  // namespace

std::shared_ptr<Upstream> UpstreamPool::Take(const std::string& id, std::uint16_t port) {
  const auto found = idle_.find({id, port});
  if (found == idle_.end()) return nullptr;
  std::vector<Idle>& kept = found->second;
  std::shared_ptr<Upstream> upstream;
  while (!kept.empty() && !upstream) {
    if (kept.back().upstream->IsQuiet()) upstream = std::move(kept.back().upstream);
    kept.pop_back();
    --size_;
  }
  if (kept.empty()) idle_.erase(found);
  return upstream;
}

void UpstreamPool::Give(const std::string& id, std::uint16_t port,
                        std::shared_ptr<Upstream> upstream) {
  if (!upstream->reusable() || size_ >= kInAll) return;
  std::vector<Idle>& kept = idle_[{id, port}];
  if (kept.size() >= kPerPort) return;
  upstream->ReleaseBuffer();
  kept.push_back({std::move(upstream), Clock::now()});
  ++size_;
  ScheduleSweep();
}

void UpstreamPool::Drop(const std::string& id) {
  const auto first = idle_.lower_bound({id, 0});
  auto last = first;
  for (; last != idle_.end() && last->first.first == id; ++last) size_ -= last->second.size();
  idle_.erase(first, last);
}

void UpstreamPool::DropAll() {
  idle_.clear();
  size_ = 0;
  sweeping_ = false;
  sweep_.cancel();
}

void UpstreamPool::ScheduleSweep() {
  if (sweeping_ || size_ == 0) return;
  sweeping_ = true;
  sweep_.expires_after(kSweep);
  sweep_.async_wait([this](boost::system::error_code ec) {
    if (ec) return;  // by DropAll, or by the end of this object
    sweeping_ = false;
    const auto old = Clock::now() - kKept;
    for (auto it = idle_.begin(); it != idle_.end();) {
      size_ -= std::erase_if(it->second, [old](const Idle& idle) { return idle.since < old; });
      it = it->second.empty() ? idle_.erase(it) : std::next(it);
    }
    ScheduleSweep();
  });
}

}  // namespace tinderbox::api
