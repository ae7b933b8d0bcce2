// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "network/conntrack.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <string>

#include "sys/file.h"

namespace tinderbox::network {
namespace {

base::Result<std::uint64_t> ReadNumber(const char* name) {
  const std::string path = fmt::format("/proc/sys/net/netfilter/{}", name);
  const std::string text = TRY(sys::ReadFile(path));
  std::uint64_t number = 0;
  if (std::from_chars(text.data(), text.data() + text.size(), number).ec != std::errc()) {
    return base::Fail(base::Code::kInternal, fmt::format("read '{}': not a number", path));
  }
  return number;
}

}  // namespace

base::Result<Conntrack> ReadConntrack() {
  return Conntrack{.max = TRY(ReadNumber("nf_conntrack_max")),
                   .count = TRY(ReadNumber("nf_conntrack_count"))};
}

std::uint32_t ConnectionsPerSlot(std::uint64_t max, std::uint32_t slots) {
  const std::uint64_t each = GuestShare(max) / std::max<std::uint32_t>(slots, 1);
  return static_cast<std::uint32_t>(
      std::clamp<std::uint64_t>(each, kFewestConnections, kMostConnections));
}

std::uint64_t ConntrackMaxFor(std::uint32_t connections, std::uint32_t slots) {
  return (std::uint64_t{connections} * slots + 2) / 3 * 4 + 4;
}

}  // namespace tinderbox::network
