// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "cli/console_tail.h"

#include <utility>
#include <vector>

namespace tinderbox::cli {
namespace {

// The length of the longest end of `before` that is a beginning of `now` (Knuth, Morris, Pratt).
std::size_t Overlap(std::string_view before, std::string_view now) {
  if (now.empty()) return 0;
  std::vector<std::size_t> border(now.size(), 0);
  for (std::size_t i = 1, k = 0; i < now.size(); ++i) {
    while (k > 0 && now[i] != now[k]) k = border[k - 1];
    if (now[i] == now[k]) ++k;
    border[i] = k;
  }
  std::size_t matched = 0;
  for (std::size_t i = 0; i < before.size(); ++i) {
    if (matched == now.size()) matched = border[matched - 1];
    while (matched > 0 && before[i] != now[matched]) matched = border[matched - 1];
    if (before[i] == now[matched]) ++matched;
  }
  return matched;
}

}  // namespace

std::string ConsoleTail::Advance(std::string window) {
  std::string fresh = window.substr(Overlap(before_, window));
  before_ = std::move(window);
  return fresh;
}

}  // namespace tinderbox::cli
