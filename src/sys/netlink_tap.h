// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <string>

#include "base/error.h"
#include "sys/fd.h"

// TAP devices, in the network namespace of the calling thread.
namespace tinderbox::sys {

// Makes the TAP device `name`, which stays when nobody has it open. Who is not its `owner`, or not
// of its `group`, and has no CAP_NET_ADMIN in the namespace's user namespace, cannot attach to it.
// kAlreadyExists where an interface has that name; needs CAP_NET_ADMIN.
base::Result<> AddTap(const std::string& name, uid_t owner, gid_t group);

// Attaches to a TAP device that exists (kNotFound else: none is made), as a VMM does; with
// `vnet_header` every frame carries a virtio-net header. The descriptor is one frame per read and
// write, close-on-exec, non-blocking.
base::Result<UniqueFd> OpenTap(const std::string& name, bool vnet_header = false);

}  // namespace tinderbox::sys
