// SPDX-License-Identifier: Apache-2.0

// Makes system calls of many kinds and prints what came back; deterministic.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static __thread int seen = 7;
static int big[300000];
static sigjmp_buf back;

static void on_signal(int number) { seen += number; }

static void on_fault(int number) {
    seen += number;
    siglongjmp(back, 1);
}

int main(int argc, char **argv) {
    printf("%d %s %s %d\n", argc, argv[1], getenv("KEEP"), seen);

    int ends[2], error = pipe(ends);
    char buffer[64] = {0};
    printf("pipe %d\n", error);
    struct iovec parts[2] = {{"hello ", 6}, {"pipe", 4}};
    printf("writev %zd\n", writev(ends[1], parts, 2));
    struct pollfd ready = {ends[0], POLLIN, 0};
    printf("poll %d\n", poll(&ready, 1, 0));
    printf("read %zd %s\n", read(ends[0], buffer, sizeof buffer), buffer);
    printf("close %d %d %d\n", close(ends[0]), close(ends[1]), close(ends[1]));
    printf("errno %s\n", strerror(errno));

    char *memory = mmap(0, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(memory, 1, 1 << 20);
    memory = mremap(memory, 1 << 20, 4 << 20, MREMAP_MAYMOVE);
    printf("memory %d %d\n", memory[(1 << 20) - 1], memory[1 << 20]);
    printf("munmap %d\n", munmap(memory, 4 << 20));
    void *blocks[100];
    for (int i = 0; i < 100; i++) blocks[i] = calloc(1, i * 10000);
    for (int i = 0; i < 100; i++) free(blocks[i]);

    struct sigaction action = {.sa_handler = on_signal}, fault = {.sa_handler = on_fault};
    sigaction(SIGUSR1, &action, 0);
    sigaction(SIGILL, &fault, 0);
    raise(SIGUSR1);
    printf("signal %d\n", seen);
    if (!sigsetjmp(back, 1)) __builtin_trap();
    printf("fault %d\n", seen);

    struct timespec now, nap = {0, 1000};
    printf("time %d %d\n", clock_gettime(CLOCK_REALTIME, &now), nanosleep(&nap, 0));
    struct stat about;
    int file = open("/dev/null", O_RDWR | O_CLOEXEC);
    printf("file %d %d %zd\n", file > 2, fstat(file, &about), pwrite(file, "x", 1, 0));
    printf("none %d\n", open("/nonexistent", O_RDONLY));
    big[299999] = 1;
    printf("big %d %d\n", big[0], big[299999]);
    fflush(stdout);
    return 42;
}
