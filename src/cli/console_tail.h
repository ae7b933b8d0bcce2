// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace tinderbox::cli {

// Turns "the last N bytes", asked for again and again, into a stream: what of each answer is new.
class ConsoleTail {
 public:
  // `window` is the whole answer. Yields what stands behind the end of the answer before; all of it
  // where the two do not touch, since then more came in between than a window holds.
  std::string Advance(std::string window);

 private:
  std::string before_;
};

}  // namespace tinderbox::cli
