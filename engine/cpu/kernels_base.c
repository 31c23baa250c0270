/* SPDX-License-Identifier: BSD-2-Clause
 * Portable inner loops, written so that compilers vectorise them. Where every machine has a fused multiply-add, as with
 * aarch64, their bits are those of AVX2. */
#include <math.h>
#include <string.h>
#include "cpu/kernels.h"
#include "base/tensor.h"

#ifdef __FP_FAST_FMAF
#define MUL_ADD(a, b, c) fmaf(a, b, c)
#else
#define MUL_ADD(a, b, c) ((a) * (b) + (c))
#endif

static void tile_sum(float acc[TD_MR][TD_NR], const TDRuns *k, const float *const a[TD_MR], const float *b)
{
    for (int64_t r = 0; r < k->n; r++)
        for (int64_t s = k->at[r]; s < k->at[r] + k->len; s++, b += TD_NR)
            for (int i = 0; i < TD_MR; i++)
                for (int j = 0; j < TD_NR; j++)
                    acc[i][j] = MUL_ADD(a[i][s], b[j], acc[i][j]);
}

static void tile(const TDRuns *k, const float *const a[TD_MR], const float *b, float *c, int64_t ldc, int zero)
{
    float acc[TD_MR][TD_NR] = { { 0 } };

    for (int i = 0; i < TD_MR && !zero; i++)
        memcpy(acc[i], c + i * ldc, sizeof(acc[i]));
    tile_sum(acc, k, a, b);
    for (int i = 0; i < TD_MR; i++)
        memcpy(c + i * ldc, acc[i], sizeof(acc[i]));
}

static void tile_i8(int64_t pairs, const int16_t *const a[TD_MR], const int16_t *b, float *c, int64_t ldc, float scale,
                    int zero)
{
    int32_t acc[TD_MR][TD_NR] = { { 0 } };

    for (int64_t k = 0; k < 2 * pairs; k += 2, b += 2 * TD_NR)
        for (int i = 0; i < TD_MR; i++)
            for (int j = 0; j < TD_NR; j++)
                acc[i][j] += a[i][k] * b[2 * j] + a[i][k + 1] * b[2 * j + 1];
    for (int i = 0; i < TD_MR; i++)
        for (int j = 0; j < TD_NR; j++)
            c[i * ldc + j] = fmaf((float)acc[i][j], scale, zero ? 0.0f : c[i * ldc + j]);
}

static void pack_bf16(float *dst, int width, const uint16_t *const row[8], int64_t kc)
{
    for (int64_t k = 0; k < kc; k++, dst += width)
        for (int r = 0; r < 8; r++)
            dst[r] = row[r] ? td_bf16_to_f32(row[r][k]) : 0.0f;
}

static void pack_i8(int16_t *dst, const int8_t *const row[8], int64_t kc)
{
    for (int64_t k = 0; k < kc; k += 2, dst += 2 * TD_NR)
        for (int r = 0; r < 8; r++) {
            dst[2 * r]     = row[r] ? row[r][k] : 0;
            dst[2 * r + 1] = row[r] && k + 1 < kc ? row[r][k + 1] : 0;
        }
}

static void pack_f32(float *dst, int width, const float *const row[8], int64_t kc)
{
    for (int64_t k = 0; k < kc; k++, dst += width)
        for (int r = 0; r < 8; r++)
            dst[r] = row[r] ? row[r][k] : 0.0f;
}

#ifdef __FP_FAST_FMAF
/* kernels_avx2.c says how */
static float exp2_of(float x)
{
    float n = rintf(x), f = x - n, p = 1.5403530e-4f, two_n;
    int32_t e = n > -127.0f && n < 128.0f ? (int32_t)n : 0;
    uint32_t bits = (uint32_t)(e + 127) << 23;

    p = fmaf(p, f, 1.3333558e-3f);
    p = fmaf(p, f, 9.6181291e-3f);
    p = fmaf(p, f, 5.5504109e-2f);
    p = fmaf(p, f, 2.4022651e-1f);
    p = fmaf(p, f, 6.9314718e-1f);
    p = fmaf(p, f, 1.0f);
    memcpy(&two_n, &bits, sizeof(two_n));
    return p * two_n;
}
#else
static float exp2_of(float x) { return exp2f(x); }
#endif

static void exp2_row(float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = x[i] < -126.0f ? 0.0f : exp2_of(x[i]);
}

static void norm_silu(uint16_t *y, const uint16_t *x, float r, const float *gamma, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        float v = td_bf16_to_f32(x[i]) * r * gamma[i];

        y[i] = td_f32_to_bf16(v / (1.0f + expf(-v)));
    }
}

static float max_row(const float *x, int64_t n)
{
    float m = x[0];

    for (int64_t i = 1; i < n; i++)
        m = x[i] > m ? x[i] : m;
    return m;
}

const TDKernels td_kernels_base = {
    .name = "base", .tile = tile, .tile_i8 = tile_i8, .pack_bf16 = pack_bf16, .pack_i8 = pack_i8,
    .pack_f32 = pack_f32, .exp2_row = exp2_row, .norm_silu = norm_silu, .max_row = max_row,
};
