// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include "base/error.h"

namespace tinderbox::sys {

// Raises the OOM score adjustment of process `pid` to `score` (-1000 to 1000): the kernel then
// kills that process earlier if memory runs out. A process whose adjustment is higher already keeps
// it, so that no right to lower one is needed. Affects every process that shares the memory of
// `pid`: call it after that process's exec. Does not block.
base::Result<> RaiseOomScore(pid_t pid, int score);

}  // namespace tinderbox::sys
