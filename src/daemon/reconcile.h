// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/error.h"
#include "daemon/commands.h"
#include "daemon/config.h"
#include "daemon/wire.h"

// Store and pool, which may tell different stories: the database was lost, or put back from a
// backup. The pool's data is never removed because of that.
namespace tinderbox::daemon {

// With store and library open, and nothing else. kFailedPrecondition if the store is empty, the
// pool holds volumes or sandboxes, and `options` do not say what to do with them. Takes up
// sandboxes if it was asked to, or if the database was put back; whether volumes are to be taken
// up, too.
base::Result<bool> Reconcile(const Config& config, System& system, const StartOptions& options);
// Everything is open.
base::Result<> FinishReconciling(const Config& config);

// Exists from a Restore to the next start.
std::string RestoredMark(const Config& config);

}  // namespace tinderbox::daemon
