// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace tinderbox::vmm {

// How much one VM may read and write on its disk in a second. 0: no limit. The VMM delays what is
// more; the guest sees a slower disk.
struct DiskLimits {
  std::uint64_t bytes_per_second = 0;
  std::uint64_t operations_per_second = 0;

  bool any() const { return bytes_per_second != 0 || operations_per_second != 0; }
  bool operator==(const DiskLimits&) const = default;
};

}  // namespace tinderbox::vmm
