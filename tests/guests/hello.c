// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0

// Prints a line and its command line, and ends the VMM with status 0.
#include "guest.h"

void GuestMain(const char* cmdline) {
  Print("hello from a tiny guest\ncmdline: ");
  Print(cmdline);
  Print("\n");
  Exit();
}
