// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/json/object.hpp>
#include <string>
#include <vector>

namespace tinderbox::bench {

// The measurements of one way to do a thing, in microseconds.
class Samples {
 public:
  explicit Samples(std::string name) : name_(std::move(name)) {}

  void Add(double us) { values_.push_back(us); }
  const std::string& name() const { return name_; }
  std::size_t count() const { return values_.size(); }
  // 0 ≤ fraction ≤ 1; 0 where there are no samples.
  double Quantile(double fraction) const;
  double median() const { return Quantile(0.5); }

  static std::string TableHead();
  std::string TableRow() const;
  boost::json::object ToJson() const;

 private:
  std::string name_;
  std::vector<double> values_;
};

}  // namespace tinderbox::bench
