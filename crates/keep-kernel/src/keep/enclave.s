# SPDX-License-Identifier: Apache-2.0
#
# The ways into an enclave and out of it (SGX).
#
# The host chooses when the enclave is entered, on which thread, and with which registers; only RAX, RBX,
# RCX and the base of FS come from the processor. So what an entry means is found in the thread block,
# which FS and GS point to and which is measured, and nothing else is believed:
#
#   CSSA (RAX)  thread block     the entry is
#   0           never entered    the start
#   0           outside          the return from an operation; RDI is the host's answer
#   1           -                an exception or interrupt: keep_enclave_fault decides
#   else                         not possible: the host is told to end the Keep
#
# An exit names an operation in RDI, with arguments in RSI, RDX and R8, and leaves no other register
# with anything of the Keep's in it. See keep_layout::enclave for the map, sgx.rs for the operations.

    # Words of the thread block; the first two are measured.
    .set    SELF, 0
    .set    START_INFO, 8
    .set    STATE, 16                   # 0: never entered, 1: inside, 2: outside in an operation
    .set    SAVED_SP, 24
    .set    SAVED_FS, 32
    .set    HOST_SP, 40
    .set    HOST_BP, 48
    .set    HOST_EXIT, 56               # 64 belongs to keep_enclave_fault, the next to all platforms
    .set    SAVED_STATE, 0x400
    .set    START_STACK, 0x2000
    .set    XFRM, 7                     # sgx_guest::attributes::KEEP_XFRM
    .set    EEXIT, 4
    .set    FATAL, 1

    .section .text.enclave, "ax", @progbits

    .globl  keep_enclave
keep_enclave:
    # The measurement does not cover where the enclave is. At another place nothing below is true.
    rdfsbase %rdx
    cmpq    %fs:SELF, %rdx
    je      1f
    ud2
1:  cmpq    $1, %rax
    je      interrupted
    ja      refuse
    cmpq    $1, %fs:STATE
    je      refuse
    movq    %rsp, %fs:HOST_SP
    movq    %rbp, %fs:HOST_BP
    movq    %rcx, %fs:HOST_EXIT
    ja      return

    # The start. Flags, vector unit and x87 are as the host had them.
    movq    $1, %fs:STATE
    movq    %fs:SELF, %rsp              # the thread's stack ends where its block begins
    subq    $START_STACK, %rsp          # the upper half is for interrupts, which may come already
    pushq   $2
    popfq
    movl    $XFRM, %eax
    xorl    %edx, %edx
    xrstor64 NO_STATE(%rip)
    movq    %fs:START_INFO, %rdi
    testq   %rdi, %rdi                  # the first thread has one
    jz      keep_entry_next
    call    keep_enclave_start
    movq    %rax, %rdi
    jmp     keep_entry

return:
    movq    $1, %fs:STATE
    movq    %fs:SAVED_SP, %rsp
    pushq   $2
    popfq
    movq    %fs:SAVED_FS, %rcx
    movl    $XFRM, %eax
    xorl    %edx, %edx
    xrstor64 %fs:SAVED_STATE
    wrfsbase %rcx
    movq    %rdi, %rax
    popq    %r15
    popq    %r14
    popq    %r13
    popq    %r12
    popq    %rbp
    popq    %rbx
    ret

interrupted:
    movq    %rsp, %r8
    movq    %rbp, %r9
    movq    %fs:SELF, %rsp
    pushq   $2
    popfq
    pushq   %r8
    pushq   %r9
    pushq   %rcx
    subq    $8, %rsp
    call    keep_enclave_fault
    addq    $8, %rsp
    movl    %eax, %edi
    popq    %rbx
    popq    %rbp
    popq    %rsp
    jmp     alone

refuse:
    movq    %rcx, %rbx
    movl    $FATAL, %edi
alone:                                  # an operation without arguments
    xorl    %esi, %esi
    xorl    %r8d, %r8d
    xorl    %r10d, %r10d
    jmp     leave

# Leaves the enclave with the operation in RDI and its arguments in RSI, RDX and RCX; gives the host's
# answer. The program's vector registers and its FS are kept, as those of a call are.
    .globl  keep_leave
keep_leave:
    pushq   %rbx
    pushq   %rbp
    pushq   %r12
    pushq   %r13
    pushq   %r14
    pushq   %r15
    movq    %rcx, %r8
    movq    %rdx, %r10
    rdfsbase %rax
    movq    %rax, %gs:SAVED_FS
    movl    $XFRM, %eax
    xorl    %edx, %edx
    xsave64 %gs:SAVED_STATE
    movq    %rsp, %gs:SAVED_SP
    movq    $2, %gs:STATE
    movq    %gs:HOST_SP, %rsp
    movq    %gs:HOST_BP, %rbp
    movq    %gs:HOST_EXIT, %rbx

leave:                                  # RDX in R10; RSP, RBP, RBX: the host's
    movl    $XFRM, %eax
    xorl    %edx, %edx
    xrstor64 NO_STATE(%rip)
    movq    %r10, %rdx
    xorl    %ecx, %ecx
    .irp    n, 9,10,11,12,13,14,15
    xorl    %r\n\()d, %r\n\()d
    .endr
    movl    $EEXIT, %eax
    enclu

# A leaf function of ENCLU, EDI, with RSI, RDX and RCX in RBX, RCX and RDX; gives RAX. If it faults, which
# keep_enclave_fault finds out, all ones.
    .globl  keep_enclu
    .globl  keep_enclu_at
    .globl  keep_enclu_failed
keep_enclu:
    pushq   %rbx
    movl    %edi, %eax
    movq    %rsi, %rbx
    xchgq   %rdx, %rcx
keep_enclu_at:
    enclu
    popq    %rbx
    ret
keep_enclu_failed:
    movq    $-1, %rax
    popq    %rbx
    ret

# Registers of a processor that never did anything.
    .balign 64
NO_STATE:
    .skip   24, 0
    .long   0x1f80                      # MXCSR
    .skip   576 - 28, 0
