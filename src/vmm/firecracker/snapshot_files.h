// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "base/deadline.h"
#include "base/error.h"
#include "sys/fd.h"
#include "vmm/driver.h"

namespace tinderbox::vmm::firecracker {

// The two files that Firecracker writes a snapshot to: in a directory of the host that stands in
// its jail and is root's, with owner and mode such that it can write to these and nothing else
// there. What counts are copies of them (reflinks), since Firecracker may keep its own open. Gone
// with this object.
class SnapshotFiles {
 public:
  // kFailedPrecondition where the VM was launched without VmSpec::snapshots.
  static base::Result<SnapshotFiles> Create(LaunchedVm& vm);
  SnapshotFiles(SnapshotFiles&&) = default;
  SnapshotFiles& operator=(SnapshotFiles&&) = delete;
  ~SnapshotFiles();

  // Fills the memory file with `base`, over which a Diff snapshot then writes.
  base::Result<> BeginWith(const std::string& base, base::Deadline deadline) const;
  PlannedRequest Request(bool diff) const;
  base::Result<> CopyTo(const SnapshotPaths& to, base::Deadline deadline) const;

 private:
  SnapshotFiles(sys::UniqueFd directory, sys::UniqueFd memory, sys::UniqueFd state)
      : directory_(std::move(directory)), memory_(std::move(memory)), state_(std::move(state)) {}

  sys::UniqueFd directory_;  // none: moved from
  sys::UniqueFd memory_;
  sys::UniqueFd state_;
};

}  // namespace tinderbox::vmm::firecracker
