// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "base/error.h"

namespace tinderbox::image {

// The names of the directories in `path` that do not begin with a dot, sorted. Links are no
// directories.
base::Result<std::vector<std::string>> ListDirectories(const std::string& path);

}  // namespace tinderbox::image
