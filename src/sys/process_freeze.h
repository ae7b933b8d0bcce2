// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "base/deadline.h"
#include "base/error.h"
#include "sys/fd.h"

namespace tinderbox::sys {

// A process whose threads are all stopped: none of them runs, so none changes the process's memory
// or mappings. Processes that share its memory are not stopped. SIGKILL still ends it; SIGCONT does
// not let it go on.
//
// Uses ptrace(2), from a thread of its own, so that the kernel lets the process go on when this one
// dies, by whatever. Needs CAP_SYS_PTRACE. Nothing else may trace the process (kPermissionDenied).
class FrozenProcess {
 public:
  // `process` is the process's directory in /proc. Blocks until every thread has stopped: at once,
  // unless the kernel is busy for one (disk I/O). kDeadlineExceeded if one does not stop by then;
  // nothing stays stopped then. kNotFound if the process has ended.
  static base::Result<FrozenProcess> Freeze(FdRef process, base::Deadline deadline);
  FrozenProcess(FrozenProcess&&) noexcept;
  FrozenProcess& operator=(FrozenProcess&&) = delete;
  // Lets the process go on.
  ~FrozenProcess();

 private:
  class Tracer;
  explicit FrozenProcess(std::unique_ptr<Tracer> tracer);
  std::unique_ptr<Tracer> tracer_;
};

}  // namespace tinderbox::sys
