// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

namespace tinderbox::cli {

// Rows under a heading, each column as wide as its widest cell, three spaces between columns,
// nothing after the last. Cells are made Printable; widths count code points of UTF-8.
class Table {
 public:
  explicit Table(std::vector<std::string> heading) : rows_{std::move(heading)} {}

  // Short rows are filled with empty cells; cells beyond the heading are dropped.
  void Add(std::vector<std::string> row);
  std::string ToString() const;

 private:
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace tinderbox::cli
