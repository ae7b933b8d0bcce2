// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "base/error.h"

// The kernel's random numbers in a guest that may be a copy of another.
namespace tinderbox::agent {

// Opens the device of the kernel's generator and keeps it open, so that a guest that removes it
// from /dev does not lose its seeds.
void OpenRandomDevice();

// Mixes `entropy` in and has the kernel draw new keys from it at once: all of getrandom(2),
// /dev/urandom, kernel uuids and the kernel's own numbers. Nothing that was drawn ahead is used
// any more, on any CPU.
base::Result<> Reseed(std::string_view entropy);

// The same with numbers of the CPU's own generator (RDRAND), which differ in every copy.
// kUnavailable on a CPU without one.
base::Result<> ReseedFromCpu();

}  // namespace tinderbox::agent
