// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace tinderbox::cli {

// One side of `cp`.
struct CopyPlace {
  std::string sandbox;  // "" = here
  std::string path;
};

// "web:/etc/passwd" is in a sandbox; "-", "./a:b" and "/a:b" are here.
CopyPlace ParsePlace(std::string_view text);

}  // namespace tinderbox::cli
