/* SPDX-License-Identifier: BSD-2-Clause
 * Decoder. Names and order: TurboDiffusion rcm/tokenizers/wan2pt1.py. The base width is read from the tensors.
 *
 * Invariants
 *  1. A 3x3x3 convolution is causal over the whole clip with zero history; its cache holds the two frames before the
 *     chunk.
 *  2. An upsampler's time convolution is skipped for latent frame 0 and starts with zero history at frame 1: frame 0
 *     never enters its cache.
 *  3. The one attention is the second layer, where chunks are one frame: the clip holds memory for one of that size.
 *  4. Activations are bf16 between operations, or f16 from a norm to its convolution; the last one leaves f32.
 *  5. Layers see two frames at most. Where a latent frame has become four, one pair goes through all layers that are
 *     left, then the other one. A pair is as many frames as the cache keeps: at full size, where they fill a buffer,
 *     buffer and cache change places, and nothing is copied. */
#include <stdio.h>
#include <stdlib.h>
#include "nets/vae_priv.h"

#define PAIR 2

/* ---- the layers of both halves ---- */

#define AT(member) offsetof(TDVaeLayer, member)

static const TDNetTensor residual[] = {
    { "residual.0", TD_IS_GAMMA,  TD_IN,  .ks = 3, .at = AT(gamma1) },
    { "residual.2", TD_IS_CONV,   TD_OUT, TD_IN, 3, 3,  AT(conv1) },
    { "residual.3", TD_IS_GAMMA,  TD_OUT, .ks = 3, .at = AT(gamma2) },
    { "residual.6", TD_IS_CONV,   TD_OUT, TD_OUT, 3, 3, AT(conv2) },
    { "shortcut",   TD_IS_CONV,   TD_SHORTCUT, TD_IN, 1, 1, AT(shortcut) },
    { NULL }
};
static const TDNetTensor attention[] = {
    { "norm",       TD_IS_GAMMA,  TD_IN,   .ks = 2, .at = AT(gamma1) },
    { "to_qkv",     TD_IS_LINEAR, TD_3_IN, TD_IN, .ks = 1, .at = TD_BY_HAND },
    { "proj",       TD_IS_LINEAR, TD_IN,   TD_IN, .ks = 1, .at = AT(proj) },
    { NULL }
};
static const TDNetTensor resample[] = {
    { "resample.1", TD_IS_CONV,   TD_OUT,  TD_IN, 0, 3, AT(conv1) },
    { "time_conv",  TD_IS_CONV,   TD_TIME, TD_IN, 3, 1, AT(time) },
    { NULL }
};

#undef AT

static const TDNetTensor *const of_layer[] = {
    [TD_VAE_RESIDUAL] = residual, [TD_VAE_ATTENTION] = attention, [TD_VAE_UPSAMPLE] = resample,
    [TD_VAE_DOWNSAMPLE] = resample,
};

/* Layer i, in the order of the data: its kind, channels, and those of its time convolution; prefix: of its names.
 * @return 0 after the last one */
static int describe(TDVaeLayer *l, char prefix[TD_VAE_PREFIX], int decoder, int i, int64_t base)
{
    static const int widths[2][4] = { { 1, 2, 4, 4 }, { 4, 4, 2, 1 } };   /* of a level, which ends in resample */
    const char *half = decoder ? "decoder" : "encoder";
    int per_level = decoder ? 4 : 3, n = 4 * per_level - 1, level, at;
    int middle = decoder ? i : i - n;

    *l = (TDVaeLayer){ .kind = TD_VAE_RESIDUAL };
    if (i >= n + 3)
        return 0;
    if (middle >= 0 && middle < 3) {
        snprintf(prefix, TD_VAE_PREFIX, "%s.middle.%d.", half, middle);
        l->kind = middle == 1 ? TD_VAE_ATTENTION : TD_VAE_RESIDUAL;
        l->c_in = l->c_out = 4 * base;
        return 1;
    }
    at = decoder ? i - 3 : i;
    snprintf(prefix, TD_VAE_PREFIX, "%s.%s.%d.", half, decoder ? "upsamples" : "downsamples", at);
    level = at / per_level;
    l->c_in = l->c_out = widths[decoder][level] * base;
    if (at % per_level == per_level - 1) {
        l->kind = decoder ? TD_VAE_UPSAMPLE : TD_VAE_DOWNSAMPLE;
        if (decoder)
            l->c_out /= 2;
        if (decoder ? level < 2 : level > 0)
            l->time.c_out = (1 + decoder) * l->c_in;
    } else if (at % per_level == 0 && level > 0) {
        l->c_in = widths[decoder][level - 1] * base / (1 + decoder);
    }
    return 1;
}

static void set_sizes(int64_t sizes[TD_N_SIZES], const TDVaeLayer *l)
{
    td_sizes_init(sizes);
    sizes[TD_IN] = l->c_in;
    sizes[TD_3_IN] = 3 * l->c_in;
    sizes[TD_OUT] = l->c_out;
    sizes[TD_SHORTCUT] = l->c_in != l->c_out ? l->c_out : 0;
    sizes[TD_TIME] = l->time.c_out;
}

int td_vae_each_layer(int decoder, int64_t base, TDTensorFn fn, void *cookie)
{
    char prefix[TD_VAE_PREFIX];
    int64_t sizes[TD_N_SIZES];
    TDVaeLayer l;
    int ret = 0;

    for (int i = 0; ret >= 0 && describe(&l, prefix, decoder, i, base); i++) {
        set_sizes(sizes, &l);
        ret = td_each_tensor(of_layer[l.kind], prefix, sizes, 1, 0, fn, cookie);
    }
    return ret;
}

/* three matrices in one */
static int bind_qkv(const TDBind *b, TDVaeLayer *l, const char *prefix)
{
    TDLinear *part[3] = { &l->q, &l->k, &l->v };
    TDLinearSource src;
    char name[96];
    int ret;

    snprintf(name, sizeof(name), "%sto_qkv", prefix);
    TRY(td_bind_source(b, &src, TD_BF16, 3 * l->c_in, l->c_in, name));
    for (int i = 0; i < 3; i++) {
        src.row0 = i * l->c_in;
        src.n_rows = l->c_in;
        TRY(td_pack_linear(b->dev, b->weights, part[i], &src, 1, TD_BF16));
    }
fail:
    return ret;
}

/* no layer of this half is left over */
static int check_layers(const TDBind *b, int decoder, int n_layers)
{
    const char *middle = decoder ? "decoder.middle.%d." : "encoder.middle.%d.",
               *others = decoder ? "decoder.upsamples.%d." : "encoder.downsamples.%d.";

    for (int i = 0; i < td_checkpoint_count(b->ckpt); i++) {
        const char *name = td_checkpoint_entry(b->ckpt, i)->name;
        int layer;

        if ((sscanf(name, middle, &layer) == 1 && layer > 2) ||
            (sscanf(name, others, &layer) == 1 && layer >= n_layers - 3))
            return td_error(b->dev->log, EBADMSG, "%s: %s is of no known layer; the first %d are the Wan 2.1 VAE's",
                            td_checkpoint_path(b->ckpt), name, n_layers);
    }
    return 0;
}

int td_vae_bind_layers(const TDBind *b, TDVaeLayer layers[TD_VAE_MAX_LAYERS], int decoder, int64_t base)
{
    char prefix[TD_VAE_PREFIX];
    int64_t sizes[TD_N_SIZES];
    int n, ret;

    for (n = 0; describe(&layers[n], prefix, decoder, n, base); n++) {
        TDVaeLayer *l = &layers[n];

        set_sizes(sizes, l);
        TRY(td_bind_tensors(b, of_layer[l->kind], prefix, sizes, TD_BF16, TD_NORM_EXACT, l));
        if (l->kind == TD_VAE_RESIDUAL) {
            l->conv1.gamma = l->gamma2;
        } else if (l->kind == TD_VAE_ATTENTION) {
            TRY(bind_qkv(b, l, prefix));
        } else if (l->kind == TD_VAE_UPSAMPLE) {
            l->conv1.upsample = 1;
            l->time.interleave = l->time.c_out != 0;
        } else {
            l->conv1.stride_s = 2;
            l->time.stride_t = 2;
        }
    }
    TRY(check_layers(b, decoder, n));
    return n;
fail:
    return ret;
}

int td_vae_base(const TDBind *b, int64_t *base, const char *name, int multiple)
{
    const TDEntry *e;
    int ret = td_bind_entry(b, &e, name, "weight");

    if (ret < 0)
        return ret;
    *base = e->shape[0] / multiple;
    if (e->shape[0] % multiple || e->shape[0] > TD_MAX_WIDTH)
        return td_error(b->dev->log, ENOTSUP, "%s: %s: %lld channels, want a multiple of %d up to %d",
                        td_checkpoint_path(b->ckpt), e->name, (long long)e->shape[0], multiple, TD_MAX_WIDTH);
    return 0;
}

void td_vae_end_sizes(int64_t sizes[TD_N_SIZES], int64_t base)
{
    td_sizes_init(sizes);
    sizes[TD_DIM] = base;
    sizes[TD_WIDTH] = 4 * base;
}

/* ---- binding ---- */

#define AT(member) offsetof(TDVae, member)

static const TDNetTensor before_layers[] = {
    { "conv2",          TD_IS_CONV,  TD_SIZE_16, TD_SIZE_16, 1, 1, AT(conv_latent) },
    { "decoder.conv1",  TD_IS_CONV,  TD_WIDTH,   TD_SIZE_16, 3, 3, AT(conv_in) },
    { NULL }
};
static const TDNetTensor after_layers[] = {
    { "decoder.head.0", TD_IS_GAMMA, TD_DIM,     .ks = 3, .at = AT(gamma_out) },
    { "decoder.head.2", TD_IS_CONV,  TD_SIZE_3,  TD_DIM, 3, 3,     AT(conv_out) },
    { NULL }
};

#undef AT

int td_vae_each_tensor(int64_t base, TDTensorFn fn, void *cookie)
{
    int64_t sizes[TD_N_SIZES];
    int ret;

    td_vae_end_sizes(sizes, base);
    TRY(td_each_tensor(before_layers, "", sizes, 1, 0, fn, cookie));
    TRY(td_vae_each_layer(1, base, fn, cookie));
    TRY(td_each_tensor(after_layers, "", sizes, 1, 0, fn, cookie));
fail:
    return ret;
}

int td_vae_bind(TDVae **out, TDDev *dev, const TDCheckpoint *ckpt, enum TDVaeDtype dtype, size_t block)
{
    TDVae *vae = calloc(1, sizeof(*vae));
    TDBind b = { dev, vae ? &vae->weights : NULL, ckpt, 1, dtype == TD_VAE_DTYPE_AUTO };
    int64_t sizes[TD_N_SIZES], base;
    int ret;

    *out = NULL;
    if (!vae)
        return td_error(dev->log, ENOMEM, "VAE: out of memory");
    vae->dev = dev;
    TRY(td_weights_init(dev, &vae->weights, block));
    TRY(td_vae_base(&b, &base, "decoder.conv1", 4));
    td_vae_end_sizes(sizes, base);
    TRY(td_bind_tensors(&b, before_layers, "", sizes, TD_BF16, TD_NORM_EXACT, vae));
    TRY(vae->n_layers = td_vae_bind_layers(&b, vae->layers, 1, base));
    TRY(td_bind_tensors(&b, after_layers, "", sizes, TD_BF16, TD_NORM_EXACT, vae));
    *out = vae;
    return 0;
fail:
    td_vae_free(&vae);
    return ret;
}

int td_vae_view(TDVae **out, const TDVae *src, TDDev *dev)
{
    TDVae *v = *out ? *out : malloc(sizeof(*v));

    *out = v;
    if (!v)
        return td_error(dev->log, ENOMEM, "VAE: out of memory");
    *v = *src;
    v->dev = dev;
    v->weights = (TDWeights){ 0 };
    return 0;
}

void td_vae_free(TDVae **vae)
{
    if (!*vae)
        return;
    td_weights_free((*vae)->dev, &(*vae)->weights);
    free(*vae);
    *vae = NULL;
}

/* 5e6 with a base width of 96; they go with the square of the width */
double td_vae_products(const TDVae *vae)
{
    double base = (double)vae->conv_out.c_in / 96;

    return 5e6 * base * base;
}

int td_vae_plan(TDVaeClip *c, const TDVae *vae, TDArena *a, int64_t h, int64_t w)
{
    int64_t t = 1, y = h, x = w, largest = h * w * vae->conv_in.c_out, *all = c->pairs.shape;
    const TDVaeLayer *attends = NULL;
    size_t mark, top;
    int ret;

    *c = (TDVaeClip){ .h = h, .w = w };
    TRY(TD_CARVE(a, &c->latent, TD_BF16, 1, h, w, TD_LATENT_CHANNELS));
    TRY(TD_CARVE(a, &c->cache_in, TD_BF16, 2, h, w, TD_LATENT_CHANNELS));
    for (int i = 0; i < vae->n_layers; i++) {
        const TDVaeLayer *l = &vae->layers[i];

        largest = t * y * x * l->c_in > largest ? t * y * x * l->c_in : largest;
        if (l->kind == TD_VAE_RESIDUAL) {
            TRY(TD_CARVE(a, &c->cache[i][0], TD_BF16, 2, y, x, l->c_in));
            TRY(TD_CARVE(a, &c->cache[i][1], TD_BF16, 2, y, x, l->c_out));
        } else if (l->kind == TD_VAE_UPSAMPLE) {
            if (l->time.c_out) {
                TRY(TD_CARVE(a, &c->cache[i][2], TD_BF16, 2, y, x, l->c_in));
                if (t == PAIR)
                    c->pairs = td_vae_tensor(&c->pairs, 2 * PAIR, y, x, l->c_in);
                t = PAIR;
                largest = t * y * x * l->c_in > largest ? t * y * x * l->c_in : largest;
            }
            y *= 2;
            x *= 2;
        } else {
            attends = l;
        }
        largest = t * y * x * l->c_out > largest ? t * y * x * l->c_out : largest;
    }
    TRY(TD_CARVE(a, &c->cache_out, TD_BF16, 2, y, x, vae->conv_out.c_in));
    for (int i = 0; i < 3; i++)
        TRY(TD_CARVE(a, &c->buf[i], TD_BF16, largest));
    mark = td_arena_mark(a);                     /* attention is over when there are pairs */
    TRY(td_vae_plan_attention(&c->attn, attends, vae->dev, a, h, w));
    top = a->used;
    td_arena_reset(a, mark);
    TRY(TD_CARVE(a, &c->pairs, TD_BF16, all[0], all[1], all[2], all[3]));
    a->used = a->used > top ? a->used : top;
fail:
    return ret;
}

int td_vae_begin(const TDVae *vae, TDVaeClip *c)
{
    const TDOps *op = vae->dev->ops;
    int ret;

    c->next = 0;
    TRY(op->zero(vae->dev, &c->cache_in));
    TRY(op->zero(vae->dev, &c->cache_out));
    for (int i = 0; i < vae->n_layers; i++)
        for (int j = 0; j < 3; j++)
            if (c->cache[i][j].data)
                TRY(op->zero(vae->dev, &c->cache[i][j]));
    return 0;
fail:
    return ret;
}

/* [T,h,w,C] over a flat buffer */
TDTensor td_vae_tensor(const TDTensor *buf, int64_t t, int64_t h, int64_t w, int64_t c)
{
    return (TDTensor){ buf->data, { t, h, w, c, 1 }, 4, TD_BF16 };
}

TDTensor td_vae_normed(const TDConv *conv, const TDTensor *buf, int64_t t, int64_t h, int64_t w, int64_t c)
{
    TDTensor x = td_vae_tensor(buf, t, h, w, c);

    x.dtype = conv->f16 ? TD_F16 : TD_BF16;
    return x;
}

/* the same memory as rows of channels */
static TDTensor rows(const TDTensor *x)
{
    return (TDTensor){ x->data, { x->shape[0] * x->shape[1] * x->shape[2], x->shape[3], 1, 1, 1 }, 2, TD_BF16 };
}

void td_vae_exchange(TDTensor *a, TDTensor *b)
{
    void *data = a->data;

    a->data = b->data;
    b->data = data;
}

int td_vae_keep(TDDev *d, TDTensor *cache, const TDTensor *x, TDTensor *buf)
{
    int64_t n = td_tensor_count(cache);

    if (td_tensor_count(x) != n || td_tensor_count(buf) != n)
        return d->ops->keep_frames(d, cache, x);
    td_vae_exchange(cache, buf);
    return 0;
}

int td_vae_residual(TDDev *d, const TDVaeLayer *l, TDTensor cache[2], TDTensor *x, TDTensor buf[3])
{
    const TDOps *op = d->ops;
    TDTensor norm = td_vae_normed(&l->conv1, &buf[1], x->shape[0], x->shape[1], x->shape[2], l->c_in),
             mid = td_vae_normed(&l->conv2, &buf[2], x->shape[0], x->shape[1], x->shape[2], l->c_out), out, *skip = x;
    int ret;

    TRY(op->rms_silu     (d, &norm, x, l->gamma1, 1));
    TRY(op->causal_conv3d(d, &mid, &norm, &cache[0], &l->conv1, NULL));       /* norm and SiLU in it    */
    TRY(td_vae_keep      (d, &cache[0], &norm, &buf[1]));
    out = td_vae_tensor(&buf[1], x->shape[0], x->shape[1], x->shape[2], l->c_out);
    if (l->shortcut.c_out) {
        TRY(op->causal_conv3d(d, &out, x, NULL, &l->shortcut, NULL));
        skip = &out;
    }
    TRY(op->causal_conv3d(d, &out, &mid, &cache[1], &l->conv2, skip));
    TRY(td_vae_keep      (d, &cache[1], &mid, &buf[2]));
    td_vae_exchange(&buf[0], &buf[1]);
    *x = out;
fail:
    return ret;
}

int td_vae_plan_attention(TDVaeAttention *at, const TDVaeLayer *l, TDDev *dev, TDArena *a, int64_t h, int64_t w)
{
    int ret;

    at->qkv = (TDQkv){ .cfg = { .kind = TD_ATTN_DENSE }, .n_q = h * w, .n_kv = h * w, .n_heads = 1 };
    at->qkv.head_dim = l->c_in;
    TRY(td_plan_qkv(dev, a, &at->qkv));
    TRY(td_plan_act(a, &at->in, h * w, l->c_in, 0));
    TRY(td_plan_act(a, &at->out, h * w, l->c_in, 0));
fail:
    return ret;
}

int td_vae_attention(TDDev *d, const TDVaeLayer *l, TDVaeAttention *at, TDTensor *x)
{
    const TDOps *op = d->ops;
    TDTensor norm = td_vae_tensor(&at->in.x, x->shape[0], x->shape[1], x->shape[2], l->c_in), flat = rows(x);
    int ret;

    TRY(op->rms_silu       (d, &norm, x, l->gamma1, 0));
    TRY(op->linear         (d, &at->qkv.q, &at->in, &l->q));                  /* [h*w,C]                */
    TRY(op->linear         (d, &at->qkv.k, &at->in, &l->k));
    TRY(op->linear         (d, &at->qkv.v, &at->in, &l->v));
    TRY(op->attn_dense     (d, &at->out, &at->qkv));
    TRY(op->linear_residual(d, &flat, &at->out, &l->proj, NULL));
fail:
    return ret;
}

/* twice as wide and high, to buf[0]. in: there, or in memory of its own */
static int enlarge(const TDVae *vae, TDVaeClip *c, const TDVaeLayer *l, const TDTensor *in, TDTensor *x)
{
    TDTensor out = td_vae_tensor(&c->buf[1], in->shape[0], 2 * in->shape[1], 2 * in->shape[2], l->c_out);
    int ret;

    TRY(vae->dev->ops->causal_conv3d(vae->dev, &out, in, NULL, &l->conv1, NULL));
    td_vae_exchange(&c->buf[0], &c->buf[1]);
    *x = out;
fail:
    return ret;
}

/* twice as many frames: to buf[0], or, where they are more than a pair, to memory of their own */
static int multiply(const TDVae *vae, TDVaeClip *c, int i, TDTensor *x)
{
    const TDOps *op = vae->dev->ops;
    int64_t t = x->shape[0];
    TDTensor out = td_vae_tensor(t == PAIR ? &c->pairs : &c->buf[1], 2 * t, x->shape[1], x->shape[2], x->shape[3]);
    int ret;

    TRY(op->causal_conv3d(vae->dev, &out, x, &c->cache[i][2], &vae->layers[i].time, NULL));
    TRY(op->keep_frames  (vae->dev, &c->cache[i][2], x));
    if (t < PAIR)
        td_vae_exchange(&c->buf[0], &c->buf[1]);
    *x = out;
fail:
    return ret;
}

/* layers from i on, and the head; x: in buf[0] */
static int decode(const TDVae *vae, TDVaeClip *c, int i, TDTensor x, TDTensor *rgb)
{
    const TDOps *op = vae->dev->ops;
    TDDev *d = vae->dev;
    TDTensor norm;
    int ret = 0;

    for (; i < vae->n_layers; i++) {
        const TDVaeLayer *l = &vae->layers[i];

        if (l->kind == TD_VAE_RESIDUAL) {
            TRY(td_vae_residual(d, l, c->cache[i], &x, c->buf));
        } else if (l->kind == TD_VAE_ATTENTION) {
            TRY(td_vae_attention(d, l, &c->attn, &x));
        } else {
            if (l->time.c_out && c->next > 0)
                TRY(multiply(vae, c, i, &x));
            for (int64_t f = 0; x.shape[0] > PAIR && f < x.shape[0]; f += PAIR) {
                TDTensor pair = td_tensor_part(&x, f, PAIR), pictures = td_tensor_part(rgb, f, PAIR);

                TRY(enlarge(vae, c, l, &pair, &pair));
                TRY(decode(vae, c, i + 1, pair, &pictures));
            }
            if (x.shape[0] > PAIR)
                return 0;
            TRY(enlarge(vae, c, l, &x, &x));
        }
    }
    norm = td_vae_normed(&vae->conv_out, &c->buf[1], x.shape[0], x.shape[1], x.shape[2], x.shape[3]);
    TRY(op->rms_silu     (d, &norm, &x, vae->gamma_out, 1));
    TRY(op->causal_conv3d(d, rgb, &norm, &c->cache_out, &vae->conv_out, NULL));
    TRY(td_vae_keep      (d, &c->cache_out, &norm, &c->buf[1]));
fail:
    return ret;
}

int td_vae_decode_next(const TDVae *vae, TDVaeClip *c, const TDTensor *z, TDTensor *rgb)
{
    const TDOps *op = vae->dev->ops;
    TDTensor x = td_vae_tensor(&c->buf[0], 1, c->h, c->w, vae->conv_in.c_out),
             raw = td_vae_tensor(&c->buf[1], 1, c->h, c->w, TD_LATENT_CHANNELS);
    TDDev *d = vae->dev;
    int ret;

    TRY(op->vae_unscale  (d, &raw, z, c->next, 0));
    TRY(op->causal_conv3d(d, &c->latent, &raw, NULL, &vae->conv_latent, NULL));
    TRY(op->causal_conv3d(d, &x, &c->latent, &c->cache_in, &vae->conv_in, NULL));
    TRY(op->keep_frames  (d, &c->cache_in, &c->latent));
    rgb->shape[0] = c->next > 0 ? 4 : 1;
    TRY(decode(vae, c, 0, x, rgb));
    c->next++;
fail:
    return ret;
}
