// SPDX-License-Identifier: Apache-2.0

// Files through the C library: what std of Rust does not use (stdio's buffers, telldir, fseek
// across them, symbolic links), with a check after each step. The first argument is a folder.

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHECK(x)                                                            \
    do {                                                                    \
        if (!(x)) {                                                         \
            printf("line %d: %s: %s\n", __LINE__, #x, strerror(errno));     \
            exit(1);                                                        \
        }                                                                   \
    } while (0)

int main(int argc, char **argv) {
    CHECK(argc == 2);
    CHECK(chdir(argv[1]) == 0);

    FILE *f = fopen("lines", "w+");
    CHECK(f);
    for (int i = 0; i < 20000; i++)
        CHECK(fprintf(f, "%d\n", i) > 0);
    CHECK(fseek(f, 0, SEEK_SET) == 0);
    long sum = 0;
    int n = 0, x;
    while (fscanf(f, "%d", &x) == 1) {
        sum += x;
        n++;
    }
    CHECK(n == 20000 && sum == 199990000L);
    CHECK(ftell(f) == 108890);
    CHECK(fclose(f) == 0);

    struct stat st;
    CHECK(stat("lines", &st) == 0 && st.st_size == 108890 && S_ISREG(st.st_mode));

    int fd = open("lines", O_RDONLY);
    CHECK(fd >= 0);
    char buf[6] = {0};
    CHECK(pread(fd, buf, 5, 108884) == 5 && memcmp(buf, "19999", 5) == 0);
    CHECK(write(fd, "x", 1) == -1 && (errno == EBADF || errno == ENOTCAPABLE));
    CHECK(close(fd) == 0);
    CHECK(close(fd) == -1 && errno == EBADF);

    CHECK(symlink("lines", "sym") == 0);
    CHECK(readlink("sym", buf, sizeof buf) == 5 && memcmp(buf, "lines", 5) == 0);
    CHECK(lstat("sym", &st) == 0 && S_ISLNK(st.st_mode));
    CHECK(stat("sym", &st) == 0 && S_ISREG(st.st_mode));
    CHECK(unlink("sym") == 0);

    CHECK(mkdir("dir", 0755) == 0);
    CHECK(rename("lines", "dir/moved") == 0);
    CHECK(rmdir("dir") == -1 && errno == ENOTEMPTY);
    DIR *d = opendir("dir");
    CHECK(d);
    int seen = 0;
    for (struct dirent *e; (e = readdir(d));)
        seen += strcmp(e->d_name, "moved") == 0;
    CHECK(seen == 1);
    CHECK(closedir(d) == 0);
    CHECK(unlink("dir/moved") == 0 && rmdir("dir") == 0);
    CHECK(open("../outside", O_RDONLY) == -1);

    puts("files-c: all good");
    return 0;
}
