// SPDX-License-Identifier: Apache-2.0

// System calls among instructions that make them hard to rewrite. Each function returns what
// shows that it was done right; all of them call getpid (39), whose result is not shown.
#include <stdio.h>

#define FUNCTION(name, body)                                                                       \
    __asm__(".text\n.globl " #name "\n.type " #name ", @function\n" #name                          \
            ":\n.cfi_startproc\n" body "\n.cfi_endproc\n.size " #name ", .-" #name "\n");          \
    long name(long);

// A loop comes back to right behind the system call.
FUNCTION(loop, "mov %rdi, %r8\n xor %r9d, %r9d\n mov $39, %eax\n syscall\n"
               "1: inc %r9\n add $2, %r9\n dec %r8\n jnz 1b\n mov %r9, %rax\n ret")
// A neighbour has an address that is relative to itself.
FUNCTION(relative, "movb $1, relative_word(%rip)\n mov $39, %eax\n nop\n jmp 1f\n 1: syscall\n"
                   "lea relative_word(%rip), %rdx\n movl $5, relative_word+4(%rip)\n"
                   "movslq (%rdx), %rax\n add 4(%rdx), %eax\n ret\n"
                   ".pushsection .data\n relative_word: .long 0, 0\n .popsection")
// One after the other.
FUNCTION(twins, "mov $39, %eax\n syscall\n mov %rax, %r8\n mov $39, %eax\n syscall\n"
                "sub %r8, %rax\n mov $39, %eax\n syscall\n syscall\n sub %r8, %r8\n"
                "mov %r8, %rax\n ret")
// A jump table leads to right behind the system call.
FUNCTION(table, "lea 9f(%rip), %rdx\n movslq (%rdx,%rdi,4), %rax\n add %rdx, %rax\n"
                "mov $5, %r8d\n jmp *%rax\n"
                "1: mov $1, %r8d\n mov $39, %eax\n syscall\n"
                "2: add $10, %r8\n add $100, %r8\n mov %r8, %rax\n ret\n"
                ".pushsection .rodata\n .balign 4\n 9: .long 1b-9b, 2b-9b\n .popsection")
// A pointer leads there.
FUNCTION(pointer, "mov $5, %r8d\n test %rdi, %rdi\n jz 1f\n jmp *pointer_word(%rip)\n"
                  "1: mov $1, %r8d\n mov $39, %eax\n syscall\n"
                  "2: add $10, %r8\n add $100, %r8\n mov %r8, %rax\n ret\n"
                  ".pushsection .data.rel.ro, \"aw\"\n .balign 8\n pointer_words: .quad 1b, 0\n pointer_word: .quad 2b, 0\n .popsection")
// Two want the same neighbour, and only one gets it.
FUNCTION(rivals, "mov $39, %eax\n syscall\n mov $39, %eax\n syscall\n jmp 1f\n 1: mov $3, %eax\n ret")
// The neighbour behind would fit, but jumps.
FUNCTION(leap, "mov $39, %eax\n syscall\n jmp.d32 1f\n ud2\n 1: mov $4, %eax\n ret")
// Values below the stack pointer, in the flags and in registers survive.
FUNCTION(red_zone, "mov %rdi, -8(%rsp)\n mov %rdi, -128(%rsp)\n mov $1, %r8d\n mov $2, %r9d\n"
                   "mov $3, %r10d\n mov $4, %edx\n stc\n mov $39, %eax\n syscall\n"
                   "mov $0, %eax\n adc -8(%rsp), %rax\n add -128(%rsp), %rax\n"
                   "add %r8, %rax\n add %r9, %rax\n add %r10, %rax\n add %rdx, %rax\n ret")
// A neighbour pushes, another pops.
FUNCTION(stack, "push %rdi\n mov $39, %eax\n syscall\n pop %rax\n add $1, %rax\n ret")
// No neighbour can move: this one stays.
FUNCTION(stuck, "mov $39, %eax\n jmp 1f\n 2: mov %rdi, %rax\n ret\n 1: syscall\n jmp 2b")

int main(void) {
    printf("loop %ld\n", loop(10));
    printf("relative %ld\n", relative(0));
    printf("twins %ld\n", twins(0));
    printf("table %ld %ld\n", table(0), table(1));
    printf("pointer %ld %ld\n", pointer(0), pointer(1));
    printf("rivals %ld\n", rivals(0));
    printf("leap %ld\n", leap(0));
    printf("red_zone %ld\n", red_zone(1000));
    printf("stack %ld\n", stack(6));
    printf("stuck %ld\n", stuck(7));
    fflush(stdout);
    return 0;
}
