/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TD_CUDA_CONTEXT_H
#define TD_CUDA_CONTEXT_H

#include "device.h"

/* dev needs its log alone */
int td_cuda_driver(TDDev *dev, TDDriver *d);
/* set the device's context and ordinal, or with the ordinal set its primary context. EINVAL, ENOMEM, EIO */
int td_cuda_context_given(TDDev *dev, const TDGpu *gpu);
int td_cuda_context_primary(TDDev *dev);

/* make the device's context that of the thread, and bring back what it had */
cudaError_t td_cuda_push(TDDev *dev);
void td_cuda_pop(TDDev *dev);

#endif /* TD_CUDA_CONTEXT_H */
