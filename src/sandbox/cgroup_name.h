// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace tinderbox::sandbox {

// The cgroup of sandbox `id`: "<prefix>/vm-<16 hexadecimal digits of the id's SHA-256>". Every user
// of the host can read the names of cgroups, in /proc too, and who knows an id reaches the
// sandbox's public ports.
std::string CgroupName(std::string_view prefix, std::string_view id);

}  // namespace tinderbox::sandbox
