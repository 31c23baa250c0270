/* SPDX-License-Identifier: BSD-2-Clause
 * Causal convolutions of every form the VAE uses, over two chunks so that the cache is used, and behind a norm, where a
 * device may have f16 between the two; latent denormalisation.
 * m frames per chunk, n = height, k = width, extra = form. */
#include <math.h>
#include "checkops.h"

typedef struct Form {
    const char *name;
    int c_in, c_out, kt, k, stride_t, stride_s, up, interleave, residual, f32, c_pad, norm;
    int relu, centred, widened;
    enum TDConvFile file;
} Form;

#define PLAIN(...) __VA_ARGS__, 0, 0, 0, TD_CONV_TAPS

static const Form forms[] = {
    { "3x3x3",          PLAIN(16, 24, 3, 3, 1, 1, 0, 0, 0, 0, 0, 0) },
    { "3x3x3 residual", PLAIN(96, 96, 3, 3, 1, 1, 0, 0, 1, 0, 0, 0) },
    { "1x1x1",          PLAIN(48, 32, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0) },
    { "up 1x3x3",       PLAIN(32, 16, 1, 3, 1, 1, 1, 0, 0, 0, 0, 0) },
    { "time 3x1x1 x2",  PLAIN(16, 32, 3, 1, 1, 1, 0, 1, 0, 0, 0, 0) },
    { "down 1x3x3",     PLAIN(16, 16, 1, 3, 1, 2, 0, 0, 0, 0, 0, 0) },
    { "time down",      PLAIN(16, 16, 3, 1, 2, 1, 0, 0, 0, 0, 0, 0) },
    { "head to f32",    PLAIN(96,  3, 3, 3, 1, 1, 0, 0, 0, 1, 0, 0) },
    { "32 to 96",       PLAIN(32, 96, 3, 3, 1, 1, 0, 0, 0, 0, 0, 0) },
    { "64 to 192",      PLAIN(64, 192, 3, 3, 1, 1, 0, 0, 1, 0, 0, 0) },
    { "up 64 to 96",    PLAIN(64, 96, 1, 3, 1, 1, 1, 0, 0, 0, 0, 0) },
    { "time 96 x2",     PLAIN(96, 192, 3, 1, 1, 1, 0, 1, 0, 0, 0, 0) },
    { "96 to 384",      PLAIN(96, 384, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0) },
    { "3 of 8 channels", PLAIN(8, 96, 3, 3, 1, 1, 0, 0, 0, 0, 5, 0) },
    { "down 96 to 96",  PLAIN(96, 96, 1, 3, 1, 2, 0, 0, 0, 0, 0, 0) },
    { "time down 192",  PLAIN(192, 192, 3, 1, 2, 1, 0, 0, 0, 0, 0, 0) },
    { "norm 32 to 96",  PLAIN(32, 96, 3, 3, 1, 1, 0, 0, 0, 0, 0, 1) },
    { "norm 64 to 192", PLAIN(64, 192, 3, 3, 1, 1, 0, 0, 0, 0, 0, 1) },
    { "norm 96 to 384", PLAIN(96, 384, 3, 3, 1, 1, 0, 0, 0, 0, 0, 1) },
    { "norm 16 to 24",  PLAIN(16, 24, 3, 3, 1, 1, 0, 0, 0, 0, 0, 1) },
    { "norm residual",  PLAIN(96, 96, 3, 3, 1, 1, 0, 0, 1, 0, 0, 1) },
    { "384 to 384",     PLAIN(384, 384, 3, 3, 1, 1, 0, 0, 1, 0, 0, 0) },
    { "up 384 to 192",  PLAIN(384, 192, 1, 3, 1, 1, 1, 0, 0, 0, 0, 0) },
    { "time 384 x2",    PLAIN(384, 768, 3, 1, 1, 1, 0, 1, 0, 0, 0, 0) },
    { "memory 64",      64, 64, 2, 3, 1, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, TD_CONV_NEWEST_FIRST },
    { "memory 128",     128, 128, 2, 3, 1, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, TD_CONV_NEWEST_FIRST },
    { "residual, ReLU", 64, 64, 1, 3, 1, 1, 0, 0, 1, 0, 0, 0, 1, 0, 0, TD_CONV_TAPS },
    { "two frames of one", 64, 128, 1, 1, 1, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, TD_CONV_TAPS },
    { "one frame of two", 64, 64, 2, 1, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, TD_CONV_STACKED },
    { "down, all sides", 64, 64, 1, 3, 1, 2, 0, 0, 0, 0, 0, 0, 0, 1, 0, TD_CONV_TAPS },
    { "up 64 to 64, ReLU", 64, 64, 1, 3, 1, 1, 1, 0, 0, 0, 0, 0, 1, 0, 0, TD_CONV_TAPS },
    { "up 256 to 128",  256, 128, 1, 3, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, TD_CONV_TAPS },
    { "picture of 0..1", 64, 3, 1, 3, 1, 1, 0, 0, 0, 1, 0, 0, 0, 0, 1, TD_CONV_TAPS },
    { "picture in",     8, 64, 1, 3, 1, 1, 0, 0, 0, 0, 5, 0, 1, 0, 0, TD_CONV_TAPS },
    { "latent in",      16, 256, 1, 3, 1, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, TD_CONV_TAPS },
    { "latent out",     64, 16, 1, 3, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, TD_CONV_TAPS },
    { "24 to 24",       PLAIN(24, 24, 3, 3, 1, 1, 0, 0, 1, 0, 0, 0) },
    { "norm 24 to 24",  PLAIN(24, 24, 3, 3, 1, 1, 0, 0, 0, 0, 0, 1) },
    { "norm 48 to 48",  PLAIN(48, 48, 3, 3, 1, 1, 0, 0, 0, 0, 0, 1) },
    { "up 48 to 24",    PLAIN(48, 24, 1, 3, 1, 1, 1, 0, 0, 0, 0, 0) },
    { "up 96 to 48",    PLAIN(96, 48, 1, 3, 1, 1, 1, 0, 0, 0, 0, 0) },
    { "head of 24",     PLAIN(24, 3, 3, 3, 1, 1, 0, 0, 0, 1, 0, 0) },
    { "40 to 32",       PLAIN(40, 32, 3, 3, 1, 1, 0, 0, 1, 0, 0, 0) },
    { "384 to 192",     PLAIN(384, 192, 3, 3, 1, 1, 0, 0, 1, 0, 0, 0) },
    { "norm 96 to 96",  PLAIN(96, 96, 3, 3, 1, 1, 0, 0, 0, 0, 0, 1) },
    { "norm 96 to 192", PLAIN(96, 192, 3, 3, 1, 1, 0, 0, 0, 0, 0, 1) },
    { "largest sums",   PLAIN(32, 3, 3, 3, 1, 1, 0, 0, 0, 1, 0, 0) },
};

typedef struct Inputs { const float *x, *w, *b, *res, *gamma, *before; int64_t out_t, out_h, out_w; } Inputs;

static Inputs *inputs(Run *r)
{
    Inputs *in = (Inputs *)run_floats(r, sizeof(Inputs) / sizeof(float) + 1);

    r->note = in;
    return in;
}

static int run_conv(Run *r, const Case *c, float **out, int64_t *count)
{
    const Form *f = &forms[c->extra];
    Inputs *in = inputs(r);
    TDConv conv = { .c_out = f->c_out,
                    .c_in = f->c_in,
                    .c_pad = f->c_pad,
                    .kt = f->kt,
                    .kh = f->k,
                    .kw = f->k,
                    .stride_t = f->stride_t,
                    .stride_s = f->stride_s,
                    .upsample = f->up,
                    .interleave = f->interleave,
                    .relu = f->relu,
                    .centred = f->centred,
                    .widened = f->widened,
                    .file = f->file };
    int64_t taps = (int64_t)f->kt * f->k * f->k, c_file = f->c_in - f->c_pad,
            n_w = taps * c_file * f->c_out, n_x = c->m * c->n * c->k * f->c_in;
    int64_t t = c->m / f->stride_t * (f->interleave + 1), ch = f->c_out / (f->interleave + 1), part,
            n_cache = f->kt - f->stride_t;
    TDTensor x, y, cache, res;
    TDEntry e = { .name = "weight", .dtype = TD_F32, .n_dims = 5, .shape = { f->c_out, c_file, f->kt, f->k, f->k },
                  .stride = { c_file * taps, taps, f->k * f->k, f->k, 1 }, .bytes = (size_t)n_w * 4,
                  .file = "checkops" };
    float *p;
    int ret;

    in->out_t = t;
    in->out_h = f->stride_s == 2 ? c->n / 2 : c->n << f->up;
    in->out_w = f->stride_s == 2 ? c->k / 2 : c->k << f->up;
    in->x = run_values(r, 0, 2 * n_x, 1, 1);
    in->w = run_values(r, 1, n_w, 1 / sqrtf((float)(taps * f->c_in)), 1);
    in->b = run_values(r, 2, f->c_out, 0.5f, 1);
    in->res = run_values(r, 3, 2 * t * in->out_h * in->out_w * ch, 1, 1);
    e.data = (const uint8_t *)in->w;
    TRY(td_pack_conv(r->dev, &r->weights, &conv, &e));
    TRY(run_vector(r, &conv.bias, in->b, f->c_out));
    in->gamma = run_values(r, 4, f->c_out, 1, 1);
    if (f->norm)
        TRY(run_vector(r, &conv.gamma, in->gamma, f->c_out));
    TRY(run_tensor(r, &cache, TD_BF16, NULL, n_cache ? n_cache : 1, c->n, c->k, f->c_in));
    TRY(r->dev->ops->zero(r->dev, &cache));
    *count = 2 * t * in->out_h * in->out_w * ch;
    *out = run_floats(r, *count);
    for (int chunk = 0; chunk < 2; chunk++) {
        TRY(run_tensor(r, &x, TD_BF16, in->x + chunk * n_x, c->m, c->n, c->k, f->c_in));
        TRY(run_tensor(r, &y, f->f32 ? TD_F32 : TD_BF16, NULL, t, in->out_h, in->out_w, ch));
        TRY(run_tensor(r, &res, TD_BF16, in->res + chunk * *count / 2, t, in->out_h, in->out_w, ch));
        TIMED(r, r->dev->ops->causal_conv3d(r->dev, &y, &x, n_cache ? &cache : NULL, &conv,
                                            f->residual ? &res : NULL));
        if (n_cache)
            TRY(r->dev->ops->keep_frames(r->dev, &cache, &x));
        TRY(run_download(r, &p, &part, &y, TD_UNPACK_TENSOR));
        memcpy(*out + chunk * *count / 2, p, (size_t)part * sizeof(*p));
    }
fail:
    return ret;
}

/* x, normed with other gammas, SiLU of that, the convolution, and a norm again: from what may be f16 to what may be */
static int run_normed(Run *r, const Case *c, float **out, int64_t *count)
{
    const Form *f = &forms[c->extra];
    Inputs *in = inputs(r);
    TDConv conv = { .c_out = f->c_out, .c_in = f->c_in, .kt = 3, .kh = 3, .kw = 3, .stride_t = 1, .stride_s = 1 };
    int64_t n_w = 27LL * f->c_in * f->c_out, pixels = c->m * c->n * c->k, part;
    TDTensor x, mid, y, cache, res;
    TDEntry e = { .name = "weight", .dtype = TD_F32, .n_dims = 5, .shape = { f->c_out, f->c_in, 3, 3, 3 },
                  .stride = { 27 * f->c_in, 27, 9, 3, 1 }, .bytes = (size_t)n_w * 4, .file = "checkops" };
    float *xs, *w, *before, *p;
    const float *gamma;
    int edge = !strcmp(f->name, "largest sums"), ret;

    in->out_t = c->m;
    in->out_h = c->n;
    in->out_w = c->k;
    in->x = xs = run_values(r, 0, 2 * pixels * f->c_in, 1, 1);
    in->w = w = run_values(r, 1, n_w, 1 / sqrtf(27.0f * (float)f->c_in), 1);
    in->before = before = run_values(r, 5, f->c_in, 1, 1);
    for (int64_t i = 0; edge && i < 2 * pixels * f->c_in; i++)
        xs[i] = 1;
    for (int64_t i = 0; edge && i < n_w; i++)
        w[i] = td_bf16_round(0.99f);
    for (int i = 0; edge && i < f->c_in; i++)
        before[i] = 8;
    in->b = run_values(r, 2, f->c_out, 0.5f, 1);
    in->res = run_values(r, 3, 2 * pixels * f->c_out, 1, 1);
    in->gamma = run_values(r, 4, f->c_out, 1, 1);
    for (int i = 0; i < f->c_in; i++)
        conv.reach = fmaxf(conv.reach, 1.01f * sqrtf((float)f->c_in) * fabsf(before[i]));
    e.data = (const uint8_t *)w;
    TRY(td_pack_conv(r->dev, &r->weights, &conv, &e));
    if (conv.f16 != (r->dev->caps.f16_channels > 0))
        return td_error(r->dev->log, EINVAL, "of f16: %d", conv.f16);
    TRY(run_vector(r, &conv.bias, in->b, f->c_out));
    TRY(run_vector(r, &gamma, before, f->c_in));
    if (f->norm)
        TRY(run_vector(r, &conv.gamma, in->gamma, f->c_out));
    TRY(run_tensor(r, &cache, TD_BF16, NULL, 2, c->n, c->k, f->c_in));
    TRY(r->dev->ops->zero(r->dev, &cache));
    *count = 2 * pixels * f->c_out;
    *out = run_floats(r, *count);
    for (int chunk = 0; chunk < 2; chunk++) {
        TRY(run_tensor(r, &x, TD_BF16, in->x + chunk * pixels * f->c_in, c->m, c->n, c->k, f->c_in));
        TRY(run_tensor(r, &mid, TD_BF16, NULL, c->m, c->n, c->k, f->c_in));
        TRY(run_tensor(r, &y, f->f32 ? TD_F32 : TD_BF16, NULL, c->m, c->n, c->k, f->c_out));
        TRY(run_tensor(r, &res, TD_BF16, in->res + chunk * *count / 2, c->m, c->n, c->k, f->c_out));
        if (conv.f16)
            mid.dtype = TD_F16;
        if (conv.f16 && f->norm)
            y.dtype = TD_F16;
        TRY(r->dev->ops->rms_silu(r->dev, &mid, &x, gamma, 1));
        TIMED(r, r->dev->ops->causal_conv3d(r->dev, &y, &mid, &cache, &conv, f->residual ? &res : NULL));
        TRY(r->dev->ops->keep_frames(r->dev, &cache, &mid));
        TRY(run_download(r, &p, &part, &y, TD_UNPACK_TENSOR));
        memcpy(*out + chunk * *count / 2, p, (size_t)part * sizeof(*p));
    }
fail:
    return ret;
}

/* where the file has the taps of one frame: frames are taps in time, or stacked channels, the newest of them first */
static int64_t weight_at(const Form *f, int64_t row, int64_t channel, int64_t frame)
{
    int64_t c = f->c_in - f->c_pad, place = channel * f->kt + frame;

    if (f->file != TD_CONV_TAPS)
        place = (f->file == TD_CONV_STACKED ? frame : f->kt - 1 - frame) * c + channel;
    return (row * c * f->kt + place) * f->k * f->k;
}

static void ref_norm(const Run *r, double *p, int64_t pixels, int64_t channels, const float *gamma)
{
    for (; pixels--; p += channels) {
        double sum = 0;

        for (int64_t o = 0; o < channels; o++)
            sum += p[o] * p[o];
        for (int64_t o = 0; o < channels; o++) {
            double v = p[o] / fmax(sqrt(sum), 1e-12) * sqrt((double)channels) * gamma[o];

            p[o] = point(r, v / (1 + exp(-v)));
        }
    }
}

/* the convolution over both chunks at once, with zero history */
static void ref_conv(Run *r, const Case *c, double *ref)
{
    const Form *f = &forms[c->extra];
    const Inputs *in = r->note;
    int64_t n_x = 2 * c->m * c->n * c->k * f->c_in;
    double *xs = malloc((size_t)n_x * sizeof(*xs));
    int64_t h = c->n, w = c->k, ch = f->c_out / (f->interleave + 1), n_cache = f->kt - f->stride_t,
            pad = f->stride_s == 1 || f->centred ? f->k / 2 : 0, c_file = f->c_in - f->c_pad;

    for (int64_t i = 0; i < n_x; i++)
        xs[i] = in->x[i];
    if (in->before)
        ref_norm(r, xs, n_x / f->c_in, f->c_in, in->before);
    for (int64_t t = 0; t < 2 * in->out_t; t++)
        for (int64_t y = 0; y < in->out_h; y++)
            for (int64_t x = 0; x < in->out_w; x++)
                for (int64_t o = 0; o < ch; o++) {
                    int64_t at = ((t * in->out_h + y) * in->out_w + x) * ch + o,
                            row = f->interleave ? t % 2 * ch + o : o;
                    double s = in->b[row] + (f->residual ? in->res[at] : 0);

                    for (int64_t dt = 0; dt < f->kt; dt++)
                        for (int64_t dy = 0; dy < f->k; dy++)
                            for (int64_t dx = 0; dx < f->k; dx++) {
                                int64_t ti = (f->interleave ? t / 2 : t) * f->stride_t + dt - n_cache;
                                int64_t yi = y * f->stride_s + dy - pad, xi = x * f->stride_s + dx - pad;

                                if (ti < 0 || yi < 0 || xi < 0 || yi >= h << f->up || xi >= w << f->up)
                                    continue;
                                for (int64_t i = 0; i < c_file; i++)
                                    s += (f->widened ? 2.0 : 1.0) *
                                         xs[((ti * h + (yi >> f->up)) * w + (xi >> f->up)) * f->c_in + i] *
                                         in->w[weight_at(f, row, i, dt) + dy * f->k + dx];
                            }
                    s = f->relu && s < 0 ? 0 : s;
                    ref[at] = f->f32 ? s : point(r, s);
                }
    free(xs);
    if (f->norm)
        ref_norm(r, ref, 2 * in->out_t * in->out_h * in->out_w, ch, in->gamma);
}

static double flops_conv(const Case *c)
{
    const Form *f = &forms[c->extra];
    double pixels =
        (double)(c->m / f->stride_t) * (double)(f->stride_s == 2 ? c->n * c->k / 4 : c->n * c->k << 2 * f->up);

    return 2 * pixels * f->kt * f->k * f->k * f->c_in * f->c_out;
}

static const double mean[16] = { -0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
                                 0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921 };
static const double std[16] = { 2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
                                3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.916 };

/* extra: form */
static int run_unscale(Run *r, const Case *c, float **out, int64_t *count)
{
    TDTensor z, y;
    int ret;

    TRY(run_tensor(r, &z, TD_F32, r->note = run_values(r, 0, 16 * c->m * c->n * c->k, 1, 0), 16, c->m, c->n, c->k));
    TRY(run_tensor(r, &y, TD_BF16, NULL, 1, c->n, c->k, 16));
    TIMED(r, r->dev->ops->vae_unscale(r->dev, &y, &z, c->m - 1, (int)c->extra));
    TRY(run_download(r, out, count, &y, TD_UNPACK_TENSOR));
fail:
    return ret;
}

/* a VAE of 16 output channels is a tiny one */
static int form_of(const Case *c)
{
    return c->extra == 16 ? TD_LATENT_PLAIN : 0;
}

/* extra: channels of the input; frames before the last stay as they were */
static int run_scale(Run *r, const Case *c, float **out, int64_t *count)
{
    TDTensor x, y;
    int ret;

    r->note = run_values(r, 0, c->n * c->k * c->extra, 1, 1);
    TRY(run_tensor(r, &x, TD_BF16, r->note, 1, c->n, c->k, c->extra));
    TRY(run_tensor(r, &y, TD_BF16, NULL, 16, c->m, c->n, c->k));
    TRY(r->dev->ops->zero(r->dev, &y));
    TIMED(r, r->dev->ops->vae_scale(r->dev, &y, &x, c->m - 1, form_of(c)));
    TRY(run_download(r, out, count, &y, TD_UNPACK_TENSOR));
fail:
    return ret;
}

static int run_repeat(Run *r, const Case *c, float **out, int64_t *count)
{
    TDTensor x, y;
    int ret;

    r->note = run_values(r, 0, c->n * c->k * c->extra, 1, 1);
    TRY(run_tensor(r, &x, TD_BF16, r->note, 1, c->n, c->k, c->extra));
    TRY(run_tensor(r, &y, TD_BF16, NULL, c->m, c->n, c->k, c->extra));
    TIMED(r, r->dev->ops->repeat_frame(r->dev, &y, &x));
    TRY(run_download(r, out, count, &y, TD_UNPACK_TENSOR));
fail:
    return ret;
}

static void ref_repeat(Run *r, const Case *c, double *ref)
{
    int64_t n = c->n * c->k * c->extra;

    for (int64_t i = 0; i < c->m * n; i++)
        ref[i] = ((const float *)r->note)[i % n];
}

/* extra: frames of the cache, of 24 channels */
static int run_keep(Run *r, const Case *c, float **out, int64_t *count)
{
    int64_t frame = c->n * c->k * 24;
    TDTensor x, cache;
    int ret;

    r->note = run_values(r, 0, (c->extra + c->m) * frame, 1, 1);
    TRY(run_tensor(r, &cache, TD_BF16, r->note, c->extra, c->n, c->k, 24));
    TRY(run_tensor(r, &x, TD_BF16, (const float *)r->note + c->extra * frame, c->m, c->n, c->k, 24));
    TRY(r->dev->ops->keep_frames(r->dev, &cache, &x));
    TRY(run_download(r, out, count, &cache, TD_UNPACK_TENSOR));
fail:
    return ret;
}

static void ref_keep(Run *r, const Case *c, double *ref)
{
    int64_t frame = c->n * c->k * 24;

    for (int64_t i = 0; i < c->extra * frame; i++)
        ref[i] = ((const float *)r->note)[c->m * frame + i];
}

static double inverse(const Run *r, int i)
{
    return point(r, 1 / point(r, std[i]));
}

static void ref_unscale(Run *r, const Case *c, double *ref)
{
    const float *z = r->note;

    for (int64_t p = 0; p < c->n * c->k; p++)
        for (int i = 0; i < 16; i++) {
            double v = point(r, z[(i * c->m + c->m - 1) * c->n * c->k + p]);

            if (!(c->extra & TD_LATENT_PLAIN))
                v = point(r, point(r, v / inverse(r, i)) + point(r, mean[i]));
            ref[p * 16 + i] = c->extra & TD_LATENT_SOFT ? point(r, 3 * tanh(v / 3)) : v;
        }
}

static void ref_scale(Run *r, const Case *c, double *ref)
{
    const float *x = r->note;
    int64_t area = c->n * c->k;

    memset(ref, 0, (size_t)(16 * c->m * area) * sizeof(*ref));
    for (int64_t p = 0; p < area; p++)
        for (int i = 0; i < 16; i++) {
            double v = x[p * c->extra + i];

            if (!form_of(c))
                v = point(r, point(r, v - point(r, mean[i])) * inverse(r, i));
            ref[(i * c->m + c->m - 1) * area + p] = v;
        }
}

#define CONV .run = run_conv, .reference = ref_conv, .flops = flops_conv
#define NORMED .run = run_normed, .reference = ref_conv, .flops = flops_conv, .nearer = 1
#define SCALE .run = run_scale, .reference = ref_scale
#define REPEAT .run = run_repeat, .reference = ref_repeat
#define KEEP .run = run_keep, .reference = ref_keep
#define UNSCALE .run = run_unscale, .reference = ref_unscale

const Case vae_cases[] = {
    { "causal_conv3d", "norm 32 to 96, 2 frames of 9x17", .m = 2, .n = 9, .k = 17, .extra = 16, .bound = 4e-3, CONV },
    { "causal_conv3d", "norm 64 to 192, 2 frames of 9x17", .m = 2, .n = 9, .k = 17, .extra = 17, .bound = 4e-3, CONV },
    { "causal_conv3d", "norm 96 to 384, 2 frames of 9x17", .m = 2, .n = 9, .k = 17, .extra = 18, .bound = 4e-3, CONV },
    { "causal_conv3d", "norm 16 to 24, 2 frames of 9x17", .m = 2, .n = 9, .k = 17, .extra = 19, .bound = 4e-3, CONV },
    { "causal_conv3d", "norm with residual, 2 frames of 9x17", .m = 2, .n = 9, .k = 17, .extra = 20,
      .bound = 4e-3, CONV },
    { "causal_conv3d", "3x3x3, 1 frame of 7x5", .m = 1, .n = 7, .k = 5, .bound = 3e-3, .exact = 1, CONV },
    { "causal_conv3d", "3x3x3 residual, 2 frames of 9x6", .m = 2, .n = 9, .k = 6, .extra = 1, .bound = 3e-3,
      .exact = 1, CONV },
    { "causal_conv3d", "1x1x1, 3 frames of 4x4", .m = 3, .n = 4, .k = 4, .extra = 2, .bound = 3e-3, .exact = 1, CONV },
    { "causal_conv3d", "up 1x3x3, 2 frames of 5x6", .m = 2, .n = 5, .k = 6, .extra = 3, .bound = 3e-3,
      .exact = 1, CONV },
    { "causal_conv3d", "time 3x1x1 x2, 1 frame of 6x6", .m = 1, .n = 6, .k = 6, .extra = 4, .bound = 3e-3,
      .exact = 1, CONV },
    { "causal_conv3d", "down 1x3x3, 2 frames of 8x6", .m = 2, .n = 8, .k = 6, .extra = 5, .bound = 3e-3,
      .exact = 1, CONV },
    { "causal_conv3d", "time down, 4 frames of 4x5", .m = 4, .n = 4, .k = 5, .extra = 6, .bound = 3e-3,
      .exact = 1, CONV },
    { "causal_conv3d", "head to f32, 4 frames of 8x12", .m = 4, .n = 8, .k = 12, .extra = 7, .bound = 1e-5,
      .points = 3e-6, .exact = 1, CONV },
    { "causal_conv3d", "3x3x3 32 to 96, 2 frames of 20x18", .m = 2, .n = 20, .k = 18, .extra = 8, .bound = 3e-3,
      .exact = 1, CONV },
    { "causal_conv3d", "3x3x3 64 to 192 residual, 1 frame of 17x33", .m = 1, .n = 17, .k = 33, .extra = 9,
      .bound = 3e-3, .exact = 1, CONV },
    { "causal_conv3d", "up 64 to 96, 2 frames of 9x17", .m = 2, .n = 9, .k = 17, .extra = 10, .bound = 3e-3,
      .exact = 1, CONV },
    { "causal_conv3d", "time 96 x2, 2 frames of 16x8", .m = 2, .n = 16, .k = 8, .extra = 11, .bound = 3e-3,
      .exact = 1, CONV },
    { "causal_conv3d", "1x1x1 96 to 384, 3 frames of 8x8", .m = 3, .n = 8, .k = 8, .extra = 12, .bound = 3e-3,
      .exact = 1, CONV },
    { "causal_conv3d", "3 of 8 channels, 2 frames of 12x10", .m = 2, .n = 12, .k = 10, .extra = 13, .bound = 3e-3,
      .exact = 1, CONV },
    { "causal_conv3d", "down 96 to 96, 2 frames of 18x34", .m = 2, .n = 18, .k = 34, .extra = 14, .bound = 3e-3,
      .exact = 1, CONV },
    { "causal_conv3d", "time down 192, 4 frames of 9x7", .m = 4, .n = 9, .k = 7, .extra = 15, .bound = 3e-3,
      .exact = 1, CONV },
    { "causal_conv3d", "384 to 384 residual, 1 frame of 4x5", .m = 1, .n = 4, .k = 5, .extra = 21, .bound = 3e-3,
      .exact = 1, CONV },
    { "causal_conv3d", "up 384 to 192, 2 frames of 4x3", .m = 2, .n = 4, .k = 3, .extra = 22, .bound = 3e-3,
      .exact = 1, CONV },
    { "causal_conv3d", "time 384 x2, 1 frame of 5x4", .m = 1, .n = 5, .k = 4, .extra = 23, .bound = 3e-3,
      .exact = 1, CONV },
    { "causal_conv3d", "memory 64, 2 frames of 17x19", .m = 2, .n = 17, .k = 19, .extra = 24,
      .bound = 3e-3, .exact = 1, CONV },
    { "causal_conv3d", "memory 128, 1 frame of 9x18", .m = 1, .n = 9, .k = 18, .extra = 25,
      .bound = 3e-3, .exact = 1, CONV },
    { "causal_conv3d", "1x3x3 residual, ReLU, 2 frames of 16x20", .m = 2, .n = 16, .k = 20, .extra = 26,
      .bound = 3e-3, .exact = 1, CONV },
    { "causal_conv3d", "two frames of one, 2 frames of 9x7", .m = 2, .n = 9, .k = 7, .extra = 27,
      .bound = 3e-3, .exact = 1, CONV },
    { "causal_conv3d", "one frame of two, 4 frames of 6x9", .m = 4, .n = 6, .k = 9, .extra = 28,
      .bound = 3e-3, .exact = 1, CONV },
    { "causal_conv3d", "down, all sides, 2 frames of 10x18", .m = 2, .n = 10, .k = 18, .extra = 29,
      .bound = 3e-3, .exact = 1, CONV },
    { "causal_conv3d", "up 64 to 64, ReLU, 1 frame of 9x17", .m = 1, .n = 9, .k = 17, .extra = 30,
      .bound = 3e-3, .exact = 1, CONV },
    { "causal_conv3d", "up 256 to 128, 1 frame of 5x6", .m = 1, .n = 5, .k = 6, .extra = 31,
      .bound = 3e-3, .exact = 1, CONV },
    { "causal_conv3d", "picture of 0..1, 1 frame of 18x20", .m = 1, .n = 18, .k = 20, .extra = 32,
      .bound = 1e-5, .points = 3e-6, .exact = 1, CONV },
    { "causal_conv3d", "picture in, 2 frames of 17x18", .m = 2, .n = 17, .k = 18, .extra = 33,
      .bound = 3e-3, .exact = 1, CONV },
    { "causal_conv3d", "latent in, 1 frame of 5x7", .m = 1, .n = 5, .k = 7, .extra = 34,
      .bound = 3e-3, .exact = 1, CONV },
    { "causal_conv3d", "latent out, 1 frame of 5x7", .m = 1, .n = 5, .k = 7, .extra = 35,
      .bound = 3e-3, .exact = 1, CONV },
    { "causal_conv3d", "24 to 24 residual, 2 frames of 17x18", .m = 2, .n = 17, .k = 18, .extra = 36,
      .bound = 3e-3, .exact = 1, CONV },
    { "causal_conv3d", "norm 24 to 24, 2 frames of 17x9", .m = 2, .n = 17, .k = 9, .extra = 37, .bound = 4e-3, CONV },
    { "causal_conv3d", "norm 48 to 48, 2 frames of 9x17", .m = 2, .n = 9, .k = 17, .extra = 38, .bound = 4e-3, CONV },
    { "causal_conv3d", "up 48 to 24, 1 frame of 9x17", .m = 1, .n = 9, .k = 17, .extra = 39,
      .bound = 3e-3, .exact = 1, CONV },
    { "causal_conv3d", "up 96 to 48, 1 frame of 9x9", .m = 1, .n = 9, .k = 9, .extra = 40,
      .bound = 3e-3, .exact = 1, CONV },
    { "causal_conv3d", "head of 24, 2 frames of 9x18", .m = 2, .n = 9, .k = 18, .extra = 41,
      .bound = 1e-5, .points = 3e-6, .exact = 1, CONV },
    { "causal_conv3d", "40 to 32 residual, 1 frame of 6x17", .m = 1, .n = 6, .k = 17, .extra = 42,
      .bound = 3e-3, .exact = 1, CONV },
    { "causal_conv3d", "behind a norm, 96 to 96 residual, 2 frames of 17x18", .m = 2, .n = 17, .k = 18, .extra = 1,
      .bound = 4e-3, NORMED },
    { "causal_conv3d", "behind a norm, 384 to 192 residual, 1 frame of 9x10", .m = 1, .n = 9, .k = 10, .extra = 43,
      .bound = 4e-3, NORMED },
    { "causal_conv3d", "behind a norm, norm 96 to 96, 2 frames of 9x17", .m = 2, .n = 9, .k = 17, .extra = 44,
      .bound = 6e-3, NORMED },
    { "causal_conv3d", "behind a norm, norm 96 to 192, 1 frame of 9x17", .m = 1, .n = 9, .k = 17, .extra = 45,
      .bound = 6e-3, NORMED },
    { "causal_conv3d", "behind a norm, norm 96 to 384, 1 frame of 4x5", .m = 1, .n = 4, .k = 5, .extra = 18,
      .bound = 6e-3, NORMED },
    { "causal_conv3d", "behind a norm, norm 48 to 48, 1 frame of 9x17", .m = 1, .n = 9, .k = 17, .extra = 38,
      .bound = 6e-3, NORMED },
    { "causal_conv3d", "behind a norm, norm 16 to 24, 2 frames of 5x9", .m = 2, .n = 5, .k = 9, .extra = 19,
      .bound = 6e-3, NORMED },
    { "causal_conv3d", "behind a norm, head of 96, 1 frame of 17x18", .m = 1, .n = 17, .k = 18, .extra = 7,
      .bound = 3e-3, NORMED },
    { "causal_conv3d", "behind a norm, 40 to 32 residual, 1 frame of 6x17", .m = 1, .n = 6, .k = 17, .extra = 42,
      .bound = 4e-3, NORMED },
    { "causal_conv3d", "behind a norm, largest sums, 1 frame of 5x7", .m = 1, .n = 5, .k = 7, .extra = 46,
      .bound = 3e-3, NORMED },
    { "vae_scale", "latent frame 2 of 3x5x4", .m = 3, .n = 5, .k = 4, .extra = 32, .bound = 1e-2, .exact = 1, SCALE },
    { "vae_scale", "plain, latent frame 1 of 2x5x4", .m = 2, .n = 5, .k = 4, .extra = 16, .bound = 1e-7, .exact = 1,
      SCALE },
    { "repeat_frame", "3 frames of 5x4x24", .m = 3, .n = 5, .k = 4, .extra = 24, .exact = 1, REPEAT },
    { "keep_frames", "1 frame of 5x4 to 2", .m = 1, .n = 5, .k = 4, .extra = 2, .exact = 1, KEEP },
    { "keep_frames", "2 frames of 5x4 to 2", .m = 2, .n = 5, .k = 4, .extra = 2, .exact = 1, KEEP },
    { "keep_frames", "4 frames of 3x7 to 2", .m = 4, .n = 3, .k = 7, .extra = 2, .exact = 1, KEEP },
    { "keep_frames", "4 frames of 3x7 to 1", .m = 4, .n = 3, .k = 7, .extra = 1, .exact = 1, KEEP },
    { "vae_unscale", "latent frame 2 of 3x5x4", .m = 3, .n = 5, .k = 4, .bound = 1e-2, .exact = 1, UNSCALE },
    { "vae_unscale", "soft, latent frame 1 of 2x5x4", .m = 2, .n = 5, .k = 4, .extra = TD_LATENT_SOFT, .bound = 1e-2,
      UNSCALE },
    { "vae_unscale", "plain and soft, latent frame 1 of 2x5x4", .m = 2, .n = 5, .k = 4,
      .extra = TD_LATENT_PLAIN | TD_LATENT_SOFT, .bound = 6e-3, UNSCALE },
    { 0 }
};
