// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "warden/kernel.h"

#include <linux/sched.h>
#include <linux/time.h>
#include <signal.h>

// Process 1 begins here, with no library before it: an aligned stack, then WardenMain.
#if defined(__x86_64__)
__asm__(
    ".globl _start\n.type _start,@function\n_start:\n"
    "  xor %ebp, %ebp\n  and $-16, %rsp\n  call WardenMain\n  ud2\n");
#elif defined(__aarch64__)
__asm__(
    ".globl _start\n.type _start,%function\n_start:\n"
    "  mov x29, xzr\n  mov x30, xzr\n  bl WardenMain\n  brk 0\n");
#endif

namespace tinderbox::warden {

int64_t Now() {
  struct {
    int64_t seconds;
    int64_t nanoseconds;
  } t = {};
  Call(__NR_clock_gettime, CLOCK_MONOTONIC, &t);
  return t.seconds * 1000000000 + t.nanoseconds;
}

void Exit(int code) {
  for (;;) Call(__NR_exit_group, code);
}

namespace {

alignas(16) char child_stack[16384];

}  // namespace

long StartSharing(void (*entry)(void*), void* argument) {
  // The child gets its own stack: on this one it would overwrite the frames that this process
  // returns through afterwards.
  const unsigned long flags = CLONE_VM | CLONE_VFORK | SIGCHLD;
  char* top = child_stack + sizeof child_stack;
#if defined(__x86_64__)
  long result;
  register long r10 __asm__("r10") = 0;
  register long r8 __asm__("r8") = 0;
  register void* r12 __asm__("r12") = reinterpret_cast<void*>(entry);
  register void* r13 __asm__("r13") = argument;
  __asm__ volatile(
      "syscall\n\t"
      "test %%rax, %%rax\n\t"
      "jnz 1f\n\t"
      "xor %%ebp, %%ebp\n\t"
      "mov %%r13, %%rdi\n\t"
      "call *%%r12\n\t"
      "ud2\n"
      "1:"
      : "=a"(result)
      : "0"(__NR_clone), "D"(flags), "S"(top), "d"(0), "r"(r10), "r"(r8), "r"(r12), "r"(r13)
      : "rcx", "r11", "memory");
  return result;
#elif defined(__aarch64__)
  register long x8 __asm__("x8") = __NR_clone;
  register long x0 __asm__("x0") = static_cast<long>(flags);
  register void* x1 __asm__("x1") = top;
  register long x2 __asm__("x2") = 0;
  register long x3 __asm__("x3") = 0;
  register long x4 __asm__("x4") = 0;
  register void* x9 __asm__("x9") = reinterpret_cast<void*>(entry);
  register void* x10 __asm__("x10") = argument;
  __asm__ volatile(
      "svc 0\n\t"
      "cbnz x0, 1f\n\t"
      "mov x29, xzr\n\t"
      "mov x0, x10\n\t"
      "blr x9\n\t"
      "brk 0\n"
      "1:"
      : "+r"(x0)
      : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x9), "r"(x10)
      : "x30", "memory");
  return x0;
#endif
}

}  // namespace tinderbox::warden

// Volatile accesses keep the compiler from turning these loops into calls of themselves. They move
// a few hundred bytes in a warden's life: console bytes never pass through them.
extern "C" {

void* memcpy(void* to, const void* from, size_t n) {
  auto* out = static_cast<volatile char*>(to);
  const auto* in = static_cast<const char*>(from);
  for (size_t i = 0; i < n; ++i) out[i] = in[i];
  return to;
}

void* memmove(void* to, const void* from, size_t n) {
  auto* out = static_cast<volatile char*>(to);
  const auto* in = static_cast<const char*>(from);
  if (out < in) return memcpy(to, from, n);
  for (size_t i = n; i > 0; --i) out[i - 1] = in[i - 1];
  return to;
}

void* memset(void* to, int byte, size_t n) {
  auto* out = static_cast<volatile char*>(to);
  for (size_t i = 0; i < n; ++i) out[i] = static_cast<char>(byte);
  return to;
}

int memcmp(const void* a, const void* b, size_t n) {
  const auto* x = static_cast<const volatile unsigned char*>(a);
  const auto* y = static_cast<const volatile unsigned char*>(b);
  for (size_t i = 0; i < n; ++i) {
    if (x[i] != y[i]) return x[i] < y[i] ? -1 : 1;
  }
  return 0;
}

size_t strlen(const char* s) {
  size_t n = 0;
  while (static_cast<const volatile char*>(s)[n] != 0) ++n;
  return n;
}
}
