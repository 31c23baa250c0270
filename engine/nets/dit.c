/* SPDX-License-Identifier: BSD-2-Clause
 * Wan DiT, written once against the seam. Tensor names and order of operations: TurboDiffusion rcm/networks/wan2pt1.py
 * and wan2pt2.py; rounding points: doc/numerics.md.
 *
 * Details that have caused bugs elsewhere
 *  1. Modulation rows are shift, scale, gate (attention), shift, scale, gate (ffn); the head's are shift, scale.
 *  2. norm3 precedes cross attention and is the only one with weights; norm2 precedes the ffn.
 *  3. The network sees the timestep rounded to bf16; the sampler keeps the exact one.
 *  4. Text rows past the prompt are zero before the text embedding, not after it, and take part in cross attention. */
#include <stdio.h>
#include <stdlib.h>
#include "nets/bind.h"
#include "nets/dit.h"
#include "nets/rope.h"

#define EPS 1e-6f

/* ---- binding ---- */

int td_dit_shape(TDDitShape *s, const TDCheckpoint *ckpt, TDLog *log)
{
    const TDEntry *patch = td_checkpoint_find(ckpt, "patch_embedding.weight"),
                  *text = td_checkpoint_find(ckpt, "text_embedding.0.weight");
    const char *path = td_checkpoint_path(ckpt);

    *s = (TDDitShape){ 0 };
    if (!patch || !text)
        return td_error(log, EBADMSG, "%s: tensor %s is missing; not a Wan transformer", path,
                        patch ? "text_embedding.0.weight" : "patch_embedding.weight");
    s->dim = patch->shape[0];
    s->in_dim = s->dim > 0 ? td_entry_count(patch) / s->dim / 4 : 0;
    s->text_dim = text->shape[1];
    for (int i = 0; i < td_checkpoint_count(ckpt); i++) {
        const TDEntry *e = td_checkpoint_entry(ckpt, i);
        int block;

        if (sscanf(e->name, "blocks.%d.", &block) == 1 && block >= s->n_blocks && block < 1000)
            s->n_blocks = block + 1;
        s->int8 |= strstr(e->name, ".int8_weight") != NULL;
        s->has_sla |= strstr(e->name, ".proj_l.") != NULL;
        if (!strcmp(e->name, "blocks.0.ffn.0.weight") || !strcmp(e->name, "blocks.0.ffn.0.int8_weight"))
            s->ffn = e->shape[0];
    }
    if (td_checkpoint_find(ckpt, "blocks.0.cross_attn.k_img.weight"))
        return td_error(log, ENOTSUP,
                        "%s: a Wan 2.1 image-to-video model (k_img tensors); Wan 2.2 I2V and T2V models are supported",
                        path);
    if (s->dim < TD_HEAD_DIM || s->dim % TD_HEAD_DIM || s->dim > 8192 || s->n_blocks < 1 || s->ffn < 1 ||
        s->ffn > TD_MAX_WIDTH || s->text_dim > TD_MAX_WIDTH)
        return td_error(
            log, ENOTSUP,
            "%s: dim %lld, %lld blocks, ffn %lld, text %lld; want a dim that is a multiple of %d up to 8192, blocks, "
            "and widths up to %d",
            path, (long long)s->dim, (long long)s->n_blocks, (long long)s->ffn, (long long)s->text_dim, TD_HEAD_DIM,
            TD_MAX_WIDTH);
    if (s->in_dim != TD_LATENT_CHANNELS && s->in_dim != 36)
        return td_error(log, ENOTSUP, "%s: %lld input channels, want 16 (text to video) or 36 (image to video)", path,
                        (long long)s->in_dim);
    return 0;
}

static int bind_norm(const TDBind *b, TDNormW *norm, int64_t dim, enum TDNorm profile, const char *prefix,
                     const char *name, int bias)
{
    char full[128];
    int ret;

    snprintf(full, sizeof(full), "%s.%s", prefix, name);
    *norm = (TDNormW){ .dim = dim, .eps = EPS, .profile = profile };
    TRY(td_bind_vector(b, &norm->weight, dim, full, "weight"));
    if (bias)
        TRY(td_bind_vector(b, &norm->bias, dim, full, "bias"));
fail:
    return ret;
}

static int bind_block(const TDBind *b, TDDit *dit, TDDitBlock *k, int i, enum TDDtype want, enum TDNorm profile)
{
    int64_t d = dit->dim;
    char name[10][96], p[32];
    static const char *const suffix[10] = { "self_attn.q",  "self_attn.k",  "self_attn.v",  "self_attn.o",
                                            "cross_attn.q", "cross_attn.k", "cross_attn.v", "cross_attn.o",
                                            "ffn.0",        "ffn.2" };
    const char *n[10];
    int ret;

    snprintf(p, sizeof(p), "blocks.%d", i);
    for (int j = 0; j < 10; j++) {
        snprintf(name[j], sizeof(name[j]), "%s.%s", p, suffix[j]);
        n[j] = name[j];
    }
    k->norm1 = k->norm2 = (TDNormW){ .dim = d, .eps = EPS, .profile = profile };
    TRY(bind_norm(b, &k->norm3, d, profile, p, "norm3", 1));
    TRY(bind_norm(b, &k->norm_q, d, profile, p, "self_attn.norm_q", 0));
    TRY(bind_norm(b, &k->norm_k, d, profile, p, "self_attn.norm_k", 0));
    TRY(bind_norm(b, &k->cross_norm_q, d, profile, p, "cross_attn.norm_q", 0));
    TRY(bind_norm(b, &k->cross_norm_k, d, profile, p, "cross_attn.norm_k", 0));
    TRY(td_bind_linear(b, &k->qkv, want, d, d, 3, n));
    TRY(td_bind_linear(b, &k->o, want, d, d, 1, n + 3));
    TRY(td_bind_linear(b, &k->cross_q, want, d, d, 1, n + 4));
    TRY(td_bind_linear(b, &k->cross_k, want, d, d, 1, n + 5));
    TRY(td_bind_linear(b, &k->cross_v, want, d, d, 1, n + 6));
    TRY(td_bind_linear(b, &k->cross_o, want, d, d, 1, n + 7));
    TRY(td_bind_linear(b, &k->ffn1, want, dit->ffn, d, 1, n + 8));
    TRY(td_bind_linear(b, &k->ffn2, want, d, dit->ffn, 1, n + 9));
    if (dit->has_sla) {
        snprintf(name[0], sizeof(name[0]), "%s.self_attn.attn_op.local_attn.proj_l", p);
        TRY(td_bind_linear(b, &k->proj_l, TD_BF16, TD_HEAD_DIM, TD_HEAD_DIM, 1, n));
    }
fail:
    return ret;
}

/* the modulation rows of all blocks as one f32 table on the device */
static int bind_modulation(const TDBind *b, TDDit *dit)
{
    int64_t d = dit->dim, rows = dit->n_blocks * 6;
    float *host = malloc((size_t)(rows * d) * sizeof(*host));
    const float *p;
    int ret = 0;

    if (!host)
        return td_error(b->dev->log, ENOMEM, "modulation: out of memory");
    for (int i = 0; i < dit->n_blocks; i++) {
        char name[64];

        snprintf(name, sizeof(name), "blocks.%d", i);
        TRY(td_bind_values(b, host + i * 6 * d, 6 * d, name, "modulation"));
    }
    TRY(b->dev->ops->pack_vector(b->dev, b->weights, &p, host, rows * d));
    dit->modulation = (TDTensor){ (void *)p, { rows, d, 1, 1, 1 }, 2, TD_F32 };
    TRY(td_bind_values(b, host, 2 * d, "head", "modulation"));
    TRY(b->dev->ops->pack_vector(b->dev, b->weights, &p, host, 2 * d));
    dit->head_modulation = (TDTensor){ (void *)p, { 2, d, 1, 1, 1 }, 2, TD_F32 };
fail:
    free(host);
    return ret;
}

int td_dit_bind(TDDit **out, TDDev *dev, const TDCheckpoint *ckpt, enum TDQuant quant, enum TDNorm norm,
                size_t block)
{
    TDDitShape s;
    TDDit *dit = NULL;
    TDBind b;
    void *hidden;
    int ret;

    *out = NULL;
    TRY(td_dit_shape(&s, ckpt, dev->log));
    if (quant == TD_QUANT_NONE && s.int8) {
        ret = td_error(dev->log, EINVAL, "%s: int8 weights, but quant=none asks for bf16; give the file without -quant",
                       td_checkpoint_path(ckpt));
        goto fail;
    }
    dit = calloc(1, sizeof(*dit));
    if (!dit || !(dit->blocks = calloc((size_t)s.n_blocks, sizeof(*dit->blocks)))) {
        ret = td_error(dev->log, ENOMEM, "transformer: out of memory");
        goto fail;
    }
    dit->dev = dev;
    dit->dim = s.dim;
    dit->ffn = s.ffn;
    dit->n_heads = s.dim / TD_HEAD_DIM;
    dit->n_blocks = s.n_blocks;
    dit->in_dim = s.in_dim;
    dit->text_dim = s.text_dim;
    dit->int8 = s.int8 || quant == TD_QUANT_INT8;
    dit->has_sla = s.has_sla;
    dit->head_norm = (TDNormW){ .dim = s.dim, .eps = EPS, .profile = TD_NORM_EXACT };
    b = (TDBind){ dev, &dit->weights, ckpt, 1 };
    TRY(td_weights_init(dev, &dit->weights, block));
    TRY(td_bind_linear(&b, &dit->patch, TD_BF16, s.dim, s.in_dim * 4, 1, &(const char *){ "patch_embedding" }));
    TRY(td_bind_linear(&b, &dit->text_in, TD_BF16, s.dim, s.text_dim, 1, &(const char *){ "text_embedding.0" }));
    TRY(td_bind_linear(&b, &dit->text_out, TD_BF16, s.dim, s.dim, 1, &(const char *){ "text_embedding.2" }));
    TRY(td_bind_linear(&b, &dit->time.in, TD_F32, s.dim, 256, 1, &(const char *){ "time_embedding.0" }));
    TRY(td_bind_linear(&b, &dit->time.out, TD_F32, s.dim, s.dim, 1, &(const char *){ "time_embedding.2" }));
    TRY(td_bind_linear(&b, &dit->time.proj, TD_F32, 6 * s.dim, s.dim, 1, &(const char *){ "time_projection.1" }));
    TRY(td_bind_linear(&b, &dit->head, TD_F32, 4 * TD_LATENT_CHANNELS, s.dim, 1, &(const char *){ "head.head" }));
    TRY(td_weights_alloc(dev, &dit->weights, &hidden, (size_t)s.dim * sizeof(float)));
    dit->time.hidden = hidden;
    TRY(bind_modulation(&b, dit));
    for (int i = 0; i < s.n_blocks; i++)
        TRY(bind_block(&b, dit, &dit->blocks[i], i, dit->int8 ? TD_I8 : TD_BF16, norm));
    *out = dit;
    return 0;
fail:
    td_dit_free(&dit);
    return ret;
}

int td_dit_view(TDDit **out, const TDDit *src, TDDev *dev)
{
    TDDit *v = *out ? *out : calloc(1, sizeof(*v)), own;
    void *hidden = NULL;
    int ret = 0;

    if (v && !v->blocks)
        v->blocks = calloc((size_t)src->n_blocks, sizeof(*v->blocks));
    *out = v;
    if (!v || !v->blocks)
        return td_error(dev->log, ENOMEM, "transformer: out of memory");
    v->dev = dev;
    if (!v->time.hidden) {
        TRY(td_weights_alloc(dev, &v->weights, &hidden, (size_t)src->dim * sizeof(float)));
        v->time.hidden = hidden;
    }
    memcpy(v->blocks, src->blocks, (size_t)src->n_blocks * sizeof(*v->blocks));
    own = *v;
    *v = *src;
    v->dev = dev;
    v->weights = own.weights;
    v->time.hidden = own.time.hidden;
    v->blocks = own.blocks;
fail:
    return ret;
}

void td_dit_free(TDDit **dit)
{
    if (!*dit)
        return;
    if ((*dit)->dev)
        td_weights_free((*dit)->dev, &(*dit)->weights);
    free((*dit)->blocks);
    free(*dit);
    *dit = NULL;
}

/* ---- clip memory ---- */

int td_dit_plan(TDDitClip *c, const TDDit *dit, TDArena *a, int64_t t, int64_t h, int64_t w, const TDAttnConfig *attn)
{
    const TDOps *op = dit->dev->ops;
    int64_t d = dit->dim, L = t * (h / 2) * (w / 2);
    size_t mark, top;
    int ret;

    *c = (TDDitClip){ .t = t, .h = h, .w = w };
    TRY(TD_CARVE(a, &c->rope, TD_F32, L, TD_HEAD_DIM / 2, 2));
    TRY(TD_CARVE(a, &c->x, TD_BF16, L, d));
    TRY(TD_CARVE(a, &c->mod, TD_F32, dit->n_blocks * 6, d));
    TRY(TD_CARVE(a, &c->head_mod, TD_F32, 2, d));
    TRY(TD_CARVE(a, &c->e6, TD_F32, 6, d));
    TRY(TD_CARVE(a, &c->e, TD_F32, 1, d));
    TRY(TD_CARVE(a, &c->v, TD_F32, TD_LATENT_CHANNELS, t, h, w));
    TRY(op->plan_act(dit->dev, a, &c->act, L, d, dit->int8));

    /* self attention, cross attention with the text path, and the ffn never live at the same time */
    mark = td_arena_mark(a);
    c->self = (TDQkv){ .cfg = *attn, .n_q = L, .n_kv = L, .n_heads = dit->n_heads, .head_dim = TD_HEAD_DIM };
    TRY(TD_CARVE(a, &c->qkv, TD_BF16, L, 3 * d));
    TRY(op->plan_qkv(dit->dev, a, &c->self));
    TRY(op->plan_act(dit->dev, a, &c->o, L, d, dit->int8));
    top = a->used;
    td_arena_reset(a, mark);
    c->cross = (TDQkv){ .cfg = { .kind = TD_ATTN_DENSE },
                        .n_q = L,
                        .n_kv = TD_TEXT_LEN,
                        .n_heads = dit->n_heads,
                        .head_dim = TD_HEAD_DIM };
    TRY(op->plan_qkv(dit->dev, a, &c->cross));
    TRY(op->plan_act(dit->dev, a, &c->text_hidden, TD_TEXT_LEN, d, 0));
    TRY(op->plan_act(dit->dev, a, &c->text_ctx, TD_TEXT_LEN, d, dit->int8));
    top = a->used > top ? a->used : top;
    td_arena_reset(a, mark);
    TRY(op->plan_act(dit->dev, a, &c->ffn, L, dit->ffn, dit->int8));
    a->used = a->used > top ? a->used : top;
fail:
    return ret;
}

int td_dit_plan_text(TDDitText *text, const TDDit *dit, TDArena *a)
{
    int ret;

    TRY(TD_CARVE(a, &text->k, TD_BF16, dit->n_blocks, TD_TEXT_LEN, dit->dim));
    TRY(TD_CARVE(a, &text->v, TD_BF16, dit->n_blocks, TD_TEXT_LEN, dit->dim));
fail:
    return ret;
}

int td_dit_prepare(TDDitClip *c, const TDDit *dit)
{
    float *rope = malloc(td_tensor_bytes(&c->rope));
    int ret;

    if (!rope || td_rope_table(rope, c->t, c->h / 2, c->w / 2, TD_HEAD_DIM) < 0) {
        free(rope);
        return td_error(dit->dev->log, ENOMEM, "rotary table: out of memory");
    }
    ret = dit->dev->ops->upload(dit->dev, &c->rope, rope);
    free(rope);
    return ret;
}

/* ---- forward ---- */

/* block i of a [n_blocks, 512, D] cache */
static TDTensor text_rows(const TDTensor *cache, int64_t i)
{
    int64_t rows = cache->shape[1], d = cache->shape[2];

    return (TDTensor){ (uint16_t *)cache->data + i * rows * d, { rows, d, 1, 1, 1 }, 2, TD_BF16 };
}

int td_dit_text(TDDitText *text, const TDDit *dit, TDDitClip *c, const TDTensor *emb)
{
    const TDOps *op = dit->dev->ops;
    TDDev *d = dit->dev;
    TDAct in = { .x = *emb };
    int ret;

    TRY(op->linear_gelu(d, &c->text_hidden, &in, &dit->text_in));             /* [512,D]                */
    TRY(op->linear(d, &c->text_ctx.x, &c->text_hidden, &dit->text_out));      /* [512,D]                */
    if (dit->int8)
        TRY(op->quantise(d, &c->text_ctx));
    for (int i = 0; i < dit->n_blocks; i++) {
        const TDDitBlock *b = &dit->blocks[i];
        TDTensor k = text_rows(&text->k, i), v = text_rows(&text->v, i);
        TDAct ka = { .x = k };

        TRY(op->linear  (d, &k, &c->text_ctx, &b->cross_k));
        TRY(op->rms_norm(d, &ka, &k, &b->cross_norm_k));
        TRY(op->linear  (d, &v, &c->text_ctx, &b->cross_v));
    }
fail:
    return ret;
}

int td_dit_begin(const TDDit *dit, TDDitClip *c, const TDTensor *z, const TDTensor *cond, double t)
{
    const TDOps *op = dit->dev->ops;
    TDDev *d = dit->dev;
    double seen = td_bf16_round((float)((double)(float)t * 1000.0));
    int ret;

    TRY(op->patch_embed   (d, &c->x, z, cond, &dit->patch));                  /* x: [L,D]               */
    TRY(op->time_embed    (d, &c->e6, &c->e, seen, &dit->time));              /* e6: [6,D]  e: [D]      */
    TRY(op->add_modulation(d, &c->mod, &dit->modulation, &c->e6));            /* [blocks*6,D]           */
    TRY(op->add_modulation(d, &c->head_mod, &dit->head_modulation, &c->e));   /* [2,D]                  */
fail:
    return ret;
}

int td_dit_block(const TDDit *dit, TDDitClip *c, const TDDitText *text, int i)
{
    const TDOps *op = dit->dev->ops;
    const TDDitBlock *b = &dit->blocks[i];
    const float *m = (const float *)c->mod.data + (int64_t)i * 6 * dit->dim;
    const float *shift1 = m, *scale1 = m + dit->dim, *gate1 = m + 2 * dit->dim;
    const float *shift2 = m + 3 * dit->dim, *scale2 = m + 4 * dit->dim, *gate2 = m + 5 * dit->dim;
    TDDev *d = dit->dev;
    TDAct q = { .x = c->cross.q };
    int ret;

    TRY(op->norm_modulate  (d, &c->act, &c->x, &b->norm1, shift1, scale1));   /* [L,D] bf16 | int8      */
    TRY(op->linear         (d, &c->qkv, &c->act, &b->qkv));                 /* [L,3D]                 */
    TRY(op->qk_norm_rope   (d, &c->self, &c->qkv, &b->norm_q, &b->norm_k, &c->rope));
    if (c->self.cfg.kind == TD_ATTN_DENSE)
        TRY(op->attn_dense (d, &c->o, &c->self));                             /* [L,D]                  */
    else
        TRY(op->attn_sla   (d, &c->o, &c->self, &b->proj_l));
    TRY(op->linear_residual(d, &c->x, &c->o, &b->o, gate1));                  /* x += gate (o Wo + b)   */

    c->cross.k = text_rows(&text->k, i);                                      /* [512,D]                */
    c->cross.v = text_rows(&text->v, i);
    TRY(op->norm_modulate  (d, &c->act, &c->x, &b->norm3, NULL, NULL));
    TRY(op->linear         (d, &c->cross.q, &c->act, &b->cross_q));
    TRY(op->rms_norm       (d, &q, &c->cross.q, &b->cross_norm_q));
    TRY(op->attn_dense     (d, &c->act, &c->cross));
    TRY(op->linear_residual(d, &c->x, &c->act, &b->cross_o, NULL));           /* x += o Wo + b          */

    TRY(op->norm_modulate  (d, &c->act, &c->x, &b->norm2, shift2, scale2));
    TRY(op->linear_gelu    (d, &c->ffn, &c->act, &b->ffn1));                  /* [L,F], quantised here  */
    TRY(op->linear_residual(d, &c->x, &c->ffn, &b->ffn2, gate2));
fail:
    return ret;
}

int td_dit_end(const TDDit *dit, TDDitClip *c)
{
    return dit->dev->ops->head(dit->dev, &c->v, &c->x, &dit->head_norm, &c->head_mod, &dit->head);
}
