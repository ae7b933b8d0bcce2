// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stddef.h>
#include <stdint.h>

// Text without a C library: enough for one status file and a line protocol.
namespace tinderbox::warden {

// A line being built in a buffer of its own. What does not fit is cut off.
class Line {
 public:
  Line& Add(const char* text) {
    while (*text != 0) Put(*text++);
    return *this;
  }
  Line& Add(int64_t number) {
    char digits[20];
    int n = 0;
    if (number < 0) Put('-');
    uint64_t rest = number < 0 ? 0 - static_cast<uint64_t>(number) : static_cast<uint64_t>(number);
    do {
      digits[n++] = static_cast<char>('0' + rest % 10);
      rest /= 10;
    } while (rest != 0);
    while (n > 0) Put(digits[--n]);
    return *this;
  }
  const char* data() const { return buffer_; }
  size_t size() const { return size_; }

 private:
  void Put(char c) {
    if (size_ + 1 < sizeof buffer_) buffer_[size_++] = c;
    buffer_[size_] = 0;
  }
  char buffer_[256] = {};
  size_t size_ = 0;
};

enum class Verb { kStop, kWait, kStatus, kBad };

struct Command {
  Verb verb = Verb::kBad;
  uint32_t milliseconds = 0;  // of kStop
};

// Parses one line of the control socket, without its newline. Anything that is not exactly one of
// the three commands is kBad; the grace has at most nine digits.
inline Command ParseCommand(const char* line, size_t size) {
  const auto equals = [&](const char* word, size_t length) {
    for (size_t i = 0; i < length; ++i) {
      if (i >= size || line[i] != word[i]) return false;
    }
    return true;
  };
  if (size == 4 && equals("wait", 4)) return {Verb::kWait, 0};
  if (size == 6 && equals("status", 6)) return {Verb::kStatus, 0};
  if (size < 6 || size > 14 || !equals("stop ", 5)) return {};
  uint32_t value = 0;
  for (size_t i = 5; i < size; ++i) {
    if (line[i] < '0' || line[i] > '9') return {};
    value = value * 10 + static_cast<uint32_t>(line[i] - '0');
  }
  return {Verb::kStop, value};
}

}  // namespace tinderbox::warden
