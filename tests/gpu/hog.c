/* SPDX-License-Identifier: BSD-2-Clause
 * hog MIB: holds all memory of GPU 0 but MIB, until its input ends. Prints one line once it does. */
#include <stdio.h>
#include <stdlib.h>
#include "hog.h"

int main(int argc, char **argv)
{
    if (argc != 2 || atoi(argv[1]) < 1) {
        fprintf(stderr, "usage: hog MIB\n");
        return 2;
    }
    if (hog_open() < 0) {
        fprintf(stderr, "hog: no CUDA driver or GPU\n");
        return 1;
    }
    hog_take((size_t)atoi(argv[1]) << 20);
    printf("hog: %zu MiB left\n", hog_free_bytes() >> 20);
    fflush(stdout);
    while (getchar() != EOF)
        ;
    hog_let_go();
    return 0;
}
