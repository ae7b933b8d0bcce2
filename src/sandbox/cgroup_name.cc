// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "sandbox/cgroup_name.h"

#include <fmt/format.h>

#include <cstdint>

#include "base/sha256.h"

namespace tinderbox::sandbox {

std::string CgroupName(std::string_view prefix, std::string_view id) {
  std::uint64_t number = 0;
  const auto hash = base::Sha256(id);
  for (std::size_t i = 0; i < sizeof number; ++i) number = number << 8 | hash.at(i);
  return fmt::format("{}/vm-{:016x}", prefix, number);
}

}  // namespace tinderbox::sandbox
