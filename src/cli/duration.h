// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"

namespace tinderbox::cli {

// "90", "90s", "10m", "1h30m", "2d": whole seconds, at least 1, at most 100 years. A number without
// a unit counts seconds; units must fall from large to small.
base::Result<std::chrono::seconds> ParseDuration(std::string_view text);

// For people: "45 seconds", "3 minutes", "5 hours", "2 days" (rounded down; under a minute exact).
std::string DescribeDuration(std::chrono::seconds duration);

// An RFC 3339 time in UTC ("2026-11-24T03:12:02.5Z") as seconds since 1970.
base::Result<std::int64_t> ParseTimestamp(std::string_view text);

}  // namespace tinderbox::cli
