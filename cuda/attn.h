/* SPDX-License-Identifier: BSD-2-Clause
 * Sparse-linear attention on the device: pointers of one call, and its stages by file. */
#ifndef TD_CUDA_ATTN_H
#define TD_CUDA_ATTN_H

#include <cuda_fp16.h>
#include "device.h"

/** Head dim 128. dim = 128 heads; n tokens; n_pad: n rounded up to 128. Codes and their scales are NULL for sla. */
struct SlaArgs {
    const bf16 *q, *k, *v;
    bf16 *o;                                     /* [n, dim] */
    int8_t *code;                                /* [n, dim], the linear branch quantises o to it; or NULL */
    float *scale;                                /* [n/128, H] */
    float *k_mean, *q_pool, *k_pool;             /* [dim], [H, blocks, 128] */
    int32_t *map;                                /* [H, n_qb, n_keep] */
    int8_t *q_code, *k_code;                     /* [n, dim] */
    float *q_scale, *k_scale, *v_scale;          /* [H, blocks], [2, dim]: scale and its reciprocal */
    uint8_t *v_code;                             /* e4m3 [dim, n_pad]; or */
    __half *v_half;                              /* [n_pad, dim], where the card has no e4m3 */
    float *partial_sum, *partial_max;            /* [chunks, dim] */
    float *kv_part, *k_sum_part;                 /* [H, parts, 128, 128], [H, parts, 128] */
    bf16 *kv;                                    /* [H, 128, 128], channel of v innermost */
    float *k_sum;                                /* [H, 128] */
    int n, n_pad, dim, n_heads, bq, bk, n_qb, n_kb, n_keep, ascending;
};

/* what is to be added to p of a key that may be doubled (TDQkv.doubled) */
__device__ __forceinline__ float double_key(float p, uint64_t doubled, int from_end)
{
    return from_end >= 0 && from_end < TD_DOUBLED_KEYS ? p * (float)((1 << TD_KEY_DOUBLED(doubled, from_end)) - 1)
                                                       : 0.0f;
}

int td_cuda_attn_prepare(TDDev *dev, const SlaArgs &a);                      /* attn_prepare.cu */
int td_cuda_attn_sage(TDDev *dev, const SlaArgs &a);                         /* attn_sage.cu: TDCudaKernels.sage */
int td_cuda_attn_sage_sm90(TDDev *dev, const SlaArgs &a);
/* attn_linear.cu: o += linear branch, quantised if code is set */
int td_cuda_attn_linear(TDDev *dev, const SlaArgs &a, const TDLinear *proj_l);
#define TD_MAP_KEY_BYTES 65536                   /* of shared memory: keys of blocks, 16 bits each */
#define TD_MAP_MAX_BLOCKS (TD_MAP_KEY_BYTES / 2)

#endif /* TD_CUDA_ATTN_H */
