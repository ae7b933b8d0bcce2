// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "base/error.h"
#include "sys/fd.h"

namespace tinderbox::sys {

struct BindFlags {
  bool read_only = true;
  bool executable = true;
};

// A private copy of the mount that `path` stands on, cut down to `path` (file or directory) and
// attached nowhere: nosuid, nodev, and as `flags` says. It can be moved into any mount namespace
// (move_mount(2)), and goes away with the descriptor where it was not. Mounts below `path` are not
// in it. Needs CAP_SYS_ADMIN.
base::Result<UniqueFd> CloneMount(const std::string& path, BindFlags flags);

}  // namespace tinderbox::sys
