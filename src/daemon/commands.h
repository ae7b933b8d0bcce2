// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "base/error.h"
#include "daemon/config.h"

// The subcommands of tinderboxd.
namespace tinderbox::daemon {

// Serves until SIGTERM or SIGINT. Sandboxes live on.
base::Result<> RunDaemon(const Config& config);

// Makes the guests' kernel and the template `base`, with lines of progress on standard output. Does
// nothing where they are there. The daemon may run meanwhile.
base::Result<> Prepare(const Config& config);

// Takes away everything on the host but the state directory's files: sandboxes, namespaces, rules,
// cgroups, the mounted pool. Goes on after a failure and returns the first. kAlreadyExists while a
// daemon runs.
base::Result<> CleanUp(const Config& config);

// Whether the files that the configuration names are good: the certificate and its key.
base::Result<> CheckFiles(const Config& config);

// Prints the configuration as it counts.
void PrintConfig(const Config& config);

}  // namespace tinderbox::daemon
