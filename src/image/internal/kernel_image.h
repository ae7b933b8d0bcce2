// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "base/error.h"

namespace tinderbox::image {

inline constexpr std::size_t kMaxKernelBytes = 512 << 20;

// The uncompressed kernel (an ELF program) out of `image`: an x86 bzImage ("vmlinuz", its payload
// compressed by gzip, xz, zstd or lz4), or an ELF kernel already. kInvalidArgument for what is no
// kernel at all, kDataLoss for one that is cut off or damaged.
base::Result<std::string> ExtractVmlinux(std::string_view image);

// Whether `elf` can be booted as a kernel: a 64-bit x86-64 executable whose loadable segments all
// lie within the file. Looks at headers only.
base::Result<> CheckVmlinux(std::string_view elf);
// The same for a file; the error names it.
base::Result<> CheckVmlinuxFile(const std::string& path);

}  // namespace tinderbox::image
