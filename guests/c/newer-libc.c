// SPDX-License-Identifier: Apache-2.0

// What Rust's std expects of wasi-libc and a distribution's wasi-libc of 2022 lacks. Linked into
// programs from registries only (`cargo xtask programs`), and only with that libc. A system without
// threads may fail to start one; std turns that into an error that programs handle.

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int pthread_attr_init(void *attr) { return 0; }
int pthread_attr_destroy(void *attr) { return 0; }
int pthread_attr_setstacksize(void *attr, size_t size) { return 0; }
int pthread_create(void *thread, const void *attr, void *(*start)(void *), void *arg) {
    return EAGAIN;
}
int pthread_join(void *thread, void **result) { return EINVAL; }
int pthread_detach(void *thread) { return EINVAL; }

// Without symbolic links resolved: enough for programs that want an absolute name.
char *realpath(const char *path, char *resolved) {
    if (access(path, F_OK) != 0)
        return NULL;
    return resolved ? strcpy(resolved, path) : strdup(path);
}
