// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0

// Counts for ever, one line per number: shows whether a pause really pauses, and whether a restored
// guest goes on where it was.
#include "guest.h"

void GuestMain(const char* cmdline) {
  (void)cmdline;
  for (u64 i = 1;; ++i) {
    Print("count ");
    PrintNumber(i);
    Print("\n");
    Pause();
  }
}
