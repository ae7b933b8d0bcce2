// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace tinderbox::vmm {

// `text` without its control characters, spaces collapsed, cut to its last `max` bytes.
std::string LastWords(std::string_view text, std::size_t max);

}  // namespace tinderbox::vmm
