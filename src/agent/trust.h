// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>

#include "base/error.h"

namespace tinderbox::agent {

// Has the programs of this guest trust a certificate authority (PEM) besides their own: in the
// bundle of the system, in a file of its own where later changes of the bundle find it, and by the
// variables that programs with bundles of their own read, where `env` does not set them already.
// `root` is in front of all paths, for tests. kInvalidArgument for what is no certificate.
base::Result<> TrustAuthority(const std::string& certificate,
                              std::map<std::string, std::string>& env,
                              const std::string& root = {});

}  // namespace tinderbox::agent
