// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "api/query_fields.h"

#include <fmt/format.h>

#include <charconv>

namespace tinderbox::api {

using base::Code;
using base::Fail;
using base::Result;

Result<std::int64_t> ReadInteger(const Request& request, std::string_view name,
                                 std::int64_t fallback, QueryRange range) {
  const std::string_view text = request.Query(name);
  if (text.empty()) return fallback;
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const bool whole = error == std::errc() && end == text.data() + text.size();
  if (whole && number >= range.min && number <= range.max) return number;
  return Fail(
      Code::kInvalidArgument,
      fmt::format("query parameter '{}' is an integer from {} to {}", name, range.min, range.max));
}

Result<std::size_t> ReadCount(const Request& request, std::string_view name, std::size_t fallback,
                              QueryRange range) {
  return static_cast<std::size_t>(
      TRY(ReadInteger(request, name, static_cast<std::int64_t>(fallback), range)));
}

Result<bool> ReadFlag(const Request& request, std::string_view name) {
  const std::string_view wish = request.Query(name);
  if (wish == "true") return true;
  if (wish.empty() || wish == "false") return false;
  return Fail(Code::kInvalidArgument,
              fmt::format("query parameter '{}' is 'true' or 'false'", name));
}

}  // namespace tinderbox::api
