/* SPDX-License-Identifier: BSD-2-Clause
 * What the backend says of a GPU and keeps in a clip's memory of its own, in C without CUDA: tests plan clips by it on
 * machines without a GPU. */
#ifndef TD_CUDA_CLIP_MEMORY_H
#define TD_CUDA_CLIP_MEMORY_H

#include "seam/backend.h"

#define TD_LOAD_LANES 16                         /* threads that load weights: enough for the bus at 3 GB/s a thread */

static inline void td_cuda_set_caps(TDCaps *caps)
{
    caps->memory = "GPU";
    caps->ahead = 1;
    caps->width_step = 8;
    caps->gelu_codes = 1;
    caps->lanes = TD_LOAD_LANES;
    caps->reserve = (uint64_t)256 << 20;         /* what kernels and their stacks take at first, a margin later */
    caps->context = (uint64_t)512 << 20;         /* with kernels it is 300 to 500 MiB */
}

/* of TDQkv.own; partial sums: SlaArgs.partial_sum and what follows it there */
enum { OWN_Q_POOL, OWN_K_POOL, OWN_KV, OWN_K_SUM, OWN_PARTIAL, OWN_K_CODE, OWN_V_CODE };

#define TD_ATTN_CHUNK 512                        /* tokens per partial sum */
#define TD_KV_PARTS 22

static inline int64_t td_cuda_attn_chunks(int64_t n) { return td_blocks(n, TD_ATTN_CHUNK); }

/** Of sparse attention. half_v: v and P are f16, on cards before 8.9, which brought e4m3; as in the official code */
static inline int td_cuda_carve_own(TDArena *a, TDQkv *q, int half_v)
{
    int64_t d = q->head_dim, h = q->n_heads, dim = d * h, n_pad = td_blocks(q->n_kv, 128) * 128,
            sums = td_cuda_attn_chunks(q->n_kv) * dim, parts = h * TD_KV_PARTS * (d * d + d);
    int sage = q->cfg.kind == TD_ATTN_SAGESLA, n = sage ? OWN_V_CODE + 1 : OWN_K_CODE, ret = 0;
    enum TDDtype dtype[] = { TD_F32, TD_F32, TD_BF16, TD_F32, TD_F32, TD_I8, half_v ? TD_F16 : TD_U8 };
    int64_t shape[][3] = { { h, td_blocks(q->n_q, q->cfg.bq), d }, { h, td_blocks(q->n_kv, q->cfg.bk), d },
                           { h, d, d }, { h, d, 1 }, { (1 + sage) * sums + parts, 1, 1 }, { q->n_kv, dim, 1 },
                           { n_pad, dim, 1 } };

    for (int i = 0; i < n && ret >= 0; i++)
        ret = td_arena_tensor(a, &q->own[i], dtype[i], 3, shape[i]);
    return ret;
}

/* sets of pictures: FLAGS bytes with a word for each picture, then the pictures, tightly packed */
#define FLAGS 256
#define MAX_PICTURES 4

/** The largest format has three full planes of 16 bits. */
static inline int64_t td_cuda_set_bytes(int64_t h, int64_t w)
{
    return FLAGS + MAX_PICTURES * 6 * h * w;
}

#endif /* TD_CUDA_CLIP_MEMORY_H */
