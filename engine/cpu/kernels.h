/* SPDX-License-Identifier: BSD-2-Clause
 * Inner loops that are written once per instruction set and chosen at td_cpu_open(). Everything above them is plain C.
 *
 * Matrix products are of f32: TD_MR rows of A where they are, and B packed in panels of TD_NR columns as [k][TD_NR].
 * Each output element is one chain in ascending k, so blocking and thread count never change a result: of fused
 * multiply-adds with AVX2 and on aarch64, elsewhere of products and sums. Products of int8 are exact, of int16: A rows
 * of it, B [k/2][TD_NR][2]. */
#ifndef TD_CPU_KERNELS_H
#define TD_CPU_KERNELS_H

#include <stdint.h>
#include "base/log.h"

#define TD_MR 6
#define TD_NR 16

/** The steps of a product: n runs of len floats in each row of A, run i beginning at at[i]. B has one after another. */
typedef struct TDRuns { int64_t n, len; const int64_t *at; } TDRuns;

typedef struct TDKernels {
    const char *name;
    /** c[TD_MR][TD_NR] (row stride ldc) += a b over the runs; zero: c starts at 0 */
    void (*tile)(const TDRuns *k, const float *const a[TD_MR], const float *b, float *c, int64_t ldc, int zero);
    /** c = fma(sum, scale, c) with the exact sum of int8 values over as many pairs of k; zero: c starts at 0 */
    void (*tile_i8)(int64_t pairs, const int16_t *const a[TD_MR], const int16_t *b, float *c, int64_t ldc, float scale,
                    int zero);
    /** dst[k][width], k in [0,kc): element k of each of `rows` row pointers (8 per call at most), the rest zero. Writes
     * 8 floats a step whatever rows is: dst needs 8 floats of slack at its end, and calls for one tile go in ascending
     * rows. */
    void (*pack_bf16)(float *dst, int width, const uint16_t *const row[8], int64_t kc);
    void (*pack_f32)(float *dst, int width, const float *const row[8], int64_t kc);
    /** dst[(k+1)/2][TD_NR][2] in the same way, a last odd k with a zero */
    void (*pack_i8)(int16_t *dst, const int8_t *const row[8], int64_t kc);
    /** x[i] = 2^x[i]; relative error < 2e-7; below -126 flushes to 0 */
    void (*exp2_row)(float *x, int64_t n);
    /** v = x * r * gamma; y = v / (1 + expf(-v)) -> bf16, to the last bit what libm's expf() gives. y may be x */
    void (*norm_silu)(uint16_t *y, const uint16_t *x, float r, const float *gamma, int64_t n);
    /** max of x[0..n) */
    float (*max_row)(const float *x, int64_t n);
} TDKernels;

extern const TDKernels td_kernels_base;
#if defined(__x86_64__) && defined(__GNUC__)
extern const TDKernels td_kernels_avx2;
#endif

/** A set by name, or with NULL the best one that this machine runs. @return 0; EINVAL, ENOTSUP, logged */
int td_kernels_choose(const TDKernels **k, const char *name, TDLog *log);

#endif /* TD_CPU_KERNELS_H */
