// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>
#include <vector>

namespace tinderbox::base {

// The parts of `text` between separators, as views into it. Empty parts are left out, so columns
// may be padded and a last line may end in a newline.
std::vector<std::string_view> Split(std::string_view text, char separator);

}  // namespace tinderbox::base
