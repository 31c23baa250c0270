/* SPDX-License-Identifier: BSD-2-Clause
 * int8 with one scale per 128x128 block (doc/numerics.md: the official quantiser) and e4m3 rounding. */
#include <math.h>
#include "cpu/cpu.h"

/* amax = max(1e-8, max|x|); code = sat(rint(x * (128/amax))); scale = amax/128. Rows r0 to r0+127 of bf16 [rows,k].
 * A block with NaN gets scale NaN: its codes would hide it. */
static void quantise_blocks(const uint16_t *x, int64_t rows, int64_t k, int64_t r0, int8_t *code, float *scale)
{
    int64_t r1 = rows - r0 < 128 ? rows : r0 + 128, kb = (k + 127) / 128;

    for (int64_t b = 0; b < kb; b++) {
        int64_t k0 = b * 128, k1 = k - k0 < 128 ? k : k0 + 128;
        float amax = 1e-8f, mult;
        int16_t top = 0;

        for (int64_t r = r0; r < r1; r++)
            for (int64_t i = k0; i < k1; i++) {
                int16_t mag = x[r * k + i] & 0x7fff;

                top = mag > top ? mag : top;
            }
        amax = td_bf16_to_f32((uint16_t)top) <= amax ? amax : td_bf16_to_f32((uint16_t)top);
        mult = 128.0f / amax;
        for (int64_t r = r0; r < r1; r++)
            for (int64_t i = k0; i < k1; i++) {
                float v = td_bf16_to_f32(x[r * k + i]) * mult;

                /* adding 1.5*2^23 rounds to an integer, ties to even; |v| <= 128 (NaN becomes -128) */
                v = (v + 12582912.0f) - 12582912.0f;
                code[r * k + i] = (int8_t)(v >= 127.0f ? 127 : v > -128.0f ? (int)v : -128);
            }
        scale[r0 / 128 * kb + b] = amax / 128.0f;
    }
}

static void quantise_task(void *arg, int64_t i, int worker)
{
    TDAct *act = arg;

    (void)worker;
    quantise_blocks(act->x.data, act->x.shape[0], act->x.shape[1], i * 128, act->code.data, act->scale.data);
}

int td_cpu_quantise_act(TDCpu *cpu, TDAct *act)
{
    return act->code.data ? td_parallel(cpu->pool, (act->x.shape[0] + 127) / 128, quantise_task, act) : 0;
}

float td_e4m3_round(float x)
{
    float a = fabsf(x), r;

    if (!(a < 464.0f))                           /* 464 = midpoint above the largest value; NaN saturates */
        r = 448.0f;
    else if (a >= 0x1p-6f) {                     /* keep 3 mantissa bits, ties to even */
        uint32_t u;

        memcpy(&u, &a, sizeof(u));
        u = (u + 0x7ffff + (u >> 20 & 1)) & ~0xfffffu;
        memcpy(&r, &u, sizeof(r));
        r = r > 448.0f ? 448.0f : r;
    } else {                                     /* subnormals: multiples of 2^-9 */
        r = (a + 0x1.8p14f) - 0x1.8p14f;
    }
    return copysignf(r, x);
}
