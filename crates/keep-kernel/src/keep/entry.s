# SPDX-License-Identifier: Apache-2.0
#
# The ways into the kernel, all in ring 3: the start, a system call, an exception.
#
# Each saves the caller's state as a `Frame` (see frame.rs) on a kernel stack and calls Rust with
# its address. The program's vector registers are saved as far as this kernel can change them: it
# is compiled for SSE2, so that is XMM0 to XMM15; the upper halves stay untouched.

# What the image builder has to know of the kernel, whatever it makes an image for.
    .section .header, "ax", @progbits
    .globl  keep_header
keep_header:
    .quad   0x4c4e524b5045454b          # "KEEPKRNL": see keep_layout::KernelHeader
    .quad   4                           # version of this header
    .quad   keep_entry
    .quad   stub_syscall
    .quad   keep_syscall
    .quad   keep_cpuid
    .quad   STUB_STACK_TOP
    .quad   keep_enclave
    .quad   keep_entry_next
    .quad   vector_flush
    .quad   PROCESSORS_START
    .irp    v, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    .quad   vector_\v
    .endr

    .section .text.entry, "ax", @progbits

    .macro  SAVE_REGISTERS              # below rip, rsp, rflags
    .irp    register, r15,r14,r13,r12,r11,r10,r9,r8,rdi,rsi,rbp,rbx,rdx,rcx,rax
    pushq   %\register
    .endr
    subq    $272, %rsp                  # 256 bytes of XMM, 16 of padding
    .irp    n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
    movups  %xmm\n, 16*\n(%rsp)
    .endr
    cld
    .endm

    .macro  RESTORE_REGISTERS
    .irp    n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
    movups  16*\n(%rsp), %xmm\n
    .endr
    addq    $272, %rsp
    .irp    register, rax,rcx,rdx,rbx,rbp,rsi,rdi,r8,r9,r10,r11,r12,r13,r14,r15
    popq    %\register
    .endr
    .endm

# Start of the Keep. RDI: address of StartInfo. Whatever an exception needs comes first.
    .globl  keep_entry
keep_entry:
    leaq    STUB_STACK_TOP(%rip), %rax
    movq    %rax, %gs:STUB_STACK
    leaq    EXCEPTION_STACK_TOP(%rip), %rax
    movq    %rax, %gs:EXCEPTION_STACK
    leaq    KERNEL_STACK_TOP(%rip), %rsp
    movq    %rsp, %gs:KERNEL_STACK
    xorl    %ebp, %ebp
    call    keep_start
    ud2

# Start of another processor: in a virtual machine as soon as the host likes. It waits for its stacks.
    .globl  keep_entry_next
keep_entry_next:
    pause
    movq    %gs:KERNEL_STACK, %rsp
    testq   %rsp, %rsp
    jz      keep_entry_next
    xorl    %ebp, %ebp
    call    keep_start_next
    ud2

# Leaves the kernel with the state in the frame at RDI.
    .globl  keep_resume
keep_resume:
    movq    %rdi, %rsp
    jmp     resume

# A system call that was rewritten to a call; the trampoline has stepped over the red zone.
# On the stack: the return address. RCX and R11 are free.
    .globl  keep_syscall
keep_syscall:
    popq    %rcx
    movq    %rsp, %r11
    movq    %gs:KERNEL_STACK, %rsp
    pushfq                              # rflags
    pushq   %r11                        # rsp
    pushq   %rcx                        # rip
    SAVE_REGISTERS
    movq    $128, 256(%rsp)             # the red zone that the trampoline has stepped over
serve:                                  # a `syscall` that trapped goes on here too
    movq    %rsp, %rdi
    call    keep_handle_syscall
    testl   %eax, %eax
    jnz     resume
    RESTORE_REGISTERS
    popq    %rcx                        # rip
    popq    %rsp
    jmpq    *%rcx

# The same for a `syscall` that trapped: RCX holds the return address.
    .globl  keep_syscall_trap
keep_syscall_trap:
    movq    %rsp, %r11
    movq    %gs:KERNEL_STACK, %rsp
    pushfq
    pushq   %r11
    pushq   %rcx
    SAVE_REGISTERS
    movq    $0, 256(%rsp)
    jmp     serve

# A `cpuid` that was rewritten to a call. Hypervisors take tens of microseconds for it, and a C
# library asks the same questions again and again: each is asked once and remembered, which also
# keeps the host from giving two answers. Every register but the answer's, and the flags, stay.
    .globl  keep_cpuid
keep_cpuid:
    pushfq
    pushq   %rsi
    pushq   %rdi
    pushq   %r8
    # Leaves 0 to 3 and the extended ones up to 8000_0008 do not look at ECX, which may hold
    # anything then.
    movl    %ecx, %r8d
    cmpl    $4, %eax
    jb      1f
    leal    -0x80000000(%rax), %edi
    cmpl    $9, %edi
    jae     2f
1:  xorl    %r8d, %r8d
2:  leaq    CPUID_CACHE(%rip), %rsi
    movl    CPUID_COUNT(%rip), %edi
3:  testl   %edi, %edi
    jz      5f
    cmpl    %eax, (%rsi)
    jne     4f
    cmpl    %r8d, 4(%rsi)
    jne     4f
    movl    8(%rsi), %eax
    movl    12(%rsi), %ebx
    movl    16(%rsi), %ecx
    movl    20(%rsi), %edx
    jmp     7f
4:  addq    $24, %rsi
    decl    %edi
    jmp     3b
5:  testl   $1, CPUID_LAID(%rip)
    jnz     8f
    lock btsl $0, CPUID_LOCK(%rip)      # who does not get it remembers nothing
    jc      6f
    movl    CPUID_COUNT(%rip), %edi
    cmpl    $CPUID_MAX, %edi
    jae     9f
    imulq   $24, %rdi, %rdi
    leaq    CPUID_CACHE(%rip), %rsi
    addq    %rdi, %rsi
    movl    %eax, (%rsi)
    movl    %r8d, 4(%rsi)
    cpuid
    movl    %eax, 8(%rsi)
    movl    %ebx, 12(%rsi)
    movl    %ecx, 16(%rsi)
    movl    %edx, 20(%rsi)
    incl    CPUID_COUNT(%rip)
    movl    $0, CPUID_LOCK(%rip)
    jmp     7f
9:  movl    $0, CPUID_LOCK(%rip)
6:  cpuid
7:  popq    %r8
    popq    %rdi
    popq    %rsi
    popfq
    ret
8:  xorl    %eax, %eax
    xorl    %ebx, %ebx
    xorl    %ecx, %ecx
    xorl    %edx, %edx
    jmp     7b

    .globl  keep_cpuid_end
keep_cpuid_end:

# Asks the processor which registers are switched on. Where the hypervisor keeps that from ring 3 the
# instruction is an exception; keep_handle_exception then goes on behind it, with nothing in EAX.
    .globl  keep_xgetbv
    .globl  keep_xgetbv_at
    .globl  keep_xgetbv_failed
keep_xgetbv:
    xorl    %ecx, %ecx
keep_xgetbv_at:
    xgetbv
    ret
keep_xgetbv_failed:
    xorl    %eax, %eax
    ret

# CPUID as the program sees it, for the kernel: leaf in EDI, subleaf in ESI, four words for RDX.
    .globl  keep_cpuid_to
keep_cpuid_to:
    pushq   %rbx
    movq    %rdx, %r9
    movl    %edi, %eax
    movl    %esi, %ecx
    call    keep_cpuid
    movl    %eax, (%r9)
    movl    %ebx, 4(%r9)
    movl    %ecx, 8(%r9)
    movl    %edx, 12(%r9)
    popq    %rbx
    ret

# Lays the answer at RDX down for leaf EDI, subleaf ESI; the processor is not asked any more.
    .globl  keep_cpuid_is
keep_cpuid_is:
    movl    $1, CPUID_LAID(%rip)
    movl    CPUID_COUNT(%rip), %eax
    cmpl    $CPUID_MAX, %eax
    jae     1f
    incl    CPUID_COUNT(%rip)
    imulq   $24, %rax, %rax
    leaq    CPUID_CACHE(%rip), %rcx
    addq    %rcx, %rax
    movl    %edi, (%rax)
    movl    %esi, 4(%rax)
    movups  (%rdx), %xmm0
    movups  %xmm0, 8(%rax)
1:  ret

# The same question gets an answer without these bits of ECX, which are in EDI, from now on: of the
# first question that was asked.
    .globl  keep_cpuid_withdraw
keep_cpuid_withdraw:
    notl    %edi
    andl    %edi, CPUID_CACHE+16(%rip)
    ret

# An exception, handed over by the stub. The state it saved is below the top of its stack; RAX is free.
    .globl  keep_exception
keep_exception:
    movq    %gs:STUB_STACK, %rax
    pushq   -24(%rax)                   # rflags
    pushq   -16(%rax)                   # rsp
    pushq   -40(%rax)                   # rip
    movq    -64(%rax), %rax
    SAVE_REGISTERS
    movq    %rsp, %rdi
    movq    %gs:STUB_STACK, %rsi
    subq    $72, %rsi
    call    keep_handle_exception

# Goes back to the state in the frame at RSP, all registers included.
resume:
    RESTORE_REGISTERS
    # Left: rip, rsp, rflags. What lies below the program's stack is its own (the red zone), so where it
    # goes on cannot wait there. An interrupt return would do, but an enclave has none.
    pushq   %rax
    movq    8(%rsp), %rax
    movq    %rax, %gs:RESUME_AT
    popq    %rax
    pushq   16(%rsp)
    popfq
    movq    8(%rsp), %rsp
    jmpq    *%gs:RESUME_AT

# Questions to the stub: see vector_13. The first leaves the Keep with the word in RDI in the GHCB's
# register, the second reads that register.
    .globl  keep_vmgexit
    .globl  keep_vmgexit_at
keep_vmgexit:
    movl    $0xc0010130, %ecx
    movl    %edi, %eax
    movq    %rdi, %rdx
    shrq    $32, %rdx
keep_vmgexit_at:
    hlt
    ret

    .globl  keep_ghcb_msr
    .globl  keep_ghcb_msr_at
keep_ghcb_msr:
    movl    $0xc0010130, %ecx
keep_ghcb_msr_at:
    hlt
    movl    %eax, %eax
    shlq    $32, %rdx
    orq     %rdx, %rax
    ret

# Validates (EDX 1) or not (0) the page at RDI, a large one if ESI is 1. Gives the instruction's code,
# and in bit 32 whether nothing changed.
    .globl  keep_pvalidate
    .globl  keep_pvalidate_at
keep_pvalidate:
    movq    %rdi, %rax
    movl    %esi, %ecx
keep_pvalidate_at:
    hlt
    movl    %eax, %eax
    movzbl  %cl, %ecx
    shlq    $32, %rcx
    orq     %rcx, %rax
    ret

# Asks the stub to forget cached address translations.
    .globl  keep_flush
keep_flush:
    .globl  keep_flush_tlb
keep_flush_tlb:
    hlt
    ret

    .set    CPUID_MAX, 96
    .section .bss.stacks, "aw", @nobits
    .balign 64
CPUID_CACHE:
    .skip   24 * CPUID_MAX
CPUID_COUNT:
    .skip   4
CPUID_LAID:
    .skip   4
CPUID_LOCK:
    .skip   4
    .balign 64
    .skip   1024
    .globl  STUB_STACK_TOP
STUB_STACK_TOP:                         # of the first processor; 1024 bytes each
    .skip   6 * 1024
    .skip   32768
    .globl  EXCEPTION_STACK_TOP
EXCEPTION_STACK_TOP:
    .skip   131072
    .globl  KERNEL_STACK_TOP
KERNEL_STACK_TOP:

# What each processor of a virtual machine has for itself (keep_layout::processor); 256 bytes each.
    .section .data.processors, "aw", @progbits
    .balign 64
    .globl  PROCESSORS_START
PROCESSORS_START:
    .set    n, 0
    .rept   7
    .quad   PROCESSORS_START + 256 * n
    .skip   NUMBER - 8
    .quad   n
    .skip   256 - NUMBER - 8
    .set    n, n + 1
    .endr
