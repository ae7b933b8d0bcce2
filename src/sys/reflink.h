// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "base/error.h"
#include "sys/fd.h"

namespace tinderbox::sys {

// Makes the (empty) file `to` share all of the blocks of `from` (FICLONE): no data is copied, and
// either file can be written afterwards without the other's noticing. Both on one file system;
// kUnimplemented where that has no reflinks.
base::Result<> CloneFile(FdRef from, FdRef to);

// Whether the file system of directory `dir` has reflinks: tries one on two files without names.
base::Result<bool> HasReflinks(const std::string& dir);

}  // namespace tinderbox::sys
