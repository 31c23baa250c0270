/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdio.h>
#include "base/tensor.h"

static const struct { const char *name; size_t size; int block; } dtypes[TD_N_DTYPES] = {
    [TD_F32] = { "f32", 4 }, [TD_BF16] = { "bf16", 2 }, [TD_F16] = { "f16", 2 }, [TD_F64] = { "f64", 8 },
    [TD_I8]  = { "i8", 1 },  [TD_U8]  = { "u8", 1 },    [TD_I16] = { "i16", 2 }, [TD_I32] = { "i32", 4 },
    [TD_I64] = { "i64", 8 }, [TD_BOOL] = { "bool", 1 },
    [TD_F8_E4M3] = { "f8_e4m3", 1 }, [TD_F8_E5M2] = { "f8_e5m2", 1 }, [TD_F8_E8M0] = { "f8_e8m0", 1 },
    [TD_FP4] = { "fp4", 1, 2 },
    [TD_Q4_0] = { "q4_0", 18, 32 }, [TD_Q4_1] = { "q4_1", 20, 32 }, [TD_Q5_0] = { "q5_0", 22, 32 },
    [TD_Q5_1] = { "q5_1", 24, 32 }, [TD_Q8_0] = { "q8_0", 34, 32 }, [TD_Q2_K] = { "q2_k", 84, 256 },
    [TD_Q3_K] = { "q3_k", 110, 256 }, [TD_Q4_K] = { "q4_k", 144, 256 }, [TD_Q5_K] = { "q5_k", 176, 256 },
    [TD_Q6_K] = { "q6_k", 210, 256 }, [TD_IQ4_NL] = { "iq4_nl", 18, 32 }, [TD_IQ4_XS] = { "iq4_xs", 136, 256 },
};

size_t td_dtype_size(enum TDDtype t)
{
    return dtypes[t].size;
}

int td_dtype_block(enum TDDtype t)
{
    return dtypes[t].block ? dtypes[t].block : 1;
}

size_t td_dtype_bytes(enum TDDtype t, int64_t n)
{
    return (size_t)(n / td_dtype_block(t)) * dtypes[t].size;
}

const char *td_dtype_name(enum TDDtype t)
{
    return dtypes[t].name;
}

int64_t td_shape_count(const int64_t *shape, int n_dims)
{
    int64_t n = 1;

    for (int i = 0; i < n_dims; i++)
        n *= shape[i];
    return n;
}

const char *td_shape_text(char text[TD_SHAPE_TEXT], const int64_t *shape, int n_dims)
{
    int at = snprintf(text, TD_SHAPE_TEXT, "[");

    for (int i = 0; i < n_dims; i++)
        at += snprintf(text + at, TD_SHAPE_TEXT - (size_t)at, "%s%lld", i ? "," : "", (long long)shape[i]);
    snprintf(text + at, TD_SHAPE_TEXT - (size_t)at, "]");
    return text;
}

const char *td_rows_text(char text[TD_SHAPE_TEXT], int64_t rows, int64_t cols)
{
    if (rows == 1 || cols == 1)
        snprintf(text, TD_SHAPE_TEXT, "%lld value%s", (long long)(rows * cols), rows == cols ? "" : "s");
    else
        snprintf(text, TD_SHAPE_TEXT, "%lld rows of %lld values", (long long)rows, (long long)cols);
    return text;
}

int64_t td_tensor_count(const TDTensor *t)
{
    return td_shape_count(t->shape, t->n_dims);
}

size_t td_tensor_bytes(const TDTensor *t)
{
    return td_dtype_bytes(t->dtype, td_tensor_count(t));
}

TDTensor td_tensor_part(const TDTensor *t, int64_t first, int64_t n)
{
    TDTensor part = *t;

    part.data = (uint8_t *)t->data + td_tensor_bytes(t) / (size_t)t->shape[0] * (size_t)first;
    part.shape[0] = n;
    return part;
}

int td_bf16_all_finite(const uint16_t *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if ((x[i] & 0x7f80) == 0x7f80)
            return 0;
    return 1;
}
