// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <chrono>
#include <climits>

namespace tinderbox::base {

// An absolute point on the monotonic clock by which an operation must have ended. Passed by value
// as the last parameter of everything that waits on the world outside this process, so that the
// time allowed for a whole is shared by its parts.
class Deadline {
 public:
  using Clock = std::chrono::steady_clock;

  static Deadline After(Clock::duration duration) {
    const auto now = Clock::now();
    return duration > Clock::time_point::max() - now ? Never() : Deadline(now + duration);
  }
  static Deadline At(Clock::time_point when) { return Deadline(when); }
  static Deadline Never() { return Deadline(Clock::time_point::max()); }

  bool never() const { return when_ == Clock::time_point::max(); }
  bool passed() const { return !never() && Clock::now() >= when_; }
  Clock::time_point when() const { return when_; }

  // Time left, never negative; Clock::duration::max() for Never().
  Clock::duration left() const {
    if (never()) return Clock::duration::max();
    return std::max(Clock::duration::zero(), when_ - Clock::now());
  }
  // The same for poll(2) and epoll_wait(2): milliseconds rounded up, -1 for Never().
  int poll_timeout() const {
    if (never()) return -1;
    const auto ms = std::chrono::ceil<std::chrono::milliseconds>(left()).count();
    return static_cast<int>(std::min<long long>(ms, INT_MAX));
  }
  Deadline Earlier(Deadline other) const { return Deadline(std::min(when_, other.when_)); }

 private:
  explicit Deadline(Clock::time_point when) : when_(when) {}
  Clock::time_point when_;
};

}  // namespace tinderbox::base
