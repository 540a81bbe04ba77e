// SPDX-License-Identifier: Apache-2.0

// A kernel that asks Linux. Its header is what the image builder wants; its entry expects that
// Linux started the process, with RDI telling where the image's start information is.

        .section .header, "a"
        .ascii  "KEEPKRNL"
        .quad   4
        .quad   entry
        .quad   trap
        .quad   syscall_entry
        .quad   cpuid_entry
        .quad   stack_top
        .quad   0
        .quad   entry
        .quad   trap
        .quad   blocks
        .rept   14
        .quad   trap
        .endr
        .quad   page_fault
        .rept   17
        .quad   0
        .endr

        .text
cpuid_entry:
        pushfq
        cpuid
        popfq
        ret

// Corrects what Linux told about the program's headers, then enters the program.
entry:  mov     %rsp, %rsi
        mov     (%rsi), %rax
        lea     16(%rsi,%rax,8), %rsi
1:      add     $8, %rsi
        cmpq    $0, -8(%rsi)
        jne     1b
2:      mov     (%rsi), %rax
        cmp     $3, %rax
        cmove   32(%rdi), %rbx
        je      3f
        cmp     $5, %rax
        cmove   48(%rdi), %rbx
        je      3f
        cmp     $9, %rax
        cmove   24(%rdi), %rbx
        jne     4f
3:      mov     %rbx, 8(%rsi)
4:      add     $16, %rsi
        test    %rax, %rax
        jne     2b
        mov     24(%rdi), %rax
        xor     %edi, %edi
        xor     %esi, %esi
        xor     %edx, %edx
        jmp     *%rax

// Counts the call and makes it; at the end of the process, tells the number first.
syscall_entry:
        pushfq
        incq    calls
        cmp     $231, %eax
        jne     1f
        push    %rdi
        mov     $1, %eax
        mov     $2, %edi
        mov     $calls, %esi
        mov     $13, %edx
        syscall
        pop     %rdi
        mov     $231, %eax
1:      popfq
        syscall
        mov     $0x1111, %ecx
        mov     $0x1111, %r11d
        ret

trap:   ud2
page_fault:
        ud2

        .data
calls:  .quad   0
        .ascii  "calls"
        .bss
        .balign 16
        .skip   8192
stack_top:
        .skip   8192
blocks: .skip   2048
        .section .note.GNU-stack, "", @progbits
