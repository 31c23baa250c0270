/* SPDX-License-Identifier: BSD-2-Clause
 * Values that files store in 8 bits or less, as f32: fp8, and GGUF's blocks. What is multiplied with what is in f32, as
 * gguf-py has it (doc/formats.md). */
#ifndef TD_VALUES_H
#define TD_VALUES_H

#include "base/tensor.h"

/** sign, 4 bits of exponent, 3 of mantissa; 0x7f and 0xff are NaN, there is no infinity */
static inline float td_e4m3_to_f32(uint8_t code)
{
    uint32_t nan = (code & 0x7f) == 0x7f ? 0x7fc00000 : 0;
    uint32_t u = (uint32_t)(code & 0x80) << 24 | (uint32_t)(code & 0x7f) << 20 | nan;
    float f;

    memcpy(&f, &u, sizeof(f));
    return f * 0x1p120f;                         /* exact, also of what is subnormal on the way */
}

/** powers of 2 alone; 0xff is NaN */
static inline float td_e8m0_to_f32(uint8_t code)
{
    uint32_t u = code == 0xff ? 0x7fc00000 : code ? (uint32_t)code << 23 : 0x00400000;
    float f;

    memcpy(&f, &u, sizeof(f));
    return f;
}

/** Where the scale of a group of a row is, of n_groups a row: in tiles of 128 rows x 4 groups, as cuBLAS wants them. */
static inline int64_t td_swizzled(int64_t row, int64_t group, int64_t n_groups)
{
    return (row / 128 * td_blocks(n_groups, 4) + group / 4) * 512 + row % 32 * 16 + row % 128 / 32 * 4 + group % 4;
}

/** n values of any type that has some (td_dtype_has_values()), `step` elements apart; of a type that is stored in
 *  blocks whole blocks, which are never apart */
void td_row_to_f32(float *dst, const uint8_t *src, enum TDDtype type, int64_t n, int64_t step);
/** n values of a type that is stored in blocks; whole blocks */
void td_blocks_to_f32(float *dst, const uint8_t *src, enum TDDtype type, int64_t n);

/** Rotate n values, a power of 4, by the matrix that is its own inverse: H4 (x) H4 (x) ... / sqrt(n). */
void td_rotate(float *x, int n);

#endif /* TD_VALUES_H */
