// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "sys/clone.h"

#include <sys/syscall.h>

namespace tinderbox::sys {

// On the parent's own stack the child would overwrite the frames that the parent returns through.
// No sanitizer's instrumentation, which knows nothing of a second stack.
__attribute__((no_sanitize("address", "thread", "undefined"), noinline)) long CloneOntoStack(
    clone_args* args, void (*entry)(void*), void* argument) {
#if defined(__x86_64__)
  long result;
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
      : "0"(SYS_clone3), "D"(args), "S"(sizeof *args), "r"(r12), "r"(r13)
      : "rcx", "r11", "memory");
  return result;
#elif defined(__aarch64__)
  register long x8 __asm__("x8") = SYS_clone3;
  register long x0 __asm__("x0") = reinterpret_cast<long>(args);
  register long x1 __asm__("x1") = sizeof *args;
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
      : "r"(x8), "r"(x1), "r"(x9), "r"(x10)
      : "x30", "memory");
  return x0;
#else
#error "no clone sequence for this architecture"
#endif
}

}  // namespace tinderbox::sys
