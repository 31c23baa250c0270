/* SPDX-License-Identifier: BSD-2-Clause
 * Names and order: TurboDiffusion rcm/utils/umt5.py. Every layer has its own relative position table; scores are not
 * scaled. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "nets/text_encoder.h"
#include "base/wan.h"

#define AT(member) offsetof(TDTextEncoder, member)

static const TDNetTensor before_blocks[] = {
    { "token_embedding", TD_IS_MATRIX, TD_N_IDS, TD_DIM, .at = AT(table) },
    { NULL }
};
static const TDNetTensor after_blocks[] = {
    { "norm",            TD_IS_NORM,   TD_DIM,           .at = AT(norm) },
    { NULL }
};

#undef AT
#define AT(member) offsetof(TDTextBlock, member)

static const TDNetTensor of_block[] = {
    { "norm1",           TD_IS_NORM,   TD_DIM,           .at = AT(norm1) },
    { "attn.q",          TD_IS_LINEAR, TD_WIDTH, TD_DIM, .at = AT(qkv) },
    { "attn.k",          TD_IS_LINEAR, TD_WIDTH, TD_DIM, .at = AT(qkv) },
    { "attn.v",          TD_IS_LINEAR, TD_WIDTH, TD_DIM, .at = AT(qkv) },
    { "attn.o",          TD_IS_LINEAR, TD_DIM, TD_WIDTH, .at = AT(o) },
    { "norm2",           TD_IS_NORM,   TD_DIM,           .at = AT(norm2) },
    { "ffn.gate.0",      TD_IS_LINEAR, TD_FFN, TD_DIM,   .at = AT(gate) },
    { "ffn.fc1",         TD_IS_LINEAR, TD_FFN, TD_DIM,   .at = AT(up) },
    { "ffn.fc2",         TD_IS_LINEAR, TD_DIM, TD_FFN,   .at = AT(down) },
    { "pos_embedding.embedding", TD_IS_TABLE, TD_SIZE_32, TD_HEADS, .at = AT(bias) },
    { NULL }
};

#undef AT

static void set_sizes(int64_t sizes[TD_N_SIZES], const TDTextShape *s)
{
    td_sizes_init(sizes);
    sizes[TD_DIM] = s->dim;
    sizes[TD_FFN] = s->ffn;
    sizes[TD_WIDTH] = s->width;
    sizes[TD_HEADS] = s->n_heads;
    sizes[TD_N_IDS] = s->n_rows;
}

void td_text_shape(TDTextShape *s, const TDCheckpoint *ckpt)
{
    const TDEntry *table = td_checkpoint_find(ckpt, "token_embedding.weight"),
                  *q = td_checkpoint_find(ckpt, "blocks.0.attn.q.weight"),
                  *pos = td_checkpoint_find(ckpt, "blocks.0.pos_embedding.embedding.weight"),
                  *up = td_checkpoint_find(ckpt, "blocks.0.ffn.fc1.weight");

    *s = (TDTextShape){ table ? table->shape[1] : 0, up ? up->shape[0] : 0, q ? q->shape[0] : 0,
                        pos ? pos->shape[1] : 0, td_count_blocks(ckpt), table ? table->shape[0] : 0 };
}

int td_text_each_tensor(const TDTextShape *s, TDTensorFn fn, void *cookie)
{
    int64_t sizes[TD_N_SIZES];
    int ret;

    set_sizes(sizes, s);
    TRY(td_each_tensor(before_blocks, "", sizes, 0, 0, fn, cookie));
    for (int i = 0; i < s->n_blocks; i++) {
        char prefix[32];

        snprintf(prefix, sizeof(prefix), "blocks.%d.", i);
        TRY(td_each_tensor(of_block, prefix, sizes, 0, 0, fn, cookie));
    }
    TRY(td_each_tensor(after_blocks, "", sizes, 0, 0, fn, cookie));
fail:
    return ret;
}

static int read_shape(TDTextShape *s, const TDBind *b)
{
    static const char *const tells[] = { "token_embedding", "blocks.0.attn.q", "blocks.0.pos_embedding.embedding",
                                         "blocks.0.ffn.fc1" };
    const TDEntry *e;
    int ret = 0;

    for (int i = 0; i < 4; i++)
        TRY(td_bind_entry(b, &e, tells[i], "weight"));
    td_text_shape(s, b->ckpt);
    if (s->n_rows > INT32_MAX || s->dim > TD_MAX_WIDTH || s->width > TD_MAX_WIDTH || s->ffn > TD_MAX_WIDTH)
        ret = td_error(b->dev->log, ENOTSUP, "%s: %lld ids, widths %lld, %lld and %lld, want widths up to %d",
                       td_checkpoint_path(b->ckpt), (long long)s->n_rows, (long long)s->dim, (long long)s->width,
                       (long long)s->ffn, TD_MAX_WIDTH);
    else if (s->width % s->n_heads || s->width / s->n_heads % 16 || s->width / s->n_heads > TD_TEXT_HEAD_DIM)
        ret = td_error(b->dev->log, ENOTSUP,
                       "%s: attention width %lld of %lld heads, want a head dim that is a multiple of 16 up to %d",
                       td_checkpoint_path(b->ckpt), (long long)s->width, (long long)s->n_heads, TD_TEXT_HEAD_DIM);
fail:
    return ret;
}

int td_text_bind_block(TDTextEncoder *te, TDWeights *w, const TDCheckpoint *ckpt, int block)
{
    TDTextShape s = { te->dim, te->ffn, te->width, te->n_heads, te->n_blocks, te->n_rows };
    TDBind b = { te->dev, w, ckpt, 0, 0 };
    int64_t sizes[TD_N_SIZES];
    char prefix[32];
    int ret;

    set_sizes(sizes, &s);
    if (block < 0) {
        TRY(td_bind_tensors(&b, before_blocks, "", sizes, TD_BF16, TD_NORM_EXACT, te));
        TRY(td_bind_tensors(&b, after_blocks, "", sizes, TD_BF16, TD_NORM_EXACT, te));
    } else {
        snprintf(prefix, sizeof(prefix), "blocks.%d.", block);
        TRY(td_bind_tensors(&b, of_block, prefix, sizes, TD_BF16, TD_NORM_EXACT, &te->blocks[block]));
    }
fail:
    return ret;
}

int td_text_bind(TDTextEncoder **out, TDDev *dev, const TDCheckpoint *ckpt, size_t block)
{
    TDTextEncoder *te = calloc(1, sizeof(*te));
    TDBind b = { dev, te ? &te->weights : NULL, ckpt, 0, 0 };
    TDTextShape s;
    int ret;

    *out = NULL;
    if (!te)
        return td_error(dev->log, ENOMEM, "text encoder: out of memory");
    te->dev = dev;
    TRY(td_weights_init(dev, &te->weights, block));
    TRY(read_shape(&s, &b));
    te->dim = s.dim;
    te->ffn = s.ffn;
    te->width = s.width;
    te->n_heads = s.n_heads;
    te->n_blocks = s.n_blocks;
    te->n_rows = s.n_rows;
    te->blocks = calloc((size_t)s.n_blocks, sizeof(*te->blocks));
    if (!te->blocks) {
        ret = td_error(dev->log, ENOMEM, "text encoder: out of memory");
        goto fail;
    }
    for (int i = -1; i < s.n_blocks; i++) {
        size_t before = te->weights.bytes;

        TRY(td_text_bind_block(te, &te->weights, ckpt, i));
        if (i < 0)
            te->rest_bytes = te->weights.bytes;
        else if (te->weights.bytes - before > te->block_bytes)
            te->block_bytes = te->weights.bytes - before;
    }
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

int td_text_plan(TDTextClip *c, const TDTextEncoder *te, TDArena *a, int64_t n)
{
    int ret;

    TRY(TD_CARVE(a, &c->x, TD_BF16, n, te->dim));
    TRY(TD_CARVE(a, &c->qkv, TD_BF16, n, 3 * te->width));
    TRY(TD_CARVE(a, &c->u, TD_BF16, n, te->ffn));
    TRY(td_plan_act(a, &c->act, n, te->dim, 0));
    TRY(td_plan_act(a, &c->o, n, te->width, 0));
    TRY(td_plan_act(a, &c->ffn, n, te->ffn, 0));
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
        TDEntry row = td_entry_rows(te->table, ids[i], 1);

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
    TRY(op->attn_t5        (d, &c->o.x, &c->qkv, &b->bias, te->n_heads));       /* [n,width]              */
    TRY(op->linear_residual(d, &c->x, &c->o, &b->o, NULL));
    TRY(op->rms_norm       (d, &c->act, &c->x, &b->norm2));
    TRY(op->linear_geglu   (d, &c->ffn.x, &c->u, &c->act, &b->gate, &b->up));   /* [n,ffn]                */
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
