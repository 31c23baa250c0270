/* SPDX-License-Identifier: BSD-2-Clause
 * Decoder. Names and order: TurboDiffusion rcm/tokenizers/wan2pt1.py. Layer kinds and widths are read from the tensors.
 *
 * Invariants
 *  1. A 3x3x3 convolution is causal over the whole clip with zero history; its cache holds the two frames before the
 *     chunk.
 *  2. An upsampler's time convolution is skipped for latent frame 0 and starts with zero history at frame 1: frame 0
 *     never enters its cache.
 *  3. The one attention is the second layer, where chunks are one frame: the clip holds memory for one of that size.
 *  4. Activations are bf16 between operations; the last convolution leaves f32. */
#include <stdio.h>
#include <stdlib.h>
#include "nets/vae_priv.h"

int td_vae_bind_conv(const TDBind *b, TDConv *conv, int64_t c_out, int64_t c_in, int kt, int k, const char *prefix,
                     const char *suffix)
{
    char name[96];

    snprintf(name, sizeof(name), "%s%s%s", prefix, *suffix ? "." : "", suffix);
    *conv = (TDConv){ .c_out = c_out, .c_in = c_in, .kt = kt, .kh = k, .kw = k, .stride_t = 1, .stride_s = 1 };
    return td_bind_conv(b, conv, name);
}

int td_vae_conv_width(const TDBind *b, int64_t *c_out, const char *prefix, const char *suffix)
{
    char name[96];
    const TDEntry *e;
    int ret;

    snprintf(name, sizeof(name), "%s.%s", prefix, suffix);
    if ((ret = td_bind_entry(b, &e, name, "weight")) >= 0)
        *c_out = e->shape[0];
    if (ret >= 0 && *c_out > TD_MAX_WIDTH)
        ret = td_error(b->dev->log, ENOTSUP, "%s: %s: %lld channels, want up to %d", td_checkpoint_path(b->ckpt),
                       e->name, (long long)*c_out, TD_MAX_WIDTH);
    return ret;
}

int td_vae_bind_residual(const TDBind *b, TDVaeLayer *l, const char *p)
{
    int ret;

    l->kind = TD_VAE_RESIDUAL;
    TRY(td_vae_conv_width(b, &l->c_out, p, "residual.2"));
    TRY(td_bind_vector(b, &l->gamma1, l->c_in, p, "residual.0.gamma"));
    TRY(td_vae_bind_conv(b, &l->conv1, l->c_out, l->c_in, 3, 3, p, "residual.2"));
    TRY(td_bind_vector(b, &l->gamma2, l->c_out, p, "residual.3.gamma"));
    TRY(td_vae_bind_conv(b, &l->conv2, l->c_out, l->c_out, 3, 3, p, "residual.6"));
    l->conv1.gamma = l->gamma2;
    if (l->c_in != l->c_out)
        TRY(td_vae_bind_conv(b, &l->shortcut, l->c_out, l->c_in, 1, 1, p, "shortcut"));
fail:
    return ret;
}

int td_vae_bind_attention(const TDBind *b, TDVaeLayer *l, const char *p)
{
    TDLinearSource src;
    TDLinear *part[3] = { &l->q, &l->k, &l->v };
    int64_t c = l->c_in;
    char name[96];
    int ret;

    l->kind = TD_VAE_ATTENTION;
    l->c_out = c;
    TRY(td_bind_vector(b, &l->gamma1, c, p, "norm.gamma"));
    snprintf(name, sizeof(name), "%s.to_qkv", p);
    TRY(td_bind_source(b, &src, TD_BF16, 3 * c, c, name));
    for (int i = 0; i < 3; i++) {
        src.row0 = i * c;
        src.n_rows = c;
        TRY(b->dev->ops->pack_linear(b->dev, b->weights, part[i], &src, 1, TD_BF16));
    }
    snprintf(name, sizeof(name), "%s.proj", p);
    TRY(td_bind_linear(b, &l->proj, TD_BF16, c, c, 1, &(const char *){ name }));
fail:
    return ret;
}

static int bind_upsample(const TDBind *b, TDVaeLayer *l, const char *p)
{
    int ret;

    l->kind = TD_VAE_UPSAMPLE;
    TRY(td_vae_conv_width(b, &l->c_out, p, "resample.1"));
    TRY(td_vae_bind_conv(b, &l->conv1, l->c_out, l->c_in, 1, 3, p, "resample.1"));
    l->conv1.upsample = 1;
    if (td_bind_has(b, p, "time_conv.weight")) {
        TRY(td_vae_bind_conv(b, &l->time, 2 * l->c_in, l->c_in, 3, 1, p, "time_conv"));
        l->time.interleave = 1;
    }
fail:
    return ret;
}

/* every layer of the file has been bound, the first n_layers of them: none follows a gap or is of another kind */
static int check_layers(const TDBind *b, const TDVae *vae)
{
    int64_t n_up = 0, n_time = 0;

    for (int i = 0; i < vae->n_layers; i++) {
        n_up += vae->layers[i].kind == TD_VAE_UPSAMPLE;
        n_time += vae->layers[i].time.c_out != 0;
    }
    for (int i = 0; i < td_checkpoint_count(b->ckpt); i++) {
        const char *name = td_checkpoint_entry(b->ckpt, i)->name;
        int layer;

        if ((sscanf(name, "decoder.middle.%d.", &layer) == 1 && (layer >= vae->n_layers || layer > 2)) ||
            (sscanf(name, "decoder.upsamples.%d.", &layer) == 1 && layer >= vae->n_layers - 3))
            return td_error(b->dev->log, EBADMSG,
                            "%s: %s is of no known layer; the first %d have residual.0.gamma, "
                            "resample.1.weight or, the second one alone, to_qkv.weight",
                            td_checkpoint_path(b->ckpt), name, vae->n_layers);
    }
    if (n_up != 3 || n_time != 2)
        return td_error(b->dev->log, ENOTSUP,
                        "%s: the decoder doubles size %lld times and frames %lld times, want 3 and 2 (the Wan 2.1 VAE)",
                        td_checkpoint_path(b->ckpt), (long long)n_up, (long long)n_time);
    return 0;
}

int td_vae_bind(TDVae **out, TDDev *dev, const TDCheckpoint *ckpt, size_t block)
{
    TDVae *vae = calloc(1, sizeof(*vae));
    TDBind b = { dev, vae ? &vae->weights : NULL, ckpt, 1 };
    int64_t c = 0;
    int ret;

    *out = NULL;
    if (!vae)
        return td_error(dev->log, ENOMEM, "VAE: out of memory");
    vae->dev = dev;
    TRY(td_weights_init(dev, &vae->weights, block));
    TRY(td_vae_bind_conv(&b, &vae->conv_latent, TD_LATENT_CHANNELS, TD_LATENT_CHANNELS, 1, 1, "conv2", ""));
    TRY(td_vae_conv_width(&b, &c, "decoder", "conv1"));
    TRY(td_vae_bind_conv(&b, &vae->conv_in, c, TD_LATENT_CHANNELS, 3, 3, "decoder.conv1", ""));
    for (int i = 0; vae->n_layers < TD_VAE_MAX_LAYERS; i++) {
        TDVaeLayer *l = &vae->layers[vae->n_layers];
        char p[64];

        snprintf(p, sizeof(p), i < 3 ? "decoder.middle.%d" : "decoder.upsamples.%d", i < 3 ? i : i - 3);
        l->c_in = c;
        if (td_bind_has(&b, p, "residual.0.gamma"))
            TRY(td_vae_bind_residual(&b, l, p));
        else if (i == 1 && td_bind_has(&b, p, "to_qkv.weight"))
            TRY(td_vae_bind_attention(&b, l, p));
        else if (td_bind_has(&b, p, "resample.1.weight"))
            TRY(bind_upsample(&b, l, p));
        else
            break;
        c = l->c_out;
        vae->n_layers++;
    }
    TRY(check_layers(&b, vae));
    TRY(td_bind_vector(&b, &vae->gamma_out, c, "decoder.head.0.gamma", ""));
    TRY(td_vae_bind_conv(&b, &vae->conv_out, 3, c, 3, 3, "decoder.head.2", ""));
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

int td_vae_plan(TDVaeClip *c, const TDVae *vae, TDArena *a, int64_t h, int64_t w)
{
    int64_t t = 1, y = h, x = w, largest = h * w * vae->conv_in.c_out;
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
                t *= 2;
                largest = t * y * x * l->c_in > largest ? t * y * x * l->c_in : largest;
            }
            y *= 2;
            x *= 2;
        } else {
            TRY(td_vae_plan_attention(&c->attn, l, vae->dev, a, y, x));
        }
        largest = t * y * x * l->c_out > largest ? t * y * x * l->c_out : largest;
    }
    TRY(TD_CARVE(a, &c->cache_out, TD_BF16, 2, y, x, vae->conv_out.c_in));
    for (int i = 0; i < 3; i++)
        TRY(TD_CARVE(a, &c->buf[i], TD_BF16, largest));
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

/* the same memory as rows of channels */
static TDTensor rows(const TDTensor *x)
{
    return (TDTensor){ x->data, { x->shape[0] * x->shape[1] * x->shape[2], x->shape[3], 1, 1, 1 }, 2, TD_BF16 };
}

int td_vae_residual(TDDev *d, const TDVaeLayer *l, TDTensor cache[2], TDTensor *x, TDTensor *a, TDTensor *b)
{
    const TDOps *op = d->ops;
    TDTensor norm = td_vae_tensor(a, x->shape[0], x->shape[1], x->shape[2], l->c_in),
             mid = td_vae_tensor(b, x->shape[0], x->shape[1], x->shape[2], l->c_out),
             out = td_vae_tensor(a, x->shape[0], x->shape[1], x->shape[2], l->c_out), *skip = x;
    int ret;

    TRY(op->rms_silu     (d, &norm, x, l->gamma1, 1));
    TRY(op->causal_conv3d(d, &mid, &norm, &cache[0], &l->conv1, NULL));       /* norm and SiLU in it    */
    if (l->shortcut.c_out) {
        TRY(op->causal_conv3d(d, &out, x, NULL, &l->shortcut, NULL));
        skip = &out;
    }
    TRY(op->causal_conv3d(d, &out, &mid, &cache[1], &l->conv2, skip));
    *a = (TDTensor){ x->data, { 0 }, 0, TD_BF16 };
    *x = out;
fail:
    return ret;
}

int td_vae_plan_attention(TDVaeAttention *at, const TDVaeLayer *l, TDDev *dev, TDArena *a, int64_t h, int64_t w)
{
    const TDOps *op = dev->ops;
    int ret;

    at->qkv = (TDQkv){ .cfg = { .kind = TD_ATTN_DENSE }, .n_q = h * w, .n_kv = h * w, .n_heads = 1 };
    at->qkv.head_dim = l->c_in;
    TRY(op->plan_qkv(dev, a, &at->qkv));
    TRY(op->plan_act(dev, a, &at->in, h * w, l->c_in, 0));
    TRY(op->plan_act(dev, a, &at->out, h * w, l->c_in, 0));
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

static int upsample_layer(const TDVae *vae, TDVaeClip *c, int i, TDTensor *x, TDTensor *a, TDTensor *b)
{
    const TDOps *op = vae->dev->ops;
    const TDVaeLayer *l = &vae->layers[i];
    TDTensor in = *x, out;
    int ret;

    if (l->time.c_out && c->next > 0) {
        in = td_vae_tensor(a, 2 * x->shape[0], x->shape[1], x->shape[2], l->c_in);
        TRY(op->causal_conv3d(vae->dev, &in, x, &c->cache[i][2], &l->time, NULL));
    }
    out = td_vae_tensor(b, in.shape[0], 2 * in.shape[1], 2 * in.shape[2], l->c_out);
    TRY(op->causal_conv3d(vae->dev, &out, &in, NULL, &l->conv1, NULL));
    *b = (TDTensor){ x->data, { 0 }, 0, TD_BF16 };
    *x = out;
fail:
    return ret;
}

int td_vae_decode_next(const TDVae *vae, TDVaeClip *c, const TDTensor *z, TDTensor *rgb)
{
    const TDOps *op = vae->dev->ops;
    TDTensor x = td_vae_tensor(&c->buf[0], 1, c->h, c->w, vae->conv_in.c_out), a = c->buf[1], b = c->buf[2];
    TDTensor raw = td_vae_tensor(&a, 1, c->h, c->w, TD_LATENT_CHANNELS), norm;
    TDDev *d = vae->dev;
    int ret;

    TRY(op->vae_unscale  (d, &raw, z, c->next));
    TRY(op->causal_conv3d(d, &c->latent, &raw, NULL, &vae->conv_latent, NULL));
    TRY(op->causal_conv3d(d, &x, &c->latent, &c->cache_in, &vae->conv_in, NULL));
    for (int i = 0; i < vae->n_layers; i++) {
        if (vae->layers[i].kind == TD_VAE_RESIDUAL)
            TRY(td_vae_residual(d, &vae->layers[i], c->cache[i], &x, &a, &b));
        else if (vae->layers[i].kind == TD_VAE_ATTENTION)
            TRY(td_vae_attention(d, &vae->layers[i], &c->attn, &x));
        else
            TRY(upsample_layer(vae, c, i, &x, &a, &b));
    }
    norm = td_vae_tensor(&a, x.shape[0], x.shape[1], x.shape[2], x.shape[3]);
    TRY(op->rms_silu(d, &norm, &x, vae->gamma_out, 1));
    rgb->shape[0] = x.shape[0];
    TRY(op->causal_conv3d(d, rgb, &norm, &c->cache_out, &vae->conv_out, NULL));
    c->next++;
fail:
    return ret;
}
