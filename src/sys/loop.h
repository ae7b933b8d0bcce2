// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "base/error.h"
#include "sys/fd.h"

// Loop devices by ioctl(2). Root only.
namespace tinderbox::sys {

struct LoopDevice {
  std::string path;  // "/dev/loop3"
  UniqueFd fd;
};

// The loop device that stands on this very file (device and inode are compared, not the name).
base::Result<std::optional<LoopDevice>> FindLoop(FdRef file);

// Attaches `file` (open for writing) to a free loop device with 4 KiB blocks. The device frees
// itself with its last user (autoclear): close `fd` only once it is mounted. Direct I/O where the
// file system below can do it, so that its pages are not cached twice. `path` goes into error
// messages.
base::Result<LoopDevice> AttachLoop(FdRef file, const std::string& path);

// Tells the device that its file has grown.
base::Result<> RefreshLoopSize(const LoopDevice& device);

// Detaches the device and closes it. While anybody else has it open (a mount, or a process that
// looks for a device), the kernel detaches it only with the last close.
base::Result<> DetachLoop(LoopDevice device);

}  // namespace tinderbox::sys
