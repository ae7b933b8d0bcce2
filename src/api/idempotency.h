// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <string_view>

#include "api/answer.h"

namespace tinderbox::api {

// Answers to requests that carry an Idempotency-Key, for an hour and as long as this process lives:
// a client that repeats a create because it lost the answer gets that answer, not a second sandbox.
//
// E2B's "idempotency_outcome_unknown" is never sent: no key outlives the process, and a create that
// the process died in is undone at the next start, so that the repeat makes the one sandbox there
// is. Only where the process died between the end of a create and its answer's way out are there
// two.
//
// Safe from any thread.
class IdempotencyCache {
 public:
  using Clock = std::chrono::steady_clock;

  // Runs `work`, or repeats the answer that the same key got for the same request. The same key
  // with another request is 422, one whose first request still runs 409. Failures are not kept, nor
  // is what `work` throws.
  Answer Run(const std::string& key, std::string_view fingerprint,
             const std::function<Answer()>& work);

  // 1 to 255 characters of [a-z0-9-].
  static bool IsValidKey(std::string_view key);

 private:
  struct Entry {
    std::string fingerprint;
    bool done = false;
    Answer answer;
    Clock::time_point since;
  };
  class Forget;
  void Trim();

  std::mutex mutex_;
  std::map<std::string, Entry> entries_;
};

}  // namespace tinderbox::api
