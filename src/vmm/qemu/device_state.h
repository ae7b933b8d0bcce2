// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "base/deadline.h"
#include "base/error.h"
#include "vmm/qemu/qmp.h"

// QEMU's state without the guest's memory: CPUs and devices. It goes over descriptors of ours, so
// that neither has QEMU a file to write to nor do we read one of the jail.
namespace tinderbox::vmm::qemu {

// Of a guest that is paused; it stays so. At most kMaxState bytes.
base::Result<std::string> SaveDeviceState(Qmp& qmp, base::Deadline deadline);

// Into a QEMU that was started with `-incoming defer`; the guest is paused then. A state that does
// not fit ends QEMU (kUnavailable), which says why on its console.
base::Result<> LoadDeviceState(Qmp& qmp, std::string_view state, base::Deadline deadline);

// The content of the state file at `path`: checked, unwrapped.
base::Result<std::string> ReadStateFile(const std::string& path);

}  // namespace tinderbox::vmm::qemu
