// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// Entry of the tiny guests: both doors of a microVM lead to GuestMain(cmdline) in long mode.
//
// Start64: 64-bit entry as of Linux' boot protocol. Firecracker takes it for an ELF without the PVH
//          note. Paging is on, RSI holds the boot_params.
// Start32: PVH entry (Xen's PHYS32 note). QEMU's microvm knows only this one; Firecracker takes it
//          where the note is. Paging is off, there is no stack, EBX holds hvm_start_info.
//
// The page tables are part of the file: a VMM in software runs a million instructions a second, and
// filling them by code would cost milliseconds. They map 0-1 GiB, and the 2 MiB page that holds the
// microvm machine's ACPI registers (0xfea00000), all identically.

#define BOOT_PARAMS_CMDLINE 0x228
#define START_INFO_CMDLINE 24

    .section .text.start, "ax"
    .globl Start64
    .code64
Start64:
    cli
    movl $pml4, %eax
    movq %rax, %cr3
    movl BOOT_PARAMS_CMDLINE(%rsi), %edi
    jmp enter_main

#ifndef NO_PVH_NOTE
    .globl Start32
    .code32
Start32:
    cli
    movl $stack_top, %esp
    movl START_INFO_CMDLINE(%ebx), %edi
    movl $pml4, %eax
    movl %eax, %cr3
    movl $0x20, %eax            // CR4.PAE
    movl %eax, %cr4
    movl $0xc0000080, %ecx      // EFER
    xorl %edx, %edx
    movl $0x100, %eax           // LME
    wrmsr
    movl $0x80000011, %eax      // PG, ET, PE
    movl %eax, %cr0
    lgdtl gdt_pointer
    ljmpl $8, $long_mode
    .code64
long_mode:
    movl %edi, %edi             // the upper half is undefined after the switch
#endif

enter_main:
    movl $stack_top, %esp
    xorl %ebp, %ebp
    call GuestMain
1:  cli
    hlt
    jmp 1b

#ifndef NO_PVH_NOTE
    .section .note.Xen, "a", @note
    .align 4
    .long 4                     // size of the owner's name
    .long 4                     // size of the value
    .long 18                    // XEN_ELFNOTE_PHYS32_ENTRY
    .asciz "Xen"
    .long Start32
#endif

    .section .data
    .align 8
gdt:
    .quad 0
    .quad 0x00af9a000000ffff    // 0x08: 64-bit code
    .quad 0x00cf92000000ffff    // 0x10: data
gdt_pointer:
    .word . - gdt - 1
    .long gdt

    .align 4096
pml4:
    .quad pdpt + 3
    .fill 511, 8, 0
pdpt:
    .quad low_directory + 3
    .quad 0, 0
    .quad high_directory + 3
    .fill 508, 8, 0
low_directory:
    .set page, 0
    .rept 512
    .quad (page << 21) + 0x83   // present, writable, 2 MiB
    .set page, page + 1
    .endr
high_directory:
    .fill 501, 8, 0
    .quad 0xfea00000 + 0x83
    .fill 10, 8, 0

    .section .bss
    .align 16
    .skip 4096
stack_top:

    .section .note.GNU-stack, "", @progbits
