// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "base/error.h"
#include "sys/fd.h"

namespace tinderbox::image {

// Makes an ext4 of `bytes` in the new sparse file `disk`, with the content of `tree` (owners,
// modes, links, devices and extended attributes kept), without mounting anything. Nothing is left
// for the guest's kernel to initialise in the background: that would dirty memory and disk of every
// clone.
base::Result<> MakeExt4(const std::string& tree, const std::string& disk, std::uint64_t bytes);

// Whether `disk` holds an ext4 that is `bytes` large and whose superblock is whole (magic, size,
// checksum). Reads 1 KiB. kDataLoss where not.
base::Result<> CheckExt4(sys::FdRef disk, std::uint64_t bytes);

}  // namespace tinderbox::image
