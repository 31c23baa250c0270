/* SPDX-License-Identifier: BSD-2-Clause
 * The ends of the transformer, the sampler's update and frame storage. m, n, k: latent frames, height, width unless
 * said. */
#include <math.h>
#include <stdlib.h>
#include "checkops.h"

typedef struct Inputs { const float *x, *cond, *w, *bias, *m; const float *w2, *bias2, *w3, *bias3; } Inputs;

static Inputs *inputs(Run *r)
{
    Inputs *in = (Inputs *)run_floats(r, sizeof(Inputs) / sizeof(float) + 1);

    r->note = in;
    return in;
}

#define DIM 256

/* extra: input channels */
static int run_patch(Run *r, const Case *c, float **out, int64_t *count)
{
    Inputs *in = inputs(r);
    int64_t plane = c->m * c->n * c->k;
    float *w, *b;
    TDLinear lin;
    TDTensor x, z, cond;
    int ret;

    TRY(run_linear(r, &lin, TD_BF16, DIM, c->extra * 4, 1, 0, &w, &b));
    in->w = w;
    in->bias = b;
    TRY(run_tensor(r, &z, TD_F64, in->x = run_values(r, 0, 16 * plane, 1, 0), 16, c->m, c->n, c->k));
    if (c->extra > 16)
        TRY(run_tensor(r, &cond, TD_BF16, in->cond = run_values(r, 3, (c->extra - 16) * plane, 1, 1), c->extra - 16,
                       c->m, c->n, c->k));
    TRY(run_tensor(r, &x, TD_BF16, NULL, plane / 4, DIM, 0, 0));
    TIMED(r, r->dev->ops->patch_embed(r->dev, &x, &z, c->extra > 16 ? &cond : NULL, &lin));
    TRY(run_download(r, out, count, &x, TD_UNPACK_TENSOR));
fail:
    return ret;
}

static void ref_patch(Run *r, const Case *c, double *ref)
{
    const Inputs *in = r->note;
    int64_t plane = c->m * c->n * c->k, tok = 0;

    for (int64_t t = 0; t < c->m; t++)
        for (int64_t y = 0; y < c->n; y += 2)
            for (int64_t x = 0; x < c->k; x += 2, tok++)
                for (int64_t o = 0; o < DIM; o++) {
                    double s = in->bias[o];

                    for (int64_t f = 0; f < c->extra * 4; f++) {
                        int64_t ch = f / 4, at = (t * c->n + y + f / 2 % 2) * c->k + x + f % 2;

                        s += (ch < 16 ? point(r, in->x[ch * plane + at]) : in->cond[(ch - 16) * plane + at]) *
                             in->w[o * c->extra * 4 + f];
                    }
                    ref[tok * DIM + o] = point(r, s);
                }
}

/* extra: timestep */
static int run_time(Run *r, const Case *c, float **out, int64_t *count)
{
    Inputs *in = inputs(r);
    float *w[3], *b[3], *p;
    TDTimeEmbed te;
    TDTensor e6, e;
    void *hidden;
    int64_t n;
    int ret;

    TRY(run_linear(r, &te.in, TD_F32, DIM, 256, 1, 0, &w[0], &b[0]));
    TRY(run_linear(r, &te.out, TD_F32, DIM, DIM, 3, 0, &w[1], &b[1]));
    TRY(run_linear(r, &te.proj, TD_F32, 6 * DIM, DIM, 5, 0, &w[2], &b[2]));
    *in = (Inputs){ .w = w[0], .bias = b[0], .w2 = w[1], .bias2 = b[1], .w3 = w[2], .bias3 = b[2] };
    TRY(td_weights_alloc(r->dev, &r->weights, &hidden, DIM * sizeof(float)));
    te.hidden = hidden;
    TRY(run_tensor(r, &e6, TD_F32, NULL, 6, DIM, 0, 0));
    TRY(run_tensor(r, &e, TD_F32, NULL, 1, DIM, 0, 0));
    TIMED(r, r->dev->ops->time_embed(r->dev, &e6, &e, (double)c->extra, &te));
    *count = 7 * DIM;
    *out = run_floats(r, *count);
    TRY(run_download(r, &p, &n, &e, TD_UNPACK_TENSOR));
    memcpy(*out, p, DIM * sizeof(*p));
    TRY(run_download(r, &p, &n, &e6, TD_UNPACK_TENSOR));
    memcpy(*out + DIM, p, 6 * DIM * sizeof(*p));
fail:
    return ret;
}

static void dense(double *y, const double *x, const float *w, const float *b, int64_t n, int64_t k)
{
    for (int64_t i = 0; i < n; i++) {
        y[i] = b[i];
        for (int64_t j = 0; j < k; j++)
            y[i] += x[j] * w[i * k + j];
    }
}

static void ref_time(Run *r, const Case *c, double *ref)
{
    const Inputs *in = r->note;
    double f[256], h[DIM];

    for (int i = 0; i < 128; i++) {
        f[i] = cos((double)c->extra * pow(10000, -i / 128.0));
        f[128 + i] = sin((double)c->extra * pow(10000, -i / 128.0));
    }
    dense(h, f, in->w, in->bias, DIM, 256);
    for (int i = 0; i < DIM; i++)
        h[i] /= 1 + exp(-h[i]);
    dense(ref, h, in->w2, in->bias2, DIM, DIM);
    for (int i = 0; i < DIM; i++)
        h[i] = ref[i] / (1 + exp(-ref[i]));
    dense(ref + DIM, h, in->w3, in->bias3, 6 * DIM, DIM);
}

static int run_head(Run *r, const Case *c, float **out, int64_t *count)
{
    Inputs *in = inputs(r);
    TDNormW norm = { .dim = DIM, .eps = 1e-6f, .profile = TD_NORM_EXACT };
    int64_t tokens = c->m * c->n * c->k / 4;
    float *w, *b;
    TDLinear lin;
    TDTensor x, m, v;
    int ret;

    TRY(run_linear(r, &lin, TD_F32, 64, DIM, 1, 0, &w, &b));
    in->w = w;
    in->bias = b;
    TRY(run_tensor(r, &x, TD_BF16, in->x = run_values(r, 0, tokens * DIM, 1, 1), tokens, DIM, 0, 0));
    TRY(run_tensor(r, &m, TD_F32, in->m = run_values(r, 3, 2 * DIM, 0.3f, 0), 2, DIM, 0, 0));
    TRY(run_tensor(r, &v, TD_F32, NULL, 16, c->m, c->n, c->k));
    TIMED(r, r->dev->ops->head(r->dev, &v, &x, &norm, &m, &lin));
    TRY(run_download(r, out, count, &v, TD_UNPACK_TENSOR));
fail:
    return ret;
}

static void ref_head(Run *r, const Case *c, double *ref)
{
    const Inputs *in = r->note;
    int64_t plane = c->m * c->n * c->k, tok = 0;
    double z[DIM], o[64];

    for (int64_t t = 0; t < c->m; t++)
        for (int64_t y = 0; y < c->n; y += 2)
            for (int64_t x = 0; x < c->k; x += 2, tok++) {
                double mean = 0, var = 0;

                for (int i = 0; i < DIM; i++)
                    mean += in->x[tok * DIM + i] / (double)DIM;
                for (int i = 0; i < DIM; i++)
                    var += (in->x[tok * DIM + i] - mean) * (in->x[tok * DIM + i] - mean) / DIM;
                for (int i = 0; i < DIM; i++)
                    z[i] = point(r, (in->x[tok * DIM + i] - mean) / sqrt(var + 1e-6)) * (1 + in->m[DIM + i]) + in->m[i];
                dense(o, z, in->w, in->bias, 64, DIM);
                for (int f = 0; f < 64; f++)
                    ref[f % 16 * plane + (t * c->n + y + f / 32) * c->k + x + f / 16 % 2] = o[f];
            }
}

/* a table of two periods of e */
static int run_modulation(Run *r, const Case *c, float **out, int64_t *count)
{
    Inputs *in = inputs(r);
    TDTensor m, table, e;
    int ret;

    TRY(run_tensor(r, &table, TD_F32, in->x = run_values(r, 0, 2 * c->m * c->n, 1, 0), 2 * c->m, c->n, 0, 0));
    TRY(run_tensor(r, &e, TD_F32, in->w = run_values(r, 1, c->m * c->n, 1, 0), c->m, c->n, 0, 0));
    TRY(run_tensor(r, &m, TD_F32, NULL, 2 * c->m, c->n, 0, 0));
    TIMED(r, r->dev->ops->add_modulation(r->dev, &m, &table, &e));
    TRY(run_download(r, out, count, &m, TD_UNPACK_TENSOR));
fail:
    return ret;
}

static void ref_modulation(Run *r, const Case *c, double *ref)
{
    const Inputs *in = r->note;

    for (int64_t i = 0; i < 2 * c->m * c->n; i++)
        ref[i] = (double)in->x[i] + in->w[i % (c->m * c->n)];
}

/* two draws of one generator; extra: enum TDNoise */
static int run_normal(Run *r, const Case *c, float **out, int64_t *count)
{
    float *host = run_floats(r, c->m), *second;
    TDTensor noise;
    TDRng rng;
    int ret;

    td_rng_init(&rng, (enum TDNoise)c->extra, 0, r->seed);
    TRY(run_tensor(r, &noise, TD_F32, NULL, c->m, 0, 0, 0));
    TRY(r->dev->ops->normal(r->dev, &noise, &rng, host));
    *out = run_floats(r, 2 * c->m);
    TRY(td_unpack(r->dev, *out, &noise, TD_UNPACK_TENSOR));
    second = *out + c->m;
    TRY(r->dev->ops->normal(r->dev, &noise, &rng, host));
    TRY(td_unpack(r->dev, second, &noise, TD_UNPACK_TENSOR));
    *count = 2 * c->m;
fail:
    return ret;
}

static void ref_normal(Run *r, const Case *c, double *ref)
{
    float *f = run_floats(r, c->m);
    TDRng rng;

    td_rng_init(&rng, (enum TDNoise)c->extra, 0, r->seed);
    for (int draw = 0; draw < 2; draw++) {
        td_rng_normal(&rng, f, c->m);
        for (int64_t i = 0; i < c->m; i++)
            ref[draw * c->m + i] = f[i];
    }
}

/* extra: the place of an infinity + 1, 0 = none; out: the rounded state, the infinity as 0, and the answer */
static int run_state(Run *r, const Case *c, float **out, int64_t *count)
{
    Inputs *in = inputs(r);
    int64_t n = c->m;
    float *values = run_values(r, 0, n, 1, 0);
    TDTensor noise, x, y;
    int finite = -1, ret;

    in->x = values;
    if (c->extra)
        values[c->extra - 1] = INFINITY;
    TRY(run_tensor(r, &noise, TD_F32, values, n, 0, 0, 0));
    TRY(run_tensor(r, &x, TD_F64, NULL, n, 0, 0, 0));
    TRY(run_tensor(r, &y, TD_F32, NULL, n, 0, 0, 0));
    TRY(r->dev->ops->scale_noise(r->dev, &x, &noise, 0.987654321));
    TRY(r->dev->ops->round_state(r->dev, &y, &x, &finite));
    *out = run_floats(r, n + 1);
    TRY(td_unpack(r->dev, *out, &y, TD_UNPACK_TENSOR));
    if (c->extra && isinf((*out)[c->extra - 1]))
        (*out)[c->extra - 1] = 0;
    (*out)[n] = (float)finite;
    *count = n + 1;
fail:
    return ret;
}

static void ref_state(Run *r, const Case *c, double *ref)
{
    const Inputs *in = r->note;

    for (int64_t i = 0; i < c->m; i++)
        ref[i] = i == c->extra - 1 ? 0 : in->x[i] * 0.987654321;
    ref[c->m] = !c->extra;
}

/* extra: 1 = SDE */
static int run_rcm(Run *r, const Case *c, float **out, int64_t *count)
{
    Inputs *in = inputs(r);
    int64_t n = 16 * c->m * c->n * c->k;
    TDTensor x, v, noise;
    int ret;

    TRY(run_tensor(r, &x, TD_F64, in->x = run_values(r, 0, n, 1, 0), 16, c->m, c->n, c->k));
    TRY(run_tensor(r, &v, TD_F32, in->w = run_values(r, 1, n, 1, 0), 16, c->m, c->n, c->k));
    TRY(run_tensor(r, &noise, TD_F32, in->m = run_values(r, 2, n, 1, 0), 16, c->m, c->n, c->k));
    TRY(r->dev->ops->rcm_step(r->dev, &x, &v, c->extra ? &noise : NULL, 0.9, 0.6));
    TRY(run_download(r, out, count, &x, TD_UNPACK_TENSOR));
fail:
    return ret;
}

static void ref_rcm(Run *r, const Case *c, double *ref)
{
    const Inputs *in = r->note;

    for (int64_t i = 0; i < 16 * c->m * c->n * c->k; i++)
        ref[i] = c->extra ? 0.4 * (in->x[i] - 0.9 * in->w[i]) + 0.6 * in->m[i] : in->x[i] - 0.3 * in->w[i];
}

/* picture 1 of 2, n rows of k pixels, extra = format, + OTHER: begun with another one; the planes one after another,
 * stride padded by 32 bytes */
enum { OTHER = 100 };

/* sides of rgb: pictures are cut from it where they are no multiples of 16 */
static int64_t whole(int64_t side)
{
    return (side + 15) / 16 * 16;
}

static int run_store(Run *r, const Case *c, float **out, int64_t *count)
{
    Inputs *in = inputs(r);
    const TDOps *op = r->dev->ops;
    enum TDPixFmt fmt = (enum TDPixFmt)(c->extra % OTHER);
    int bytes = fmt == TD_PIX_YUV420P10 || fmt == TD_PIX_YUV444P10 || fmt == TD_PIX_P010 ? 2 : 1;
    int half = fmt == TD_PIX_YUV420P || fmt == TD_PIX_YUV420P10 || fmt == TD_PIX_NV12 || fmt == TD_PIX_P010;
    int pair = fmt == TD_PIX_NV12 || fmt == TD_PIX_P010, planes = fmt == TD_PIX_RGB24 ? 1 : pair ? 2 : 3;
    int64_t cw = half ? (c->k + 1) / 2 : c->k, ch = half ? (c->n + 1) / 2 : c->n, at = 0;
    int64_t w[3] = { fmt == TD_PIX_RGB24 ? 3 * c->k : c->k, pair ? 2 * cw : cw, cw }, h[3] = { c->n, ch, ch };
    int64_t rows = whole(c->n), pitch = whole(c->k);
    TDFrame f = { .format = fmt }, like = { .format = c->extra >= OTHER ? TD_PIX_GBRP : fmt };
    TDFrameSet set = { .turn = 1, .h = c->n, .w = c->k };
    int ret, finite[2];

    TRY(run_tensor(r, &set.rgb, TD_F32, in->x = run_values(r, 0, 6 * rows * pitch, 0.7f, 0), 2, rows, pitch, 3));
    TRY(op->reserve_frames(r->dev, c->n, c->k));
    TRY(op->plan_frames(r->dev, &r->arena, &set));
    *count = 0;
    for (int p = 0; p < planes; p++) {
        f.stride[p] = w[p] * bytes + 32;
        f.data[p] = (uint8_t *)run_floats(r, (f.stride[p] * h[p] + 3) / 4);
        *count += w[p] * h[p];
    }
    TIMED(r, op->begin_frames(r->dev, &set, &like));
    TRY(op->wait_frames(r->dev, &set));
    TRY(op->fetch_frame(r->dev, &f, &set, 0, &finite[0]));
    TRY(op->fetch_frame(r->dev, &f, &set, 1, &finite[1]));
    if (!finite[0] || !finite[1])
        return td_error(r->dev->log, EIO, "finite: %d %d, want 1 1", finite[0], finite[1]);
    *out = run_floats(r, *count);
    for (int p = 0; p < planes; p++)
        for (int64_t y = 0; y < h[p]; y++)
            for (int64_t x = 0; x < w[p]; x++) {
                const uint8_t *row = f.data[p] + y * f.stride[p];

                (*out)[at++] = fmt == TD_PIX_P010 ? (float)((const uint16_t *)row)[x] / 64
                               : bytes == 2       ? (float)((const uint16_t *)row)[x]
                                                  : row[x];
            }
fail:
    return ret;
}

static double level(const Run *r, double x)
{
    return r->points ? floor(x + 0.5) : x;
}

static void ref_store(Run *r, const Case *c, double *ref)
{
    const Inputs *in = r->note;
    int64_t pitch = whole(c->k);
    const float *rgb = in->x + 3 * whole(c->n) * pitch;
    enum TDPixFmt fmt = (enum TDPixFmt)(c->extra % OTHER);
    int pair = fmt == TD_PIX_NV12 || fmt == TD_PIX_P010,
        sub = fmt == TD_PIX_YUV420P || fmt == TD_PIX_YUV420P10 || pair;
    double scale = fmt == TD_PIX_YUV420P10 || fmt == TD_PIX_YUV444P10 || fmt == TD_PIX_P010 ? 4 : 1, *p = ref;

    for (int plane = 0; plane < (fmt == TD_PIX_RGB24 ? 1 : pair ? 2 : 3); plane++)
        for (int64_t y = 0; y < c->n; y += plane && sub ? 2 : 1)
            for (int64_t x = 0; x < c->k; x += plane && sub ? 2 : 1) {
                double acc[3] = { 0 }, weights = 0;

                for (int64_t dy = 0; dy <= (plane && sub); dy++)
                    for (int64_t dx = -(plane && sub); dx <= (plane && sub); dx++) {
                        int64_t px = x + dx < 0 ? 0 : x + dx >= c->k ? c->k - 1 : x + dx;
                        int64_t py = y + dy < c->n ? y + dy : c->n - 1;
                        double wt = dx ? 1 : 2;

                        weights += wt;
                        for (int i = 0; i < 3; i++)
                            acc[i] += wt * fmin(1, fmax(0, (1 + (double)rgb[(py * pitch + px) * 3 + i]) / 2));
                    }
                for (int i = 0; i < 3; i++)
                    acc[i] /= weights;
                if (fmt == TD_PIX_RGB24)
                    for (int i = 0; i < 3; i++)
                        *p++ = floor(255 * acc[i] + 0.5);
                else if (fmt == TD_PIX_GBRP)
                    *p++ = floor(255 * acc[(plane + 1) % 3] + 0.5);
                else {
                    double luma = 0.2126 * acc[0] + 0.7152 * acc[1] + 0.0722 * acc[2];

                    if (plane == 0)
                        *p++ = level(r, scale * (16 + 219 * luma));
                    if (plane == 1)
                        *p++ = level(r, scale * (128 + 224 * (acc[2] - luma) / 1.8556));
                    if (plane == 2 || (plane && pair))
                        *p++ = level(r, scale * (128 + 224 * (acc[0] - luma) / 1.5748));
                }
            }
}

/* three pictures: sound, with a NaN, with an infinity; what is told of each */
static int run_not_finite(Run *r, const Case *c, float **out, int64_t *count)
{
    const TDOps *op = r->dev->ops;
    TDFrame f = { .format = TD_PIX_YUV444P };
    TDFrameSet set = { .turn = 0, .h = c->n, .w = c->k };
    int64_t n = 3 * c->n * c->k;
    float *x = run_values(r, 0, 3 * n, 0.7f, 0);
    int ret;

    x[2 * n - 1] = NAN;
    x[2 * n] = INFINITY;
    TRY(run_tensor(r, &set.rgb, TD_F32, x, 3, c->n, c->k, 3));
    TRY(op->reserve_frames(r->dev, c->n, c->k));
    TRY(op->plan_frames(r->dev, &r->arena, &set));
    for (int p = 0; p < 3; p++) {
        f.stride[p] = c->k;
        f.data[p] = (uint8_t *)run_floats(r, n / 3);
    }
    TRY(op->begin_frames(r->dev, &set, &f));
    TRY(op->wait_frames(r->dev, &set));
    *count = 3;
    *out = run_floats(r, 3);
    for (int t = 0; t < 3; t++) {
        int finite = 2;

        TRY(op->fetch_frame(r->dev, &f, &set, t, &finite));
        (*out)[t] = (float)finite;
    }
fail:
    return ret;
}

static void ref_not_finite(Run *r, const Case *c, double *ref)
{
    (void)r;
    (void)c;
    ref[0] = 1;
    ref[1] = ref[2] = 0;
}

#define PATCH .run = run_patch, .reference = ref_patch
#define TIME .run = run_time, .reference = ref_time
#define MODULATION .run = run_modulation, .reference = ref_modulation
#define HEAD .run = run_head, .reference = ref_head
#define NORMAL .run = run_normal, .reference = ref_normal
#define STATE .run = run_state, .reference = ref_state
#define RCM .run = run_rcm, .reference = ref_rcm
#define STORE .run = run_store, .reference = ref_store
#define NOT_FINITE .run = run_not_finite, .reference = ref_not_finite

const Case embed_cases[] = {
    { "patch_embed", "2x6x8, 16 channels", .m = 2, .n = 6, .k = 8, .extra = 16, .bound = 3e-3, .exact = 1, PATCH },
    { "patch_embed", "3x10x14, 36 channels", .m = 3, .n = 10, .k = 14, .extra = 36, .bound = 3e-3, .exact = 1, PATCH },
    { "time_embed", "t = 988", .extra = 988, .bound = 1e-5, .points = 3e-6, TIME },
    { "add_modulation", "6 rows of 256", .m = 6, .n = 256, .bound = 1e-6, .points = 1e-6, .exact = 1, MODULATION },
    { "head", "2x6x8", .m = 2, .n = 6, .k = 8, .bound = 3e-3, .points = 3e-6, HEAD },
    { "head", "1x10x10", .m = 1, .n = 10, .k = 10, .bound = 3e-3, .points = 3e-6, HEAD },
    { "normal", "5000, h100", .m = 5000, .extra = TD_NOISE_H100, .points = 1e-9, NORMAL },
    { "normal", "1200003, h100", .m = 1200003, .extra = TD_NOISE_H100, .points = 1e-9, NORMAL },
    { "normal", "900001, rtx4090", .m = 900001, .extra = TD_NOISE_RTX4090, .points = 1e-9, NORMAL },
    { "normal", "333, cpu", .m = 333, .extra = TD_NOISE_CPU, .points = 1e-9, NORMAL },
    { "scale_noise, round_state", "finite", .m = 3000, .bound = 1e-7, .points = 1e-6, .exact = 1, STATE },
    { "scale_noise, round_state", "an infinity", .m = 3000, .extra = 2900, .bound = 1e-7, .points = 1e-6,
      .exact = 1, STATE },
    { "rcm_step", "SDE 2x4x6", .m = 2, .n = 4, .k = 6, .extra = 1, .bound = 1e-6, .points = 1e-6, .exact = 1, RCM },
    { "rcm_step", "ODE 2x4x6", .m = 2, .n = 4, .k = 6, .bound = 1e-6, .points = 1e-6, .exact = 1, RCM },
    { "frames", "rgb24", .n = 16, .k = 32, .extra = TD_PIX_RGB24, .bound = 2e-3, .points = 2e-3, .exact = 1, STORE },
    { "frames", "gbrp", .n = 16, .k = 32, .extra = TD_PIX_GBRP, .bound = 2e-3, .points = 2e-3, .exact = 1, STORE },
    { "frames", "yuv420p", .n = 16, .k = 32, .extra = TD_PIX_YUV420P, .bound = 5e-3, .points = 2e-3,
      .exact = 1, STORE },
    { "frames", "yuv444p", .n = 16, .k = 32, .extra = TD_PIX_YUV444P, .bound = 5e-3, .points = 2e-3,
      .exact = 1, STORE },
    { "frames", "yuv420p10", .n = 16, .k = 32, .extra = TD_PIX_YUV420P10, .bound = 2e-3, .points = 2e-3,
      .exact = 1, STORE },
    { "frames", "yuv444p10", .n = 16, .k = 32, .extra = TD_PIX_YUV444P10, .bound = 2e-3, .points = 2e-3,
      .exact = 1, STORE },
    { "frames", "nv12", .n = 16, .k = 32, .extra = TD_PIX_NV12, .bound = 5e-3, .points = 2e-3, .exact = 1, STORE },
    { "frames", "p010", .n = 16, .k = 32, .extra = TD_PIX_P010, .bound = 2e-3, .points = 2e-3, .exact = 1, STORE },
    { "frames", "gbrp, then yuv420p", .n = 16, .k = 32, .extra = TD_PIX_YUV420P + OTHER, .bound = 5e-3,
      .points = 2e-3, .exact = 1, STORE },
    { "frames", "yuv420p, cut to 27x21", .n = 21, .k = 27, .extra = TD_PIX_YUV420P, .bound = 5e-3, .points = 2e-3,
      .exact = 1, STORE },
    { "frames", "yuv444p10, cut to 40x20", .n = 20, .k = 40, .extra = TD_PIX_YUV444P10, .bound = 2e-3,
      .points = 2e-3, .exact = 1, STORE },
    { "frames", "rgb24, cut to 17x16", .n = 16, .k = 17, .extra = TD_PIX_RGB24, .bound = 2e-3, .points = 2e-3,
      .exact = 1, STORE },
    { "frames", "p010, cut to 31x17", .n = 17, .k = 31, .extra = TD_PIX_P010, .bound = 2e-3, .points = 2e-3,
      .exact = 1, STORE },
    { "frames", "gbrp, then nv12, cut to 29x19", .n = 19, .k = 29, .extra = TD_PIX_NV12 + OTHER, .bound = 5e-3,
      .points = 2e-3, .exact = 1, STORE },
    { "frames", "not finite", .n = 16, .k = 48, .exact = 1, NOT_FINITE },
    { 0 }
};
