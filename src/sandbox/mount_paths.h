// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <map>
#include <string>

#include "base/error.h"

namespace tinderbox::sandbox {

// Path in the guest → name of the volume.
using MountMap = std::map<std::string, std::string>;

inline constexpr std::size_t kMaxVolumeMounts = 16;

// kInvalidArgument where that cannot be: too many, a path that is not absolute and clean, that is
// the kernel's own (/proc, /sys, /dev), or that is inside another.
base::Result<> CheckMounts(const MountMap& mounts);

}  // namespace tinderbox::sandbox
