/* SPDX-License-Identifier: BSD-2-Clause
 * Attention of one head over chosen key blocks in double. */
#ifndef ATTENTION_REF_H
#define ATTENTION_REF_H

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* o[n,d] = softmax(q k^T / sqrt(d)) v, query block i attending to the n_keep key blocks map[i*n_keep..] */
static inline void reference_sparse(double *o, const float *q, const float *k, const float *v, const float *map,
                                    int64_t n, int64_t d, int64_t bq, int64_t bk, int64_t n_keep)
{
    double *p = malloc((size_t)(n_keep * bk) * sizeof(*p));

    for (int64_t i = 0; i < n; i++) {
        const float *list = map + i / bq * n_keep;
        double top = -INFINITY, sum = 0;

        for (int64_t b = 0; b < n_keep * bk; b++) {
            int64_t j = (int64_t)list[b / bk] * bk + b % bk;
            double s = 0;

            for (int64_t c = 0; c < d && j < n; c++)
                s += (double)q[i * d + c] * k[j * d + c];
            p[b] = j < n ? s / sqrt((double)d) : -INFINITY;
            top = fmax(top, p[b]);
        }
        for (int64_t b = 0; b < n_keep * bk; b++)
            sum += p[b] = exp(p[b] - top);
        memset(o + i * d, 0, (size_t)d * sizeof(*o));
        for (int64_t b = 0; b < n_keep * bk; b++)
            for (int64_t c = 0, j = (int64_t)list[b / bk] * bk + b % bk; c < d && j < n; c++)
                o[i * d + c] += p[b] / sum * v[j * d + c];
    }
    free(p);
}

static inline double reference_error(const float *a, const double *ref, int64_t n)
{
    double e = 0, s = 0;

    for (int64_t i = 0; i < n; i++) {
        e += (a[i] - ref[i]) * (a[i] - ref[i]);
        s += ref[i] * ref[i];
    }
    return e >= 0 ? sqrt(e / s) : INFINITY;
}

#endif /* ATTENTION_REF_H */
