// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace tinderbox::warden {

// How fast the VM may write to its console, in the long run and at once. Beyond that the pipe
// fills: QEMU's guest is slowed down, Firecracker drops output; the host is spared in both cases.
inline constexpr int64_t kConsoleBytesPerSecond = 4 << 20;
inline constexpr int64_t kConsoleBurst = 1 << 20;
// Once the allowance is used up, nothing is read until this much of it has come back: a flood then
// costs fifty wake-ups a second, not one for every few bytes.
inline constexpr int64_t kConsoleQuantum = 64 << 10;

// A token bucket over bytes, with hysteresis. Time is in nanoseconds, from any fixed origin.
class RateLimit {
 public:
  RateLimit(int64_t per_second, int64_t burst, int64_t quantum, int64_t now)
      : per_second_(per_second), burst_(burst), quantum_(quantum), tokens_(burst), last_(now) {}

  // Whether bytes may pass now.
  bool Open(int64_t now) {
    // Bounded before the multiplication: an idle day must not overflow it.
    int64_t elapsed = now - last_;
    if (elapsed > 1000000000) elapsed = 1000000000;
    const int64_t earned = elapsed * per_second_ / 1000000000;
    if (earned > 0) {
      tokens_ = tokens_ + earned > burst_ ? burst_ : tokens_ + earned;
      last_ = now;
    }
    if (tokens_ >= quantum_) open_ = true;
    return open_;
  }
  void Take(int64_t bytes) {
    tokens_ -= bytes;
    if (tokens_ <= 0) open_ = false;
  }

 private:
  int64_t per_second_;
  int64_t burst_;
  int64_t quantum_;
  int64_t tokens_;
  int64_t last_;
  bool open_ = true;
};

// The console log of one VM: console.log, and console.log.1 before it. Each holds at most half of
// the bound, so that together they keep at least the last half of it.
class Console {
 public:
  // `directory` and `file` are owned by the process and stay open; `file` is empty at first.
  Console(int directory, int file, uint64_t max_bytes, int64_t now);

  // Moves some of what the pipe holds into the log; called only while Ready(). Negative errno or 0
  // (end of file) where the pipe is of no more use, else 1.
  long Pump(int pipe);
  // The same without regard to the rate, for the last words: at most `max` bytes.
  void Drain(int pipe, size_t max);
  // False while the rate limit asks to leave the pipe alone.
  bool Ready(int64_t now) { return rate_.Open(now); }

 private:
  void Write(const char* data, size_t size);

  int directory_;
  int file_;
  uint64_t half_;
  uint64_t size_ = 0;
  RateLimit rate_;
};

}  // namespace tinderbox::warden
