// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "base/deadline.h"
#include "base/error.h"
#include "sys/fd.h"

namespace tinderbox::network {

// A TCP connection to the guest of `netns`, at kGuestAddress; see SlotPool::Dial. Blocks.
//
// The kernel repeats an unanswered SYN after a whole second; a guest that is just coming up would
// be found that late. So silence is met with further sockets after 10, 20, 40, 80, 100, 100 … ms,
// of which the latest dozen stay open: a guest that takes a second to answer is still heard. The
// first to connect is returned, the rest are closed.
base::Result<sys::UniqueFd> DialGuest(sys::FdRef netns, std::uint16_t port,
                                      base::Deadline deadline);

}  // namespace tinderbox::network
