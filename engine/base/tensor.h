/* SPDX-License-Identifier: BSD-2-Clause
 * Element types and the shape+dtype view all stages share. */
#ifndef TD_TENSOR_H
#define TD_TENSOR_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define TD_MAX_DIMS 5

/** The last ones are found in files alone; two values of FP4 are a byte, and those from Q4_0 on, which are GGUF's, are
 *  in blocks with scales of their own. */
enum TDDtype {
    TD_F32, TD_BF16, TD_F16, TD_F64, TD_I8, TD_U8, TD_I16, TD_I32, TD_I64, TD_BOOL, TD_F8_E4M3, TD_F8_E5M2, TD_F8_E8M0,
    TD_FP4, TD_Q4_0, TD_Q4_1, TD_Q5_0, TD_Q5_1, TD_Q8_0, TD_Q2_K, TD_Q3_K, TD_Q4_K, TD_Q5_K, TD_Q6_K, TD_IQ4_NL,
    TD_IQ4_XS, TD_N_DTYPES
};

size_t td_dtype_size(enum TDDtype t);            ///< bytes of one element, or of a block
int td_dtype_block(enum TDDtype t);              ///< elements of a block; 1 where there are none
size_t td_dtype_bytes(enum TDDtype t, int64_t n);    ///< bytes of n elements, which are whole blocks
const char *td_dtype_name(enum TDDtype t);       ///< "bf16", ...

/** A dense row-major array in the memory of one device. Does not own data. */
typedef struct TDTensor {
    void *data;
    int64_t shape[TD_MAX_DIMS];                  ///< unused dims are 1
    int n_dims;
    enum TDDtype dtype;
} TDTensor;

int64_t td_shape_count(const int64_t *shape, int n_dims);   ///< the product
enum { TD_SHAPE_TEXT = 112 };
/** A shape for a line, "[2,3]". @return text */
const char *td_shape_text(char text[TD_SHAPE_TEXT], const int64_t *shape, int n_dims);
/** What is wanted where the rest of a shape is free: "2 rows of 3 values", or how many values where there is one row,
 *  or one a row. @return text */
const char *td_rows_text(char text[TD_SHAPE_TEXT], int64_t rows, int64_t cols);
int64_t td_tensor_count(const TDTensor *t);      ///< elements
size_t  td_tensor_bytes(const TDTensor *t);
/** Rows, frames or what else the first axis counts: first to first + n - 1. */
TDTensor td_tensor_part(const TDTensor *t, int64_t first, int64_t n);

/** Blocks of this size that n elements fill, the last one maybe in part. */
static inline int64_t td_blocks(int64_t n, int64_t block) { return (n + block - 1) / block; }

/** a*b into *out. @return 0, or -1 on overflow */
static inline int td_mul_size(size_t *out, size_t a, size_t b)
{
    return __builtin_mul_overflow(a, b, out) ? -1 : 0;
}

/* bf16 <-> f32; to bf16 rounds to nearest even, NaN stays NaN */
static inline float td_bf16_to_f32(uint16_t b)
{
    uint32_t u = (uint32_t)b << 16;
    float f;

    memcpy(&f, &u, sizeof(f));
    return f;
}

static inline uint16_t td_f32_to_bf16(float f)
{
    uint32_t u;

    memcpy(&u, &f, sizeof(u));
    if ((u & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(u >> 16 | 0x40);
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

/** f32 value of x rounded to bf16 */
static inline float td_bf16_round(float x)
{
    return td_bf16_to_f32(td_f32_to_bf16(x));
}

static inline float td_f16_to_f32(uint16_t h)
{
    uint32_t bits = (uint32_t)(h & 0x7fff) << 13, high = bits >= 31u << 23 ? 0x7f800000 : 0, u;
    float f;

    memcpy(&f, &bits, sizeof(f));
    f *= 0x1p112f;                               /* exact, also of what is subnormal on the way */
    memcpy(&u, &f, sizeof(u));
    u |= high | (uint32_t)(h & 0x8000) << 16;    /* infinity and NaN keep the highest exponent */
    memcpy(&f, &u, sizeof(f));
    return f;
}

/* rounds to nearest even; finite values alone */
static inline uint16_t td_f32_to_f16(float f)
{
    float size = f < 0 ? -f : f, steps;
    uint32_t u, sign;

    memcpy(&u, &f, sizeof(u));
    sign = u >> 16 & 0x8000;
    if (size >= 65520.0f)                        /* half a step above the largest one */
        return (uint16_t)(sign | 0x7c00);
    if (size < 0x1p-14f) {                       /* steps of 2^-24: their number is in the lowest bits */
        steps = size + 0.5f;
        memcpy(&u, &steps, sizeof(u));
        return (uint16_t)(sign | (u & 0x7fff));
    }
    memcpy(&u, &size, sizeof(u));
    return (uint16_t)(sign | (u + 0xfff + (u >> 13 & 1) - (112u << 23)) >> 13);
}

/** Whether none of n bf16 values is NaN or infinite. */
int td_bf16_all_finite(const uint16_t *x, size_t n);

#endif /* TD_TENSOR_H */
