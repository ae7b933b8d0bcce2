// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/error.h"

namespace tinderbox::image {

// Raised whenever the same agent would give another initramfs, be it for other modules: kernels
// that were prepared before are then prepared anew.
inline constexpr int kInitramfsVersion = 2;

struct InitramfsContent {
  std::string init;  // content of /init, a static program
  // File name and content of every kernel module, in the order in which they are to be loaded.
  std::vector<std::pair<std::string, std::string>> modules;
};

// The initramfs of every sandbox: /init, /modules/<file>, and /modules/order, which names one file
// of /modules a line in loading order. Not compressed: under emulation the guest unpacks slowly,
// while the host's page cache shares the file among all guests. Deterministic.
base::Result<std::string> BuildInitramfs(InitramfsContent content);

}  // namespace tinderbox::image
