// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "sys/netlink_address.h"

#include <fmt/format.h>

#include <charconv>
#include <cstddef>

namespace tinderbox::sys {
namespace {

// Reads one number of at most `max` from the front of `text` and takes it off; false where there is
// none, or it has a leading zero (which some readers take for octal).
bool TakeNumber(std::string_view& text, unsigned max, unsigned& number) {
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc() || number > max) return false;
  if (rest - text.data() > 1 && text.front() == '0') return false;
  text.remove_prefix(static_cast<std::size_t>(rest - text.data()));
  return true;
}

}  // namespace

base::Result<Ipv4> Ipv4::Parse(std::string_view text) {
  std::string_view rest = text;
  std::uint32_t value = 0;
  for (int part = 0; part < 4; ++part) {
    unsigned number = 0;
    if (part > 0) {
      if (!rest.starts_with('.')) break;
      rest.remove_prefix(1);
    }
    if (!TakeNumber(rest, 255, number)) break;
    value = value << 8 | number;
    if (part == 3 && rest.empty()) return Ipv4{value};
  }
  return base::Fail(base::Code::kInvalidArgument,
                    fmt::format("read '{}' as an IPv4 address", text));
}

std::string Ipv4::ToString() const {
  return fmt::format("{}.{}.{}.{}", value >> 24, value >> 16 & 255, value >> 8 & 255, value & 255);
}

base::Result<Ipv4Prefix> Ipv4Prefix::Parse(std::string_view text) {
  const std::size_t slash = text.find('/');
  if (slash != std::string_view::npos) {
    const auto address = Ipv4::Parse(text.substr(0, slash));
    std::string_view rest = text.substr(slash + 1);
    unsigned length = 0;
    if (address && TakeNumber(rest, 32, length) && rest.empty()) {
      return Ipv4Prefix{*address, static_cast<int>(length)};
    }
  }
  return base::Fail(base::Code::kInvalidArgument,
                    fmt::format("read '{}' as an IPv4 network (ADDRESS/LENGTH)", text));
}

std::string Ipv4Prefix::ToString() const {
  return fmt::format("{}/{}", address.ToString(), length);
}

base::Result<Mac> ParseMac(std::string_view text) {
  Mac mac{};
  bool good = text.size() == 17;
  for (std::size_t i = 0; good && i < mac.size(); ++i) {
    const char* const at = text.data() + 3 * i;
    const auto [rest, error] = std::from_chars(at, at + 2, mac[i], 16);
    good = error == std::errc() && rest == at + 2 && (i == 5 || *rest == ':');
  }
  if (!good) {
    return base::Fail(base::Code::kInvalidArgument,
                      fmt::format("read '{}' as a MAC address", text));
  }
  return mac;
}

}  // namespace tinderbox::sys
