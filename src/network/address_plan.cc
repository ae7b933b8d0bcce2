// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "network/address_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <string_view>

namespace tinderbox::network {
namespace {

using base::Code;
using base::Error;

bool IsPrefix(std::string_view text) {
  const auto is_letter = [](char c) { return c >= 'a' && c <= 'z'; };
  const auto is_good = [&](char c) { return is_letter(c) || (c >= '0' && c <= '9'); };
  return !text.empty() && text.size() <= 6 && is_letter(text.front()) &&
         std::all_of(text.begin(), text.end(), is_good);
}

// The decimal index behind `head`, or 0: no sign, no leading zero, nothing after it.
std::uint32_t IndexBehind(std::string_view head, std::string_view name) {
  if (!name.starts_with(head)) return 0;
  name.remove_prefix(head.size());
  if (name.empty() || name.front() == '0') return 0;
  std::uint32_t index = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), index);
  if (error != std::errc() || end != name.data() + name.size() || index > kMaxSlots) return 0;
  return index;
}

base::Result<> CheckRange(const sys::Ipv4Prefix& cidr) {
  for (const char* taken : {"0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3"}) {
    if (cidr.Overlaps(*sys::Ipv4Prefix::Parse(taken))) {
      return std::unexpected(
          Error(Code::kInvalidArgument,
                fmt::format("use network {}: it overlaps {}", cidr.ToString(), taken))
              .WithRemedy("Choose a private range that this host does not use, such as "
                          "10.211.0.0/16."));
    }
  }
  return {};
}

}  // namespace

base::Result<AddressPlan> AddressPlan::Make(const PoolOptions& options) {
  AddressPlan plan;
  if (!IsPrefix(options.prefix)) {
    return std::unexpected(
        Error(Code::kInvalidArgument, fmt::format("use network prefix '{}'", options.prefix))
            .WithRemedy("Choose 1 to 6 characters of a-z and 0-9, a letter first."));
  }
  plan.prefix_ = options.prefix;
  plan.cidr_ = TRY(sys::Ipv4Prefix::Parse(options.cidr));
  TRY(CheckRange(plan.cidr_));
  if (plan.cidr_.address != plan.cidr_.network()) {
    return std::unexpected(
        Error(Code::kInvalidArgument, fmt::format("use network {}: it has host bits", options.cidr))
            .WithRemedy(
                fmt::format("Write {}/{}.", plan.cidr_.network().ToString(), plan.cidr_.length)));
  }
  plan.max_slots_ = options.max_slots;
  const std::uint64_t room = (std::uint64_t{1} << (32 - plan.cidr_.length)) / 4;
  if (plan.max_slots_ == 0 || plan.max_slots_ > std::min<std::uint64_t>(room, kMaxSlots)) {
    return std::unexpected(
        Error(Code::kInvalidArgument, fmt::format("make {} slots: network {} has room for {}",
                                                  options.max_slots, options.cidr, room))
            .WithRemedy(fmt::format("Choose a wider network or fewer slots (1 to {}).",
                                    std::min<std::uint64_t>(room, kMaxSlots))));
  }
  return plan;
}

std::string AddressPlan::NetNsName(std::uint32_t index) const {
  return fmt::format("{}-{}", prefix_, index);
}
std::string AddressPlan::VethName(std::uint32_t index) const {
  return fmt::format("{}v{}", prefix_, index);
}
std::string AddressPlan::VethPattern() const { return prefix_ + "v*"; }
std::string AddressPlan::HostTable() const { return prefix_ + "_net"; }

sys::Ipv4Prefix AddressPlan::HostAddress(std::uint32_t index) const {
  return {sys::Ipv4{cidr_.network().value + 4 * (index - 1) + 1}, 30};
}
sys::Ipv4Prefix AddressPlan::UplinkAddress(std::uint32_t index) const {
  return {sys::Ipv4{cidr_.network().value + 4 * (index - 1) + 2}, 30};
}

sys::Mac AddressPlan::HostMac(std::uint32_t index) {
  return {
      0x02, 0xfc, 0x01, 0, static_cast<std::uint8_t>(index >> 8), static_cast<std::uint8_t>(index)};
}
sys::Mac AddressPlan::UplinkMac(std::uint32_t index) {
  sys::Mac mac = HostMac(index);
  mac[2] = 0x02;
  return mac;
}

std::uint32_t AddressPlan::IndexOfNetNs(const std::string& name) const {
  return IndexBehind(prefix_ + "-", name);
}
std::uint32_t AddressPlan::IndexOfVeth(const std::string& name) const {
  return IndexBehind(prefix_ + "v", name);
}

}  // namespace tinderbox::network
