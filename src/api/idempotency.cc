// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "api/idempotency.h"

#include <algorithm>
#include <boost/json.hpp>

namespace tinderbox::api {
namespace {

constexpr std::size_t kMaxEntries = 4096;
constexpr std::chrono::hours kKept{1};

Answer Refused(unsigned status, std::string_view error_code, std::string_view message) {
  Answer answer =
      JsonAnswer(status, {{"code", status}, {"message", message}, {"error_code", error_code}});
  answer.headers.Add("Should-Retry", "false");
  return answer;
}

}  // namespace

bool IdempotencyCache::IsValidKey(std::string_view key) {
  return !key.empty() && key.size() <= 255 && std::ranges::all_of(key, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
  });
}

void IdempotencyCache::Trim() {
  const auto old = Clock::now() - kKept;
  std::erase_if(entries_, [old](const auto& e) { return e.second.done && e.second.since < old; });
  while (entries_.size() >= kMaxEntries) {
    // The oldest answer goes; what still runs stays.
    auto oldest = entries_.end();
    for (auto it = entries_.begin(); it != entries_.end(); ++it) {
      if (it->second.done &&
          (oldest == entries_.end() || it->second.since < oldest->second.since)) {
        oldest = it;
      }
    }
    if (oldest == entries_.end()) return;
    entries_.erase(oldest);
  }
}

// Removes the entry of a request that has no answer to be repeated.
class IdempotencyCache::Forget {
 public:
  Forget(IdempotencyCache& cache, const std::string& key) : cache_(cache), key_(key) {}
  ~Forget() {
    const std::lock_guard lock(cache_.mutex_);
    if (const auto it = cache_.entries_.find(key_); it != cache_.entries_.end() && !it->second.done)
      cache_.entries_.erase(it);
  }
  Forget(const Forget&) = delete;
  Forget& operator=(const Forget&) = delete;

 private:
  IdempotencyCache& cache_;
  const std::string& key_;
};

Answer IdempotencyCache::Run(const std::string& key, std::string_view fingerprint,
                             const std::function<Answer()>& work) {
  {
    const std::lock_guard lock(mutex_);
    Trim();
    const auto [it, is_new] =
        entries_.try_emplace(key, Entry{std::string(fingerprint), false, {}, Clock::now()});
    if (!is_new) {
      if (it->second.fingerprint != fingerprint) {
        return Refused(422, "idempotency_request_mismatch",
                       "this Idempotency-Key was used for another request");
      }
      if (!it->second.done) {
        return Refused(409, "idempotency_in_progress",
                       "the request with this Idempotency-Key still runs");
      }
      return it->second.answer;
    }
  }
  // However `work` ends, by an exception too, the key is free or has its answer.
  const Forget forget(*this, key);
  Answer answer = work();
  if (answer.status >= 300) return answer;
  const std::lock_guard lock(mutex_);
  if (const auto it = entries_.find(key); it != entries_.end()) {
    it->second.done = true;
    it->second.answer = answer;
  }
  return answer;
}

}  // namespace tinderbox::api
