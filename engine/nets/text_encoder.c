/* SPDX-License-Identifier: BSD-2-Clause
 * Names and order: TurboDiffusion rcm/utils/umt5.py. Every layer has its own relative position table; scores are not
 * scaled. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "nets/bind.h"
#include "nets/text_encoder.h"
#include "base/wan.h"

static int bind_block(const TDBind *b, TDTextEncoder *te, int i)
{
    TDTextBlock *k = &te->blocks[i];
    static const char *const suffix[9] = { "attn.q",  "attn.k",  "attn.v", "attn.o", "ffn.gate.0",
                                           "ffn.fc1", "ffn.fc2", "norm1",  "norm2" };
    char name[9][64], table[64];
    const char *n[9];
    int ret;

    for (int j = 0; j < 9; j++) {
        snprintf(name[j], sizeof(name[j]), "blocks.%d.%s", i, suffix[j]);
        n[j] = name[j];
    }
    k->norm1 = k->norm2 = (TDNormW){ .dim = te->dim, .eps = 1e-6f, .profile = TD_NORM_EXACT };
    TRY(td_bind_vector(b, &k->norm1.weight, te->dim, n[7], "weight"));
    TRY(td_bind_vector(b, &k->norm2.weight, te->dim, n[8], "weight"));
    TRY(td_bind_linear(b, &k->qkv, TD_BF16, te->width, te->dim, 3, n));
    TRY(td_bind_linear(b, &k->o, TD_BF16, te->dim, te->width, 1, n + 3));
    TRY(td_bind_linear(b, &k->gate, TD_BF16, te->ffn, te->dim, 1, n + 4));
    TRY(td_bind_linear(b, &k->up, TD_BF16, te->ffn, te->dim, 1, n + 5));
    TRY(td_bind_linear(b, &k->down, TD_BF16, te->dim, te->ffn, 1, n + 6));
    snprintf(table, sizeof(table), "blocks.%d.pos_embedding.embedding", i);
    TRY(td_bind_table(b, &k->bias, 32, te->n_heads, table));
fail:
    return ret;
}

int td_text_bind(TDTextEncoder **out, TDDev *dev, const TDCheckpoint *ckpt, size_t block)
{
    TDTextEncoder *te = calloc(1, sizeof(*te));
    TDBind b = { dev, te ? &te->weights : NULL, ckpt, 0 };
    const TDEntry *table, *q, *pos, *up;
    int ret;

    *out = NULL;
    if (!te)
        return td_error(dev->log, ENOMEM, "text encoder: out of memory");
    te->dev = dev;
    TRY(td_weights_init(dev, &te->weights, block));
    TRY(td_bind_entry(&b, &table, "token_embedding", "weight"));
    TRY(td_bind_entry(&b, &q, "blocks.0.attn.q", "weight"));
    TRY(td_bind_entry(&b, &pos, "blocks.0.pos_embedding.embedding", "weight"));
    TRY(td_bind_entry(&b, &up, "blocks.0.ffn.fc1", "weight"));
    te->n_rows = table->shape[0];
    te->dim = table->shape[1];
    te->width = q->shape[0];
    te->n_heads = pos->shape[1];
    te->ffn = up->shape[0];
    for (int i = 0; i < td_checkpoint_count(ckpt); i++) {
        int at;

        if (sscanf(td_checkpoint_entry(ckpt, i)->name, "blocks.%d.", &at) == 1 && at >= te->n_blocks && at < 1000)
            te->n_blocks = at + 1;
    }
    if (te->n_rows > INT32_MAX || te->dim > TD_MAX_WIDTH || te->width > TD_MAX_WIDTH || te->ffn > TD_MAX_WIDTH) {
        ret = td_error(dev->log, ENOTSUP, "%s: %lld ids, widths %lld, %lld and %lld, want widths up to %d",
                       td_checkpoint_path(ckpt), (long long)te->n_rows, (long long)te->dim, (long long)te->width,
                       (long long)te->ffn, TD_MAX_WIDTH);
        goto fail;
    }
    if (te->width % te->n_heads || te->width / te->n_heads % 16 || te->width / te->n_heads > 128) {
        ret = td_error(dev->log, ENOTSUP,
                       "%s: attention width %lld of %lld heads, want a head dim that is a multiple of 16 up to 128",
                       td_checkpoint_path(ckpt), (long long)te->width, (long long)te->n_heads);
        goto fail;
    }
    te->blocks = calloc((size_t)te->n_blocks, sizeof(*te->blocks));
    if (!te->blocks) {
        ret = td_error(dev->log, ENOMEM, "text encoder: out of memory");
        goto fail;
    }
    TRY(td_bind_matrix(&b, &te->table, te->n_rows, te->dim, "token_embedding"));
    for (int i = 0; i < te->n_blocks; i++)
        TRY(bind_block(&b, te, i));
    te->norm = (TDNormW){ .dim = te->dim, .eps = 1e-6f, .profile = TD_NORM_EXACT };
    TRY(td_bind_vector(&b, &te->norm.weight, te->dim, "norm", "weight"));
    *out = te;
    return 0;
fail:
    td_text_free(&te);
    return ret;
}

int td_text_view(TDTextEncoder **out, const TDTextEncoder *src, TDDev *dev)
{
    TDTextEncoder *v = *out ? *out : calloc(1, sizeof(*v));
    TDTextBlock *blocks;

    if (v && !v->blocks)
        v->blocks = calloc((size_t)src->n_blocks, sizeof(*blocks));
    *out = v;
    if (!v || !v->blocks)
        return td_error(dev->log, ENOMEM, "text encoder: out of memory");
    blocks = v->blocks;
    memcpy(blocks, src->blocks, (size_t)src->n_blocks * sizeof(*blocks));
    *v = *src;
    v->dev = dev;
    v->weights = (TDWeights){ 0 };
    v->blocks = blocks;
    return 0;
}

void td_text_free(TDTextEncoder **te)
{
    if (!*te)
        return;
    td_weights_free((*te)->dev, &(*te)->weights);
    free((*te)->blocks);
    free(*te);
    *te = NULL;
}

int td_text_plan(TDTextClip *c, const TDTextEncoder *te, TDArena *a)
{
    const TDOps *op = te->dev->ops;
    int ret;

    TRY(TD_CARVE(a, &c->x, TD_BF16, TD_TEXT_LEN, te->dim));
    TRY(TD_CARVE(a, &c->qkv, TD_BF16, TD_TEXT_LEN, 3 * te->width));
    TRY(TD_CARVE(a, &c->u, TD_BF16, TD_TEXT_LEN, te->ffn));
    TRY(op->plan_act(te->dev, a, &c->act, TD_TEXT_LEN, te->dim, 0));
    TRY(op->plan_act(te->dev, a, &c->o, TD_TEXT_LEN, te->width, 0));
    TRY(op->plan_act(te->dev, a, &c->ffn, TD_TEXT_LEN, te->ffn, 0));
fail:
    return ret;
}

/* a clip uses a few rows of a table that is a fifth of all weights: they go to the device, the table does not */
static int embed(const TDTextEncoder *te, TDTensor *x, const int32_t *ids, int64_t n)
{
    uint16_t *rows = malloc((size_t)(n * te->dim) * sizeof(*rows));
    float *wide = malloc((size_t)te->dim * sizeof(*wide));
    int ret = rows && wide ? 0 : td_error(te->dev->log, ENOMEM, "text encoder: out of memory");

    for (int64_t i = 0; i < n && ret >= 0; i++) {
        TDEntry row = *te->table;

        row.data += ids[i] * row.stride[0] * (int64_t)td_dtype_size(row.dtype);
        row.shape[0] = 1;
        ret = td_entry_to_f32(&row, wide);
        for (int64_t k = 0; k < te->dim; k++)
            rows[i * te->dim + k] = td_f32_to_bf16(wide[k]);
    }
    if (ret >= 0)
        ret = te->dev->ops->upload(te->dev, x, rows);
    free(rows);
    free(wide);
    return ret;
}

int td_text_begin(const TDTextEncoder *te, TDTextClip *c, const int32_t *ids, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= te->n_rows)
            return td_error(
                te->dev->log, EBADMSG,
                "text encoder: token id %d, but the embedding has %lld rows; tokenizer and encoder do not match",
                ids[i], (long long)te->n_rows);
    c->n = c->x.shape[0] = c->qkv.shape[0] = c->u.shape[0] = n;
    c->act.x.shape[0] = c->o.x.shape[0] = c->ffn.x.shape[0] = n;
    return embed(te, &c->x, ids, n);
}

int td_text_block(const TDTextEncoder *te, TDTextClip *c, int i)
{
    const TDOps *op = te->dev->ops;
    const TDTextBlock *b = &te->blocks[i];
    TDDev *d = te->dev;
    int ret;

    TRY(op->rms_norm       (d, &c->act, &c->x, &b->norm1));                   /* [n,dim]                */
    TRY(op->linear         (d, &c->qkv, &c->act, &b->qkv));                   /* [n,3*width]            */
    TRY(op->attn_t5        (d, &c->o, &c->qkv, &b->bias, te->n_heads));       /* [n,width]              */
    TRY(op->linear_residual(d, &c->x, &c->o, &b->o, NULL));
    TRY(op->rms_norm       (d, &c->act, &c->x, &b->norm2));
    TRY(op->linear_geglu   (d, &c->ffn, &c->u, &c->act, &b->gate, &b->up));   /* [n,ffn]                */
    TRY(op->linear_residual(d, &c->x, &c->ffn, &b->down, NULL));
fail:
    return ret;
}

int td_text_end(const TDTextEncoder *te, TDTextClip *c, TDTensor *emb)
{
    TDAct rows = { .x = *emb };
    int ret;

    TRY(te->dev->ops->zero(te->dev, emb));
    rows.x.shape[0] = c->n;
    TRY(te->dev->ops->rms_norm(te->dev, &rows, &c->x, &te->norm));
fail:
    return ret;
}
