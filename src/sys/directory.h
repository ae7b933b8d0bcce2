// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "base/error.h"

namespace tinderbox::sys {

// The names in a directory without "." and "..", sorted. Absence is no error here: no names.
base::Result<std::vector<std::string>> NamesIn(const std::string& directory);

}  // namespace tinderbox::sys
