// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// A kernel that a user names: what it is compressed by, and whether it can be booted.
#include "image/internal/decompress.h"
#include "image/internal/kernel_image.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace tinderbox;
  constexpr std::size_t kMax = 1 << 20;
  const std::string_view file = fuzz::Text(data, size);
  (void)image::CheckVmlinux(file);
  const auto plain = image::Decompress(image::DetectCompression(file), file, kMax);
  if (plain) fuzz::Require(plain->size() <= kMax, "the output is within its bound");
  if (const auto kernel = image::ExtractVmlinux(file)) {
    fuzz::Require(image::CheckVmlinux(*kernel).has_value(), "what is extracted can be booted");
  }
  return 0;
}
