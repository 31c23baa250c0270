/* SPDX-License-Identifier: BSD-2-Clause
 * Sparse-linear attention: its clip memory, and the order of its stages. */
#include "attn.h"

int td_cuda_plan_qkv(TDDev *dev, TDArena *a, TDQkv *q)
{
    int64_t d = q->head_dim, n_k;

    if (d != 64 && d != 96 && d != 128 && d != 384)
        return td_error(dev->log, ENOTSUP, "cuda: attention with head dim %lld, want 64, 96, 128 or 384", (long long)d);
    if (q->cfg.kind == TD_ATTN_DENSE)
        return 0;
    if (d != 128 || q->n_q != q->n_kv)
        return td_error(dev->log, ENOTSUP, "cuda: sparse-linear attention with head dim %lld, want 128", (long long)d);
    n_k = td_blocks(q->n_kv, q->cfg.bk);
    if (n_k > TD_MAP_MAX_BLOCKS)
        return td_error(dev->log, ENOTSUP, "cuda: attention over %lld blocks of keys, want at most %d", (long long)n_k,
                        TD_MAP_MAX_BLOCKS);
    return td_cuda_carve_own(a, q, td_cuda(dev)->kernels.half_v);
}

int td_cuda_attn_sla(TDDev *dev, TDAct *o, TDQkv *q, const TDLinear *proj_l)
{
    int64_t dim = q->n_heads * q->head_dim, chunks = td_cuda_attn_chunks(q->n_kv), parts = q->n_heads * TD_KV_PARTS;
    SlaArgs a = {};
    int ret;

    a.q = (const bf16 *)q->q.data;
    a.k = (const bf16 *)q->k.data;
    a.v = (const bf16 *)q->v.data;
    a.o = (bf16 *)o->x.data;
    a.code = (int8_t *)o->code.data;
    a.scale = (float *)o->scale.data;
    a.k_mean = (float *)q->k_mean.data;
    a.q_pool = (float *)q->own[OWN_Q_POOL].data;
    a.k_pool = (float *)q->own[OWN_K_POOL].data;
    a.map = (int32_t *)q->map.data;
    a.q_code = (int8_t *)q->q_code.data;
    a.k_code = (int8_t *)q->own[OWN_K_CODE].data;
    if (td_cuda(dev)->kernels.half_v)
        a.v_half = (__half *)q->own[OWN_V_CODE].data;
    else
        a.v_code = (uint8_t *)q->own[OWN_V_CODE].data;
    a.q_scale = (float *)q->q_scale.data;
    a.k_scale = (float *)q->k_scale.data;
    a.v_scale = (float *)q->v_scale.data;
    a.partial_sum = (float *)q->own[OWN_PARTIAL].data;
    a.kv_part = a.partial_sum + chunks * dim;
    a.k_sum_part = a.kv_part + parts * q->head_dim * q->head_dim;
    a.partial_max = a.k_sum_part + parts * q->head_dim;
    a.kv = (bf16 *)q->own[OWN_KV].data;
    a.k_sum = (float *)q->own[OWN_K_SUM].data;
    a.n = (int)q->n_q;
    a.n_pad = (int)td_blocks(q->n_kv, 128) * 128;
    a.dim = (int)dim;
    a.n_heads = (int)q->n_heads;
    a.bq = q->cfg.bq;
    a.bk = q->cfg.bk;
    a.n_qb = (int)td_blocks(q->n_q, q->cfg.bq);
    a.n_kb = (int)td_blocks(q->n_kv, q->cfg.bk);
    a.n_keep = (int)q->n_keep;
    a.ascending = q->cfg.kind == TD_ATTN_SAGESLA;
    TRY(td_cuda_attn_prepare(dev, a));
    TRY(a.ascending ? td_cuda(dev)->kernels.sage(dev, a) : td_cuda(dev)->kernels.flash(dev, q, a.o, NULL, NULL));
    if (proj_l->n)
        TRY(td_cuda_attn_linear(dev, a, proj_l));
    else if (a.code)
        TRY(td_cuda_quantise(dev, o));
fail:
    return ret;
}
