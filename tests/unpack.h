/* SPDX-License-Identifier: BSD-2-Clause
 * What a device holds, as floats on the host: a TDTensor, a TDAct, or the weights of a TDLinear. */
#ifndef UNPACK_H
#define UNPACK_H

#include <stdlib.h>
#include "seam/backend.h"

enum TDUnpack { TD_UNPACK_TENSOR, TD_UNPACK_ACT, TD_UNPACK_LINEAR };

static inline int unpack_tensor(TDDev *dev, float *dst, const TDTensor *t)
{
    size_t bytes = td_tensor_bytes(t);
    void *host = malloc(bytes + 8);
    int ret = host ? dev->ops->download(dev, host, t) : td_error(dev->log, ENOMEM, "unpack: out of memory");

    for (int64_t i = 0, n = td_tensor_count(t); i < n && ret >= 0; i++)
        switch (t->dtype) {
        case TD_F32:  dst[i] = ((const float *)host)[i]; break;
        case TD_F16:  dst[i] = td_f16_to_f32(((const uint16_t *)host)[i]); break;
        case TD_BF16: dst[i] = td_bf16_to_f32(((const uint16_t *)host)[i]); break;
        case TD_F64:  dst[i] = (float)((const double *)host)[i]; break;
        case TD_I8:   dst[i] = ((const int8_t *)host)[i]; break;
        case TD_I32:  dst[i] = (float)((const int32_t *)host)[i]; break;
        default:      ret = td_error(dev->log, ENOTSUP, "unpack: dtype %s", td_dtype_name(t->dtype));
        }
    free(host);
    return ret;
}

/* rows x k values of p, with scales of blocks where they are codes */
static inline int unpack_matrix(TDDev *dev, float *dst, const void *p, enum TDDtype dtype, const float *scale,
                                int64_t rows, int64_t k)
{
    TDTensor t = { (void *)p, { rows, k, 1, 1, 1 }, 2, dtype },
             s = { (void *)scale, { td_blocks(rows, 128), td_blocks(k, 128), 1, 1, 1 }, 2, TD_F32 };
    float *wide = NULL;
    int ret;

    if ((ret = unpack_tensor(dev, dst, &t)) < 0 || dtype != TD_I8)
        return ret;
    wide = malloc(td_tensor_bytes(&s));
    ret = wide ? unpack_tensor(dev, wide, &s) : td_error(dev->log, ENOMEM, "unpack: out of memory");
    for (int64_t i = 0; i < rows * k && ret >= 0; i++)
        dst[i] *= wide[i / k / 128 * s.shape[1] + i % k / 128];
    free(wide);
    return ret;
}

static inline int td_unpack(TDDev *dev, float *dst, const void *obj, enum TDUnpack kind)
{
    const TDAct *act = obj;
    const TDLinear *lin = obj;
    int ret = 0;

    if (kind == TD_UNPACK_LINEAR) {
        for (int64_t p = 0; p * lin->part_n < lin->n && ret >= 0; p++)
            ret = unpack_matrix(dev, dst + p * lin->part_n * lin->k, lin->w[p], lin->dtype,
                                lin->scale ? lin->scale + p * td_blocks(lin->part_n, 128) * (lin->k / 128) : NULL,
                                lin->part_n, lin->k);
        return ret;
    }
    if (kind == TD_UNPACK_ACT && act->code.data)
        return unpack_matrix(dev, dst, act->code.data, TD_I8, act->scale.data, act->x.shape[0], act->x.shape[1]);
    return unpack_tensor(dev, dst, kind == TD_UNPACK_ACT ? &act->x : obj);
}

#endif /* UNPACK_H */
