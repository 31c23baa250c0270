/* SPDX-License-Identifier: BSD-2-Clause
 * One log per context: formats a line, remembers the last error, hands it to the caller's callback. No stdio, no
 * globals. */
#ifndef TD_LOG_H
#define TD_LOG_H

#include <stdarg.h>
#include "api/turbodiff.h"

typedef struct TDLog {
    TDLogger out;
    char last_error[512];            ///< text of the last TD_LOG_ERROR line
} TDLog;

/** Log one line (no newline). NULL-safe. Called where an error is detected, never where a code is passed on. */
void td_log(TDLog *log, int level, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/** Seconds of the monotonic clock. */
double td_now(void);

/** Log an error line and return TD_ERR(err): `return td_error(log, EINVAL, "frames: %d, want 4k+1", n);` */
int td_error(TDLog *log, int err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#endif /* TD_LOG_H */
