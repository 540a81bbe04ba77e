// SPDX-License-Identifier: Apache-2.0

// The smallest program in C.

#include <stdio.h>

int main(void) {
    puts("Hello from C!");
    return 0;
}
