/* SPDX-License-Identifier: BSD-2-Clause
 * ops: what three operations that make most of a clip take at a clip's size, on inputs by chance, through the seam.
 * usage: ops [-B cuda|cpu|CARD] TxhxW, the latents, such as 21x60x104 of 832x480x81
 *
 * 1. A line each "NAME MS TYPE=OPERATIONS...": milliseconds of one call, the best of three rounds, and its operations
 *    (two a multiply-add) by the type that the tensor cores multiply. With L = T h/2 W/2 tokens:
 *    product-up   [L,1536] x [1536,8960] and
 *    product-down [L,8960] x [8960,1536], int8 in blocks with a scale each
 *    attention    sagesla, 12 heads of 128, a tenth of the key blocks, with its preparation, without the linear branch
 *    sage         of that, what three tenths of the blocks take beyond one: preparation is in neither. Its time and
 *                 operations are of two tenths. pv: products of P and V, whose type is the card's (attn_sage.cu)
 *    conv3d       3x3x3, 96 to 96 channels, of four pictures of 8h x 8W, bf16
 *    conv3d-f16   the same of f16, where the card makes those behind a norm so
 * 2. Where memory is short, or a device cannot compute one, that is an error line and status 1. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "model/device.h"
#include "base/rng.h"
#include "base/thread.h"
#include "../cards.h"

#define DIM 1536
#define FFN 8960
#define HEADS 12
#define CHANNELS 96
#define FRAMES 4

typedef struct Bench {
    TDLog log;
    TDDev *dev;
    TDArena arena;
    TDBuf buf;
    TDWeights weights;
    int64_t tokens, h, w;                        /* h, w: of a picture */
    int rounds, calls;                           /* best of rounds, each so many calls one after another */
} Bench;

/* bf16 values by chance; free() them */
static uint16_t *chance(Bench *b, int64_t n, float size)
{
    uint16_t *v = malloc((size_t)n * sizeof(*v));
    uint64_t x = 88172645463325252u;

    if (!v)
        td_error(&b->log, ENOMEM, "%" PRId64 " values: out of memory", n);
    for (int64_t i = 0; v && i < n; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        v[i] = td_f32_to_bf16(((float)(x & 0xffff) + (float)(x >> 16 & 0xffff) + (float)(x >> 32 & 0xffff) - 98302.5f) /
                              32768.0f * size);
    }
    return v;
}

static int fill(Bench *b, TDTensor *t, float size)
{
    uint16_t *v = chance(b, td_tensor_count(t), size);
    int ret = v ? b->dev->ops->upload(b->dev, t, v) : TD_ERR(ENOMEM);

    free(v);
    return ret;
}

/* memory of an operation by the plan that is made twice */
#define PLANNED(b, plan) do { \
        td_arena_init(&(b)->arena, NULL, 0, &(b)->log); \
        TRY(plan); \
        TRY((b)->dev->ops->alloc((b)->dev, &(b)->buf, (b)->arena.peak, "an operation")); \
        td_arena_init(&(b)->arena, (b)->buf.ptr, (b)->buf.bytes, &(b)->log); \
        TRY(plan); } while (0)

#define TIMED(b, seconds, call) do { \
        TRY(call); \
        TRY((b)->dev->ops->sync((b)->dev)); \
        *(seconds) = INFINITY; \
        for (int round_ = 0; round_ < (b)->rounds; round_++) { \
            double start_ = td_now(); \
            for (int call_ = 0; call_ < (b)->calls; call_++) \
                TRY(call); \
            TRY((b)->dev->ops->sync((b)->dev)); \
            *(seconds) = fmin(*(seconds), (td_now() - start_) / (b)->calls); \
        } } while (0)

static void done(Bench *b)
{
    b->dev->ops->free(b->dev, &b->buf);
    td_weights_free(b->dev, &b->weights);
}

/* ---- int8 product ---- */

static int plan_product(Bench *b, TDAct *x, TDTensor *y, int64_t n, int64_t k)
{
    int ret;

    TRY(td_plan_act(&b->arena, x, b->tokens, k, 1));
    TRY(TD_CARVE(&b->arena, y, TD_BF16, b->tokens, n));
fail:
    return ret;
}

static int product(Bench *b, const char *name, int64_t n, int64_t k)
{
    uint16_t *w = chance(b, n * k, 1 / sqrtf((float)k));
    TDEntry e = { .name = "weight", .dtype = TD_BF16, .n_dims = 2, .shape = { n, k, 1, 1, 1 }, .stride = { k, 1 },
                  .data = (const uint8_t *)w, .bytes = (size_t)(n * k) * 2, .file = "ops" };
    TDLinearSource src = { .w = &e };
    TDTensor y;
    TDLinear lin;
    TDAct x;
    double s;
    int ret = TD_ERR(ENOMEM);

    if (!w)
        goto fail;
    TRY(td_pack_linear(b->dev, &b->weights, &lin, &src, 1, TD_I8));
    td_pack_end(b->dev);
    PLANNED(b, plan_product(b, &x, &y, n, k));
    TRY(fill(b, &x.x, 1));
    TRY(b->dev->ops->quantise(b->dev, &x));
    TIMED(b, &s, b->dev->ops->linear(b->dev, &y, &x, &lin));
    printf("%s %.4f int8=%.0f\n", name, s * 1e3, 2.0 * (double)b->tokens * (double)n * (double)k);
fail:
    done(b);
    free(w);
    return ret;
}

/* ---- attention ---- */

static int plan_attention(Bench *b, TDQkv *qkv, TDAct *o)
{
    int ret;

    qkv->q_code = (TDTensor){ 0 };               /* of its own */
    TRY(td_plan_qkv(b->dev, &b->arena, qkv));
    TRY(td_plan_act(&b->arena, o, b->tokens, DIM, 0));
fail:
    return ret;
}

/* scores that are multiplied, and its time with this share of the key blocks */
static int attend(Bench *b, double topk, double *scores, double *s)
{
    TDQkv qkv = { .cfg = { TD_ATTN_SAGESLA, 128, 64, topk }, .n_q = b->tokens, .n_kv = b->tokens, .n_heads = HEADS,
                  .head_dim = DIM / HEADS };
    TDLinear none = { 0 };
    TDAct o;
    int ret;

    PLANNED(b, plan_attention(b, &qkv, &o));
    TRY(fill(b, &qkv.q, 1));
    TRY(fill(b, &qkv.k, 1));
    TRY(fill(b, &qkv.v, 1));
    TIMED(b, s, b->dev->ops->attn_sla(b->dev, &o, &qkv, &none));
    *scores = (double)b->tokens * (double)qkv.n_keep * qkv.cfg.bk * HEADS;
fail:
    done(b);
    return ret;
}

static int attention(Bench *b)
{
    double few, many, s_few, s_many, macs = 2.0 * DIM / HEADS;
    int ret;

    TRY(attend(b, 0.1, &few, &s_few));
    TRY(attend(b, 0.3, &many, &s_many));
    printf("attention %.4f int8=%.0f pv=%.0f\n", s_few * 1e3, macs * few, macs * few);
    printf("sage %.4f int8=%.0f pv=%.0f\n", (s_many - s_few) * 1e3, macs * (many - few), macs * (many - few));
fail:
    return ret;
}

/* ---- convolution ---- */

static int plan_conv(Bench *b, TDTensor *x, TDTensor *y, TDTensor *cache)
{
    int ret;

    TRY(TD_CARVE(&b->arena, x, TD_BF16, FRAMES, b->h, b->w, CHANNELS));
    TRY(TD_CARVE(&b->arena, y, TD_BF16, FRAMES, b->h, b->w, CHANNELS));
    TRY(TD_CARVE(&b->arena, cache, TD_BF16, 2, b->h, b->w, CHANNELS));
fail:
    return ret;
}

/* f16: of what has a bound, as behind a norm */
static int conv3d(Bench *b, int f16)
{
    int64_t n = (int64_t)CHANNELS * CHANNELS * 27;
    uint16_t *w = chance(b, n, 0.02f);
    TDEntry e = { .name = "weight", .dtype = TD_BF16, .n_dims = 5, .shape = { CHANNELS, CHANNELS, 3, 3, 3 },
                  .stride = { CHANNELS * 27, 27, 9, 3, 1 }, .data = (const uint8_t *)w, .bytes = (size_t)n * 2,
                  .file = "ops" };
    TDConv conv = { .c_out = CHANNELS, .c_in = CHANNELS, .kt = 3, .kh = 3, .kw = 3, .stride_t = 1, .stride_s = 1,
                    .reach = f16 ? 30 : 0 };
    static const float bias[CHANNELS];
    TDTensor x, y, cache;
    double s;
    int ret = TD_ERR(ENOMEM);

    if (!w)
        goto fail;
    TRY(td_pack_conv(b->dev, &b->weights, &conv, &e));
    if (f16 && !conv.f16)
        goto fail;
    TRY(td_pack_vector(b->dev, &b->weights, &conv.bias, bias, CHANNELS));
    PLANNED(b, plan_conv(b, &x, &y, &cache));
    TRY(fill(b, &x, 1));                         /* read as f16 they are such values, too */
    TRY(b->dev->ops->zero(b->dev, &cache));
    x.dtype = f16 ? TD_F16 : TD_BF16;
    TIMED(b, &s, b->dev->ops->causal_conv3d(b->dev, &y, &x, &cache, &conv, NULL));
    printf("conv3d%s %.4f %s=%.0f\n", f16 ? "-f16" : "", s * 1e3, f16 ? "f16-sums-f16" : "bf16",
           2.0 * FRAMES * (double)(b->h * b->w) * (double)n);
fail:
    done(b);
    free(w);
    return ret;
}

static void log_line(void *cookie, int level, const char *line)
{
    (void)cookie;
    (void)level;
    fprintf(stderr, "ops: %s\n", line);
}

int main(int argc, char **argv)
{
    Bench b = { .log.out = { NULL, log_line, TD_LOG_WARNING }, .rounds = 3, .calls = 5 };
    const char *backend = argc == 4 && !strcmp(argv[1], "-B") ? argv[2] : "cuda";
    TDGpu gpu = { .ordinal = -1 };
    TDCancel cancel = { 0 };
    int64_t t, h, w;
    int ret, end = 0;
    int on_gpu = card_named(backend, &gpu.as);

    if ((argc != 2 && argc != 4) || (argc == 4 && strcmp(argv[1], "-B")) || (!on_gpu && strcmp(backend, "cpu")) ||
        sscanf(argv[argc - 1], "%" SCNd64 "x%" SCNd64 "x%" SCNd64 "%n", &t, &h, &w, &end) != 3 || argv[argc - 1][end] ||
        t < 1 || t > 200 || h < 2 || h > 256 || w < 2 || w > 256) {
        fputs("usage: ops [-B cuda|cpu|CARD] TxhxW, such as 21x60x104\n", stderr);
        return 2;
    }
    b.tokens = t * (h / 2) * (w / 2);
    b.h = 8 * h;
    b.w = 8 * w;
    if (!on_gpu)
        b.rounds = b.calls = 1;
    TRY(td_device_open(&b.dev, on_gpu ? TD_BACKEND_CUDA : TD_BACKEND_CPU, &gpu, 0, &cancel, &b.log));
    TRY(b.dev->ops->attach(b.dev));
    TRY(product(&b, "product-up", FFN, DIM));
    TRY(product(&b, "product-down", DIM, FFN));
    TRY(attention(&b));
    TRY(conv3d(&b, 0));
    TRY(conv3d(&b, 1));
fail:
    if (b.dev) {
        td_pack_end(b.dev);
        b.dev->ops->detach(b.dev);
        b.dev->ops->close(&b.dev);
    }
    return ret < 0;
}
