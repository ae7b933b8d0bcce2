// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "base/error.h"
#include "daemon/config.h"

// The subcommands of tinderboxd.
namespace tinderbox::daemon {

// How to treat data in the pool if the database is empty. Neither: the daemon does not start.
struct StartOptions {
  bool adopt = false;    // take it up, by the metadata beside it
  bool discard = false;  // move it to lost+found
};

// Serves until SIGTERM or SIGINT. Sandboxes live on.
base::Result<> RunDaemon(const Config& config, const StartOptions& options);

// Copies the database to `file`, or into the state directory's backups if that is empty, and prints
// where. The daemon may run meanwhile.
base::Result<> BackUp(const Config& config, const std::string& file);

// Puts back the database out of `file`, or the latest backup if that is empty; with `none` nothing,
// so that the next start begins a new one. The present one is kept. kAlreadyExists while a daemon
// runs.
base::Result<> Restore(const Config& config, const std::string& file, bool none);

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
