// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "base/error.h"

// QEMU's device state has no checksum: damaged, it is loaded all the same, into a guest that fails
// later. So it is kept with a header of ours: magic, length, CRC-32 (accidents, not attackers: a
// snapshot's files are trusted).
namespace tinderbox::vmm::qemu {

inline constexpr std::size_t kMaxState = 16 << 20;

std::string WrapState(std::string_view state);
// kDataLoss where it is not whole.
base::Result<std::string> UnwrapState(std::string_view file);

}  // namespace tinderbox::vmm::qemu
