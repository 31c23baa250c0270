/* SPDX-License-Identifier: BSD-2-Clause
 * What the command line programs share: strict numbers, and an end that tells whether all output was written. */
#ifndef CLI_H
#define CLI_H

#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/** A whole number from low to high, nothing around it. option: for the error line. @return 0 or -1 */
static inline int cli_int(int *value, const char *program, const char *option, const char *text, int low, int high)
{
    char *end;
    long v;

    errno = 0;
    v = strtol(text, &end, 10);
    if (end == text || *end || errno || v < low || v > high) {
        fprintf(stderr, "%s: --%s %s: want a whole number from %d to %d\n", program, option, text, low, high);
        return -1;
    }
    *value = (int)v;
    return 0;
}

/** The same from 0 to 2^64 - 1. */
static inline int cli_u64(uint64_t *value, const char *program, const char *option, const char *text)
{
    char *end;

    errno = 0;
    *value = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || errno) {
        fprintf(stderr, "%s: --%s %s: want a whole number from 0 to %llu\n", program, option, text,
                (unsigned long long)UINT64_MAX);
        return -1;
    }
    return 0;
}

static inline int cli_double(double *value, const char *program, const char *option, const char *text)
{
    char *end;

    *value = strtod(text, &end);
    if (end == text || *end || !isfinite(*value)) {
        fprintf(stderr, "%s: --%s %s: want a number\n", program, option, text);
        return -1;
    }
    return 0;
}

/** Exit status of a program that wrote to standard output: not 0 where it was not all taken. */
static inline int cli_end(const char *program, int status)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return status;
    fprintf(stderr, "%s: standard output cannot be written\n", program);
    return status ? status : 1;
}

#endif /* CLI_H */
