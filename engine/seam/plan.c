/* SPDX-License-Identifier: BSD-2-Clause
 * A clip's buffers that have the same form on every device. */
#include "seam/backend.h"

int td_plan_codes(TDArena *a, TDAct *act, int64_t rows, int64_t k)
{
    int ret;

    *act = (TDAct){ .x = { NULL, { rows, k, 1, 1, 1 }, 2, TD_BF16 } };
    TRY(TD_CARVE(a, &act->code, TD_I8, rows, k));
    TRY(TD_CARVE(a, &act->scale, TD_F32, td_blocks(rows, 128), td_blocks(k, 128)));
fail:
    return ret;
}

int td_plan_act(TDArena *a, TDAct *act, int64_t rows, int64_t k, int int8)
{
    int ret = 0;

    *act = (TDAct){ 0 };
    if (int8)
        TRY(td_plan_codes(a, act, rows, k));
    TRY(TD_CARVE(a, &act->x, TD_BF16, rows, k));
fail:
    return ret;
}

/* the steps of sparse attention that its definition names */
static int plan_steps(TDDev *dev, TDArena *a, TDQkv *qkv)
{
    int64_t dim = qkv->head_dim * qkv->n_heads, h = qkv->n_heads;
    int64_t n_q = td_blocks(qkv->n_q, qkv->cfg.bq), n_k = td_blocks(qkv->n_kv, qkv->cfg.bk);
    int ret;

    qkv->n_keep = (int64_t)(qkv->cfg.topk * (double)n_k);
    if (qkv->n_keep < 1) {
        if (a->base)
            td_log(dev->log, TD_LOG_WARNING, "attention: topk %g of %lld key blocks rounds to none; keeping 1",
                   qkv->cfg.topk, (long long)n_k);
        qkv->n_keep = 1;
    }
    TRY(TD_CARVE(a, &qkv->k_mean, TD_F32, dim));
    TRY(TD_CARVE(a, &qkv->map, TD_I32, h, n_q, qkv->n_keep));
    if (qkv->cfg.kind == TD_ATTN_SAGESLA) {
        if (!qkv->q_code.n_dims)
            TRY(TD_CARVE(a, &qkv->q_code, TD_I8, qkv->n_q, dim));
        TRY(TD_CARVE(a, &qkv->q_scale, TD_F32, h, n_q));
        TRY(TD_CARVE(a, &qkv->k_scale, TD_F32, h, n_k));
        TRY(TD_CARVE(a, &qkv->v_scale, TD_F32, 2, dim));
    }
fail:
    return ret;
}

int td_plan_qkv(TDDev *dev, TDArena *a, TDQkv *qkv)
{
    int64_t dim = qkv->head_dim * qkv->n_heads;
    int ret;

    TRY(TD_CARVE(a, &qkv->q, TD_BF16, qkv->n_q, dim));
    TRY(TD_CARVE(a, &qkv->k, TD_BF16, qkv->n_kv, dim));
    TRY(TD_CARVE(a, &qkv->v, TD_BF16, qkv->n_kv, dim));
    if (qkv->cfg.kind != TD_ATTN_SAGESLA)
        qkv->q_code = (TDTensor){ 0 };           /* a backend that finds it makes codes */
    if (qkv->cfg.kind != TD_ATTN_DENSE)
        TRY(plan_steps(dev, a, qkv));
    TRY(dev->ops->plan_qkv(dev, a, qkv));
fail:
    return ret;
}
