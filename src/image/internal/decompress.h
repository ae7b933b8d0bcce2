// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "base/error.h"

namespace tinderbox::image {

enum class Compression { kNone, kGzip, kXz, kZstd, kLz4Legacy };

// What `data` looks like by its first bytes; kNone where that is none of ours.
Compression DetectCompression(std::string_view data);
std::string_view CompressionName(Compression compression);

// Decompresses the first stream of `data`; what follows it is ignored (kernels append their size).
// Truncated or damaged input is kDataLoss, more than `max` bytes of output kResourceExhausted.
base::Result<std::string> Decompress(Compression compression, std::string_view data,
                                     std::size_t max);

}  // namespace tinderbox::image
