// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"

namespace tinderbox::cli {

// One message of process.Process/Start or Connect, decoded.
struct ProcessEvent {
  enum class Kind { kStart, kStdout, kStderr, kPty, kEnd, kOther };

  Kind kind = Kind::kOther;
  std::uint32_t pid = 0;  // kStart
  std::string bytes;      // kStdout, kStderr, kPty
  // kEnd: how the process ended.
  int exit_code = 0;
  bool exited = false;
  std::string status;  // "signal: killed"
};

// Decodes into `event`, whose buffer is used again. kDataLoss for what is no such message; kOther
// for signs of life and for events of a later version.
base::Result<> DecodeProcessEvent(std::string_view payload, ProcessEvent& event);

// What a shell would put into $? for that end: the exit code, or 128 + the signal.
int ShellStatus(const ProcessEvent& end);

// The number of a signal in an agent's words ("killed", "segmentation fault (core dumped)"), 0
// where unknown.
int SignalNumber(std::string_view words);

}  // namespace tinderbox::cli
