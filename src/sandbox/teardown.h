// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "sandbox/open.h"
#include "store/store.h"
#include "vmm/launcher.h"

namespace tinderbox::sandbox {

// Ends the VM of `record` if it lives and frees everything that it holds: run directory and cgroup,
// network slot, disk. What is gone already is no error, so the same call undoes a half-done create,
// kills a running sandbox, clears up after a dead one and serves recovery. All steps are tried even
// if one fails; the first error is returned. How the VM ended comes back where that could be
// learnt. A slot that was released is struck from `record` (slot = 0), because it may be another
// sandbox's the next moment: the caller stores the record before anything is tried again.
struct TeardownOutcome {
  base::Result<> result;
  std::optional<vmm::ExitStatus> exit;
  std::string lost_entry;  // of lost+found, where TeardownLost has put the data; empty: none
};
TeardownOutcome Teardown(const ManagerOptions& options, store::SandboxRecord& record);
// The same but for what the sandbox keeps while it is paused: its VM goes, the sandbox stays.
TeardownOutcome TeardownVm(const ManagerOptions& options, store::SandboxRecord& record);

// As Teardown, but the sandbox's data goes to lost+found: the sandbox was lost, and no user
// asked for its end.
TeardownOutcome TeardownLost(const ManagerOptions& options, store::SandboxRecord& record,
                             std::string_view why);

// The VM alone, without any of its files in the pool.
TeardownOutcome TeardownVmOnly(const ManagerOptions& options, store::SandboxRecord& record);

// How a VM ended, in words: "exited with code 1", "was killed by signal 9 (Killed)".
std::string DescribeExit(const vmm::ExitStatus& exit);

}  // namespace tinderbox::sandbox
