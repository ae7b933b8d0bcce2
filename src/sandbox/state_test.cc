// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "sandbox/state.h"

#include <gtest/gtest.h>

#include <map>
#include <string>

namespace tinderbox::sandbox {
namespace {

constexpr State kAll[] = {State::kCreating, State::kRunning,  State::kPausing,
                          State::kPaused,   State::kResuming, State::kSnapshotting,
                          State::kStopping, State::kDead,     State::kFailed};

TEST(State, NamesRoundTrip) {
  for (const State state : kAll) EXPECT_EQ(ParseState(StateName(state)), state);
  EXPECT_FALSE(ParseState("sleeping"));
}

// The whole table, one row per state: 'x' where the column's state may follow.
TEST(State, EveryPair) {
  const std::map<State, std::string> table = {
      //                        C R P p r s S D F
      {State::kCreating, ". x . . . . x . x"}, {State::kRunning, ". . x . . x x x ."},
      {State::kPausing, ". x . x . . x x ."},  {State::kPaused, ". . . . x . x . ."},
      {State::kResuming, ". x . x . . x . ."}, {State::kSnapshotting, ". x . . . . x x ."},
      {State::kStopping, ". . . . . . . . ."}, {State::kDead, ". . . . . . x . ."},
      {State::kFailed, ". . . . . . x . ."},
  };
  for (const auto& [from, row] : table) {
    for (std::size_t column = 0; column < std::size(kAll); ++column) {
      EXPECT_EQ(MayFollow(from, kAll[column]), row[column * 2] == 'x')
          << StateName(from) << " -> " << StateName(kAll[column]);
    }
  }
}

}  // namespace
}  // namespace tinderbox::sandbox
