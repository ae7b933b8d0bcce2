// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <linux/sched.h>

namespace tinderbox::sys {

// clone3(2) whose child runs `entry(argument)` on the stack that `args` names, and must not return
// from it. Yields the child's pid or a negative errno. With CLONE_VM the child shares the caller's
// memory and errno: it may only make system calls, and the stack must stay until it has left.
long CloneOntoStack(clone_args* args, void (*entry)(void*), void* argument);

}  // namespace tinderbox::sys
