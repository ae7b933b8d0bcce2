// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdint.h>

namespace tinderbox::warden {

// The stop ladder as a pure state machine: TERM to the whole VM, a grace, KILL. Time in
// nanoseconds.
class Ladder {
 public:
  enum class Rung { kNone, kTerm, kKill };

  // Starts the ladder, or shortens the grace of one that runs: a later caller may be in more of a
  // hurry than the first, never in less. True where TERM is to be sent now.
  bool Stop(int64_t now, uint32_t grace_ms) {
    const int64_t deadline = now + static_cast<int64_t>(grace_ms) * 1000000;
    const bool first = rung_ == Rung::kNone;
    if (first) rung_ = Rung::kTerm;
    if (first || deadline < deadline_) deadline_ = deadline;
    return first;
  }
  // True where KILL is to be sent now: once, when the grace is over.
  bool Expired(int64_t now) {
    if (rung_ != Rung::kTerm || now < deadline_) return false;
    rung_ = Rung::kKill;
    return true;
  }
  // Nanoseconds to the next Expired(); negative where nothing is pending.
  int64_t Left(int64_t now) const {
    if (rung_ != Rung::kTerm) return -1;
    return deadline_ > now ? deadline_ - now : 0;
  }
  Rung rung() const { return rung_; }

 private:
  Rung rung_ = Rung::kNone;
  int64_t deadline_ = 0;
};

}  // namespace tinderbox::warden
