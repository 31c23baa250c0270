/* SPDX-License-Identifier: BSD-2-Clause
 * Inner loops whose bits do not depend on the set: each set that this machine runs against the portable one, and AVX2
 * against the portable one as it is where multiply-adds are fused (aarch64). */
#include <stdlib.h>
#include "cpu/kernels.h"
#include "test.h"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define FUSED
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#define __FP_FAST_FMAF 1
#define td_kernels_base fused
#include "cpu/kernels_base.c"
#undef td_kernels_base
#undef __FP_FAST_FMAF
#pragma GCC pop_options
#endif

#define N 4099                                   /* values at a time, not a multiple of any vector */

static const TDKernels *sets[2];
static int n_sets;

static float from_bits(uint32_t u)
{
    float f;

    memcpy(&f, &u, sizeof(f));
    return f;
}

/* every `step`th bit pattern from `first` to `last`, both signs */
static void compare(uint32_t first, uint32_t last, uint32_t step)
{
    static float x[N];
    static uint16_t one[N], want[N], got[N];

    for (int i = 0; i < N; i++)
        one[i] = 0x3f80;
    for (uint64_t u = first; u <= last; u += (uint64_t)step * (N / 2)) {
        for (uint32_t i = 0; i < N; i++)
            x[i] = from_bits((uint32_t)(u + (uint64_t)(i / 2) * step) | i % 2 << 31);
        for (int s = 0; s < n_sets; s++) {
            td_kernels_base.norm_silu(want, one, 1.0f, x, N);
            sets[s]->norm_silu(got, one, 1.0f, x, N);
            if (!CHECK(!memcmp(got, want, sizeof(want))))
                return;
        }
    }
}

/* panels of int8 with sums at both ends of their range, rows that end within a vector and with half a pair */
static void test_i8(int64_t k, int8_t low, int8_t high)
{
    static int8_t a[TD_MR][256], b[TD_NR][256];
    static int16_t wide[TD_MR][256], panel[128 * TD_NR * 2];
    const int16_t *rows[TD_MR];
    const int8_t *cols[TD_NR];
    float c[TD_MR * TD_NR];

    memset(wide, 0, sizeof(wide));
    for (int64_t i = 0; i < k; i++) {
        for (int r = 0; r < TD_MR; r++)
            wide[r][i] = a[r][i] = rand() % 3 ? low : high;
        for (int r = 0; r < TD_NR; r++)
            b[r][i] = rand() % 5 ? low : high;
    }
    for (int r = 0; r < TD_MR; r++)
        rows[r] = wide[r];
    for (int r = 0; r < TD_NR; r++)
        cols[r] = r < 13 ? b[r] : NULL;          /* what is not there is zero */
    for (int s = 0; s < n_sets; s++) {
        sets[s]->pack_i8(panel, cols, k);
        sets[s]->pack_i8(panel + 16, cols + 8, k);
        sets[s]->tile_i8((k + 1) / 2, rows, panel, c, TD_NR, 1.0f, 1);
        sets[s]->tile_i8((k + 1) / 2, rows, panel, c, TD_NR, 2.0f, 0);
        for (int r = 0; r < TD_MR; r++)
            for (int j = 0; j < TD_NR; j++) {
                long long sum = 0;

                for (int64_t i = 0; i < k; i++)
                    sum += cols[j] ? a[r][i] * b[j][i] : 0;
                CHECK_INT((long long)c[r * TD_NR + j], 3 * sum);
            }
    }
}

#ifdef FUSED
static float by_chance(void) { return (float)rand() / (float)RAND_MAX * 2 - 1; }

static void test_fused(void)
{
    static float a[TD_MR][300], b[300 * TD_NR], x[2][N], c[2][TD_MR * TD_NR];
    const int64_t at[] = { 0, 150 };
    const TDRuns runs = { 2, 140, at };
    const TDKernels *k[] = { &td_kernels_avx2, &fused };
    const float *rows[TD_MR];

    for (int r = 0; r < TD_MR; r++) {
        rows[r] = a[r];
        for (int i = 0; i < 300; i++)
            a[r][i] = by_chance();
    }
    for (int i = 0; i < 300 * TD_NR; i++)
        b[i] = by_chance();
    for (int i = 0; i < N; i++)
        x[0][i] = x[1][i] = i ? (float)i * 0.034f - 130 : NAN;           /* to 9.3 */
    for (int i = 0; i < 2; i++) {
        k[i]->tile(&runs, rows, b, c[i], TD_NR, 1);
        k[i]->tile(&runs, rows, b, c[i], TD_NR, 0);
        k[i]->exp2_row(x[i], N);
    }
    CHECK(!memcmp(c[0], c[1], sizeof(c[0])));
    CHECK(isnan(x[0][0]) && isnan(x[1][0]) && x[0][1] == 0 && x[0][N - 1] > 512);
    CHECK(!memcmp(x[0] + 1, x[1] + 1, sizeof(x[0]) - sizeof(float)));
}
#endif

int main(void)
{
    static const char *const names[] = { "base", "avx2" };

    for (int i = 0; i < 2; i++)
        n_sets += td_kernels_choose(&sets[n_sets], names[i], NULL) >= 0;
    test_begin("SiLU: every value is what the portable set makes of it");
    CHECK(n_sets >= 1);
    compare(0, 0x7fffffff, 9973);                /* with infinity and NaN */
    compare(0x3e000000, 0x41800010, 23);         /* 1/8 to 16 */
    test_begin("products of int8 are exact");
    for (int64_t k = 1; k <= 256; k += k < 40 ? 1 : 31) {
        test_i8(k, -128, 127);
        test_i8(k, -128, -128);
    }
#ifdef FUSED
    if (n_sets == 2) {
        test_begin("the portable set with fused multiply-adds has the bits of AVX2");
        test_fused();
    }
#endif
    return test_end();
}
