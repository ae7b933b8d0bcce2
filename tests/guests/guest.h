// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// What the tiny guests share. Freestanding, no interrupts, no SSE: any exception is a triple fault.

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long u64;

// Every guest defines this; `cmdline` is the kernel command line, a C string.
void GuestMain(const char* cmdline);

enum { kSerialData = 0x3F8, kSerialStatus = 0x3FD, kKeyboard = 0x64, kDebugExit = 0xF4 };

// Byte-wide only: Firecracker's serial port and i8042 ignore wider accesses.
static inline void Out(unsigned short port, u8 value) {
  __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port) : "memory");
}
static inline u8 In(unsigned short port) {
  u8 value;
  __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port) : "memory");
  return value;
}

static inline void PutChar(char c) {
  // Room in the transmitter: QEMU holds it back while nobody reads the console. Bounded, so that a
  // guest without a serial port does not hang in here.
  for (u32 i = 0; i < 1000000 && (In(kSerialStatus) & 0x20) == 0; ++i) __asm__ volatile("pause");
  Out(kSerialData, (u8)c);
}
static inline void Print(const char* text) {
  while (*text != 0) PutChar(*text++);
}
static inline void PrintNumber(u64 n) {
  char digits[21];
  int at = 20;
  digits[at] = 0;
  do {
    digits[--at] = (char)('0' + n % 10);
    n /= 10;
  } while (n != 0);
  Print(digits + at);
}

// About 2.5 ms of wall time on any host: the time stamp counter runs everywhere, in software too.
static inline void Pause(void) {
  u32 low, high;
  __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
  const u64 start = (u64)high << 32 | low;
  u64 now;
  do {
    __asm__ volatile("pause");
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    now = (u64)high << 32 | low;
  } while (now - start < 6000000);
}

// Ends the VMM with status 0, whichever it is, with nothing more than what each machine has:
//  - the i8042's reset line: Firecracker exits 0. It does so a moment later, on another thread,
//  hence
//    nothing after it may harm: MMIO and ports that nobody serves are ignored there.
//  - the reset register of ACPI's generic event device: QEMU's microvm resets, and with -no-reboot
//    that is exit 0.
//  - isa-debug-exit, where somebody runs QEMU by hand with one: status 1.
static inline void Exit(void) {
  Out(kKeyboard, 0xFE);
  *(volatile u8*)0xfea00202UL = 0x42;
  Out(kDebugExit, 0);
  for (;;) __asm__ volatile("cli; hlt");
}
