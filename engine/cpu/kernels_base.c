/* SPDX-License-Identifier: BSD-2-Clause
 * Portable inner loops, written so that compilers vectorise them. */
#include <math.h>
#include <string.h>
#include "cpu/kernels.h"
#include "base/tensor.h"

static void tile_sum(float acc[TD_MR][TD_NR], const TDRuns *k, const float *const a[TD_MR], const float *b)
{
    for (int64_t r = 0; r < k->n; r++)
        for (int64_t s = k->at[r]; s < k->at[r] + k->len; s++, b += TD_NR)
            for (int i = 0; i < TD_MR; i++)
                for (int j = 0; j < TD_NR; j++)
                    acc[i][j] += a[i][s] * b[j];
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

static void exp2_row(float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = x[i] < -126.0f ? 0.0f : exp2f(x[i]);
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
