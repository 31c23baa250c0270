/* SPDX-License-Identifier: BSD-2-Clause
 * Inner loops for x86 with AVX2 and FMA. */
#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#include <string.h>
#include "cpu/kernels.h"
#include "base/tensor.h"

#define AVX2 __attribute__((target("avx2,fma")))

/* 12 accumulators, 2 registers of b, 2 of broadcast a: all 16 ymm registers */
AVX2 static inline __attribute__((always_inline)) void tile_sum(__m256 acc[TD_MR][2], const TDRuns *k,
                                                                const float *const a[TD_MR], const float *b)
{
    __m256 c00 = acc[0][0], c01 = acc[0][1], c10 = acc[1][0], c11 = acc[1][1], c20 = acc[2][0], c21 = acc[2][1];
    __m256 c30 = acc[3][0], c31 = acc[3][1], c40 = acc[4][0], c41 = acc[4][1], c50 = acc[5][0], c51 = acc[5][1];

    for (int64_t r = 0; r < k->n; r++) {
        const float *a0 = a[0] + k->at[r], *a1 = a[1] + k->at[r], *a2 = a[2] + k->at[r], *a3 = a[3] + k->at[r],
                    *a4 = a[4] + k->at[r], *a5 = a[5] + k->at[r];

        for (int64_t i = 0; i < k->len; i++, b += TD_NR) {
            __m256 b0 = _mm256_loadu_ps(b), b1 = _mm256_loadu_ps(b + 8), x, y;

            x = _mm256_broadcast_ss(a0 + i);
            y = _mm256_broadcast_ss(a1 + i);
            c00 = _mm256_fmadd_ps(x, b0, c00);
            c01 = _mm256_fmadd_ps(x, b1, c01);
            c10 = _mm256_fmadd_ps(y, b0, c10);
            c11 = _mm256_fmadd_ps(y, b1, c11);
            x = _mm256_broadcast_ss(a2 + i);
            y = _mm256_broadcast_ss(a3 + i);
            c20 = _mm256_fmadd_ps(x, b0, c20);
            c21 = _mm256_fmadd_ps(x, b1, c21);
            c30 = _mm256_fmadd_ps(y, b0, c30);
            c31 = _mm256_fmadd_ps(y, b1, c31);
            x = _mm256_broadcast_ss(a4 + i);
            y = _mm256_broadcast_ss(a5 + i);
            c40 = _mm256_fmadd_ps(x, b0, c40);
            c41 = _mm256_fmadd_ps(x, b1, c41);
            c50 = _mm256_fmadd_ps(y, b0, c50);
            c51 = _mm256_fmadd_ps(y, b1, c51);
        }
    }
    acc[0][0] = c00, acc[0][1] = c01, acc[1][0] = c10, acc[1][1] = c11, acc[2][0] = c20, acc[2][1] = c21;
    acc[3][0] = c30, acc[3][1] = c31, acc[4][0] = c40, acc[4][1] = c41, acc[5][0] = c50, acc[5][1] = c51;
}

AVX2 static void tile(const TDRuns *k, const float *const a[TD_MR], const float *b, float *c, int64_t ldc, int zero)
{
    __m256 acc[TD_MR][2];

    for (int i = 0; i < TD_MR; i++) {
        acc[i][0] = zero ? _mm256_setzero_ps() : _mm256_loadu_ps(c + i * ldc);
        acc[i][1] = zero ? _mm256_setzero_ps() : _mm256_loadu_ps(c + i * ldc + 8);
    }
    tile_sum(acc, k, a, b);
    for (int i = 0; i < TD_MR; i++) {
        _mm256_storeu_ps(c + i * ldc, acc[i][0]);
        _mm256_storeu_ps(c + i * ldc + 8, acc[i][1]);
    }
}

/* two int16 as they are, eight times */
AVX2 static inline __attribute__((always_inline)) __m256i pair(const int16_t *p)
{
    int32_t both;

    memcpy(&both, p, sizeof(both));
    return _mm256_set1_epi32(both);
}

#define MADD(c, x, y) c = _mm256_add_epi32(c, _mm256_madd_epi16(x, y))

AVX2 static void tile_i8(int64_t pairs, const int16_t *const a[TD_MR], const int16_t *b, float *c, int64_t ldc,
                         float scale, int zero)
{
    const int16_t *a0 = a[0], *a1 = a[1], *a2 = a[2], *a3 = a[3], *a4 = a[4], *a5 = a[5];
    __m256i c00 = _mm256_setzero_si256(), c01 = c00, c10 = c00, c11 = c00, c20 = c00, c21 = c00;
    __m256i c30 = c00, c31 = c00, c40 = c00, c41 = c00, c50 = c00, c51 = c00, x,
            acc[TD_MR][2];
    __m256 s = _mm256_set1_ps(scale);

    for (int64_t k = 0; k < 2 * pairs; k += 2, b += 2 * TD_NR) {
        const __m256i *p = (const __m256i *)(const void *)b;

        x = pair(a0 + k);
        MADD(c00, x, _mm256_loadu_si256(p));
        MADD(c01, x, _mm256_loadu_si256(p + 1));
        x = pair(a1 + k);
        MADD(c10, x, _mm256_loadu_si256(p));
        MADD(c11, x, _mm256_loadu_si256(p + 1));
        x = pair(a2 + k);
        MADD(c20, x, _mm256_loadu_si256(p));
        MADD(c21, x, _mm256_loadu_si256(p + 1));
        x = pair(a3 + k);
        MADD(c30, x, _mm256_loadu_si256(p));
        MADD(c31, x, _mm256_loadu_si256(p + 1));
        x = pair(a4 + k);
        MADD(c40, x, _mm256_loadu_si256(p));
        MADD(c41, x, _mm256_loadu_si256(p + 1));
        x = pair(a5 + k);
        MADD(c50, x, _mm256_loadu_si256(p));
        MADD(c51, x, _mm256_loadu_si256(p + 1));
    }
    acc[0][0] = c00, acc[0][1] = c01, acc[1][0] = c10, acc[1][1] = c11, acc[2][0] = c20, acc[2][1] = c21;
    acc[3][0] = c30, acc[3][1] = c31, acc[4][0] = c40, acc[4][1] = c41, acc[5][0] = c50, acc[5][1] = c51;
    for (int i = 0; i < TD_MR; i++)
        for (int j = 0; j < 2; j++) {
            float *p = c + i * ldc + 8 * j;

            _mm256_storeu_ps(p, _mm256_fmadd_ps(_mm256_cvtepi32_ps(acc[i][j]), s,
                                                zero ? _mm256_setzero_ps() : _mm256_loadu_ps(p)));
        }
}

/* eight rows of eight k values -> eight k rows of eight values */
AVX2 static inline __attribute__((always_inline)) void store_transposed(float *dst, int width, __m256 r[8])
{
    __m256 t[8], u[8];

    for (int i = 0; i < 4; i++) {
        t[2 * i]     = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
    for (int i = 0; i < 2; i++) {
        u[4 * i]     = _mm256_shuffle_ps(t[4 * i],     t[4 * i + 2], 0x44);
        u[4 * i + 1] = _mm256_shuffle_ps(t[4 * i],     t[4 * i + 2], 0xee);
        u[4 * i + 2] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0x44);
        u[4 * i + 3] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0xee);
    }
    for (int i = 0; i < 4; i++)
        _mm256_storeu_ps(dst + i * width, _mm256_permute2f128_ps(u[i], u[i + 4], 0x20));
    for (int i = 0; i < 4; i++)
        _mm256_storeu_ps(dst + (i + 4) * width, _mm256_permute2f128_ps(u[i], u[i + 4], 0x31));
}

#define PACK(name, type, load8, load1)                                                          \
AVX2 static void name(float *dst, int width, const type *const row[8], int64_t kc)               \
{                                                                                               \
    int64_t k = 0;                                                                              \
                                                                                                \
    for (; k + 8 <= kc; k += 8, dst += 8 * width) {                                             \
        __m256 r[8];                                                                            \
                                                                                                \
        for (int i = 0; i < 8; i++)                                                             \
            r[i] = row[i] ? load8(row[i] + k) : _mm256_setzero_ps();                            \
        store_transposed(dst, width, r);                                                        \
    }                                                                                           \
    for (; k < kc; k++, dst += width)                                                           \
        for (int i = 0; i < 8; i++)                                                             \
            dst[i] = row[i] ? load1(row[i][k]) : 0.0f;                                          \
}

#define LOAD8_BF16(p)                                                                                                  \
    _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(p))), 16))

PACK(pack_bf16, uint16_t, LOAD8_BF16, td_bf16_to_f32)
PACK(pack_f32, float, _mm256_loadu_ps, (float))

/* a pair is what a float is above */
AVX2 static void pack_i8(int16_t *dst, const int8_t *const row[8], int64_t kc)
{
    const int8_t *rest[8];
    int64_t k = 0;

    for (; k + 16 <= kc; k += 16) {
        __m256 r[8];

        for (int i = 0; i < 8; i++)
            r[i] = row[i] ? _mm256_castsi256_ps(_mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(row[i] + k))))
                          : _mm256_setzero_ps();
        store_transposed((float *)(void *)(dst + k * TD_NR), TD_NR, r);
    }
    for (int i = 0; i < 8; i++)
        rest[i] = row[i] ? row[i] + k : NULL;
    td_kernels_base.pack_i8(dst + k * TD_NR, rest, kc - k);
}

/* 2^x = 2^n * 2^f, n = round(x), |f| <= 1/2; polynomial: Taylor terms of e^(f ln 2) up to f^6, error 1.2e-7 relative */
AVX2 static inline __attribute__((always_inline)) __m256 exp2_ps(__m256 x)
{
    __m256 n = _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC), f = _mm256_sub_ps(x, n);
    __m256 p = _mm256_set1_ps(1.5403530e-4f);

    p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(1.3333558e-3f));
    p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(9.6181291e-3f));
    p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(5.5504109e-2f));
    p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(2.4022651e-1f));
    p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(6.9314718e-1f));
    p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(1.0f));
    p = _mm256_mul_ps(p, _mm256_castsi256_ps(
                             _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23)));
    return _mm256_andnot_ps(_mm256_cmp_ps(x, _mm256_set1_ps(-126.0f), _CMP_LT_OQ), p);
}

AVX2 static void exp2_row(float *x, int64_t n)
{
    int64_t i = 0;
    float tail[8] = { 0 };

    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(x + i, exp2_ps(_mm256_loadu_ps(x + i)));
    if (i < n) {
        for (int64_t j = i; j < n; j++)
            tail[j - i] = x[j];
        _mm256_storeu_ps(tail, exp2_ps(_mm256_loadu_ps(tail)));
        for (int64_t j = i; j < n; j++)
            x[j] = tail[j - i];
    }
}

/* Eight at once are within 2e-6 of what libm gives, 32 steps of float32: where that cannot reach a tie of bf16, both
 * round to the same. One in 1000 can, and what is large is not tried. */
AVX2 static void norm_silu(uint16_t *y, const uint16_t *x, float r, const float *gamma, int64_t n)
{
    int64_t i = 0;

    for (; i + 8 <= n; i += 8) {
        __m256 v = _mm256_mul_ps(_mm256_mul_ps(LOAD8_BF16(x + i), _mm256_set1_ps(r)), _mm256_loadu_ps(gamma + i));
        __m256 e = exp2_ps(_mm256_mul_ps(v, _mm256_set1_ps(-1.44269504f)));
        __m256i u = _mm256_castps_si256(_mm256_div_ps(v, _mm256_add_ps(_mm256_set1_ps(1.0f), e)));
        __m256i from_tie = _mm256_sub_epi32(_mm256_and_si256(u, _mm256_set1_epi32(0xffff)), _mm256_set1_epi32(0x8000));
        __m256i far = _mm256_cmpgt_epi32(_mm256_abs_epi32(from_tie), _mm256_set1_epi32(32));
        __m256 small = _mm256_cmp_ps(_mm256_andnot_ps(_mm256_set1_ps(-0.0f), v), _mm256_set1_ps(16.0f), _CMP_LT_OQ);

        if (_mm256_movemask_ps(_mm256_and_ps(_mm256_castsi256_ps(far), small)) != 0xff) {
            td_kernels_base.norm_silu(y + i, x + i, r, gamma + i, 8);
            continue;
        }
        u = _mm256_add_epi32(u, _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1)));
        u = _mm256_srli_epi32(_mm256_add_epi32(u, _mm256_set1_epi32(0x7fff)), 16);
        u = _mm256_permute4x64_epi64(_mm256_packus_epi32(u, u), 0x08);
        _mm_storeu_si128((__m128i *)(y + i), _mm256_castsi256_si128(u));
    }
    td_kernels_base.norm_silu(y + i, x + i, r, gamma + i, n - i);
}

AVX2 static float max_row(const float *x, int64_t n)
{
    int64_t i = 0;
    float m = x[0], lane[8];

    if (n >= 8) {
        __m256 v = _mm256_loadu_ps(x);

        for (i = 8; i + 8 <= n; i += 8)
            v = _mm256_max_ps(v, _mm256_loadu_ps(x + i));
        _mm256_storeu_ps(lane, v);
        for (int j = 0; j < 8; j++)
            m = lane[j] > m ? lane[j] : m;
    }
    for (; i < n; i++)
        m = x[i] > m ? x[i] : m;
    return m;
}

const TDKernels td_kernels_avx2 = {
    .name = "avx2", .tile = tile, .tile_i8 = tile_i8, .pack_bf16 = pack_bf16, .pack_i8 = pack_i8,
    .pack_f32 = pack_f32, .exp2_row = exp2_row, .norm_silu = norm_silu, .max_row = max_row,
};
#endif
