// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/error.h"
#include "sys/fd.h"

// Network namespaces, named as iproute2 names them (a bind mount under /run/netns), so that
// `ip netns` sees them. Needs CAP_SYS_ADMIN. A process keeps its own namespace: what shall happen
// inside another one happens on a thread made for it.
namespace tinderbox::sys {

inline constexpr char kNetNsDirectory[] = "/run/netns";

std::string NetNsPath(const std::string& name);

// A fresh namespace that has no name; it lives as long as the descriptor (or a process inside).
base::Result<UniqueFd> NewNetNs();
// The namespace of the calling thread.
base::Result<UniqueFd> CurrentNetNs();
// The namespace called `name`; kNotFound where there is none, kFailedPrecondition where the file is
// there but no namespace is mounted on it.
base::Result<UniqueFd> OpenNetNs(const std::string& name);

// Gives `netns` a name. Makes /run/netns a shared mount first where it is none, as iproute2 does,
// so that a later unmount reaches every mount namespace that holds a copy. kAlreadyExists where the
// name is taken; nothing is left behind on failure.
base::Result<> NameNetNs(FdRef netns, const std::string& name);
// Takes the name away; false where there was none. The namespace itself ends with its last user.
base::Result<bool> UnnameNetNs(const std::string& name);
// All names that stand there, sorted; empty where /run/netns does not exist.
base::Result<std::vector<std::string>> NetNsNames();

// Runs `work` inside `netns` on a thread of its own (signals blocked) and returns what it returned.
// Sockets made there stay in that namespace, whoever uses them later. About 0.1 ms besides `work`.
base::Result<> RunInNetNs(FdRef netns, const std::function<base::Result<>()>& work);

}  // namespace tinderbox::sys
