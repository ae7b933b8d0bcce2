// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <asm/unistd.h>
#include <errno.h>
#include <stddef.h>
#include <stdint.h>

// System calls without a C library. The warden is linked with none, because glibc's start-up alone
// (some sixty CPUID instructions, each of which traps to the hypervisor on a virtual machine) costs
// more than the whole of the warden's work. Every call returns the kernel's own answer: a negative
// errno on failure.
namespace tinderbox::warden {

inline long RawCall(long number, long a, long b, long c, long d, long e, long f) {
#if defined(__x86_64__)
  long result;
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  register long r9 __asm__("r9") = f;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "0"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  return result;
#elif defined(__aarch64__)
  register long x8 __asm__("x8") = number;
  register long x0 __asm__("x0") = a;
  register long x1 __asm__("x1") = b;
  register long x2 __asm__("x2") = c;
  register long x3 __asm__("x3") = d;
  register long x4 __asm__("x4") = e;
  register long x5 __asm__("x5") = f;
  __asm__ volatile("svc 0"
                   : "+r"(x0)
                   : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
                   : "memory");
  return x0;
#else
#error "no system call sequence for this architecture"
#endif
}

inline long Word(long v) { return v; }
inline long Word(unsigned long v) { return static_cast<long>(v); }
inline long Word(int v) { return v; }
inline long Word(unsigned v) { return static_cast<long>(v); }
inline long Word(unsigned long long v) { return static_cast<long>(v); }
inline long Word(const void* v) { return reinterpret_cast<long>(v); }
inline long Word(decltype(nullptr)) { return 0; }

template <typename... Args>
long Call(long number, Args... args) {
  static_assert(sizeof...(args) <= 6);
  const long words[7] = {Word(args)...};
  return RawCall(number, words[0], words[1], words[2], words[3], words[4], words[5]);
}

// Monotonic time in nanoseconds.
int64_t Now();

// Starts a child that shares this process's memory and runs `entry(argument)` on a stack of its
// own, while this process stands still until the child has exec'ed or ended (CLONE_VM |
// CLONE_VFORK). Yields the child's pid.
long StartSharing(void (*entry)(void*), void* argument);

[[noreturn]] void Exit(int code);

inline void Close(int fd) {
  if (fd >= 0) Call(__NR_close, fd);
}

}  // namespace tinderbox::warden

// What the compiler may call on its own.
extern "C" {
void* memcpy(void* to, const void* from, size_t n);
void* memmove(void* to, const void* from, size_t n);
void* memset(void* to, int byte, size_t n);
int memcmp(const void* a, const void* b, size_t n);
size_t strlen(const char* s);
}
