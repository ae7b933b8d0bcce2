// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "sandbox/state.h"

#include <algorithm>
#include <array>
#include <utility>

namespace tinderbox::sandbox {
namespace {

constexpr std::array<std::pair<State, std::string_view>, 9> kNames = {{
    {State::kCreating, "creating"},
    {State::kRunning, "running"},
    {State::kPausing, "pausing"},
    {State::kPaused, "paused"},
    {State::kResuming, "resuming"},
    {State::kSnapshotting, "snapshotting"},
    {State::kStopping, "stopping"},
    {State::kDead, "dead"},
    {State::kFailed, "failed"},
}};

// from → to. Every state but the last two may turn to stopping (someone kills it) or to dead (its
// VMM ended); nothing leads out of dead and failed but stopping, which ends with the record's end.
constexpr std::array kTransitions = {
    std::pair{State::kCreating, State::kRunning},
    std::pair{State::kCreating, State::kFailed},
    std::pair{State::kCreating, State::kStopping},
    std::pair{State::kRunning, State::kPausing},
    std::pair{State::kRunning, State::kSnapshotting},
    std::pair{State::kRunning, State::kStopping},
    std::pair{State::kRunning, State::kDead},
    std::pair{State::kPausing, State::kPaused},
    std::pair{State::kPausing, State::kRunning},  // the pause failed and was undone
    std::pair{State::kPausing, State::kDead},
    std::pair{State::kPausing, State::kStopping},
    std::pair{State::kPaused, State::kResuming},
    std::pair{State::kPaused, State::kStopping},
    std::pair{State::kResuming, State::kRunning},
    std::pair{State::kResuming, State::kPaused},  // the resume failed and was undone
    std::pair{State::kResuming, State::kStopping},
    std::pair{State::kSnapshotting, State::kRunning},
    std::pair{State::kSnapshotting, State::kDead},
    std::pair{State::kSnapshotting, State::kStopping},
    std::pair{State::kDead, State::kStopping},
    std::pair{State::kFailed, State::kStopping},
};

}  // namespace

std::string_view StateName(State state) {
  const auto* found = std::ranges::find(kNames, state, &std::pair<State, std::string_view>::first);
  return found == kNames.end() ? "unknown" : found->second;
}

std::optional<State> ParseState(std::string_view name) {
  const auto* found = std::ranges::find(kNames, name, &std::pair<State, std::string_view>::second);
  if (found == kNames.end()) return std::nullopt;
  return found->first;
}

bool MayFollow(State from, State to) {
  return std::ranges::find(kTransitions, std::pair{from, to}) != kTransitions.end();
}

}  // namespace tinderbox::sandbox
