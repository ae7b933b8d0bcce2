// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "sandbox/timings.h"

#include <fmt/format.h>

#include <boost/json.hpp>

namespace tinderbox::sandbox {

namespace json = boost::json;

void StageClock::Stage(std::string_view name) {
  const auto now = std::chrono::steady_clock::now();
  const double ms = std::chrono::duration<double, std::milli>(now - since_).count();
  timings_.emplace_back(name, ms);
  since_ = now;
}

std::string StageClock::Json() const {
  // By hand: Boost.JSON writes 3.1 as 3.1E0, and people read these lines in the log.
  std::string text = "[";
  for (const auto& [name, ms] : timings_) {
    text += fmt::format("{}[\"{}\",{:.3f}]", text.size() > 1 ? "," : "", name, ms);
  }
  return text + "]";
}

Timings ParseTimings(std::string_view text) {
  boost::system::error_code error;
  const json::value parsed = json::parse(text, error);
  Timings timings;
  if (error || !parsed.is_array()) return timings;
  for (const json::value& stage : parsed.get_array()) {
    if (!stage.is_array() || stage.get_array().size() != 2) return {};
    const json::value& name = stage.get_array()[0];
    const json::value& ms = stage.get_array()[1];
    if (!name.is_string() || !ms.is_number()) return {};
    timings.emplace_back(std::string(name.get_string()), ms.to_number<double>(error));
  }
  return timings;
}

}  // namespace tinderbox::sandbox
