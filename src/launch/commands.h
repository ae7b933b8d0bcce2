// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/json/object.hpp>
#include <string>

#include "base/error.h"
#include "launch/options.h"
#include "vmm/launcher.h"

namespace tinderbox::launch {

// What `start` exits with where the launch itself failed; a VMM's own status is passed on.
inline constexpr int kLaunchFailed = 125;

// Each runs one command and yields the program's exit code. They print to stdout and block.
base::Result<int> Start(const Options& options, const StartOptions& start);
base::Result<int> Wait(const Options& options, const WaitOptions& wait);
base::Result<int> Stop(const Options& options, const StopOptions& stop);
base::Result<int> List(const Options& options);
base::Result<int> ShowConsole(const Options& options, const ConsoleOptions& console);

// The directory of the VM `id`; kInvalidArgument for what is no id.
base::Result<std::string> RunDirOf(const Options& options, const std::string& id);
// The VM `id`; kNotFound with a remedy.
base::Result<std::unique_ptr<vmm::LaunchedVm>> Find(const Options& options, const std::string& id);

// 128 + signal for a VMM that a signal ended, as a shell has it.
int ExitCodeOf(const vmm::ExitStatus& status);
// "exit code 7", "signal 15".
std::string Describe(const vmm::ExitStatus& status);
boost::json::object ToJson(const vmm::ExitStatus& status);

}  // namespace tinderbox::launch
