/* SPDX-License-Identifier: BSD-2-Clause
 * Tensor maps for Hopper's bulk tensor copy, of row-major matrices and of channels-last frames. */
#ifndef TD_CUDA_TENSOR_MAP_H
#define TD_CUDA_TENSOR_MAP_H

#include <cuda.h>
#include "device.h"

/** rows x k elements of 1 or 2 bytes, in boxes of box_rows rows by 64 or 128 bytes, swizzled to match; out of range
 * reads zero */
int td_cuda_map_matrix(TDDev *dev, CUtensorMap *map, const void *p, int64_t rows, int64_t k, int elem, int box_rows,
                       int row_bytes);
/** bf16 [t,h,w,c] in boxes of 1 x bh x bw pixels by box_c channels (32 or 64) */
int td_cuda_map_frames(TDDev *dev, CUtensorMap *map, const void *p, int64_t t, int64_t h, int64_t w, int64_t c, int bh,
                       int bw, int box_c);

#endif /* TD_CUDA_TENSOR_MAP_H */
