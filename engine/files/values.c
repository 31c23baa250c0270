/* SPDX-License-Identifier: BSD-2-Clause */
#include "files/values.h"

static const int8_t iq4[16] = { -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113 };

static float half(const uint8_t *p)
{
    return td_f16_to_f32((uint16_t)(p[0] | p[1] << 8));
}

static uint32_t word(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* ---- 32 values ---- */

static void q4_0(float *dst, const uint8_t *b)
{
    float d = half(b);

    for (int i = 0; i < 16; i++) {
        dst[i] = d * (float)((b[2 + i] & 15) - 8);
        dst[i + 16] = d * (float)((b[2 + i] >> 4) - 8);
    }
}

static void q4_1(float *dst, const uint8_t *b)
{
    float d = half(b), m = half(b + 2);

    for (int i = 0; i < 16; i++) {
        dst[i] = d * (float)(b[4 + i] & 15) + m;
        dst[i + 16] = d * (float)(b[4 + i] >> 4) + m;
    }
}

static void q5_0(float *dst, const uint8_t *b)
{
    float d = half(b);
    uint32_t high = word(b + 2);

    for (int i = 0; i < 16; i++) {
        dst[i] = d * (float)((int)((b[6 + i] & 15) | (high >> i & 1) << 4) - 16);
        dst[i + 16] = d * (float)((int)((b[6 + i] >> 4) | (high >> (i + 16) & 1) << 4) - 16);
    }
}

static void q5_1(float *dst, const uint8_t *b)
{
    float d = half(b), m = half(b + 2);
    uint32_t high = word(b + 4);

    for (int i = 0; i < 16; i++) {
        dst[i] = d * (float)((b[8 + i] & 15) | (high >> i & 1) << 4) + m;
        dst[i + 16] = d * (float)((b[8 + i] >> 4) | (high >> (i + 16) & 1) << 4) + m;
    }
}

static void q8_0(float *dst, const uint8_t *b)
{
    float d = half(b);

    for (int i = 0; i < 32; i++)
        dst[i] = d * (float)(int8_t)b[2 + i];
}

static void iq4_nl(float *dst, const uint8_t *b)
{
    float d = half(b);

    for (int i = 0; i < 16; i++) {
        dst[i] = d * (float)iq4[b[2 + i] & 15];
        dst[i + 16] = d * (float)iq4[b[2 + i] >> 4];
    }
}

/* ---- 256 values ---- */

/* scale and minimum of 32 values of Q4_K and Q5_K, 6 bits each, number j of 8 in 12 bytes */
static void scale_min(int *scale, int *min, const uint8_t *s, int j)
{
    if (j < 4) {
        *scale = s[j] & 63;
        *min = s[j + 4] & 63;
    } else {
        *scale = (s[j + 4] & 15) | s[j - 4] >> 6 << 4;
        *min = s[j + 4] >> 4 | s[j] >> 6 << 4;
    }
}

/* high: 32 bytes with a fifth bit of each value, or NULL */
static void q45_k(float *dst, const uint8_t *b, const uint8_t *high, const uint8_t *q)
{
    float d = half(b), dmin = half(b + 2);

    for (int j = 0; j < 8; j++, dst += 32) {
        const uint8_t *code = q + j / 2 * 32;
        int scale, min, shift = j % 2 * 4;
        float ds, dm;

        scale_min(&scale, &min, b + 4, j);
        ds = d * (float)scale;
        dm = dmin * (float)min;
        for (int i = 0; i < 32; i++)
            dst[i] = ds * (float)((code[i] >> shift & 15) | (high ? (high[i] >> j & 1) << 4 : 0)) - dm;
    }
}

static void q4_k(float *dst, const uint8_t *b)
{
    q45_k(dst, b, NULL, b + 16);
}

static void q5_k(float *dst, const uint8_t *b)
{
    q45_k(dst, b, b + 16, b + 48);
}

static void q2_k(float *dst, const uint8_t *b)
{
    const uint8_t *q = b + 16;
    float d = half(b + 80), dmin = half(b + 82);

    for (int s = 0; s < 16; s++)                 /* 16 values each */
        for (int i = 0; i < 16; i++) {
            int code = q[s / 8 * 32 + s % 2 * 16 + i] >> (s % 8 / 2 * 2) & 3;

            dst[s * 16 + i] = d * (float)(b[s] & 15) * (float)code - dmin * (float)(b[s] >> 4);
        }
}

static void q3_k(float *dst, const uint8_t *b)
{
    const uint8_t *high = b, *q = b + 32, *scales = b + 96;
    float d = half(b + 108);

    for (int s = 0; s < 16; s++) {
        int low = s < 8 ? scales[s] & 15 : scales[s - 8] >> 4, top = scales[8 + s % 4] >> (s / 4 * 2) & 3;
        float ds = d * (float)((low | top << 4) - 32);

        for (int i = 0; i < 16; i++) {
            int at = s % 2 * 16 + i, code = q[s / 8 * 32 + at] >> (s % 8 / 2 * 2) & 3;

            dst[s * 16 + i] = ds * (float)(code - (high[at] >> (s / 2) & 1 ? 0 : 4));
        }
    }
}

static void q6_k(float *dst, const uint8_t *b)
{
    const uint8_t *low = b, *high = b + 128, *scales = b + 192;
    float d = half(b + 208);

    for (int s = 0; s < 16; s++) {
        float ds = d * (float)(int8_t)scales[s];
        int h = s / 8, k = s % 8 / 2;

        for (int i = 0; i < 16; i++) {
            int at = s % 2 * 16 + i, lo = low[h * 64 + k % 2 * 32 + at] >> (k / 2 * 4) & 15,
                hi = high[h * 32 + at] >> (2 * k) & 3;

            dst[s * 16 + i] = ds * (float)((lo | hi << 4) - 32);
        }
    }
}

static void iq4_xs(float *dst, const uint8_t *b)
{
    const uint8_t *q = b + 8;
    float d = half(b);

    for (int j = 0; j < 8; j++) {
        int low = b[4 + j / 2] >> (j % 2 * 4) & 15, high = (b[2] | b[3] << 8) >> (2 * j) & 3;
        float ds = d * (float)((low | high << 4) - 32);

        for (int i = 0; i < 16; i++) {
            dst[j * 32 + i] = ds * (float)iq4[q[j * 16 + i] & 15];
            dst[j * 32 + i + 16] = ds * (float)iq4[q[j * 16 + i] >> 4];
        }
    }
}

static void fp4(float *dst, const uint8_t *b)
{
    static const float e2m1[16] = { 0, 0.5f, 1, 1.5f, 2, 3, 4, 6, -0.0f, -0.5f, -1, -1.5f, -2, -3, -4, -6 };

    dst[0] = e2m1[*b >> 4];
    dst[1] = e2m1[*b & 15];
}

void td_blocks_to_f32(float *dst, const uint8_t *src, enum TDDtype type, int64_t n)
{
    static void (*const block[TD_N_DTYPES])(float *dst, const uint8_t *b) = {
        [TD_FP4] = fp4, [TD_Q4_0] = q4_0, [TD_Q4_1] = q4_1, [TD_Q5_0] = q5_0, [TD_Q5_1] = q5_1, [TD_Q8_0] = q8_0,
        [TD_Q2_K] = q2_k, [TD_Q3_K] = q3_k, [TD_Q4_K] = q4_k, [TD_Q5_K] = q5_k, [TD_Q6_K] = q6_k,
        [TD_IQ4_NL] = iq4_nl, [TD_IQ4_XS] = iq4_xs,
    };

    for (; n > 0; n -= td_dtype_block(type), dst += td_dtype_block(type), src += td_dtype_size(type))
        block[type](dst, src);
}

void td_rotate(float *x, int n)
{
    for (int step = 1; step < n; step *= 4)
        for (int i = 0; i < n; i++)
            if (i / step % 4 == 0) {
                float a = x[i], b = x[i + step], c = x[i + 2 * step], d = x[i + 3 * step];

                x[i] = (a + b + c - d) / 2;
                x[i + step] = (a + b - c + d) / 2;
                x[i + 2 * step] = (a - b + c + d) / 2;
                x[i + 3 * step] = (-a + b + c + d) / 2;
            }
}

void td_row_to_f32(float *dst, const uint8_t *src, enum TDDtype dtype, int64_t n, int64_t step)
{
    int64_t s = n > 1 ? step * (int64_t)td_dtype_size(dtype) : 0;    /* the stride of one element may be anything */
    uint16_t h;
    double d;

    switch (dtype) {
    case TD_F32:
        for (int64_t i = 0; i < n; i++, src += s)
            memcpy(dst + i, src, 4);
        break;
    case TD_BF16:
        for (int64_t i = 0; s == 2 && i < n; i++) {          /* a loop for vectors */
            memcpy(&h, src + 2 * i, 2);
            dst[i] = td_bf16_to_f32(h);
        }
        for (int64_t i = 0; s != 2 && i < n; i++, src += s) {
            memcpy(&h, src, 2);
            dst[i] = td_bf16_to_f32(h);
        }
        break;
    case TD_F16:
        for (int64_t i = 0; s == 2 && i < n; i++) {
            memcpy(&h, src + 2 * i, 2);
            dst[i] = td_f16_to_f32(h);
        }
        for (int64_t i = 0; s != 2 && i < n; i++, src += s) {
            memcpy(&h, src, 2);
            dst[i] = td_f16_to_f32(h);
        }
        break;
    case TD_F64:
        for (int64_t i = 0; i < n; i++, src += s) {
            memcpy(&d, src, 8);
            dst[i] = (float)d;
        }
        break;
    case TD_I8:
        for (int64_t i = 0; i < n; i++, src += s)
            dst[i] = (float)(int8_t)*src;
        break;
    case TD_F8_E4M3:
        if (s == 1)                              /* a loop for vectors: most of a file of fp8 comes here */
            for (int64_t i = 0; i < n; i++)
                dst[i] = td_e4m3_to_f32(src[i]);
        else
            for (int64_t i = 0; i < n; i++, src += s)
                dst[i] = td_e4m3_to_f32(*src);
        break;
    case TD_F8_E5M2:
        if (s == 1)
            for (int64_t i = 0; i < n; i++)
                dst[i] = td_f16_to_f32((uint16_t)(src[i] << 8));
        else
            for (int64_t i = 0; i < n; i++, src += s)
                dst[i] = td_f16_to_f32((uint16_t)(*src << 8));
        break;
    case TD_F8_E8M0:
        for (int64_t i = 0; i < n; i++, src += s)
            dst[i] = td_e8m0_to_f32(*src);
        break;
    default:                                     /* in blocks, which are never apart; types are checked by the caller */
        td_blocks_to_f32(dst, src, dtype, n);
        break;
    }
}
