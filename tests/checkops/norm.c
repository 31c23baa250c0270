/* SPDX-License-Identifier: BSD-2-Clause
 * Norms, and what a NaN does to a quantised block. m rows of k; extra: bit 0 = int8 output, bit 1 = exact profile,
 * bit 2 = affine, bit 3 = modulated. */
#include <math.h>
#include "checkops.h"

#define INT8 1
#define EXACT 2
#define AFFINE 4
#define MODULATED 8

typedef struct Inputs { const float *x, *w, *b, *shift, *scale, *w2, *rope; } Inputs;

static Inputs *inputs(Run *r)
{
    Inputs *in = (Inputs *)run_floats(r, sizeof(Inputs) / sizeof(float) + 1);

    r->note = in;
    return in;
}

/* weights around 1 */
static float *weights(Run *r, int stream, int64_t n)
{
    float *w = run_values(r, stream, n, 0.2f, 1);

    for (int64_t i = 0; i < n; i++)
        w[i] = td_bf16_round(1 + w[i]);
    return w;
}

/* rows with a mean well away from 0, so that the official profile's padding lanes show */
static float *rows(Run *r, const Case *c)
{
    float *x = run_values(r, 0, c->m * c->k, 1, 1);

    for (int64_t i = 0; i < c->m * c->k && r->fill == FILL_NORMAL; i++)
        x[i] = td_bf16_round(x[i] + 0.5f);
    return x;
}

static int run_norm(Run *r, const Case *c, float **out, int64_t *count)
{
    Inputs *in = inputs(r);
    TDNormW norm = { .dim = c->k, .eps = 1e-6f, .profile = c->extra & EXACT ? TD_NORM_EXACT : TD_NORM_OFFICIAL };
    const float *shift = NULL, *scale = NULL;
    TDTensor x;
    TDAct y;
    int ret;

    TRY(run_tensor(r, &x, TD_BF16, in->x = rows(r, c), c->m, c->k, 0, 0));
    if (c->extra & AFFINE) {
        TRY(run_vector(r, &norm.weight, in->w = weights(r, 1, c->k), c->k));
        TRY(run_vector(r, &norm.bias, in->b = run_values(r, 2, c->k, 1, 1), c->k));
    }
    if (c->extra & MODULATED) {
        TRY(run_vector(r, &shift, in->shift = run_values(r, 3, c->k, 0.5f, 0), c->k));
        TRY(run_vector(r, &scale, in->scale = run_values(r, 4, c->k, 0.5f, 0), c->k));
    }
    TRY(run_act(r, &y, NULL, c->m, c->k, c->extra & INT8));
    TIMED(r, r->dev->ops->norm_modulate(r->dev, &y, &x, &norm, shift, scale));
    TRY(run_download(r, out, count, &y, TD_UNPACK_ACT));
fail:
    return ret;
}

static void ref_norm(Run *r, const Case *c, double *ref)
{
    const Inputs *in = r->note;
    int64_t lanes = 1;

    while (lanes < c->k)
        lanes *= 2;
    for (int64_t i = 0; i < c->m; i++) {
        const float *x = in->x + i * c->k;
        double mean = 0, var = 0, rstd;

        for (int64_t j = 0; j < c->k; j++)
            mean += x[j];
        mean /= (double)c->k;
        for (int64_t j = 0; j < c->k; j++)
            var += (x[j] - mean) * (x[j] - mean);
        if (!(c->extra & EXACT))
            var += (double)(lanes - c->k) * mean * mean;
        rstd = 1 / sqrt(var / (double)c->k + 1e-6);
        for (int64_t j = 0; j < c->k; j++) {
            double v = (x[j] - mean) * rstd;

            v = point(r, in->w ? v * in->w[j] + in->b[j] : v);
            ref[i * c->k + j] = in->scale ? point(r, v * (1 + in->scale[j]) + in->shift[j]) : v;
        }
    }
    if (c->extra & INT8)
        point_int8(r, ref, c->m, c->k);
}

static int run_rms(Run *r, const Case *c, float **out, int64_t *count)
{
    Inputs *in = inputs(r);
    TDNormW norm = { .dim = c->k, .eps = 1e-6f, .profile = c->extra & EXACT ? TD_NORM_EXACT : TD_NORM_OFFICIAL };
    TDTensor x;
    TDAct y;
    int ret;

    TRY(run_tensor(r, &x, TD_BF16, in->x = rows(r, c), c->m, c->k, 0, 0));
    TRY(run_vector(r, &norm.weight, in->w = weights(r, 1, c->k), c->k));
    TRY(run_act(r, &y, NULL, c->m, c->k, c->extra & INT8));
    TIMED(r, r->dev->ops->rms_norm(r->dev, &y, &x, &norm));
    TRY(run_download(r, out, count, &y, TD_UNPACK_ACT));
fail:
    return ret;
}

static void rms_row(const Run *r, double *y, const float *x, const float *w, int64_t n, int exact)
{
    double s = 0;

    for (int64_t j = 0; j < n; j++)
        s += (double)x[j] * x[j];
    for (int64_t j = 0; j < n; j++)
        y[j] = exact ? point(r, point(r, x[j] / sqrt(s / (double)n + 1e-6)) * w[j])
                     : point(r, x[j] / sqrt(s / (double)n + 1e-6) * w[j]);
}

static void ref_rms(Run *r, const Case *c, double *ref)
{
    const Inputs *in = r->note;

    for (int64_t i = 0; i < c->m; i++)
        rms_row(r, ref + i * c->k, in->x + i * c->k, in->w, c->k, c->extra & EXACT);
    if (c->extra & INT8)
        point_int8(r, ref, c->m, c->k);
}

/* q and k, made of the first two thirds of each row, and v, which stays; n heads of 128 */
static int run_qk(Run *r, const Case *c, float **out, int64_t *count)
{
    Inputs *in = inputs(r);
    int64_t d = c->n * 128, part;
    TDNormW nq = { .dim = d, .eps = 1e-6f, .profile = TD_NORM_OFFICIAL }, nk = nq;
    TDQkv qkv = { .cfg = { .kind = TD_ATTN_DENSE }, .n_q = c->m, .n_kv = c->m, .n_heads = c->n, .head_dim = 128 };
    TDTensor rope, *part_of[3] = { &qkv.q, &qkv.k, &qkv.v };
    float *half = run_values(r, 5, c->m * 64, 2, 0), *table = run_floats(r, c->m * 128), *p;
    uint16_t *rows = (uint16_t *)run_floats(r, c->m * d / 2);
    int bench = r->bench, ret;

    for (int64_t i = 0; i < c->m * 64; i++) {
        float t = half[i];                       /* tangent of half the angle: the same numbers with any libm */

        table[2 * i] = (1 - t * t) / (1 + t * t);
        table[2 * i + 1] = 2 * t / (1 + t * t);
    }
    in->rope = table;
    in->x = run_values(r, 0, c->m * 3 * d, 1, 1);
    TRY(run_tensor(r, &rope, TD_F32, table, c->m, 64, 2, 0));
    TRY(run_vector(r, &nq.weight, in->w = weights(r, 1, d), d));
    TRY(run_vector(r, &nk.weight, in->w2 = weights(r, 2, d), d));
    TRY(td_plan_qkv(r->dev, &r->arena, &qkv));
    for (int pass = 0; pass < 2; pass++) {       /* in place: once more for the check after it was timed */
        for (int i = 0; i < 3; i++) {
            for (int64_t j = 0; j < c->m * d; j++)
                rows[j] = td_f32_to_bf16(in->x[j / d * 3 * d + i * d + j % d]);
            TRY(r->dev->ops->upload(r->dev, part_of[i], rows));
        }
        r->bench = pass ? 0 : bench;
        if (pass || bench)
            TIMED(r, r->dev->ops->qk_norm_rope(r->dev, &qkv, &nq, &nk, &rope));
    }
    r->bench = bench;
    *count = 3 * c->m * d;
    *out = run_floats(r, *count);
    for (int i = 0; i < 3; i++) {
        TRY(run_download(r, &p, &part, part_of[i], TD_UNPACK_TENSOR));
        memcpy(*out + i * part, p, (size_t)part * sizeof(*p));
    }
fail:
    return ret;
}

static void ref_qk(Run *r, const Case *c, double *ref)
{
    const Inputs *in = r->note;
    int64_t d = c->n * 128;

    for (int64_t i = 0; i < c->m; i++)
        for (int part = 0; part < 3; part++) {
            const float *x = in->x + (i * 3 + part) * d, *cs = in->rope + i * 128;
            double *y = ref + ((int64_t)part * c->m + i) * d;

            if (part == 2) {
                for (int64_t j = 0; j < d; j++)
                    y[j] = x[j];
                continue;
            }
            rms_row(r, y, x, part ? in->w2 : in->w, d, 0);
            for (int64_t j = 0; j < d; j += 2) {
                double a = y[j], b = y[j + 1], co = cs[j % 128], si = cs[j % 128 + 1];

                y[j] = point(r, a * co - b * si);
                y[j + 1] = point(r, b * co + a * si);
            }
        }
}

/* [1, m, 1, k] pixels; extra 1 = SiLU */
static int run_rms_silu(Run *r, const Case *c, float **out, int64_t *count)
{
    Inputs *in = inputs(r);
    const float *gamma;
    TDTensor x, y;
    int ret;

    TRY(run_tensor(r, &x, TD_BF16, in->x = run_values(r, 0, c->m * c->k, 1, 1), 1, c->m, 1, c->k));
    TRY(run_tensor(r, &y, TD_BF16, NULL, 1, c->m, 1, c->k));
    TRY(run_vector(r, &gamma, in->w = weights(r, 1, c->k), c->k));
    TIMED(r, r->dev->ops->rms_silu(r->dev, &y, &x, gamma, (int)c->extra));
    TRY(run_download(r, out, count, &y, TD_UNPACK_TENSOR));
fail:
    return ret;
}

static void ref_rms_silu(Run *r, const Case *c, double *ref)
{
    const Inputs *in = r->note;

    for (int64_t i = 0; i < c->m; i++) {
        double s = 0;

        for (int64_t j = 0; j < c->k; j++)
            s += (double)in->x[i * c->k + j] * in->x[i * c->k + j];
        for (int64_t j = 0; j < c->k; j++) {
            double v = in->x[i * c->k + j] / fmax(sqrt(s), 1e-12) * sqrt((double)c->k) * in->w[j];

            ref[i * c->k + j] = point(r, c->extra ? v / (1 + exp(-v)) : v);
        }
    }
}

/* one NaN in row 130: which blocks get a scale of NaN. n: 0 quantise, 1 norm_modulate */
static int run_nan(Run *r, const Case *c, float **out, int64_t *count)
{
    float *values = run_values(r, 0, c->m * c->k, 1, 1);
    TDNormW norm = { .dim = c->k, .eps = 1e-6f, .profile = TD_NORM_EXACT };
    const float *shift, *scale;
    TDTensor x;
    TDAct y;
    int ret;

    values[130 * c->k + 200] = NAN;
    TRY(run_tensor(r, &x, TD_BF16, values, c->m, c->k, 0, 0));
    TRY(run_vector(r, &shift, run_values(r, 3, c->k, 0.5f, 0), c->k));
    TRY(run_vector(r, &scale, run_values(r, 4, c->k, 0.5f, 0), c->k));
    TRY(run_act(r, &y, values, c->m, c->k, 1));
    if (c->n)
        TRY(r->dev->ops->norm_modulate(r->dev, &y, &x, &norm, shift, scale));
    else
        TRY(r->dev->ops->quantise(r->dev, &y));
    TRY(run_download(r, out, count, &y.scale, TD_UNPACK_TENSOR));
    for (int64_t i = 0; i < *count; i++)
        (*out)[i] = isnan((*out)[i]) ? 1.0f : 0.0f;
fail:
    return ret;
}

static void ref_nan(Run *r, const Case *c, double *ref)
{
    int64_t kb = (c->k + 127) / 128;

    (void)r;
    for (int64_t i = 0; i < (c->m + 127) / 128 * kb; i++)
        ref[i] = i / kb == 1 && (c->n || i % kb == 1);
}

#define NORM .run = run_norm, .reference = ref_norm
#define NANS .run = run_nan, .reference = ref_nan
#define RMS .run = run_rms, .reference = ref_rms
#define QK .run = run_qk, .reference = ref_qk
#define RMS_SILU .run = run_rms_silu, .reference = ref_rms_silu

const Case norm_cases[] = {
    { "norm_modulate", "bf16 33x256 modulated", .m = 33, .k = 256, .extra = MODULATED, .bound = 5e-3,
      .exact = 1, NORM },
    { "norm_modulate", "bf16 130x1536 padded lanes", .m = 130, .k = 1536, .extra = MODULATED, .bound = 5e-3,
      .exact = 1, NORM },
    { "norm_modulate", "bf16 5x5120 affine", .m = 5, .k = 5120, .extra = AFFINE, .bound = 5e-3, .exact = 1, NORM },
    { "norm_modulate", "bf16 7x384 exact affine", .m = 7, .k = 384, .extra = AFFINE | EXACT, .bound = 5e-3,
      .exact = 1, NORM },
    { "norm_modulate", "int8 300x384 modulated", .m = 300, .k = 384, .extra = MODULATED | INT8, .bound = 2e-2,
      .exact = 1, NORM },
    { "norm_modulate", "int8 1x1536 modulated", .m = 1, .k = 1536, .extra = MODULATED | INT8, .bound = 2e-2,
      .wild_bound = 3e-2, .exact = 1, NORM },
    { "norm_modulate", "int8 300x1536 affine", .m = 300, .k = 1536, .extra = AFFINE | INT8, .bound = 2e-2,
      .wild_bound = 3e-2, .exact = 1, NORM },
    { "norm_modulate", "int8 130x5120", .m = 130, .k = 5120, .extra = MODULATED | INT8, .bound = 2e-2,
      .wild_bound = 3e-2, .exact = 1, NORM },
    { "norm_modulate", "int8 140x2560 affine", .m = 140, .k = 2560, .extra = AFFINE | INT8, .bound = 2e-2,
      .wild_bound = 3e-2, .exact = 1, NORM },
    { "norm_modulate", "int8, a NaN", .m = 300, .n = 1, .k = 384, .exact = 1, NANS },
    { "quantise", "a NaN", .m = 300, .k = 384, .exact = 1, NANS },
    { "rms_norm", "bf16 40x1536", .m = 40, .k = 1536, .bound = 3e-3, .exact = 1, RMS },
    { "rms_norm", "bf16 40x256 exact", .m = 40, .k = 256, .extra = EXACT, .bound = 4e-3, .exact = 1, RMS },
    { "qk_norm_rope", "70 tokens, 3 heads", .m = 70, .n = 3, .bound = 4e-3, .exact = 1, QK },
    { "rms_silu", "500x96", .m = 500, .k = 96, .extra = 1, .bound = 4e-3, RMS_SILU },
    { "rms_silu", "260x384 no SiLU", .m = 260, .k = 384, .bound = 3e-3, .exact = 1, RMS_SILU },
    { "rms_silu", "501x24", .m = 501, .k = 24, .extra = 1, .bound = 4e-3, RMS_SILU },
    { "rms_silu", "300x48 no SiLU", .m = 300, .k = 48, .bound = 3e-3, .exact = 1, RMS_SILU },
    { "rms_silu", "37x16", .m = 37, .k = 16, .extra = 1, .bound = 4e-3, RMS_SILU },
    { 0 }
};
