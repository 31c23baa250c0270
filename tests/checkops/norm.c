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

            v = in->w ? v * in->w[j] + in->b[j] : v;
            ref[i * c->k + j] = in->scale ? v * (1 + in->scale[j]) + in->shift[j] : v;
        }
    }
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

static void rms_row(double *y, const float *x, const float *w, int64_t n)
{
    double s = 0;

    for (int64_t j = 0; j < n; j++)
        s += (double)x[j] * x[j];
    for (int64_t j = 0; j < n; j++)
        y[j] = x[j] / sqrt(s / (double)n + 1e-6) * w[j];
}

static void ref_rms(Run *r, const Case *c, double *ref)
{
    const Inputs *in = r->note;

    for (int64_t i = 0; i < c->m; i++)
        rms_row(ref + i * c->k, in->x + i * c->k, in->w, c->k);
}

/* q, k and v of a fused row, one after another in the output; n heads of 128 */
static int run_qk(Run *r, const Case *c, float **out, int64_t *count)
{
    Inputs *in = inputs(r);
    int64_t d = c->n * 128, part;
    TDNormW nq = { .dim = d, .eps = 1e-6f, .profile = TD_NORM_OFFICIAL }, nk = nq;
    TDQkv qkv = { .cfg = { .kind = TD_ATTN_DENSE }, .n_q = c->m, .n_kv = c->m, .n_heads = c->n, .head_dim = 128 };
    TDTensor x, rope;
    float *angle = run_values(r, 5, c->m * 64, 2, 0), *table = run_floats(r, c->m * 128), *p;
    int ret;

    for (int64_t i = 0; i < c->m * 64; i++) {
        table[2 * i] = cosf(angle[i]);
        table[2 * i + 1] = sinf(angle[i]);
    }
    in->rope = table;
    TRY(run_tensor(r, &x, TD_BF16, in->x = run_values(r, 0, c->m * 3 * d, 1, 1), c->m, 3 * d, 0, 0));
    TRY(run_tensor(r, &rope, TD_F32, table, c->m, 64, 2, 0));
    TRY(run_vector(r, &nq.weight, in->w = weights(r, 1, d), d));
    TRY(run_vector(r, &nk.weight, in->w2 = weights(r, 2, d), d));
    TRY(td_plan_qkv(r->dev, &r->arena, &qkv));
    TIMED(r, r->dev->ops->qk_norm_rope(r->dev, &qkv, &x, &nq, &nk, &rope));
    *count = 3 * c->m * d;
    *out = run_floats(r, *count);
    TRY(run_download(r, &p, &part, &qkv.q, TD_UNPACK_TENSOR));
    memcpy(*out, p, (size_t)part * sizeof(*p));
    TRY(run_download(r, &p, &part, &qkv.k, TD_UNPACK_TENSOR));
    memcpy(*out + part, p, (size_t)part * sizeof(*p));
    TRY(run_download(r, &p, &part, &qkv.v, TD_UNPACK_TENSOR));
    memcpy(*out + 2 * part, p, (size_t)part * sizeof(*p));
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
            rms_row(y, x, part ? in->w2 : in->w, d);
            for (int64_t j = 0; j < d; j += 2) {
                double a = y[j], b = y[j + 1], co = cs[j % 128], si = cs[j % 128 + 1];

                y[j] = a * co - b * si;
                y[j + 1] = b * co + a * si;
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

            ref[i * c->k + j] = c->extra ? v / (1 + exp(-v)) : v;
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

const Case norm_cases[] = {
    { "norm_modulate", "bf16 33x256 modulated", 33, 0, 256, MODULATED, 5e-3, 0, run_norm, ref_norm, NULL },
    { "norm_modulate", "bf16 130x1536 padded lanes", 130, 0, 1536, MODULATED, 5e-3, 0, run_norm, ref_norm, NULL },
    { "norm_modulate", "bf16 5x5120 affine", 5, 0, 5120, AFFINE, 5e-3, 0, run_norm, ref_norm, NULL },
    { "norm_modulate", "bf16 7x384 exact affine", 7, 0, 384, AFFINE | EXACT, 5e-3, 0, run_norm, ref_norm, NULL },
    { "norm_modulate", "int8 300x384 modulated", 300, 0, 384, MODULATED | INT8, 2e-2, 0, run_norm, ref_norm, NULL },
    { "norm_modulate", "int8 1x1536 modulated", 1, 0, 1536, MODULATED | INT8, 2e-2, 3e-2, run_norm, ref_norm, NULL },
    { "norm_modulate", "int8 300x1536 affine", 300, 0, 1536, AFFINE | INT8, 2e-2, 3e-2, run_norm, ref_norm, NULL },
    { "norm_modulate", "int8 130x5120", 130, 0, 5120, MODULATED | INT8, 2e-2, 3e-2, run_norm, ref_norm, NULL },
    { "norm_modulate", "int8 140x2560 affine", 140, 0, 2560, AFFINE | INT8, 2e-2, 3e-2, run_norm, ref_norm, NULL },
    { "norm_modulate", "int8, a NaN", 300, 1, 384, 0, 0, 0, run_nan, ref_nan, NULL },
    { "quantise", "a NaN", 300, 0, 384, 0, 0, 0, run_nan, ref_nan, NULL },
    { "rms_norm", "bf16 40x1536", 40, 0, 1536, 0, 3e-3, 0, run_rms, ref_rms, NULL },
    { "rms_norm", "bf16 40x256 exact", 40, 0, 256, EXACT, 4e-3, 0, run_rms, ref_rms, NULL },
    { "qk_norm_rope", "70 tokens, 3 heads", 70, 3, 0, 0, 4e-3, 0, run_qk, ref_qk, NULL },
    { "rms_silu", "500x96", 500, 0, 96, 1, 4e-3, 0, run_rms_silu, ref_rms_silu, NULL },
    { "rms_silu", "260x384 no SiLU", 260, 0, 384, 0, 3e-3, 0, run_rms_silu, ref_rms_silu, NULL },
    { "rms_silu", "37x16", 37, 0, 16, 1, 4e-3, 0, run_rms_silu, ref_rms_silu, NULL },
    { 0 }
};
