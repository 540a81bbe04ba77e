# SPDX-License-Identifier: Apache-2.0
#
# The ring-0 stub: all code of the Keep that runs at the highest privilege.
#
# It knows three things: how to hand an exception to ring 3, how to execute what ring 3 asks for
# and may not execute itself (forget cached address translations, and three instructions of SEV-SNP), and how
# to forget cached address translations because another processor wants it.
# It is plain integer code, because some hypervisors interpret ring 0.
#
# GS points to the processor's block (see keep_layout::processor). Its stack is ordinary memory of ring 3, so
# ring 3 reads the saved state straight from it:
#
#   offset from its top          -72  -64  -56     -48   -40  -32  -24     -16  -8
#   what                         CR2  RAX  vector  code  RIP  CS   RFLAGS  RSP  SS

    # keep_layout::processor.
    .set    NUMBER, 72
    .set    KERNEL_STACK, 80
    .set    EXCEPTION_STACK, 88
    .set    STUB_STACK, 96
    .set    RESUME_AT, 104
    .set    FLUSHED, 120
    .set    WANTED, 152

    .section .text.stub, "ax", @progbits

# Vectors for which the processor pushes no error code push a zero instead.
    .irp    v, 0,1,2,3,4,5,6,7,9,15,16,18,19,20,22,23,24,25,26,27,28,31
vector_\v:
    pushq   $0
    pushq   $\v
    jmp     to_ring3
    .endr

    .irp    v, 8,10,11,12,14,17,21,29,30
vector_\v:
    pushq   $\v
    jmp     to_ring3
    .endr

# General protection. The `hlt`s of ring 3 at these labels ask for something; the registers are those
# of the instruction that is asked for. WRMSR and VMGEXIT belong together (GHCB specification).
vector_13:
    cmpq    $keep_flush_tlb, 8(%rsp)
    jne     1f
    pushq   %rax
    movq    %cr3, %rax
    movq    %rax, %cr3
    popq    %rax
    jmp     5f
1:  cmpq    $keep_vmgexit_at, 8(%rsp)
    jne     2f
    wrmsr
    .byte   0xf3, 0x0f, 0x01, 0xd9      # vmgexit
    jmp     5f
2:  cmpq    $keep_ghcb_msr_at, 8(%rsp)
    jne     3f
    rdmsr
    jmp     5f
3:  cmpq    $keep_pvalidate_at, 8(%rsp)
    jne     4f
    .byte   0xf2, 0x0f, 0x01, 0xff      # pvalidate
    setc    %cl
5:  addq    $8, %rsp
    incq    (%rsp)
    iretq
4:  pushq   $13

# Another processor has changed translations. The interrupt may come at any instruction of ring 3, so it has a
# stack of its own. What is said to be done was asked for before it was done: a host may stop this in between.
vector_flush:
    pushq   %rax
    pushq   %rcx
    movq    %gs:WANTED, %rcx
    movq    %cr3, %rax
    movq    %rax, %cr3
    movq    %rcx, %gs:FLUSHED
    popq    %rcx
    popq    %rax
    iretq

to_ring3:
    pushq   %rax
    movq    %cr2, %rax
    pushq   %rax
    pushq   $0x2b                       # USER_DATA
    pushq   %gs:EXCEPTION_STACK
    pushq   $0x202                      # flags: interrupts on
    pushq   $0x33                       # USER_CODE
    pushq   $keep_exception
    iretq

# Target of LSTAR: a `syscall` that was not rewritten. Some hypervisors arrive here at ring 3.
# RCX holds the return address, R11 is free.
stub_syscall:
    movl    %cs, %r11d
    testl   $3, %r11d
    jnz     keep_syscall_trap
    movq    %rsp, %r11
    movq    %gs:STUB_STACK, %rsp
    pushq   $0x2b
    pushq   %r11
    pushq   $0x202
    pushq   $0x33
    pushq   $keep_syscall_trap
    iretq
