// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0

// Says so, then keeps a CPU busy until it is killed.
#include "guest.h"

void GuestMain(const char* cmdline) {
  (void)cmdline;
  Print("spinning\n");
  for (;;) __asm__ volatile("pause");
}
