// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"

// IPv4 and MAC addresses as values. Nothing here looks names up or blocks.
namespace tinderbox::sys {

// An IPv4 address; `value` is in host byte order, so that arithmetic is plain.
struct Ipv4 {
  std::uint32_t value = 0;

  static base::Result<Ipv4> Parse(std::string_view text);  // dotted quad, nothing else
  std::string ToString() const;
  auto operator<=>(const Ipv4&) const = default;
};

// An address with a prefix length (0-32): "10.1.2.3/30". As a network, the host bits do not count.
struct Ipv4Prefix {
  Ipv4 address;
  int length = 0;

  static base::Result<Ipv4Prefix> Parse(std::string_view text);
  std::string ToString() const;
  bool operator==(const Ipv4Prefix&) const = default;

  std::uint32_t mask() const { return length == 0 ? 0 : ~std::uint32_t{0} << (32 - length); }
  Ipv4 network() const { return Ipv4{address.value & mask()}; }
  Ipv4 last() const { return Ipv4{address.value | ~mask()}; }
  bool Contains(Ipv4 other) const { return (other.value & mask()) == network().value; }
  bool Overlaps(const Ipv4Prefix& other) const {
    return Contains(other.network()) || other.Contains(network());
  }
};

using Mac = std::array<std::uint8_t, 6>;
base::Result<Mac> ParseMac(std::string_view text);  // "02:fc:00:00:00:05"

}  // namespace tinderbox::sys
