/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/tensor.h"

static const struct { const char *name; size_t size; } dtypes[TD_N_DTYPES] = {
    [TD_F32] = { "f32", 4 }, [TD_BF16] = { "bf16", 2 }, [TD_F16] = { "f16", 2 }, [TD_F64] = { "f64", 8 },
    [TD_I8]  = { "i8", 1 },  [TD_U8]  = { "u8", 1 },    [TD_I16] = { "i16", 2 }, [TD_I32] = { "i32", 4 },
    [TD_I64] = { "i64", 8 }, [TD_BOOL] = { "bool", 1 },
};

size_t td_dtype_size(enum TDDtype t)
{
    return dtypes[t].size;
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

int64_t td_tensor_count(const TDTensor *t)
{
    return td_shape_count(t->shape, t->n_dims);
}

size_t td_tensor_bytes(const TDTensor *t)
{
    return (size_t)td_tensor_count(t) * dtypes[t->dtype].size;
}

float td_f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exp = h >> 10 & 31, man = h & 0x3ff, u;
    float f;

    if (exp == 0) {                              /* zero and subnormals: man * 2^-24 is exact in f32 */
        f = (float)man * 0x1p-24f;
        return sign ? -f : f;
    }
    u = sign | (exp == 31 ? 0x7f800000 : (exp + 112) << 23) | man << 13;
    memcpy(&f, &u, sizeof(f));
    return f;
}

int td_bf16_all_finite(const uint16_t *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if ((x[i] & 0x7f80) == 0x7f80)
            return 0;
    return 1;
}
