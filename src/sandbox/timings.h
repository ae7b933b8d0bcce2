// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tinderbox::sandbox {

// Stage names and how long each took, in the order in which they ended.
using Timings = std::vector<std::pair<std::string, double>>;  // milliseconds

// Takes the time of consecutive stages.
class StageClock {
 public:
  // Ends the stage that began at construction or at the previous call.
  void Stage(std::string_view name);
  // As JSON: [["slot",3.1],…]; an array, because the order tells the story.
  std::string Json() const;

 private:
  std::chrono::steady_clock::time_point since_ = std::chrono::steady_clock::now();
  Timings timings_;
};

// What Json() wrote; empty for anything else.
Timings ParseTimings(std::string_view json);

}  // namespace tinderbox::sandbox
