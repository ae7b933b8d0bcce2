// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace tinderbox::daemon {

// A daemon must start and remove sandboxes even if the disk of its state directory is full: that is
// how space is freed. Both need a few blocks. All calls are best effort, and quick.

// <state_dir>/ballast holds 16 MiB while there is space. Makes it if it is not there.
void MakeBallast(const std::string& state_dir);
// To be called before anything is written in the state directory, by who holds its lock: gives the
// ballast up if less than it is free.
void UseBallastIfFull(const std::string& state_dir);

// Allocates blocks beyond the ends of the database's files, where SQLite grows.
void AllocateAhead(const std::string& database);

}  // namespace tinderbox::daemon
