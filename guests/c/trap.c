// SPDX-License-Identifier: Apache-2.0

// Traps that Rust guards against: division by zero and by -1, below functions with names.

#include <limits.h>
#include <stdio.h>
#include <string.h>

__attribute__((noinline)) int divide(volatile int *a, volatile int *b) { return *a / *b; }

__attribute__((noinline)) int average_of_nothing(void) {
    volatile int sum = 1, count = 0;
    return divide(&sum, &count);
}

__attribute__((noinline)) int negate_the_smallest(void) {
    volatile int value = INT_MIN, by = -1;
    return divide(&value, &by);
}

int main(int argc, char **argv) {
    puts("before the trap");
    fflush(stdout);
    return argc > 1 && strcmp(argv[1], "overflow") == 0 ? negate_the_smallest()
                                                        : average_of_nothing();
}
