// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0

// Writes a pattern to 8 MiB; then, round by round, writes another one to some pages, zeroes some, and
// checks all, a line per round: memory that a snapshot loses, mixes up, or does not know to have been
// zeroed shows at once.
#include "guest.h"

enum { kFirst = 16 << 20, kPages = 2048, kPageSize = 4096, kLast = kPageSize / 8 - 1 };

static u64* Page(u64 i) { return (u64*)(kFirst + i * kPageSize); }
static u64 Pattern(u64 i, u64 round) { return (i + 1) * 0x9e3779b97f4a7c15UL + round * kPages; }

// Nothing else in a page is ever written: with these two words zero, all of it is.
static void Fill(u64 i, u64 value) {
  Page(i)[0] = value;
  Page(i)[kLast] = value;
}

// Each page is written in every 7th round, and zeroed in every 11th.
enum { kWriteEvery = 7, kZeroEvery = 11 };
// The last round up to `round` in which page `i` had its turn; 0 where it had none.
static u64 LastTurn(u64 i, u64 round, u64 every) {
  const u64 back = (round + every - i % every) % every;
  return back < round ? round - back : 0;
}
static u64 Expected(u64 i, u64 round) {
  const u64 written = LastTurn(i, round, kWriteEvery);
  const u64 zeroed = LastTurn(i, round, kZeroEvery);
  return zeroed != 0 && zeroed >= written ? 0 : Pattern(i, written);
}

void GuestMain(const char* cmdline) {
  (void)cmdline;
  for (u64 i = 0; i < kPages; ++i) Fill(i, Pattern(i, 0));
  for (u64 round = 1;; ++round) {
    for (u64 i = round % kWriteEvery; i < kPages; i += kWriteEvery) Fill(i, Pattern(i, round));
    for (u64 i = round % kZeroEvery; i < kPages; i += kZeroEvery) Fill(i, 0);
    u64 bad = 0;
    for (u64 i = 0; i < kPages; ++i) {
      const u64 expected = Expected(i, round);
      bad += Page(i)[0] != expected || Page(i)[kLast] != expected;
    }
    Print(bad == 0 ? "memory good " : "memory BAD ");
    PrintNumber(bad == 0 ? round : bad);
    Print("\n");
    Pause();
  }
}
