// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/stat.h>

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

  // Readies `directory` for a new VM whose VMM runs with the group `gid`: the VMM may open the
  // files that we create there, and create none. Forgets what an earlier VM has left in it.
  static base::Result<> PrepareDirectory(const std::string& directory, gid_t gid);

  // Fills the memory file with `base`, over which a Diff snapshot then writes. Firecracker tells
  // what has changed since its latest snapshot, whatever became of that, so anything but that one's
  // memory (before it: what the VM began as) would make a wrong one: kFailedPrecondition.
  base::Result<> BeginWith(const std::string& base, base::Deadline deadline) const;
  // Around the request. Between the two, and until the next whole snapshot where Settle never
  // comes, no base fits. Settle names the memory of the snapshot that was made; empty: none was.
  base::Result<> Unsettle() const;
  base::Result<> Settle(const std::string& memory) const;
  PlannedRequest Request(bool diff) const;
  base::Result<> CopyTo(const SnapshotPaths& to, base::Deadline deadline) const;

 private:
  SnapshotFiles(sys::UniqueFd directory, sys::UniqueFd memory, sys::UniqueFd state)
      : directory_(std::move(directory)), memory_(std::move(memory)), state_(std::move(state)) {}

  base::Result<> CheckBase(sys::FdRef base) const;

  sys::UniqueFd directory_;  // none: moved from
  sys::UniqueFd memory_;
  sys::UniqueFd state_;
  struct stat began_as_{};  // the jail's memory file; st_ino 0: it booted
  std::string latest_;      // what the record says; empty where there is none yet
};

}  // namespace tinderbox::vmm::firecracker
