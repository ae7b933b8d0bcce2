// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace tinderbox::base {

// SHA-256 (FIPS 180-4) of short texts, such as signed URLs. Here because the static agent would
// carry megabytes of a general library for it.
std::array<std::uint8_t, 32> Sha256(std::string_view data);

}  // namespace tinderbox::base
