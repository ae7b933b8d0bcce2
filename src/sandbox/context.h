// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fmt/format.h>

#include <string>

#include "sandbox/cgroup_name.h"
#include "sandbox/open.h"

namespace tinderbox::sandbox {

// Where the things of one sandbox stand on the host; every name derives from its id.
inline std::string RunDirOf(const ManagerOptions& options, std::string_view id) {
  return fmt::format("{}/vm/{}", options.run_dir, id);
}
// Where the VM of a sandbox runs now: run_dir may have been another when it was started.
inline std::string RunDirOf(const ManagerOptions& options, const store::SandboxRecord& record) {
  return record.run_dir.empty() ? RunDirOf(options, std::string_view(record.id)) : record.run_dir;
}
inline std::string DeadConsoleOf(const ManagerOptions& options, std::string_view id) {
  return fmt::format("{}/dead/{}.log", options.state_dir, id);
}
inline std::string CgroupOf(const ManagerOptions& options, std::string_view id) {
  return CgroupName(options.cgroup_prefix, id);
}

// The end of a time that begins now, in milliseconds since the epoch; 0 for kNoTimeout.
base::Result<std::int64_t> EndAfter(std::chrono::seconds timeout);
std::unexpected<base::Error> NoSuchSandbox(std::string_view id);

}  // namespace tinderbox::sandbox
