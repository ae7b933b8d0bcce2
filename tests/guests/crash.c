// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0

// Says so, then dies of a triple fault: no interrupt table, and an undefined instruction.
#include "guest.h"

void GuestMain(const char* cmdline) {
  (void)cmdline;
  Print("crashing\n");
  const struct __attribute__((packed)) {
    unsigned short limit;
    u64 base;
  } none = {0, 0};
  __asm__ volatile("lidt %0; ud2" : : "m"(none));
}
