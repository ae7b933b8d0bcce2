// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string_view>

#include "base/error.h"
#include "sys/fd.h"
#include "vmm/launcher.h"

namespace tinderbox::vmm {

// The events of one VM that concern its disk. QEMU stops a guest whose write finds no free space on
// the host, and repeats the write when the guest continues. One connection per VM, beside those
// that the driver makes, so that a caller can listen while the VM is otherwise idle.
//
// Never blocks. Not safe for use by several threads at once.
class IoEvents {
 public:
  virtual ~IoEvents() = default;
  // Readable when there is something to Read.
  virtual sys::FdRef fd() const = 0;
  // Takes what the VMM has sent: a bounded amount per call. After an error the connection is of no
  // use: kUnavailable (the VMM closed it), kDataLoss, kResourceExhausted (not the protocol).
  virtual base::Result<> Read() = 0;
  // Whether the guest is stopped because a write of its disk found no free space.
  virtual bool no_room() const = 0;
  // Lets a stopped guest continue and repeat the write. The result comes as events.
  virtual base::Result<> Continue() = 0;
};

// Connects to the VMM of `vm`; returns at once, null if `vmm` has no such events. Firecracker gives
// its guest the error instead: its writes and its fsync fail. kDeadlineExceeded: the VM is of an
// older version, whose VMM does not listen.
base::Result<std::unique_ptr<IoEvents>> OpenIoEvents(std::string_view vmm, LaunchedVm& vm);

}  // namespace tinderbox::vmm
