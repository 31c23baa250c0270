/* SPDX-License-Identifier: BSD-2-Clause
 * What the command line programs share: strict numbers, and an end that tells whether all output was written. */
#ifndef CLI_H
#define CLI_H

#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "api/turbodiff.h"

/** What of a model fits on a GPU, for a line. */
static inline void cli_print_fit(const TDDeviceInfo *d)
{
    double all = (double)d->all_bytes * 1e-9, stage = (double)d->stage_bytes * 1e-9;

    if (d->fault)
        printf("; cannot be used: %s", d->fault);
    else if (d->fit == TD_FIT_ALL)
        printf("; all weights and the clip fit: %.2f GB", all);
    else if (d->fit == TD_FIT_STAGE)
        printf("; the weights fit by stage: %.2f GB, and %.2f GB at once", stage, all);
    else if (d->fit == TD_FIT_NONE)
        printf("; the clip does not fit: it takes %.2f GB by stage, %.2f GB at once", stage, all);
}

/** A line on a GPU: callback of td_list_devices(). */
static inline void cli_print_device(void *cookie, const TDDeviceInfo *d, size_t struct_size)
{
    (void)struct_size;
    printf("%sdevice %d: %s, %.2f GB free of %.2f GB, compute capability %d.%d, driver %s, %s, %s",
           (const char *)cookie, d->number, d->name, (double)d->free_bytes * 1e-9, (double)d->total_bytes * 1e-9,
           d->capability / 10, d->capability % 10, d->driver, d->uuid, d->pci);
    cli_print_fit(d);
    puts(d->chosen && d->fit ? "; auto takes it" : "");
}

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

/** The same from 0 to 2^64 - 1. or: what else it may be, for the error line, or "". */
static inline int cli_u64(uint64_t *value, const char *program, const char *option, const char *text, const char *or)
{
    char *end;

    errno = 0;
    *value = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || errno) {
        fprintf(stderr, "%s: --%s %s: want a whole number from 0 to %llu%s\n", program, option, text,
                (unsigned long long)UINT64_MAX, or);
        return -1;
    }
    return 0;
}

/** A number, or where there is a second, that or two of them joined with a bar. */
static inline int cli_double(double *value, double *second, const char *program, const char *option, const char *text)
{
    char *end;
    int ok;

    *value = strtod(text, &end);
    ok = end > text && isfinite(*value);
    if (ok && *end == '|' && second) {
        const char *bar = end;

        *second = strtod(bar + 1, &end);
        ok = end > bar + 1 && isfinite(*second);
    }
    if (ok && !*end)
        return 0;
    fprintf(stderr, "%s: --%s %s: want a number%s\n", program, option, text, second ? ", or two: HIGH|LOW" : "");
    return -1;
}

#define CLI_PROMPT 65536                         /* bytes, as the library takes */

/** The next prompt of f, up to the byte `end`. Of one that is longer than the library takes no more is read, or with
 *  `whole` the rest is passed over. @return 1, 0 if there is none, -1 after a line; 2 after a line on one that has been
 *  passed over */
static inline int cli_prompt(char text[CLI_PROMPT + 1], const char *program, FILE *f, int end, int whole)
{
    size_t n = 0;
    int c = EOF;

    while ((n <= CLI_PROMPT || whole) && (c = getc(f)) != EOF && c != end) {
        if (!c) {
            fprintf(stderr, "%s: a NUL byte in a prompt, want lines of text\n", program);
            return -1;
        }
        if (n < CLI_PROMPT)
            text[n] = (char)c;
        n++;
    }
    text[n < CLI_PROMPT ? n : CLI_PROMPT] = 0;
    if (c == EOF && ferror(f)) {
        fprintf(stderr, "%s: the file of prompts cannot be read: %s\n", program, strerror(errno));
        return -1;
    }
    if (n <= CLI_PROMPT)
        return n || c == end;
    fprintf(stderr, "%s: a prompt of more than %d bytes, want at most %d\n", program, CLI_PROMPT, CLI_PROMPT);
    return whole ? 2 : -1;
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
