// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/deadline.h"
#include "base/error.h"

// Runs the programs of others that set-up needs (apt, mmdebstrap, mkfs). Never on a sandbox's path.
namespace tinderbox::sys {

struct ToolSpec {
  // argv[0] is a path, or a name that is looked up in kToolPath. No shell is ever involved.
  std::vector<std::string> argv;
  // The whole environment, "NAME=value"; PATH and LC_ALL=C.UTF-8 are added.
  std::vector<std::string> env;
  std::string cwd = "/";
  // Called on the caller's thread for every line of standard error (without its line end; lines are
  // cut at 4 KiB). May be empty.
  std::function<void(std::string_view)> on_line;
  std::size_t max_output = 4 << 20;  // standard output beyond it is an error
  base::Deadline deadline = base::Deadline::Never();
};

struct ToolResult {
  int exit_code = 0;       // 128 + signal where a signal ended it
  std::string output;      // standard output
  std::string error_tail;  // the last 8 KiB of standard error
};

inline constexpr std::string_view kToolPath =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

// Runs the tool to its end and returns its exit code; a non-zero one is not an error here. Needs
// root: the tool is process 1 of its own pid namespace and has its own mount namespace, so that
// when it, this process or the calling thread dies, all that it started and mounted goes with it.
// Errors: kNotFound where the program does not exist (with the remedy to install it),
// kDeadlineExceeded (the tool has been killed then), kResourceExhausted for too much output.
base::Result<ToolResult> RunTool(const ToolSpec& spec);

}  // namespace tinderbox::sys
