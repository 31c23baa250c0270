/* SPDX-License-Identifier: BSD-2-Clause
 * Wan DiT, written once against the seam. Tensor names and order of operations: TurboDiffusion rcm/networks/wan2pt1.py
 * and wan2pt2.py; rounding points: doc/numerics.md.
 *
 * Details that have caused bugs elsewhere
 *  1. Modulation rows are shift, scale, gate (attention), shift, scale, gate (ffn); the head's are shift, scale.
 *  2. norm3 precedes cross attention and is the only one with weights; norm2 precedes the ffn.
 *  3. The network sees the timestep rounded to bf16; the sampler keeps the exact one.
 *  4. Text rows past the prompt are zero before the text embedding, not after it, and take part in cross attention: 300
 *     equal keys as 4 that stand for 256, 32, 8 and 4, powers of two, as P is bf16 of one of them. The int8 codes of
 *     such a row depend on whether there are tokens in its 128 rows. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "files/lora.h"
#include "nets/dit.h"
#include "nets/rope.h"
#include "nets/tensors.h"

#define EPS 1e-6f

/* ---- binding ---- */

#define AT(member) offsetof(TDDit, member)

static const TDNetTensor before_blocks[] = {
    { "patch_embedding",   TD_IS_LINEAR, TD_DIM,   TD_PATCH,    .at = AT(patch) },
    { "text_embedding.0",  TD_IS_LINEAR, TD_DIM,   TD_TEXT_DIM, .at = AT(text_in) },
    { "text_embedding.2",  TD_IS_LINEAR, TD_DIM,   TD_DIM,      .at = AT(text_out) },
    { "time_embedding.0",  TD_IS_F32,    TD_DIM,   TD_SIZE_256, .at = AT(time.in) },
    { "time_embedding.2",  TD_IS_F32,    TD_DIM,   TD_DIM,      .at = AT(time.out) },
    { "time_projection.1", TD_IS_F32,    TD_6_DIM, TD_DIM,      .at = AT(time.proj) },
    { NULL }
};
static const TDNetTensor after_blocks[] = {
    { "head.modulation",   TD_IS_ROWS,   TD_SIZE_2,  TD_DIM,    .at = TD_BY_HAND },
    { "head.head",         TD_IS_F32,    TD_SIZE_64, TD_DIM,    .at = AT(head) },
    { NULL }
};

#undef AT
#define AT(member) offsetof(TDDitBlock, member)

static const TDNetTensor of_block[] = {
    { "modulation",        TD_IS_ROWS,      TD_SIZE_6, TD_DIM,    .at = TD_BY_HAND },
    { "self_attn.q",       TD_IS_QUANT,     TD_DIM,    TD_DIM,    .at = AT(q) },
    { "self_attn.k",       TD_IS_QUANT,     TD_DIM,    TD_DIM,    .at = AT(k) },
    { "self_attn.v",       TD_IS_QUANT,     TD_DIM,    TD_DIM,    .at = AT(v) },
    { "self_attn.o",       TD_IS_QUANT,     TD_DIM,    TD_DIM,    .at = AT(o) },
    { "self_attn.norm_q",  TD_IS_NORM,      TD_DIM,               .at = AT(norm_q) },
    { "self_attn.norm_k",  TD_IS_NORM,      TD_DIM,               .at = AT(norm_k) },
    { "self_attn.attn_op.local_attn.proj_l", TD_IS_LINEAR, TD_PROJ_L, TD_PROJ_L, .at = AT(proj_l) },
    { "norm3",             TD_IS_NORM_BIAS, TD_DIM,               .at = AT(norm3) },
    { "cross_attn.q",      TD_IS_QUANT,     TD_DIM,    TD_DIM,    .at = AT(cross_q) },
    { "cross_attn.k",      TD_IS_QUANT,     TD_DIM,    TD_DIM,    .at = AT(cross_k) },
    { "cross_attn.v",      TD_IS_QUANT,     TD_DIM,    TD_DIM,    .at = AT(cross_v) },
    { "cross_attn.o",      TD_IS_QUANT,     TD_DIM,    TD_DIM,    .at = AT(cross_o) },
    { "cross_attn.norm_q", TD_IS_NORM,      TD_DIM,               .at = AT(cross_norm_q) },
    { "cross_attn.norm_k", TD_IS_NORM,      TD_DIM,               .at = AT(cross_norm_k) },
    { "ffn.0",             TD_IS_QUANT,     TD_FFN,    TD_DIM,    .at = AT(ffn1) },
    { "ffn.2",             TD_IS_QUANT,     TD_DIM,    TD_FFN,    .at = AT(ffn2) },
    { NULL }
};
/* of these what makes keys and values of a prompt */
static const TDNetTensor keys_of_block[] = {
    { "cross_attn.k",      TD_IS_QUANT,     TD_DIM,    TD_DIM,    .at = AT(cross_k) },
    { "cross_attn.v",      TD_IS_QUANT,     TD_DIM,    TD_DIM,    .at = AT(cross_v) },
    { "cross_attn.norm_k", TD_IS_NORM,      TD_DIM,               .at = AT(cross_norm_k) },
    { NULL }
};

#undef AT

static void set_sizes(int64_t sizes[TD_N_SIZES], const TDDitShape *s)
{
    td_sizes_init(sizes);
    sizes[TD_DIM] = s->dim;
    sizes[TD_6_DIM] = 6 * s->dim;
    sizes[TD_FFN] = s->ffn;
    sizes[TD_PATCH] = 4 * s->in_dim;
    sizes[TD_TEXT_DIM] = s->text_dim;
    sizes[TD_PROJ_L] = s->has_sla ? TD_HEAD_DIM : 0;
}

int td_dit_each_tensor(const TDDitShape *s, TDTensorFn fn, void *cookie)
{
    int64_t sizes[TD_N_SIZES];
    int ret;

    set_sizes(sizes, s);
    TRY(td_each_tensor(before_blocks, "", sizes, 1, 0, fn, cookie));
    for (int i = 0; i < s->n_blocks; i++) {
        char prefix[32];

        snprintf(prefix, sizeof(prefix), "blocks.%d.", i);
        TRY(td_each_tensor(of_block, prefix, sizes, 1, s->int8, fn, cookie));
    }
    TRY(td_each_tensor(after_blocks, "", sizes, 1, 0, fn, cookie));
fail:
    return ret;
}

/* a matrix of a block that is stored in 8 bits or less, but for TurboDiffusion's own int8 */
static int is_few_bits(const TDEntry *e)
{
    size_t n = strlen(e->name);

    return !strncmp(e->name, "blocks.", 7) && n > 7 && !strcmp(e->name + n - 7, ".weight") && e->n_dims == 2 &&
           (e->dtype == TD_I8 || e->dtype >= TD_F8_E4M3);
}

int td_dit_shape(TDDitShape *s, const TDCheckpoint *ckpt, TDLog *log)
{
    const TDEntry *patch = td_checkpoint_find(ckpt, "patch_embedding.weight"),
                  *text = td_checkpoint_find(ckpt, "text_embedding.0.weight");
    const char *path = td_checkpoint_path(ckpt);

    *s = (TDDitShape){ 0 };
    if ((!patch || !text) && td_lora_is(ckpt))
        return td_error(log, EINVAL, "%s: a LoRA and no transformer; want it as lora=, beside the model's own file",
                        path);
    if (!patch || !text)
        return td_error(log, EBADMSG, "%s: tensor %s is missing; not a Wan transformer", path,
                        patch ? "text_embedding.0.weight" : "patch_embedding.weight");
    s->dim = patch->shape[0];
    s->in_dim = s->dim > 0 ? td_entry_count(patch) / s->dim / 4 : 0;
    s->text_dim = text->shape[1];
    s->n_blocks = td_count_blocks(ckpt);
    for (int i = 0; i < td_checkpoint_count(ckpt); i++) {
        const TDEntry *e = td_checkpoint_entry(ckpt, i);

        s->int8 |= strstr(e->name, ".int8_weight") != NULL;
        s->has_sla |= strstr(e->name, ".proj_l.") != NULL;
        if (!s->few_bits && is_few_bits(e))
            s->few_bits = td_dtype_name(e->dtype);
        if (!strcmp(e->name, "blocks.0.ffn.0.weight") || !strcmp(e->name, "blocks.0.ffn.0.int8_weight"))
            s->ffn = e->shape[0];
    }
    if (td_dit_stranger(ckpt))
        return td_error(log, ENOTSUP, "%s: %s, not supported; want Wan 2.1 text to video, or an expert of Wan 2.2 A14B",
                        path, td_dit_stranger(ckpt));
    if (!s->n_blocks || !s->ffn)
        return td_error(log, EBADMSG, "%s: tensor blocks.0.ffn.0.weight is missing; not a whole transformer", path);
    if (s->dim < TD_HEAD_DIM || s->dim % TD_HEAD_DIM || s->dim > TD_MAX_DIM || s->n_blocks < 1 || s->ffn < 1 ||
        s->ffn > TD_MAX_WIDTH || s->text_dim > TD_MAX_WIDTH)
        return td_error(
            log, ENOTSUP,
            "%s: dim %lld, %lld blocks, ffn %lld, text %lld; want a dim that is a multiple of %d up to %d, "
            "blocks, and widths up to %d",
            path, (long long)s->dim, (long long)s->n_blocks, (long long)s->ffn, (long long)s->text_dim, TD_HEAD_DIM,
            TD_MAX_DIM, TD_MAX_WIDTH);
    if (s->in_dim != TD_LATENT_CHANNELS && s->in_dim != TD_LATENT_CHANNELS + TD_COND_CHANNELS)
        return td_error(log, ENOTSUP, "%s: %lld input channels, want %d (text to video) or %d (image to video)", path,
                        (long long)s->in_dim, TD_LATENT_CHANNELS, TD_LATENT_CHANNELS + TD_COND_CHANNELS);
    return 0;
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
    TRY(td_pack_vector(b->dev, b->weights, &p, host, rows * d));
    dit->modulation = (TDTensor){ (void *)p, { rows, d, 1, 1, 1 }, 2, TD_F32 };
    TRY(td_bind_values(b, host, 2 * d, "head", "modulation"));
    TRY(td_pack_vector(b->dev, b->weights, &p, host, 2 * d));
    dit->head_modulation = (TDTensor){ (void *)p, { 2, d, 1, 1, 1 }, 2, TD_F32 };
fail:
    free(host);
    return ret;
}

int td_dit_bind_block(TDDit *dit, TDWeights *w, const TDCheckpoint *ckpt, int block)
{
    TDDitShape s = { dit->dim, dit->ffn, dit->n_blocks, dit->in_dim, dit->text_dim, dit->int8, dit->has_sla, NULL };
    TDBind b = { dit->dev, w, ckpt, 1, 0 };
    TDDitBlock *k = &dit->blocks[block < 0 ? 0 : block];
    int64_t sizes[TD_N_SIZES];
    char prefix[32];
    int ret;

    set_sizes(sizes, &s);
    if (block < 0) {
        TRY(td_bind_tensors(&b, before_blocks, "", sizes, TD_BF16, dit->norm, dit));
        TRY(td_bind_tensors(&b, after_blocks, "", sizes, TD_BF16, dit->norm, dit));
        TRY(bind_modulation(&b, dit));
    } else {
        snprintf(prefix, sizeof(prefix), "blocks.%d.", block);
        k->norm1 = k->norm2 = (TDNormW){ .dim = s.dim, .eps = EPS, .profile = dit->norm };
        TRY(td_bind_tensors(&b, of_block, prefix, sizes, dit->int8 ? TD_I8 : TD_BF16, dit->norm, k));
    }
fail:
    return ret;
}

int td_dit_bind_keys(TDDit *dit, TDWeights *w, const TDCheckpoint *ckpt, int block)
{
    TDBind b = { dit->dev, w, ckpt, 1, 0 };
    int64_t sizes[TD_N_SIZES];
    char prefix[32];

    set_sizes(sizes, &(TDDitShape){ .dim = dit->dim });
    snprintf(prefix, sizeof(prefix), "blocks.%d.", block);
    return td_bind_tensors(&b, keys_of_block, prefix, sizes, dit->int8 ? TD_I8 : TD_BF16, dit->norm,
                           &dit->blocks[block]);
}

int td_dit_bind(TDDit **out, TDDev *dev, const TDCheckpoint *ckpt, enum TDQuant quant, enum TDNorm norm,
                size_t block)
{
    TDDitShape s;
    TDDit *dit = NULL;
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
    dit->codes = s.int8;
    dit->int8 = s.int8 || quant == TD_QUANT_INT8 || (quant == TD_QUANT_AUTO && s.few_bits);
    dit->has_sla = s.has_sla;
    dit->norm = norm;
    dit->head_norm = (TDNormW){ .dim = s.dim, .eps = EPS, .profile = TD_NORM_EXACT };
    TRY(td_weights_init(dev, &dit->weights, block));
    TRY(td_weights_alloc(dev, &dit->weights, &hidden, (size_t)s.dim * sizeof(float)));
    dit->time.hidden = hidden;
    for (int i = -1; i < s.n_blocks; i++) {
        size_t before = dit->weights.bytes;

        TRY(td_dit_bind_block(dit, &dit->weights, ckpt, i));
        if (i < 0)
            dit->rest_bytes = dit->weights.bytes;
        else if (dit->weights.bytes - before > dit->block_bytes)
            dit->block_bytes = dit->weights.bytes - before;
    }
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
    v->sides = own.sides;
    v->side_rank = own.side_rank;
    v->side_ffn = own.side_ffn;
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
    free((*dit)->sides);
    free(*dit);
    *dit = NULL;
}

/* ---- clip memory ---- */

int td_dit_plan(TDDitClip *c, const TDDit *dit, TDArena *a, int64_t t, int64_t h, int64_t w, const TDAttnConfig *attn,
                int64_t n_keys)
{
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
    TRY(td_plan_act(a, &c->act, L, d, dit->int8));
    if (dit->side_rank)
        TRY(TD_CARVE(a, &c->side, TD_BF16, L > n_keys ? L : n_keys, dit->side_rank));

    /* self attention, cross attention with the text path, and the ffn never live at the same time */
    mark = td_arena_mark(a);
    c->self = (TDQkv){ .cfg = *attn, .n_q = L, .n_kv = L, .n_heads = dit->n_heads, .head_dim = TD_HEAD_DIM };
    c->self.q_code = c->act.code;
    TRY(td_plan_qkv(dit->dev, a, &c->self));
    top = a->used;
    td_arena_reset(a, mark);
    c->cross = (TDQkv){ .cfg = { .kind = TD_ATTN_DENSE },
                        .n_q = L,
                        .n_kv = n_keys,
                        .n_heads = dit->n_heads,
                        .head_dim = TD_HEAD_DIM };
    TRY(td_plan_qkv(dit->dev, a, &c->cross));
    TRY(td_plan_act(a, &c->text_hidden, n_keys, d, 0));
    TRY(td_plan_act(a, &c->text_ctx, n_keys, d, dit->int8));
    TRY(td_plan_act(a, &c->text_pad, 1, d, dit->int8));
    top = a->used > top ? a->used : top;
    td_arena_reset(a, mark);
    TRY(dit->int8 && dit->dev->caps.gelu_codes && !dit->side_ffn ? td_plan_codes(a, &c->ffn, L, dit->ffn)
                                               : td_plan_act(a, &c->ffn, L, dit->ffn, dit->int8));
    a->used = a->used > top ? a->used : top;
fail:
    return ret;
}

/* @return how many keys stand for so many: one for each bit of the number, the 9 of 511 at most */
static int64_t add_equal_keys(TDDitText *text, int64_t number)
{
    int64_t n = 0;

    for (int bit = 0; number >> bit; bit++)
        if (number >> bit & 1) {
            text->doubled = text->doubled << 4 | (unsigned)bit;
            n++;
        }
    return n;
}

int td_dit_plan_text(TDDitText *text, const TDDit *dit, TDArena *a, int64_t n)
{
    int64_t end = dit->int8 ? td_blocks(n, 128) * 128 : n;   /* where blocks without tokens begin */
    int64_t keys;
    int ret;

    *text = (TDDitText){ .n = n };
    text->n_alike = add_equal_keys(text, end > n ? end - n : TD_TEXT_LEN - n);
    text->n_apart = add_equal_keys(text, end > n ? TD_TEXT_LEN - end : 0);
    keys = n + text->n_alike + text->n_apart;
    TRY(TD_CARVE(a, &text->k, TD_BF16, dit->n_blocks, keys, dit->dim));
    TRY(TD_CARVE(a, &text->v, TD_BF16, dit->n_blocks, keys, dit->dim));
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

/* block i of a [n_blocks, keys, D] cache */
static TDTensor text_rows(const TDTensor *cache, int64_t i)
{
    int64_t rows = cache->shape[1], d = cache->shape[2];

    return (TDTensor){ (uint16_t *)cache->data + i * rows * d, { rows, d, 1, 1, 1 }, 2, TD_BF16 };
}

/* What a LoRA adds to the linear that takes x comes to `sum` (bf16, as many rows as x), and so to the linear's sums. */
static int add_side(const TDDit *dit, TDDitClip *c, TDAct *x, TDTensor *sum, const TDDitSide *side)
{
    TDTensor inner = c->side;
    TDAct in = { .x = inner };
    int ret = 0;

    x->add = NULL;
    if (!side || !side->down.n)
        return 0;
    in.x.shape[0] = inner.shape[0] = x->code.shape[0];
    in.x.shape[1] = inner.shape[1] = side->down.n;
    TRY(dit->dev->ops->linear(dit->dev, &inner, x, &side->down));             /* [L,r] */
    TRY(dit->dev->ops->linear(dit->dev, sum, &in, &side->up));                /* [L,N] */
    x->add = sum->data;
fail:
    return ret;
}

/* the slots, with what LoRAs add; side: NULL for none */
static int linear(const TDDit *dit, TDDitClip *c, TDTensor *y, TDAct *x, const TDLinear *lin, const TDDitSide *side)
{
    int ret;

    TRY(add_side(dit, c, x, y, side));
    TRY(dit->dev->ops->linear(dit->dev, y, x, lin));
    x->add = NULL;
fail:
    return ret;
}

static int linear_gelu(const TDDit *dit, TDDitClip *c, TDAct *y, TDAct *x, const TDLinear *lin, const TDDitSide *side)
{
    int ret;

    TRY(add_side(dit, c, x, &y->x, side));
    TRY(dit->dev->ops->linear_gelu(dit->dev, y, x, lin));
    x->add = NULL;
fail:
    return ret;
}

/* x: of the width of the model */
static int linear_residual(const TDDit *dit, TDDitClip *c, TDTensor *x, TDAct *y, const TDLinear *lin,
                           const TDDitSide *side, const float *gate)
{
    int ret;

    TRY(add_side(dit, c, y, &c->act.x, side));   /* the activation is in codes: its x is free */
    TRY(dit->dev->ops->linear_residual(dit->dev, x, y, lin, gate));
    y->add = NULL;
fail:
    return ret;
}

#define SIDE(dit, i, member) ((dit)->sides ? &(dit)->sides[i].member : NULL)

int td_dit_text_begin(const TDDitText *text, const TDDit *dit, TDDitClip *c, const TDTensor *emb)
{
    const TDOps *op = dit->dev->ops;
    TDDev *d = dit->dev;
    int64_t rows = text->n + text->n_alike;
    TDAct in = { .x = td_tensor_part(emb, 0, rows) };
    int ret;

    c->text_hidden.x.shape[0] = c->text_ctx.x.shape[0] = c->text_ctx.code.shape[0] = rows;
    TRY(op->linear_gelu(d, &c->text_hidden, &in, &dit->text_in));             /* [rows,D]               */
    TRY(op->linear(d, &c->text_ctx.x, &c->text_hidden, &dit->text_out));      /* [rows,D]               */
    if (dit->int8)
        TRY(op->quantise(d, &c->text_ctx));
    if (text->n_apart) {                         /* the same row in a block of its like */
        c->text_pad.x = td_tensor_part(&c->text_ctx.x, text->n, 1);
        TRY(op->quantise(d, &c->text_pad));
    }
fail:
    return ret;
}

int td_dit_text_block(TDDitText *text, const TDDit *dit, TDDitClip *c, int i)
{
    const TDOps *op = dit->dev->ops;
    const TDDitBlock *b = &dit->blocks[i];
    TDTensor k = text_rows(&text->k, i), v = text_rows(&text->v, i);
    int64_t rows = text->n + text->n_alike;
    TDAct ka = { .x = k };
    TDDev *d = dit->dev;
    int ret;

    TRY(linear(dit, c, &k, &c->text_ctx, &b->cross_k, SIDE(dit, i, cross_k)));
    TRY(linear(dit, c, &v, &c->text_ctx, &b->cross_v, SIDE(dit, i, cross_v)));
    for (int64_t row = rows; row < rows + text->n_apart; row++) {
        TDTensor row_k = td_tensor_part(&k, row, 1), row_v = td_tensor_part(&v, row, 1);

        TRY(linear(dit, c, &row_k, &c->text_pad, &b->cross_k, SIDE(dit, i, cross_k)));
        TRY(linear(dit, c, &row_v, &c->text_pad, &b->cross_v, SIDE(dit, i, cross_v)));
    }
    TRY(op->rms_norm(d, &ka, &k, &b->cross_norm_k));
fail:
    return ret;
}

int td_dit_text(TDDitText *text, const TDDit *dit, TDDitClip *c, const TDTensor *emb)
{
    int ret;

    TRY(td_dit_text_begin(text, dit, c, emb));
    for (int i = 0; i < dit->n_blocks; i++)
        TRY(td_dit_text_block(text, dit, c, i));
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
    TRY(linear(dit, c, &c->self.q, &c->act, &b->q, SIDE(dit, i, q)));         /* [L,D]                  */
    TRY(linear(dit, c, &c->self.k, &c->act, &b->k, SIDE(dit, i, k)));
    TRY(linear(dit, c, &c->self.v, &c->act, &b->v, SIDE(dit, i, v)));
    TRY(op->qk_norm_rope   (d, &c->self, &b->norm_q, &b->norm_k, &c->rope));
    if (c->self.cfg.kind == TD_ATTN_DENSE)
        TRY(op->attn_dense (d, &c->act, &c->self));                           /* [L,D]                  */
    else
        TRY(op->attn_sla   (d, &c->act, &c->self, &b->proj_l));
    TRY(linear_residual(dit, c, &c->x, &c->act, &b->o, SIDE(dit, i, o), gate1));   /* x += gate (o Wo + b) */

    c->cross.k = text_rows(&text->k, i);                                      /* [keys,D]               */
    c->cross.v = text_rows(&text->v, i);
    c->cross.n_kv = text->k.shape[1];
    c->cross.doubled = text->doubled;
    TRY(op->norm_modulate  (d, &c->act, &c->x, &b->norm3, NULL, NULL));
    TRY(linear(dit, c, &c->cross.q, &c->act, &b->cross_q, SIDE(dit, i, cross_q)));
    TRY(op->rms_norm       (d, &q, &c->cross.q, &b->cross_norm_q));
    TRY(op->attn_dense     (d, &c->act, &c->cross));
    TRY(linear_residual(dit, c, &c->x, &c->act, &b->cross_o, SIDE(dit, i, cross_o), NULL));

    TRY(op->norm_modulate  (d, &c->act, &c->x, &b->norm2, shift2, scale2));
    TRY(linear_gelu(dit, c, &c->ffn, &c->act, &b->ffn1, SIDE(dit, i, ffn1)));      /* [L,F], quantised here */
    TRY(linear_residual(dit, c, &c->x, &c->ffn, &b->ffn2, SIDE(dit, i, ffn2), gate2));
fail:
    return ret;
}

int td_dit_end(const TDDit *dit, TDDitClip *c)
{
    return dit->dev->ops->head(dit->dev, &c->v, &c->x, &dit->head_norm, &c->head_mod, &dit->head);
}
