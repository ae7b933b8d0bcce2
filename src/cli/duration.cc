// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "cli/duration.h"

#include <fmt/format.h>

#include <ctime>
#include <limits>

namespace tinderbox::cli {

base::Result<std::chrono::seconds> ParseDuration(std::string_view text) {
  constexpr std::int64_t kMax = std::int64_t{100} * 365 * 24 * 3600;
  const auto fail = [text] {
    return std::unexpected(
        base::Error(base::Code::kInvalidArgument, fmt::format("'{}' is not a duration", text))
            .WithRemedy("Write it like 90s, 10m, 1h30m or 2d."));
  };
  std::int64_t total = 0;
  std::int64_t smallest = std::numeric_limits<std::int64_t>::max();
  std::size_t i = 0;
  while (i < text.size()) {
    const std::size_t digits = i;
    std::int64_t number = 0;
    while (i < text.size() && text[i] >= '0' && text[i] <= '9' && number <= kMax) {
      number = number * 10 + (text[i++] - '0');
    }
    if (i == digits) return fail();
    std::int64_t unit = 1;
    if (i < text.size()) {
      switch (text[i++]) {
        case 's': unit = 1; break;
        case 'm': unit = 60; break;
        case 'h': unit = 3600; break;
        case 'd': unit = 86400; break;
        default: return fail();
      }
    } else if (digits != 0) {
      return fail();  // "1h30": thirty of what?
    }
    if (unit >= smallest || number > kMax / unit) return fail();
    smallest = unit;
    total += number * unit;
  }
  if (total < 1 || total > kMax) return fail();
  return std::chrono::seconds(total);
}

std::string DescribeDuration(std::chrono::seconds duration) {
  const auto say = [](std::int64_t n, std::string_view unit) {
    return fmt::format("{} {}{}", n, unit, n == 1 ? "" : "s");
  };
  const std::int64_t s = duration.count();
  if (s < 60) return say(s, "second");
  if (s < 3600) return say(s / 60, "minute");
  if (s < 2 * 86400) return say(s / 3600, "hour");
  return say(s / 86400, "day");
}

base::Result<std::int64_t> ParseTimestamp(std::string_view text) {
  std::tm broken{};
  const std::string copy(text);
  const char* rest = ::strptime(copy.c_str(), "%Y-%m-%dT%H:%M:%S", &broken);
  if (rest == nullptr) {
    return base::Fail(base::Code::kDataLoss, fmt::format("'{}' is not a time", text));
  }
  if (*rest == '.') {
    do ++rest;
    while (*rest >= '0' && *rest <= '9');
  }
  if (std::string_view(rest) != "Z" && std::string_view(rest) != "+00:00") {
    return base::Fail(base::Code::kDataLoss, fmt::format("'{}' is not a time in UTC", text));
  }
  return ::timegm(&broken);
}

}  // namespace tinderbox::cli
