// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "intercept/http_head.h"

namespace tinderbox::intercept {

// Finds the end of a message's body among the bytes that go by; changes nothing in them.
class Body {
 public:
  explicit Body(const Framing& framing);

  // How many of `bytes` are the body's; less than all of them only where it ends there.
  // kInvalidArgument for broken chunks.
  base::Result<std::size_t> Take(std::string_view bytes);
  bool done() const { return state_ == State::kDone; }
  // Whether it ends when the sender's connection does.
  bool until_close() const { return state_ == State::kUntilClose; }

 private:
  enum class State {
    kLength,
    kUntilClose,
    kSize,       // of a chunk: hexadecimal digits
    kExtension,  // the rest of that line
    kSizeEnd,    // its LF
    kData,
    kDataEnd,     // the CR behind it
    kDataEndEnd,  // the LF
    kTrailer,     // the beginning of a line behind the last chunk
    kTrailerLine,
    kTrailerLineEnd,
    kEndEnd,  // the LF of the empty line
    kDone,
  };
  // One byte of what is between the data.
  base::Result<> Step(char c);

  State state_;
  std::uint64_t left_ = 0;
  std::size_t digits_ = 0;
  std::size_t line_ = 0;      // bytes of this line
  std::size_t trailers_ = 0;  // bytes of all trailers
};

}  // namespace tinderbox::intercept
