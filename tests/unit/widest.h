/* SPDX-License-Identifier: BSD-2-Clause
 * A table of operations that also keeps the size of the largest frames of 16 bits that the VAE makes: what its buffers
 * must hold, and nothing beyond it; and that of the largest cache that was copied to. */
#ifndef WIDEST_H
#define WIDEST_H

#include "seam/backend.h"

static struct {
    const TDOps *real;
    TDOps ops;
    size_t bytes, copied;
} widest;

static inline void widest_keep(const TDTensor *y)
{
    if (y->dtype != TD_F32 && td_tensor_bytes(y) > widest.bytes)
        widest.bytes = td_tensor_bytes(y);
}

static inline int widest_conv(TDDev *dev, TDTensor *y, const TDTensor *x, const TDTensor *cache, const TDConv *conv,
                              const TDTensor *residual)
{
    widest_keep(y);
    return widest.real->causal_conv3d(dev, y, x, cache, conv, residual);
}

static inline int widest_norm(TDDev *dev, TDTensor *y, const TDTensor *x, const float *gamma, int silu)
{
    widest_keep(y);
    return widest.real->rms_silu(dev, y, x, gamma, silu);
}

static inline int widest_keep_frames(TDDev *dev, TDTensor *cache, const TDTensor *x)
{
    if (td_tensor_bytes(cache) > widest.copied)
        widest.copied = td_tensor_bytes(cache);
    return widest.real->keep_frames(dev, cache, x);
}

static inline void widest_watch(TDDev *dev)
{
    widest.real = dev->ops;
    widest.ops = *dev->ops;
    widest.ops.causal_conv3d = widest_conv;
    widest.ops.rms_silu = widest_norm;
    widest.ops.keep_frames = widest_keep_frames;
    dev->ops = &widest.ops;
}

#endif /* WIDEST_H */
