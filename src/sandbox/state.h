// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string_view>

namespace tinderbox::sandbox {

// The states of a sandbox's life; the table of what may follow what stands in state.cc.
enum class State {
  kCreating,
  kRunning,
  kPausing,
  kPaused,
  kResuming,
  kSnapshotting,
  kStopping,
  kDead,    // its VMM ended by itself or was killed from outside; exit status kept
  kFailed,  // it never ran; the cause is kept
};

std::string_view StateName(State state);
std::optional<State> ParseState(std::string_view name);

// Whether `to` may follow `from`.
bool MayFollow(State from, State to);

}  // namespace tinderbox::sandbox
