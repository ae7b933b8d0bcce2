// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>

#include "base/error.h"

// Work on a thread that is made for it. Both functions block until `work` has ended, and return its
// result; an exception becomes kInternal. The thread takes no signals, and begins in the caller's
// namespaces.
namespace tinderbox::sys {

base::Result<> OnFreshThread(const std::function<base::Result<>()>& work);

// The thread has a table of descriptors of its own, with only 0, 1 and 2 of the process. So the
// descriptors that `work` opens have low numbers: libraries that use select(2) abort the process
// from 1024 on. `work` must not use other descriptors of the process, and what it opens is closed
// when it ends. See close_range(2), CLOSE_RANGE_UNSHARE.
base::Result<> WithFewDescriptors(const std::function<base::Result<>()>& work);

}  // namespace tinderbox::sys
