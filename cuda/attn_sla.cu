/* SPDX-License-Identifier: BSD-2-Clause
 * Sparse-linear attention: its clip memory, and the order of its stages. */
#include "attn.h"

int td_cuda_plan_qkv(TDDev *dev, TDArena *a, TDQkv *q)
{
    int64_t d = q->head_dim, h = q->n_heads, dim = d * h, chunks = td_cuda_attn_chunks(q->n_kv), n_q, n_k;
    int sage = q->cfg.kind == TD_ATTN_SAGESLA, ret;

    if (d != 64 && d != 128 && d != 384)
        return td_error(dev->log, ENOTSUP, "cuda: attention with head dim %lld, want 64, 128 or 384", (long long)d);
    TRY(carve(a, &q->q, TD_BF16, { q->n_q, dim }));
    TRY(carve(a, &q->k, TD_BF16, { q->n_kv, dim }));
    TRY(carve(a, &q->v, TD_BF16, { q->n_kv, dim }));
    if (q->cfg.kind == TD_ATTN_DENSE)
        return 0;
    if (d != 128 || q->n_q != q->n_kv)
        return td_error(dev->log, ENOTSUP, "cuda: sparse-linear attention with head dim %lld, want 128", (long long)d);
    if (sage && dev->no_sagesla)
        return td_error(dev->log, ENOTSUP,
                        "cuda: sagesla needs e4m3 (compute capability 8.9), this GPU has %d.%d; want attention=sla",
                        td_cuda(dev)->sm / 10, td_cuda(dev)->sm % 10);
    n_q = td_blocks(q->n_q, q->cfg.bq);
    n_k = td_blocks(q->n_kv, q->cfg.bk);
    q->n_keep = (int64_t)(q->cfg.topk * (double)n_k);
    q->n_keep = q->n_keep > n_k ? n_k : q->n_keep;
    if (q->n_keep < 1) {
        if (a->base)
            td_log(dev->log, TD_LOG_WARNING, "attention: topk %g of %lld key blocks rounds to none; keeping 1",
                   q->cfg.topk, (long long)n_k);
        q->n_keep = 1;
    }
    TRY(carve(a, &q->k_mean, TD_F32, { dim }));
    TRY(carve(a, &q->q_pool, TD_F32, { h, n_q, d }));
    TRY(carve(a, &q->k_pool, TD_F32, { h, n_k, d }));
    TRY(carve(a, &q->map, TD_I32, { h, n_q, q->n_keep }));
    TRY(carve(a, &q->kv, TD_BF16, { h, d, d }));
    TRY(carve(a, &q->k_sum, TD_F32, { h, d }));
    TRY(carve(a, &q->partial, TD_F32, { 2 * chunks * dim + h * TD_KV_PARTS * (d * d + d) }));
    if (sage) {
        TRY(carve(a, &q->q_code, TD_I8, { q->n_q, dim }));
        TRY(carve(a, &q->k_panel, TD_I8, { q->n_kv, dim }));
        TRY(carve(a, &q->v_panel, TD_U8, { dim, td_blocks(q->n_kv, 128) * 128 }));
        TRY(carve(a, &q->q_scale, TD_F32, { h, n_q }));
        TRY(carve(a, &q->k_scale, TD_F32, { h, n_k }));
    }
    TRY(carve(a, &q->v_scale, TD_F32, { 2, dim }));
    return 0;
fail:
    return ret;
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
    a.q_pool = (float *)q->q_pool.data;
    a.k_pool = (float *)q->k_pool.data;
    a.map = (int32_t *)q->map.data;
    a.q_code = (int8_t *)q->q_code.data;
    a.k_code = (int8_t *)q->k_panel.data;
    a.v_code = (uint8_t *)q->v_panel.data;
    a.q_scale = (float *)q->q_scale.data;
    a.k_scale = (float *)q->k_scale.data;
    a.v_scale = (float *)q->v_scale.data;
    a.partial_sum = (float *)q->partial.data;
    a.partial_max = a.partial_sum + chunks * dim;
    a.kv_part = a.partial_max + chunks * dim;
    a.k_sum_part = a.kv_part + parts * q->head_dim * q->head_dim;
    a.kv = (bf16 *)q->kv.data;
    a.k_sum = (float *)q->k_sum.data;
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
    TRY(q->cfg.kind != TD_ATTN_SAGESLA ? td_cuda_flash(dev, q, a.o, NULL, NULL)
        : td_cuda(dev)->sm == 90       ? td_cuda_attn_sage_sm90(dev, a)
                                       : td_cuda_attn_sage(dev, a));
    if (proj_l->n)
        TRY(td_cuda_attn_linear(dev, a, proj_l));
    else if (a.code)
        TRY(td_cuda_quantise(dev, o));
fail:
    return ret;
}
