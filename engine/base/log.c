/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdio.h>
#include <string.h>
#include <time.h>
#include "base/log.h"

static void emit(TDLog *log, int level, const char *fmt, va_list ap)
{
    char line[sizeof(log->last_error)];

    vsnprintf(line, sizeof(line), fmt, ap);
    for (char *p = line; *p; p++) {              /* names from files and callers may hold anything: it stays one line */
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            *p = '?';
        else if ((unsigned char)p[0] == 0xc2 && (unsigned char)p[1] >= 0x80 && (unsigned char)p[1] <= 0x9f)
            p[0] = p[1] = '?';                   /* C1, which a terminal may act upon */
    }
    if (level == TD_LOG_ERROR)
        memcpy(log->last_error, line, sizeof(line));
    if (log->out.callback && level <= log->out.level)
        log->out.callback(log->out.cookie, level, line);
}

double td_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void td_log(TDLog *log, int level, const char *fmt, ...)
{
    va_list ap;

    if (!log)
        return;
    va_start(ap, fmt);
    emit(log, level, fmt, ap);
    va_end(ap);
}

int td_error(TDLog *log, int err, const char *fmt, ...)
{
    va_list ap;

    if (log) {
        va_start(ap, fmt);
        emit(log, TD_LOG_ERROR, fmt, ap);
        va_end(ap);
    }
    return TD_ERR(err);
}
