// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// The VMM of the launch benchmark: prints the moment at which it runs (CLOCK_MONOTONIC,
// nanoseconds) and ends.
#include "warden/kernel.h"
#include "warden/text.h"

extern "C" [[noreturn, gnu::used]] void WardenMain() {
  using namespace tinderbox::warden;
  const int64_t now = Now();
  Line line;
  line.Add(now).Add("\n");
  Call(__NR_write, 1, line.data(), line.size());
  Exit(0);
}
