// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace tinderbox::api {

// `text` as valid UTF-8, which is all that JSON can carry: every byte that is part of no character
// becomes U+FFFD, control characters but tab become '?' where `printable`.
std::string ValidUtf8(std::string_view text, bool printable = false);

}  // namespace tinderbox::api
