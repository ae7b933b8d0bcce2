// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "base/deadline.h"
#include "base/error.h"
#include "sys/fd.h"

namespace tinderbox::net {

// Sends a whole request that asks to leave HTTP, over a connected socket, and reads the answer's
// head and not one byte more: what follows a "101" is another protocol's. kUnavailable where the
// peer hangs up or answers otherwise; the message says how (the head's first line, and what of a
// short body came with it). Blocks until `deadline`.
base::Result<> RequestUpgrade(sys::FdRef socket, std::string_view request, base::Deadline deadline);

}  // namespace tinderbox::net
