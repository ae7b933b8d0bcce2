// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0

// Writes a pattern to 8 MiB, then checks it for ever, a line per round: memory that a snapshot loses
// or mixes up shows at once.
#include "guest.h"

enum { kFirst = 16 << 20, kPages = 2048, kPageSize = 4096 };

static u64* Page(u64 i) { return (u64*)(kFirst + i * kPageSize); }
static u64 Pattern(u64 i) { return (i + 1) * 0x9e3779b97f4a7c15UL; }

void GuestMain(const char* cmdline) {
  (void)cmdline;
  for (u64 i = 0; i < kPages; ++i) *Page(i) = Pattern(i);
  for (u64 round = 1;; ++round) {
    u64 bad = 0;
    for (u64 i = 0; i < kPages; ++i) bad += *Page(i) != Pattern(i);
    Print(bad == 0 ? "memory good " : "memory BAD ");
    PrintNumber(bad == 0 ? round : bad);
    Print("\n");
    Pause();
  }
}
