/* SPDX-License-Identifier: BSD-2-Clause
 * Names and order: madebyollin/taehv, taehv.py; LightX2V, video_encoders/hf/wan/vae_tiny.py, for lighttaew2_1.
 *
 * A memory block computes x = ReLU(x + c(ReLU(c(ReLU(c(x, the frame before)))))): its first convolution is one with two
 * taps in time, whose cache is the frame before. Stages of the decoder end with a 1x1 convolution that may make two
 * frames of one, and a 3x3 one over the picture doubled to its nearest pixels. The file has the doubling before the
 * former, which gives the same numbers and costs four times as much.
 *
 * Invariants
 *  1. Blocks have memory over the whole clip, of zeros at first: chunks change nothing.
 *  2. The first latent frame makes four pixel frames like others, of which the first three are dropped: what is made
 *     of them alone is not computed.
 *  3. Activations are bf16 between operations; the last convolution leaves f32, 2 rgb - 1, as pictures are here. */
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include "nets/vae_encode.h"
#include "nets/vae_tiny.h"

#define FULL_LAYERS 3                            /* of the encoder, that see pictures of full size or make them half */
#define SETTLES 9                                /* latent frames of grey, from which on all are the same */

/* ---- layers ---- */

enum Kind { CONV, MEMORY, MORE_FRAMES, UP, FEWER_FRAMES, DOWN };

/* its number in the file, which counts ReLUs and doublings, too; frames: of its output (input) for each of the other */
typedef struct Step {
    int number;
    enum Kind kind;
    int c_in, c_out, frames, relu;
} Step;

#define REMEMBER(number, width) { number, MEMORY, width, width, 1, 1 }

static const Step decoder_steps[] = {
    { 1, CONV, 16, 256, 1, 1 }, REMEMBER(3, 256), REMEMBER(4, 256), REMEMBER(5, 256),
    { 7, MORE_FRAMES, 256, 256, 1, 0 }, { 8, UP, 256, 128, 1, 0 },
    REMEMBER(9, 128), REMEMBER(10, 128), REMEMBER(11, 128),
    { 13, MORE_FRAMES, 128, 128, 2, 0 }, { 14, UP, 128, 64, 1, 0 },
    REMEMBER(15, 64), REMEMBER(16, 64), REMEMBER(17, 64),
    { 19, MORE_FRAMES, 64, 64, 2, 0 }, { 20, UP, 64, 64, 1, 1 }, { 22, CONV, 64, 3, 1, 0 },
};
static const Step encoder_steps[] = {
    { 0, CONV, 3, 64, 1, 1 },
    { 2, FEWER_FRAMES, 64, 64, 2, 0 }, { 3, DOWN, 64, 64, 1, 0 }, REMEMBER(4, 64), REMEMBER(5, 64), REMEMBER(6, 64),
    { 7, FEWER_FRAMES, 64, 64, 2, 0 }, { 8, DOWN, 64, 64, 1, 0 }, REMEMBER(9, 64), REMEMBER(10, 64), REMEMBER(11, 64),
    { 12, FEWER_FRAMES, 64, 64, 1, 0 }, { 13, DOWN, 64, 64, 1, 0 }, REMEMBER(14, 64), REMEMBER(15, 64),
    REMEMBER(16, 64), { 17, CONV, 64, 16, 1, 0 },
};

#define N_STEPS(steps) ((int)(sizeof(steps) / sizeof(*steps)))
_Static_assert(N_STEPS(decoder_steps) <= TD_TINY_MAX_LAYERS && N_STEPS(encoder_steps) <= TD_TINY_MAX_LAYERS, "layers");

/* tensors of a step, after its number */
static const TDNetTensor conv_tensors[] = { { "", TD_IS_CONV, TD_OUT, TD_IN, 0, 3, TD_BY_HAND }, { NULL } };
static const TDNetTensor bare_tensors[] = { { "", TD_IS_CONV_BARE, TD_OUT, TD_IN, 0, 3, TD_BY_HAND }, { NULL } };
static const TDNetTensor frames_tensors[] = { { ".conv", TD_IS_CONV_BARE, TD_OUT, TD_IN, 0, 1, TD_BY_HAND }, { NULL } };
static const TDNetTensor memory_tensors[] = {
    { ".conv.0", TD_IS_CONV, TD_OUT, TD_WIDTH, 0, 3, TD_BY_HAND },
    { ".conv.2", TD_IS_CONV, TD_OUT, TD_OUT,   0, 3, TD_BY_HAND },
    { ".conv.4", TD_IS_CONV, TD_OUT, TD_OUT,   0, 3, TD_BY_HAND },
    { NULL }
};

static const TDNetTensor *const of_kind[] = {
    [CONV] = conv_tensors, [MEMORY] = memory_tensors, [MORE_FRAMES] = frames_tensors, [UP] = bare_tensors,
    [FEWER_FRAMES] = frames_tensors, [DOWN] = bare_tensors,
};

static const Step *steps_of(int decoder, int *n)
{
    *n = decoder ? N_STEPS(decoder_steps) : N_STEPS(encoder_steps);
    return decoder ? decoder_steps : encoder_steps;
}

int td_tiny_each_tensor(int decoder, TDTensorFn fn, void *cookie)
{
    int n, ret = 0;
    const Step *s = steps_of(decoder, &n);

    for (int i = 0; i < n && ret >= 0; i++) {
        int64_t sizes[TD_N_SIZES];
        char prefix[24];

        td_sizes_init(sizes);
        sizes[TD_IN] = s[i].c_in * (s[i].kind == FEWER_FRAMES ? s[i].frames : 1);
        sizes[TD_OUT] = s[i].c_out * (s[i].kind == MORE_FRAMES ? s[i].frames : 1);
        sizes[TD_WIDTH] = 2 * s[i].c_in;
        snprintf(prefix, sizeof(prefix), "%s.%d", decoder ? "decoder" : "encoder", s[i].number);
        ret = td_each_tensor(of_kind[s[i].kind], prefix, sizes, 0, 0, fn, cookie);
    }
    return ret;
}

/* ---- which file is one ---- */

int td_tiny_is(const TDCheckpoint *c)
{
    return td_checkpoint_find(c, "decoder.3.conv.0.weight") != NULL;
}

const char *td_tiny_stranger(const TDCheckpoint *c)
{
    const TDEntry *first = td_checkpoint_find(c, "decoder.1.weight"),
                  *block = td_checkpoint_find(c, "decoder.3.conv.0.weight");
    int64_t channels = first && first->n_dims == 4 ? first->shape[1] : TD_LATENT_CHANNELS;

    if (block && block->n_dims == 4 && block->shape[2] == 7)
        return "tiny VAE with 7x7 convolutions (super)";
    return channels == 48 ? "tiny VAE of Wan 2.2 TI2V-5B (48 latent channels)"
           : channels != TD_LATENT_CHANNELS ? "tiny VAE of another model than Wan" : NULL;
}

int td_tiny_is_light(const TDCheckpoint *c)
{
    const char *path = td_checkpoint_path(c), *slash = strrchr(path, '/');

    return strcasestr(slash ? slash : path, "lighttae") != NULL;
}

/* ---- binding ---- */

static int bind_memory(const TDBind *b, TDTinyLayer *l, const Step *s, const char *prefix)
{
    char name[64];
    int ret = 0;

    l->memory = 1;
    for (int i = 0; i < 3 && ret >= 0; i++) {
        l->conv[i] = (TDConv){ .c_out = s->c_out, .c_in = s->c_in, .kt = i ? 1 : 2, .kh = 3, .kw = 3, .stride_t = 1,
                               .stride_s = 1, .relu = 1, .file = i ? TD_CONV_TAPS : TD_CONV_NEWEST_FIRST };
        snprintf(name, sizeof(name), "%s.conv.%d", prefix, 2 * i);
        ret = td_bind_conv(b, &l->conv[i], name, 1);
    }
    return ret;
}

static int bind_step(const TDBind *b, TDTinyLayer *l, const Step *s, const char *half)
{
    TDConv *conv = &l->conv[0];
    int frames = s->kind == MORE_FRAMES || s->kind == FEWER_FRAMES;
    char name[48];

    snprintf(name, sizeof(name), "%s.%d%s", half, s->number, frames ? ".conv" : "");
    if (s->kind == MEMORY)
        return bind_memory(b, l, s, name);
    *conv = (TDConv){ .c_out = s->c_out, .c_in = s->c_in, .kt = 1, .kh = 3, .kw = 3, .stride_t = 1, .stride_s = 1,
                      .relu = s->relu };
    if (frames)
        conv->kh = conv->kw = 1;
    if (s->kind == MORE_FRAMES) {
        conv->c_out *= s->frames;
        conv->interleave = s->frames == 2;
    } else if (s->kind == FEWER_FRAMES) {
        conv->kt = conv->stride_t = s->frames;
        conv->file = TD_CONV_STACKED;
    }
    conv->upsample = s->kind == UP;
    conv->centred = s->kind == DOWN;
    conv->stride_s += s->kind == DOWN;
    conv->widened = s->c_out == 3;
    if (s->c_in == 3) {
        conv->c_in = TD_VAE_IN_CHANNELS;
        conv->c_pad = TD_VAE_IN_CHANNELS - 3;
    }
    return td_bind_conv(b, conv, name, s->kind == CONV);
}

int td_tiny_bind(TDTiny **out, TDDev *dev, const TDCheckpoint *ckpt, int decoder, size_t block)
{
    TDTiny *v = calloc(1, sizeof(*v));
    TDBind b = { dev, v ? &v->weights : NULL, ckpt, 0, 0 };
    const char *stranger = td_tiny_stranger(ckpt);
    const Step *steps;
    int ret;

    *out = NULL;
    if (!v)
        return td_error(dev->log, ENOMEM, "VAE: out of memory");
    v->dev = dev;
    v->form = (td_tiny_is_light(ckpt) ? 0 : TD_LATENT_PLAIN) | (decoder ? TD_LATENT_SOFT : 0);
    TRY(td_weights_init(dev, &v->weights, block));
    if (stranger) {
        ret = td_error(dev->log, ENOTSUP, "%s: %s, want one of Wan 2.1 (taew2_1, lighttaew2_1)",
                       td_checkpoint_path(ckpt), stranger);
        goto fail;
    }
    steps = steps_of(decoder, &v->n_layers);
    for (int i = 0; i < v->n_layers; i++)
        TRY(bind_step(&b, &v->layers[i], &steps[i], decoder ? "decoder" : "encoder"));
    *out = v;
    return 0;
fail:
    td_tiny_free(&v);
    return ret;
}

int td_tiny_view(TDTiny **out, const TDTiny *src, TDDev *dev)
{
    TDTiny *v = *out ? *out : malloc(sizeof(*v));

    *out = v;
    if (!v)
        return td_error(dev->log, ENOMEM, "VAE: out of memory");
    *v = *src;
    v->dev = dev;
    v->weights = (TDWeights){ 0 };
    return 0;
}

void td_tiny_free(TDTiny **half)
{
    if (!*half)
        return;
    td_weights_free((*half)->dev, &(*half)->weights);
    free(*half);
    *half = NULL;
}

/* ---- both halves ---- */

/* [T,h,w,C] over a flat buffer: what this convolution makes of x */
static TDTensor output(const TDTensor *buf, const TDTensor *x, const TDConv *c)
{
    return (TDTensor){ buf->data,
                       { x->shape[0] * (1 + c->interleave) / c->stride_t, (x->shape[1] << c->upsample) / c->stride_s,
                         (x->shape[2] << c->upsample) / c->stride_s, c->c_out / (1 + c->interleave), 1 },
                       4, TD_BF16 };
}

/* layers [from, to). x: in and out, in one of three buffers; a and b: the other two, a changes places with x */
static int run_layers(const TDTiny *v, TDTensor cache[], int from, int to, TDTensor *x, TDTensor *a, TDTensor *b)
{
    const TDOps *op = v->dev->ops;
    int ret = 0;

    for (int i = from; i < to; i++) {
        const TDConv *c = v->layers[i].conv;
        TDTensor first = output(a, x, c), second = output(b, x, c);

        TRY(op->causal_conv3d(v->dev, &first, x, v->layers[i].memory ? &cache[i] : NULL, &c[0], NULL));
        if (v->layers[i].memory) {
            TRY(op->keep_frames(v->dev, &cache[i], x));
            TRY(op->causal_conv3d(v->dev, &second, &first, NULL, &c[1], NULL));
            TRY(op->causal_conv3d(v->dev, x, &second, NULL, &c[2], x));
        } else {
            a->data = x->data;
            *x = first;
        }
    }
fail:
    return ret;
}

/* caches of layers [from, to), and the most values that one of them gives out. x: shape of the first one's
 * input, and of the last one's output */
static int plan_layers(const TDTiny *v, TDTensor cache[], TDArena *a, int from, int to, TDTensor *x, int64_t *most)
{
    int ret = 0;

    for (int i = from; i < to; i++) {
        if (v->layers[i].memory)
            TRY(TD_CARVE(a, &cache[i], TD_BF16, 1, x->shape[1], x->shape[2], x->shape[3]));
        *x = output(x, x, v->layers[i].conv);
        *most = td_tensor_count(x) > *most ? td_tensor_count(x) : *most;
    }
fail:
    return ret;
}

static int forget(const TDTiny *v, TDTensor cache[])
{
    int ret = 0;

    for (int i = 0; i < v->n_layers; i++)
        if (v->layers[i].memory)
            TRY(v->dev->ops->zero(v->dev, &cache[i]));
fail:
    return ret;
}

/* ---- decoder ---- */

/* the last two layers see pictures of full size, one at a time */
int td_tiny_plan(TDTinyClip *c, const TDTiny *dec, TDArena *a, int64_t h, int64_t w)
{
    TDTensor x = { NULL, { 1, h, w, TD_LATENT_CHANNELS, 1 }, 4, TD_BF16 };
    int64_t most = 0;
    int ret;

    *c = (TDTinyClip){ .h = h, .w = w };
    TRY(TD_CARVE(a, &c->latent, TD_BF16, 1, h, w, TD_LATENT_CHANNELS));
    TRY(plan_layers(dec, c->cache, a, 0, dec->n_layers - 2, &x, &most));
    x.shape[0] = 1;
    TRY(plan_layers(dec, c->cache, a, dec->n_layers - 2, dec->n_layers - 1, &x, &most));
    for (int i = 0; i < 3; i++)
        TRY(TD_CARVE(a, &c->buf[i], TD_BF16, most));
fail:
    return ret;
}

int td_tiny_begin(const TDTiny *dec, TDTinyClip *c)
{
    c->next = 0;
    return forget(dec, c->cache);
}

int td_tiny_decode_next(const TDTiny *dec, TDTinyClip *c, const TDTensor *z, TDTensor *rgb)
{
    const TDConv *up = dec->layers[dec->n_layers - 2].conv, *head = dec->layers[dec->n_layers - 1].conv;
    const TDOps *op = dec->dev->ops;
    TDTensor x = c->latent, spare[3] = { c->buf[0], c->buf[1], c->buf[2] };
    int64_t first = c->next ? 0 : 3, n;
    int ret;

    TRY(op->vae_unscale(dec->dev, &c->latent, z, c->next, dec->form));
    TRY(run_layers(dec, c->cache, 0, 1, &x, &spare[0], &spare[1]));
    spare[0] = c->buf[2];                        /* and not the latent's memory */
    TRY(run_layers(dec, c->cache, 1, dec->n_layers - 2, &x, &spare[0], &spare[1]));
    n = x.shape[0];
    rgb->shape[0] = n - first;
    for (int64_t f = first; f < n; f++) {
        TDTensor in = td_tensor_part(&x, f, 1), full = output(&spare[0], &in, up),
                 picture = td_tensor_part(rgb, f - first, 1);

        TRY(op->causal_conv3d(dec->dev, &full, &in, NULL, up, NULL));
        TRY(op->causal_conv3d(dec->dev, &picture, &full, NULL, head, NULL));
    }
    c->next++;
fail:
    return ret;
}

/* ---- encoder ---- */

int td_tiny_encode_plan(TDTinyEncodeClip *c, const TDTiny *enc, TDArena *a, int64_t h, int64_t w)
{
    TDTensor x = { NULL, { 2, 8 * h, 8 * w, TD_VAE_IN_CHANNELS, 1 }, 4, TD_BF16 };
    int64_t most = 0;
    int ret;

    *c = (TDTinyEncodeClip){ .h = h, .w = w };
    TRY(TD_CARVE(a, &c->in, TD_BF16, 4, 8 * h, 8 * w, TD_VAE_IN_CHANNELS));
    TRY(TD_CARVE(a, &c->grey, TD_BF16, 2, 8 * h, 8 * w, TD_VAE_IN_CHANNELS));
    TRY(plan_layers(enc, c->cache, a, 0, FULL_LAYERS, &x, &most));
    TRY(TD_CARVE(a, &c->still, TD_BF16, 1, x.shape[1], x.shape[2], x.shape[3]));
    x.shape[0] = 2;
    TRY(plan_layers(enc, c->cache, a, FULL_LAYERS, enc->n_layers, &x, &most));
    TRY(TD_CARVE(a, &c->mean, TD_BF16, 1, h, w, TD_LATENT_CHANNELS));
    for (int i = 0; i < 3; i++)
        TRY(TD_CARVE(a, &c->buf[i], TD_BF16, most));
fail:
    return ret;
}

int td_tiny_encode_begin(const TDTiny *enc, TDTinyEncodeClip *c)
{
    const size_t area = 64 * (size_t)c->h * (size_t)c->w;
    uint16_t *grey = calloc(2 * area * TD_VAE_IN_CHANNELS, sizeof(*grey));
    int ret;

    c->next = 0;
    c->greys = 0;
    if (!grey)
        return td_error(enc->dev->log, ENOMEM, "VAE: out of memory");
    for (size_t i = 0; i < 2 * area; i++)
        for (int k = 0; k < 3; k++)
            grey[i * TD_VAE_IN_CHANNELS + k] = td_f32_to_bf16(0.5f);
    TRY(enc->dev->ops->upload(enc->dev, &c->grey, grey));
    TRY(forget(enc, c->cache));
fail:
    free(grey);
    return ret;
}

/* the layers of full size, which remember nothing, of two frames: one frame of half the size into y */
static int encode_pair(const TDTiny *enc, TDTinyEncodeClip *c, const TDTensor *in, TDTensor *y)
{
    const TDOps *op = enc->dev->ops;
    const TDTinyLayer *l = enc->layers;
    TDTensor full = output(&c->buf[1], in, l[0].conv), one = output(&c->buf[2], &full, l[1].conv);
    int ret;

    TRY(op->causal_conv3d(enc->dev, &full, in, NULL, l[0].conv, NULL));
    TRY(op->causal_conv3d(enc->dev, &one, &full, NULL, l[1].conv, NULL));
    TRY(op->causal_conv3d(enc->dev, y, &one, NULL, l[2].conv, NULL));
fail:
    return ret;
}

int td_tiny_encode_next(const TDTiny *enc, TDTinyEncodeClip *c, const TDTensor *in, TDTensor *latent)
{
    const TDOps *op = enc->dev->ops;
    TDTensor x = c->still, a = c->buf[1], b = c->buf[2], half, pair;
    int ret = 0;

    x.data = c->buf[0].data;
    x.shape[0] = 2;
    c->greys = in ? 0 : c->greys + 1;
    for (int i = 0; i < 2 && in; i++) {
        half = td_tensor_part(&x, i, 1);
        pair = td_tensor_part(in, 2 * i, 2);
        TRY(encode_pair(enc, c, &pair, &half));
    }
    if (c->greys == 1)
        TRY(encode_pair(enc, c, &c->grey, &c->still));
    if (c->greys)
        TRY(op->repeat_frame(enc->dev, &x, &c->still));
    if (c->greys <= SETTLES) {                   /* else mean is that of the frame before */
        TRY(run_layers(enc, c->cache, FULL_LAYERS, enc->n_layers - 1, &x, &a, &b));
        TRY(op->causal_conv3d(enc->dev, &c->mean, &x, NULL, enc->layers[enc->n_layers - 1].conv, NULL));
    }
    TRY(op->vae_scale(enc->dev, latent, &c->mean, c->next, enc->form));
    c->next++;
fail:
    return ret;
}

int td_tiny_encode_picture(const TDTiny *enc, TDTinyEncodeClip *c, const TDTensor *picture, TDTensor *latent)
{
    TDTensor first = td_tensor_part(&c->in, 0, 1), rest = td_tensor_part(&c->in, 1, 3),
             grey = td_tensor_part(&c->grey, 0, 1);
    const TDOps *op = enc->dev->ops;
    int ret;

    TRY(op->repeat_frame(enc->dev, &first, picture));
    TRY(op->repeat_frame(enc->dev, &rest, latent->shape[1] > 1 ? &grey : picture));
    TRY(td_tiny_encode_next(enc, c, &c->in, latent));
fail:
    return ret;
}
