/* SPDX-License-Identifier: BSD-2-Clause
 * As near as a double can be where digits and power of ten are exact in one, else to a few of its last bits. */
#include <math.h>
#include <stddef.h>
#include "base/number.h"

#define MAX_POWER 400                            /* of ten; far past a double's */

static const char *read_exponent(int *power, const char *s, const char *end)
{
    const char *p = s + 1;
    int sign = 1, n = 0;

    if (s == end || (*s != 'e' && *s != 'E'))
        return s;
    if (p < end && (*p == '-' || *p == '+'))
        sign = *p++ == '-' ? -1 : 1;
    if (p == end || *p < '0' || *p > '9')
        return NULL;
    for (; p < end && *p >= '0' && *p <= '9'; p++)
        n = n < MAX_POWER ? 10 * n + *p - '0' : n;
    *power += sign * n;
    return p;
}

const char *td_number(double *out, const char *s, const char *end)
{
    double digits = 0.0, unit = 1.0;
    int n = 0, power = 0, point = 0, negative = s < end && *s == '-';

    for (s += negative; s < end; s++) {
        if (*s == '.' && !point) {
            point = 1;
            continue;
        }
        if (*s < '0' || *s > '9')
            break;
        n++;
        if (digits < 1e15) {                     /* what follows does not count any more */
            digits = 10.0 * digits + *s - '0';
            power -= point;
        } else {
            power += !point;
        }
    }
    if (!n || !(s = read_exponent(&power, s, end)))
        return NULL;
    for (int i = 0; i < MAX_POWER && i < (power < 0 ? -power : power); i++)
        unit *= 10.0;
    *out = digits == 0.0 ? 0.0 : power < 0 ? digits / unit : digits * unit;
    *out = negative ? -*out : *out;
    return isfinite(*out) ? s : NULL;
}
