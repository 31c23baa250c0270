/* SPDX-License-Identifier: BSD-2-Clause
 * Values that files store in 8 bits or less, as f32: fp8, and GGUF's blocks. What is multiplied with what is in f32, as
 * gguf-py has it (doc/formats.md). */
#ifndef TD_VALUES_H
#define TD_VALUES_H

#include "base/tensor.h"

/** sign, 4 bits of exponent, 3 of mantissa; 0x7f and 0xff are NaN, there is no infinity */
static inline float td_e4m3_to_f32(uint8_t code)
{
    uint32_t u = (uint32_t)(code & 0x80) << 24 | (uint32_t)(code & 0x7f) << 20;
    float f;

    if ((code & 0x7f) == 0x7f)
        u = 0x7fc00000;
    memcpy(&f, &u, sizeof(f));
    return f * 0x1p120f;                         /* exact, also of what is subnormal on the way */
}

/** n values of a type that is stored in blocks; whole blocks */
void td_blocks_to_f32(float *dst, const uint8_t *src, enum TDDtype type, int64_t n);

/** Rotate n values, a power of 4, by the matrix that is its own inverse: H4 (x) H4 (x) ... / sqrt(n). */
void td_rotate(float *x, int n);

#endif /* TD_VALUES_H */
