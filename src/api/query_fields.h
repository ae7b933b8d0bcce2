// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <limits>
#include <string_view>

#include "api/answer.h"
#include "base/error.h"

// Typed query parameters. One that is absent or empty is the fallback; one that is wrong is
// kInvalidArgument, which names it and says what it may be.
namespace tinderbox::api {

struct QueryRange {
  std::int64_t min = 0;
  std::int64_t max = std::numeric_limits<std::int64_t>::max();
};

base::Result<std::int64_t> ReadInteger(const Request& request, std::string_view name,
                                       std::int64_t fallback, QueryRange range = {});
// The same for what counts things: `range` holds nothing negative.
base::Result<std::size_t> ReadCount(const Request& request, std::string_view name,
                                    std::size_t fallback, QueryRange range = {});
// "true" or "false".
base::Result<bool> ReadFlag(const Request& request, std::string_view name);

}  // namespace tinderbox::api
