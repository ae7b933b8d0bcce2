// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "vmm/driver.h"

namespace tinderbox::vmm {

base::Result<SnapshotReport> Vm::Snapshot(const SnapshotRequest& /*request*/,
                                          base::Deadline /*deadline*/) {
  return base::Fail(base::Code::kUnimplemented, "this driver takes no snapshots");
}

base::Result<> Vm::PrepareSnapshot(const SnapshotRequest& /*request*/,
                                   base::Deadline /*deadline*/) {
  return {};
}

}  // namespace tinderbox::vmm
