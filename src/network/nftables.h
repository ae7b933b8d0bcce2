// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "base/error.h"

namespace tinderbox::network {

// Runs nftables commands in the network namespace of the calling thread, in process (libnftables);
// one call is one transaction: all of it holds, or nothing. Returns what the commands print (JSON
// with `json`). Calls of all threads run one after the other, each on a
// thread of its own: libnftables uses select(2), which needs low descriptors, and keeps a
// process-wide table of interfaces. The error carries nftables' own words.
base::Result<std::string> RunNft(const std::string& commands, bool json = false);

}  // namespace tinderbox::network
