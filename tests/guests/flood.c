// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0

// Fills the console as fast as the serial port takes it, for ever: the host must stay bounded.
#include "guest.h"

void GuestMain(const char* cmdline) {
  (void)cmdline;
  for (;;) Print("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde\n");
}
