/* SPDX-License-Identifier: BSD-2-Clause */
#include <math.h>
#include <stdio.h>
#include "base/options.h"
#include "base/rng.h"

/* blocks of 256 threads the device holds at once: multiprocessors x resident blocks */
static const int64_t profiles[] = {
    [TD_NOISE_H100] = 132 * 8, [TD_NOISE_RTX5090] = 170 * 6, [TD_NOISE_RTX4090] = 128 * 6, [TD_NOISE_A100] = 108 * 8,
    [TD_NOISE_CPU] = 0,
};

static int64_t blocks_of(enum TDNoise profile, int64_t blocks)
{
    return profile != TD_NOISE_AUTO ? profiles[profile] : blocks ? blocks : profiles[TD_NOISE_H100];
}

const char *td_noise_name(char buf[32], enum TDNoise profile, int64_t blocks)
{
    int64_t want = blocks_of(profile, blocks);

    for (size_t i = TD_NOISE_H100; i < sizeof(profiles) / sizeof(*profiles); i++)
        if (profile == (enum TDNoise)i || (profile == TD_NOISE_AUTO && profiles[i] == want))
            return td_noise_words[i];
    snprintf(buf, 32, "blocks%lld", (long long)want);
    return buf;
}

/* ---- CUDA: Philox4x32-10, four normals per thread and pass, a grid's width apart ---- */

static void philox(uint32_t c[4], uint64_t seed)
{
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);

    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c[0], p1 = (uint64_t)0xCD9E8D57u * c[2];
        uint32_t c1 = c[1], c3 = c[3];

        c[0] = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c[1] = (uint32_t)p1;
        c[2] = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c[3] = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
}

/* Box-Muller, sine first */
static void box_muller(float out[2], uint32_t a, uint32_t b)
{
    float u = (float)a * 0x1p-32f + 0x1p-33f;
    float v = fmaf((float)b, 6.2831855f * 0x1p-32f, 6.2831855f * 0x1p-33f), s = sqrtf(-2.0f * logf(u));

    out[0] = s * sinf(v);
    out[1] = s * cosf(v);
}

int64_t td_rng_grid_width(const TDRng *rng, int64_t n)
{
    int64_t blocks = (n + 255) / 256;

    return 256 * (blocks < rng->blocks ? blocks : rng->blocks);
}

static void cuda_normal(TDRng *rng, float *out, int64_t n)
{
    int64_t g = td_rng_grid_width(rng, n);

    for (int64_t j = 0; j * 4 * g < n; j++)
        for (int64_t idx = 0; idx < g && j * 4 * g + idx < n; idx++) {
            uint64_t counter = rng->offset / 4 + (uint64_t)j;
            uint32_t c[4] = { (uint32_t)counter, (uint32_t)(counter >> 32), (uint32_t)idx,
                              (uint32_t)((uint64_t)idx >> 32) };
            float z[4];

            philox(c, rng->seed);
            box_muller(z, c[0], c[1]);
            box_muller(z + 2, c[2], c[3]);
            for (int64_t i = 0; i < 4; i++)
                if ((4 * j + i) * g + idx < n)
                    out[(4 * j + i) * g + idx] = z[i];
        }
}

/* ---- CPU: MT19937 ---- */

static uint32_t mt_next(TDRng *rng)
{
    uint32_t y;

    if (rng->mt_next == 624) {
        for (int i = 0; i < 624; i++) {
            y = (rng->mt[i] & 0x80000000u) | (rng->mt[(i + 1) % 624] & 0x7fffffffu);
            rng->mt[i] = rng->mt[(i + 397) % 624] ^ y >> 1 ^ (y & 1 ? 0x9908b0dfu : 0);
        }
        rng->mt_next = 0;
    }
    y = rng->mt[rng->mt_next++];
    y ^= y >> 11;
    y ^= y << 7 & 0x9d2c5680u;
    y ^= y << 15 & 0xefc60000u;
    return y ^ y >> 18;
}

static float uniform32(TDRng *rng)
{
    return (float)(mt_next(rng) & 0xffffff) * 0x1p-24f;
}

static double uniform64(TDRng *rng)
{
    uint64_t high = mt_next(rng);

    return (double)((high << 32 | mt_next(rng)) & 0x1fffffffffffffull) * 0x1p-53;
}

static void normal16(float *d)
{
    for (int j = 0; j < 8; j++) {
        float r = sqrtf(-2.0f * logf(1.0f - d[j])), th = 6.2831855f * d[j + 8];

        d[j] = r * cosf(th);
        d[j + 8] = r * sinf(th);
    }
}

static void cpu_normal(TDRng *rng, float *out, int64_t n)
{
    if (n < 16) {
        for (int64_t i = 0; i < n; i++) {
            if (rng->has_cached) {
                out[i] = (float)rng->cached;
                rng->has_cached = 0;
            } else {
                double u1 = uniform64(rng), u2 = uniform64(rng), r = sqrt(-2.0 * log1p(-u2)),
                       th = 6.283185307179586 * u1;

                out[i] = (float)(r * cos(th));
                rng->cached = r * sin(th);
                rng->has_cached = 1;
            }
        }
        return;
    }
    for (int64_t i = 0; i < n; i++)
        out[i] = uniform32(rng);
    for (int64_t i = 0; i + 16 <= n; i += 16)
        normal16(out + i);
    if (n % 16) {                                /* the last 16 places again, with new uniforms */
        for (int64_t i = n - 16; i < n; i++)
            out[i] = uniform32(rng);
        normal16(out + n - 16);
    }
}

void td_rng_init(TDRng *rng, enum TDNoise profile, int64_t blocks, uint64_t seed)
{
    *rng = (TDRng){ .profile = profile, .blocks = blocks_of(profile, blocks), .seed = seed, .mt_next = 624 };
    rng->mt[0] = (uint32_t)seed;
    for (uint32_t i = 1; i < 624; i++)
        rng->mt[i] = 1812433253u * (rng->mt[i - 1] ^ rng->mt[i - 1] >> 30) + i;
}

void td_rng_normal(TDRng *rng, float *out, int64_t n)
{
    if (rng->profile == TD_NOISE_CPU) {
        cpu_normal(rng, out, n);
    } else if (n > 0) {
        cuda_normal(rng, out, n);
        td_rng_skip(rng, n);
    }
}

void td_rng_skip(TDRng *rng, int64_t n)
{
    float sink[16];

    if (rng->profile != TD_NOISE_CPU) {
        rng->offset += n > 0 ? (uint64_t)((n - 1) / (4 * td_rng_grid_width(rng, n)) + 1) * 4 : 0;
    } else if (n < 16) {
        cpu_normal(rng, sink, n);
    } else {
        for (int64_t i = 0; i < n + (n % 16 ? 16 : 0); i++)
            mt_next(rng);
    }
}
