// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

// What the fuzz targets share.
namespace tinderbox::fuzz {

inline std::string_view Text(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

// A property that no input may break: the fuzzer takes the abort for a finding and keeps the input.
inline void Require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "fuzz: broken: %s\n", what);
  std::abort();
}

// The first byte of an input says how the rest is cut into pieces (how a network might have split
// it): 0 leaves it whole, else that many bytes at a time.
class Pieces {
 public:
  explicit Pieces(std::string_view input) {
    if (input.empty()) return;
    step_ = static_cast<std::uint8_t>(input[0]);
    whole_ = rest_ = input.substr(1);
    if (step_ == 0) step_ = whole_.size();
  }

  std::string_view whole() const { return whole_; }
  bool done() const { return rest_.empty(); }
  std::string_view Next() {
    const std::string_view piece = rest_.substr(0, step_);
    rest_.remove_prefix(piece.size());
    return piece;
  }

 private:
  std::size_t step_ = 1;
  std::string_view whole_;
  std::string_view rest_;
};

}  // namespace tinderbox::fuzz
