/* SPDX-License-Identifier: BSD-2-Clause
 * Runs a fuzzer's target on every file of a directory, without libFuzzer: replay DIR
 * A line "ok NAME" for each; what a sanitizer or a signal ends, the exit status tells. */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_SEED (1 << 20)
#define SECONDS  20                              /* for one file, with sanitizers */

int LLVMFuzzerInitialize(int *argc, char ***argv) __attribute__((weak));
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay(const char *dir, const char *name)
{
    uint8_t *data = malloc(MAX_SEED);
    char path[1000];
    size_t n;
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    f = fopen(path, "rb");
    if (!data || !f) {
        printf("FAIL %s: cannot read it\n", path);
        free(data);
        return 1;
    }
    n = fread(data, 1, MAX_SEED, f);
    fclose(f);
    printf("  %s\n", path);
    fflush(stdout);
    alarm(SECONDS);
    LLVMFuzzerTestOneInput(data, n);
    alarm(0);
    printf("ok %s\n", path);
    free(data);
    return 0;
}

int main(int argc, char **argv)
{
    DIR *d = argc == 2 ? opendir(argv[1]) : NULL;
    struct dirent *e;
    int failed = 0;

    if (!d && argc == 2)
        fprintf(stderr, "replay: no folder of seeds %s: %s\n", argv[1], strerror(errno));
    else if (!d)
        fprintf(stderr, "usage: replay DIR\n");
    if (!d)
        return 2;
    if (LLVMFuzzerInitialize)
        LLVMFuzzerInitialize(&argc, &argv);
    while ((e = readdir(d)))
        if (e->d_name[0] != '.')
            failed |= replay(argv[1], e->d_name);
    closedir(d);
    return failed;
}
