// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "base/error.h"

namespace tinderbox::store {

// Copies the database at `from`, which may be in use by this or another process, to `to` by
// SQLite's online backup: a consistent state. Replaces `to` as a whole, durably; mode 0600. Blocks.
base::Result<> BackUpDatabase(const std::string& from, const std::string& to);

// Whether the file at `path` is a whole database of ours that this version can read: kNotFound,
// kDataLoss, kFailedPrecondition (another program's, or of a newer version). Reads all of it and
// changes nothing.
base::Result<> CheckDatabase(const std::string& path);

}  // namespace tinderbox::store
