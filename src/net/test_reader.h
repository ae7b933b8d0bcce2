// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

// For the tests of this component and of those above it.
namespace tinderbox::net {

// Reads of a connection whose bytes a derived class receives into `seen_`.
class TestReader {
 public:
  TestReader() = default;
  TestReader(TestReader&&) = default;
  TestReader& operator=(TestReader&&) = default;
  virtual ~TestReader() = default;

  // Up to and with `end`; what came, where the connection ends first.
  std::string ReadUntil(std::string_view end) {
    while (seen_.find(end) == seen_.npos && ReadMore()) {
    }
    const auto at = seen_.find(end);
    return Take(at == seen_.npos ? seen_.size() : at + end.size());
  }
  std::string ReadBytes(std::size_t count) {
    while (seen_.size() < count && ReadMore()) {
    }
    return Take(count);
  }
  std::string ReadToEnd() {
    while (ReadMore()) {
    }
    return std::exchange(seen_, {});
  }

 protected:
  // Appends what comes next; false at the end.
  virtual bool ReadMore() = 0;

  std::string seen_;  // received, not read yet

 private:
  std::string Take(std::size_t count) {
    std::string out = seen_.substr(0, count);
    seen_.erase(0, out.size());
    return out;
  }
};

}  // namespace tinderbox::net
