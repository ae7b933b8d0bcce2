// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/error.h"
#include "store/internal/sqlite.h"

namespace tinderbox::store::internal {

// What this program writes into `PRAGMA user_version`: the number of migrations it knows.
int SchemaVersion();

// Brings the schema up to date, each migration in a transaction of its own. kFailedPrecondition for
// a database of a newer version or of another program, kDataLoss for a damaged one.
base::Result<> Migrate(Database& database);
// The same, but not beyond version `target`. For tests of what earlier versions left.
base::Result<> MigrateTo(Database& database, int target);
// kFailedPrecondition for a database of a newer version or of another program. Changes nothing.
base::Result<> CheckVersion(Database& database);

}  // namespace tinderbox::store::internal
