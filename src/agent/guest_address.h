// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "base/error.h"

// The guest's fixed place on its network. Every guest has the same one, so that a snapshot needs no
// rewriting; what differs lives outside, in the VM's network namespace.
namespace tinderbox::agent {

inline constexpr char kGuestAddress[] = "169.254.0.21";
inline constexpr char kGatewayAddress[] = "169.254.0.22";
inline constexpr char kNetmask[] = "255.255.255.252";
inline constexpr unsigned short kAgentPort = 49983;

// Writes /etc/hosts with localhost and `hostname`, unless the image brought a file with other
// names: then only the line that we wrote before is replaced or added.
base::Result<> WriteHosts(const std::string& hostname);

}  // namespace tinderbox::agent
