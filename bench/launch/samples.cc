// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "samples.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace tinderbox::bench {

double Samples::Quantile(double fraction) const {
  if (values_.empty()) return 0;
  std::vector<double> sorted = values_;
  std::ranges::sort(sorted);
  const auto last = static_cast<double>(sorted.size() - 1);
  return sorted[static_cast<std::size_t>(std::lround(fraction * last))];
}

std::string Samples::TableHead() {
  return fmt::format("{:<44} {:>5} {:>9} {:>9} {:>9} {:>9} {:>9}\n", "microseconds", "n", "min",
                     "p25", "median", "p75", "p99");
}

std::string Samples::TableRow() const {
  return fmt::format("{:<44} {:>5} {:>9.0f} {:>9.0f} {:>9.0f} {:>9.0f} {:>9.0f}\n", name_, count(),
                     Quantile(0), Quantile(0.25), median(), Quantile(0.75), Quantile(0.99));
}

boost::json::object Samples::ToJson() const {
  return {{"name", name_},         {"n", count()},       {"min", Quantile(0)},
          {"p25", Quantile(0.25)}, {"median", median()}, {"p75", Quantile(0.75)},
          {"p99", Quantile(0.99)}, {"unit", "us"}};
}

}  // namespace tinderbox::bench
