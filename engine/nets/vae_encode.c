/* SPDX-License-Identifier: BSD-2-Clause
 * Names and order: TurboDiffusion rcm/tokenizers/wan2pt1.py. The base width is read from the tensors.
 *
 * A still: if all frames after the first are zero, so is every layer's history in the end, and its output settles: each
 * causal convolution with 3 taps in time needs 2 more frames for it, and halving the frames halves that count. What has
 * settled is repeated, and the layers before it are not computed again: of 81 frames 13 pass through the layers of full
 * size. A frame's values depend on its inputs alone, so the latents are the same to the last bit.
 *
 * Invariants
 *  1. A 3x3x3 convolution is causal over the whole clip with zero history; its cache holds the two frames before the
 *     chunk.
 *  2. A downsampler's time convolution is skipped for latent frame 0, which goes into its cache of one frame.
 *  3. `settled` counts frames where they are computed; a layer is left out only from the second chunk on that begins
 *     with a settled frame, so that a settled one has been kept. */
#include <stdio.h>
#include <stdlib.h>
#include "nets/vae_encode.h"
#include "nets/vae_priv.h"

#define AT(member) offsetof(TDVaeEncoder, member)

static const TDNetTensor before_layers[] = {
    { "encoder.conv1",  TD_IS_CONV,  TD_DIM,     TD_SIZE_3,  3, 3, TD_BY_HAND },
    { NULL }
};
static const TDNetTensor after_layers[] = {
    { "encoder.head.0", TD_IS_GAMMA, TD_WIDTH,   .ks = 3, .at = AT(gamma_out) },
    { "encoder.head.2", TD_IS_CONV,  TD_SIZE_32, TD_WIDTH,   3, 3, AT(conv_out) },
    { "conv1",          TD_IS_CONV,  TD_SIZE_32, TD_SIZE_32, 1, 1, AT(conv_latent) },
    { NULL }
};

#undef AT

int td_vae_encode_each_tensor(int64_t base, TDTensorFn fn, void *cookie)
{
    int64_t sizes[TD_N_SIZES];
    int ret;

    td_vae_end_sizes(sizes, base);
    TRY(td_each_tensor(before_layers, "", sizes, 1, 0, fn, cookie));
    TRY(td_vae_each_layer(0, base, fn, cookie));
    TRY(td_each_tensor(after_layers, "", sizes, 1, 0, fn, cookie));
fail:
    return ret;
}

/* frame 0 is the picture; from frame 1 on the input is the same */
static void find_settled(TDVaeEncoder *enc)
{
    int64_t at = 1 + 2;

    for (int i = 0; i < enc->n_layers; i++) {
        const TDVaeLayer *l = &enc->layers[i];

        if (l->kind == TD_VAE_RESIDUAL)
            at += 4;
        enc->settled[i] = at;
        if (l->time.c_out)                       /* out[j] needs in[2j-2] to in[2j] */
            at = (at + 1) / 2 + 1;
    }
    enc->settled_out = at + 2;
}

int td_vae_encode_bind(TDVaeEncoder **out, TDDev *dev, const TDCheckpoint *ckpt, enum TDVaeDtype dtype, size_t block)
{
    TDVaeEncoder *enc = calloc(1, sizeof(*enc));
    TDBind b = { dev, enc ? &enc->weights : NULL, ckpt, 1, dtype == TD_VAE_DTYPE_AUTO };
    int64_t sizes[TD_N_SIZES], base;
    int ret;

    *out = NULL;
    if (!enc)
        return td_error(dev->log, ENOMEM, "VAE: out of memory");
    enc->dev = dev;
    TRY(td_weights_init(dev, &enc->weights, block));
    TRY(td_vae_base(&b, &base, "encoder.conv1", 1));
    enc->conv_in = (TDConv){ .c_out = base, .c_in = TD_VAE_IN_CHANNELS, .c_pad = TD_VAE_IN_CHANNELS - 3,
                             .kt = 3, .kh = 3, .kw = 3, .stride_t = 1, .stride_s = 1 };
    TRY(td_bind_conv(&b, &enc->conv_in, "encoder.conv1", 1));
    TRY(enc->n_layers = td_vae_bind_layers(&b, enc->layers, 0, base));
    find_settled(enc);
    td_vae_end_sizes(sizes, base);
    TRY(td_bind_tensors(&b, after_layers, "", sizes, TD_BF16, TD_NORM_EXACT, enc));
    *out = enc;
    return 0;
fail:
    td_vae_free(&enc);
    return ret;
}

int td_vae_encode_plan(TDVaeEncodeClip *c, const TDVaeEncoder *enc, TDArena *a, int64_t h, int64_t w)
{
    int64_t t = 4, y = 8 * h, x = 8 * w, largest = t * y * x * enc->conv_in.c_out;
    int ret;

    *c = (TDVaeEncodeClip){ .h = h, .w = w };
    TRY(TD_CARVE(a, &c->zeros, TD_BF16, t, y, x, TD_VAE_IN_CHANNELS));
    TRY(TD_CARVE(a, &c->cache_in, TD_BF16, 2, y, x, TD_VAE_IN_CHANNELS));
    for (int i = 0; i < enc->n_layers; i++) {
        const TDVaeLayer *l = &enc->layers[i];

        if (l->kind == TD_VAE_RESIDUAL) {
            TRY(TD_CARVE(a, &c->cache[i][0], TD_BF16, 2, y, x, l->c_in));
            TRY(TD_CARVE(a, &c->cache[i][1], TD_BF16, 2, y, x, l->c_out));
        } else if (l->kind == TD_VAE_DOWNSAMPLE) {
            y /= 2;
            x /= 2;
            TRY(TD_CARVE(a, &c->last[i], TD_BF16, 1, y, x, l->c_out));
            if (l->time.c_out) {
                c->cache[i][0] = c->last[i];
                t /= 2;
            }
        } else {
            TRY(td_vae_plan_attention(&c->attn, l, enc->dev, a, y, x));
        }
        largest = t * y * x * l->c_out > largest ? t * y * x * l->c_out : largest;
    }
    TRY(TD_CARVE(a, &c->cache_out, TD_BF16, 2, y, x, enc->conv_out.c_in));
    TRY(TD_CARVE(a, &c->moments, TD_BF16, 1, y, x, 2 * TD_LATENT_CHANNELS));
    for (int i = 0; i < 3; i++)
        TRY(TD_CARVE(a, &c->buf[i], TD_BF16, largest));
fail:
    return ret;
}

int td_vae_encode_begin(const TDVaeEncoder *enc, TDVaeEncodeClip *c)
{
    const TDOps *op = enc->dev->ops;
    int ret;

    c->next = 0;
    c->still = 1;
    TRY(op->zero(enc->dev, &c->zeros));
    TRY(op->zero(enc->dev, &c->cache_in));
    TRY(op->zero(enc->dev, &c->cache_out));
    for (int i = 0; i < enc->n_layers; i++)
        for (int j = 0; j < 2; j++)
            if (c->cache[i][j].data)
                TRY(op->zero(enc->dev, &c->cache[i][j]));
    return 0;
fail:
    return ret;
}

/* after the spatial part: keep the last frame, then halve the frames */
static int downsample_time(const TDVaeEncoder *enc, TDVaeEncodeClip *c, int i, TDTensor *x)
{
    const TDOps *op = enc->dev->ops;
    const TDVaeLayer *l = &enc->layers[i];
    TDTensor last = td_tensor_part(x, x->shape[0] - 1, 1), out;
    int ret;

    if (!l->time.c_out || c->next == 0)
        return op->repeat_frame(enc->dev, &c->last[i], &last);
    out = td_vae_tensor(&c->buf[1], x->shape[0] / 2, x->shape[1], x->shape[2], l->c_out);
    TRY(op->causal_conv3d(enc->dev, &out, x, &c->cache[i][0], &l->time, NULL));
    TRY(op->keep_frames  (enc->dev, &c->cache[i][0], x));
    td_vae_exchange(&c->buf[0], &c->buf[1]);
    *x = out;
fail:
    return ret;
}

static int downsample_layer(const TDVaeEncoder *enc, TDVaeEncodeClip *c, int i, TDTensor *x)
{
    const TDVaeLayer *l = &enc->layers[i];
    TDTensor out = td_vae_tensor(&c->buf[1], x->shape[0], x->shape[1] / 2, x->shape[2] / 2, l->c_out);
    int ret;

    TRY(enc->dev->ops->causal_conv3d(enc->dev, &out, x, NULL, &l->conv1, NULL));
    td_vae_exchange(&c->buf[0], &c->buf[1]);
    *x = out;
    TRY(downsample_time(enc, c, i, x));
fail:
    return ret;
}

/* the last downsampler whose spatial part has settled before this chunk, or -1; n: its frames in the chunk */
static int find_resume(const TDVaeEncoder *enc, const TDVaeEncodeClip *c, int64_t *n)
{
    int64_t t = 4;
    int found = -1;

    for (int i = 0; i < enc->n_layers && c->still; i++) {
        if (enc->layers[i].kind == TD_VAE_DOWNSAMPLE && t * (c->next - 1) >= enc->settled[i]) {
            found = i;
            *n = t;
        }
        if (enc->layers[i].time.c_out)
            t /= 2;
    }
    return found;
}

static int encode_chunk(const TDVaeEncoder *enc, TDVaeEncodeClip *c, const TDTensor *in)
{
    const TDOps *op = enc->dev->ops;
    TDTensor x, norm, mean;
    TDDev *d = enc->dev;
    int64_t n = in->shape[0];
    int at = find_resume(enc, c, &n), ret;

    if (at >= 0) {
        x = td_vae_tensor(&c->buf[0], n, c->last[at].shape[1], c->last[at].shape[2], c->last[at].shape[3]);
        TRY(op->repeat_frame(d, &x, &c->last[at]));
        TRY(downsample_time(enc, c, at, &x));
    } else {
        x = td_vae_tensor(&c->buf[0], n, 8 * c->h, 8 * c->w, enc->conv_in.c_out);
        TRY(op->causal_conv3d(d, &x, in, &c->cache_in, &enc->conv_in, NULL));
        TRY(op->keep_frames(d, &c->cache_in, in));
    }
    while (++at < enc->n_layers) {
        if (enc->layers[at].kind == TD_VAE_RESIDUAL)
            TRY(td_vae_residual(d, &enc->layers[at], c->cache[at], &x, c->buf));
        else if (enc->layers[at].kind == TD_VAE_ATTENTION)
            TRY(td_vae_attention(d, &enc->layers[at], &c->attn, &x));
        else
            TRY(downsample_layer(enc, c, at, &x));
    }
    norm = td_vae_normed(&enc->conv_out, &c->buf[1], 1, c->h, c->w, enc->conv_out.c_in);
    mean = td_vae_tensor(&c->buf[2], 1, c->h, c->w, enc->conv_out.c_out);
    TRY(op->rms_silu     (d, &norm, &x, enc->gamma_out, 1));
    TRY(op->causal_conv3d(d, &mean, &norm, &c->cache_out, &enc->conv_out, NULL));
    TRY(td_vae_keep      (d, &c->cache_out, &norm, &c->buf[1]));
    TRY(op->causal_conv3d(d, &c->moments, &mean, NULL, &enc->conv_latent, NULL));
fail:
    return ret;
}

int td_vae_encode_next(const TDVaeEncoder *enc, TDVaeEncodeClip *c, const TDTensor *in, TDTensor *latent)
{
    int ret;

    if (in && c->next > 0)
        c->still = 0;
    if (!c->still || c->next <= enc->settled_out)
        TRY(encode_chunk(enc, c, in ? in : &c->zeros));
    TRY(enc->dev->ops->vae_scale(enc->dev, latent, &c->moments, c->next, 0));
    c->next++;
fail:
    return ret;
}
