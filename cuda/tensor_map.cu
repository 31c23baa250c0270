/* SPDX-License-Identifier: BSD-2-Clause */
#include "tensor_map.h"

typedef CUresult (*Encode)(CUtensorMap *, CUtensorMapDataType, cuuint32_t, void *, const cuuint64_t *,
                           const cuuint64_t *, const cuuint32_t *, const cuuint32_t *, CUtensorMapInterleave,
                           CUtensorMapSwizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill);

static int encode(TDDev *dev, CUtensorMap *map, const void *p, int elem, int rank, const cuuint64_t *dims,
                  const cuuint32_t *box)
{
    cuuint64_t strides[4], bytes = (cuuint64_t)elem;
    cuuint32_t ones[5] = { 1, 1, 1, 1, 1 };
    int row_bytes = (int)box[0] * elem;
    CUresult r;

    for (int i = 0; i + 1 < rank; i++)
        strides[i] = bytes *= dims[i];
    r = ((Encode)td_cuda(dev)->encode_tiled)(map,
                                             elem == 1 ? CU_TENSOR_MAP_DATA_TYPE_UINT8
                                                       : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
                                             (cuuint32_t)rank, (void *)p, dims, strides, box, ones,
                                             CU_TENSOR_MAP_INTERLEAVE_NONE,
                                             row_bytes == 64 ? CU_TENSOR_MAP_SWIZZLE_64B : CU_TENSOR_MAP_SWIZZLE_128B,
                                             CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
    return r == CUDA_SUCCESS ? 0
                             : td_error(dev->log, EIO, "cuda: the driver refuses to describe a matrix of %llux%llu for "
                                        "bulk copies (its error %d)", (unsigned long long)dims[1],
                                        (unsigned long long)dims[0], (int)r);
}

int td_cuda_map_matrix(TDDev *dev, CUtensorMap *map, const void *p, int64_t rows, int64_t k, int elem, int box_rows,
                       int row_bytes)
{
    cuuint64_t dims[2] = { (cuuint64_t)k, (cuuint64_t)rows };
    cuuint32_t box[2] = { (cuuint32_t)(row_bytes / elem), (cuuint32_t)box_rows };

    return encode(dev, map, p, elem, 2, dims, box);
}

int td_cuda_map_frames(TDDev *dev, CUtensorMap *map, const void *p, int64_t t, int64_t h, int64_t w, int64_t c, int bh,
                       int bw, int box_c)
{
    cuuint64_t dims[4] = { (cuuint64_t)c, (cuuint64_t)w, (cuuint64_t)h, (cuuint64_t)t };
    cuuint32_t box[4] = { (cuuint32_t)box_c, (cuuint32_t)bw, (cuuint32_t)bh, 1 };

    return encode(dev, map, p, 2, 4, dims, box);
}
