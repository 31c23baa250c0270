/* SPDX-License-Identifier: BSD-2-Clause
 * Linears with every epilogue, and the quantiser. m rows, n outputs, k inputs; extra: 1 = int8,
 * 3 = int8 and a term that is added to the sums. */
#include <math.h>
#include "checkops.h"

typedef struct Inputs { const float *x, *w, *bias, *res, *gate, *add; } Inputs;   /* note of a linear run */

static int linear_setup(Run *r, const Case *c, TDAct *x, TDLinear *lin, Inputs *in)
{
    float *w, *b, *xv = run_values(r, 0, c->m * c->k, 1, 1);
    int ret;

    TRY(run_act(r, x, xv, c->m, c->k, (int)c->extra & 1));
    TRY(run_linear(r, lin, c->extra ? TD_I8 : TD_BF16, c->n, c->k, 1, 0, &w, &b));
    in->x = run_floats(r, c->m * c->k);
    TRY(td_unpack(r->dev, (float *)in->x, x, TD_UNPACK_ACT));
    in->w = w;
    in->bias = b;
fail:
    return ret;
}

/* where: of the term, the output's memory or NULL for some of its own */
static int add_setup(Run *r, const Case *c, TDAct *x, Inputs *in, TDTensor *where)
{
    float *add = c->extra & 2 ? run_values(r, 7, c->m * c->n, 1, 1) : NULL;
    TDTensor own;
    int ret = 0;

    in->add = add;
    if (!add)
        return 0;
    TRY(run_tensor(r, where ? where : &own, TD_BF16, add, c->m, c->n, 0, 0));
    x->add = (where ? where : &own)->data;
fail:
    return ret;
}

static Inputs *inputs(Run *r)
{
    Inputs *in = (Inputs *)run_floats(r, sizeof(Inputs) / sizeof(float) + 1);

    r->note = in;
    return in;
}

static int run_plain(Run *r, const Case *c, float **out, int64_t *count)
{
    Inputs *in = inputs(r);
    TDAct x;
    TDLinear lin;
    TDTensor y, out_of_place;
    int ret;

    TRY(linear_setup(r, c, &x, &lin, in));
    TRY(run_tensor(r, &y, TD_BF16, NULL, c->m, c->n, 0, 0));
    TRY(add_setup(r, c, &x, in, r->bench ? &out_of_place : &y));     /* a second run would add to the first */
    TIMED(r, r->dev->ops->linear(r->dev, &y, &x, &lin));
    TRY(run_download(r, out, count, &y, TD_UNPACK_TENSOR));
fail:
    return ret;
}

/* the linear's output; int8 rounds before the bias, too */
static double dot(const Run *r, const Case *c, int64_t i, int64_t j)
{
    const Inputs *in = r->note;
    double s = 0;

    for (int64_t k = 0; k < c->k; k++)
        s += (double)in->x[i * c->k + k] * in->w[j * c->k + k];
    s += in->add ? in->add[i * c->n + j] : 0;
    return point(r, (c->extra ? point(r, s) : s) + in->bias[j]);
}

static void ref_plain(Run *r, const Case *c, double *ref)
{
    for (int64_t i = 0; i < c->m; i++)
        for (int64_t j = 0; j < c->n; j++)
            ref[i * c->n + j] = dot(r, c, i, j);
}

static int run_gelu(Run *r, const Case *c, float **out, int64_t *count)
{
    Inputs *in = inputs(r);
    TDAct x, y;
    TDLinear lin;
    int ret;

    TRY(linear_setup(r, c, &x, &lin, in));
    TRY(run_act(r, &y, NULL, c->m, c->n, (int)c->extra & 1));
    TRY(add_setup(r, c, &x, in, r->bench ? NULL : &y.x));
    TIMED(r, r->dev->ops->linear_gelu(r->dev, &y, &x, &lin));
    TRY(run_download(r, out, count, &y, TD_UNPACK_ACT));
fail:
    return ret;
}

static double gelu(double x)
{
    return 0.5 * x * (1 + tanh(sqrt(2 / 3.141592653589793) * (x + 0.044715 * x * x * x)));
}

static void ref_gelu(Run *r, const Case *c, double *ref)
{
    ref_plain(r, c, ref);
    for (int64_t i = 0; i < c->m * c->n; i++)
        ref[i] = point(r, gelu(ref[i]));
    if (c->extra)
        point_int8(r, ref, c->m, c->n);
}

static int run_residual(Run *r, const Case *c, float **out, int64_t *count)
{
    Inputs *in = inputs(r);
    float *res = run_values(r, 3, c->m * c->n, 1, 1), *gate = run_values(r, 4, c->n, 1, 0);
    const float *gate_dev;
    TDAct y;
    TDLinear lin;
    TDTensor x;
    int ret, bench = r->bench;

    TRY(linear_setup(r, c, &y, &lin, in));
    in->res = res;
    in->gate = gate;
    TRY(run_vector(r, &gate_dev, gate, c->n));
    TRY(add_setup(r, c, &y, in, NULL));
    r->bench = 0; /* the slot adds to x: repeat on a copy, then once more for the check */
    TRY(run_tensor(r, &x, TD_BF16, res, c->m, c->n, 0, 0));
    if (bench) {
        r->bench = bench;
        TIMED(r, r->dev->ops->linear_residual(r->dev, &x, &y, &lin, gate_dev));
        TRY(run_tensor(r, &x, TD_BF16, res, c->m, c->n, 0, 0));
    }
    TRY(r->dev->ops->linear_residual(r->dev, &x, &y, &lin, gate_dev));
    TRY(run_download(r, out, count, &x, TD_UNPACK_TENSOR));
fail:
    return ret;
}

static void ref_residual(Run *r, const Case *c, double *ref)
{
    const Inputs *in = r->note;

    for (int64_t i = 0; i < c->m; i++)
        for (int64_t j = 0; j < c->n; j++)
            ref[i * c->n + j] = point(r, in->res[i * c->n + j] + point(r, point(r, in->gate[j]) * dot(r, c, i, j)));
}

/* umT5's: the formula written out, each step a bf16 tensor */
static double gelu_steps(const Run *r, double x)
{
    double cube = point(r, point(r, x * x) * x), in = point(r, 0.79788456f * point(r, x + point(r, 0.044715f * cube)));

    return point(r, point(r, 0.5 * x) * point(r, 1 + point(r, tanh(in))));
}

/* umT5's gated unit; its chain of bf16 roundings is part of the slot, so the bound is wide */
static int run_geglu(Run *r, const Case *c, float **out, int64_t *count)
{
    Inputs *in = inputs(r);
    float *w, *b;
    TDAct x, y;
    TDLinear gate, up;
    TDTensor u;
    int ret;

    TRY(run_act(r, &x, in->x = run_values(r, 0, c->m * c->k, 1, 1), c->m, c->k, 0));
    TRY(run_linear(r, &gate, TD_BF16, c->n, c->k, 1, 1, &w, &b));
    in->w = w;
    TRY(run_linear(r, &up, TD_BF16, c->n, c->k, 5, 1, &w, &b));
    in->res = w;
    TRY(run_tensor(r, &u, TD_BF16, NULL, c->m, c->n, 0, 0));
    TRY(run_act(r, &y, NULL, c->m, c->n, 0));
    TIMED(r, r->dev->ops->linear_geglu(r->dev, &y.x, &u, &x, &gate, &up));
    TRY(run_download(r, out, count, &y, TD_UNPACK_ACT));
fail:
    return ret;
}

static void ref_geglu(Run *r, const Case *c, double *ref)
{
    const Inputs *in = r->note;

    for (int64_t i = 0; i < c->m; i++)
        for (int64_t j = 0; j < c->n; j++) {
            double g = 0, u = 0;

            for (int64_t k = 0; k < c->k; k++) {
                g += (double)in->x[i * c->k + k] * in->w[j * c->k + k];
                u += (double)in->x[i * c->k + k] * in->res[j * c->k + k];
            }
            ref[i * c->n + j] = point(r, point(r, u) * gelu_steps(r, point(r, g)));
        }
}

/* extra: of values times 2^-extra */
static int run_quantise(Run *r, const Case *c, float **out, int64_t *count)
{
    float *values = run_values(r, 0, c->m * c->k, ldexpf(1, (int)-c->extra), 1);
    TDAct x;
    int ret;

    r->note = values;
    TRY(run_act(r, &x, values, c->m, c->k, 1));
    TIMED(r, r->dev->ops->quantise(r->dev, &x));
    TRY(run_download(r, out, count, &x, TD_UNPACK_ACT));
fail:
    return ret;
}

static void ref_quantise(Run *r, const Case *c, double *ref)
{
    const float *x = r->note;

    for (int64_t i0 = 0; i0 < c->m; i0 += 128)
        for (int64_t k0 = 0; k0 < c->k; k0 += 128) {
            double amax = 1e-8f;

            for (int64_t i = i0; i < i0 + 128 && i < c->m; i++)
                for (int64_t k = k0; k < k0 + 128; k++)
                    amax = fmax(amax, fabs(x[i * c->k + k]));
            for (int64_t i = i0; i < i0 + 128 && i < c->m; i++)
                for (int64_t k = k0; k < k0 + 128; k++) {
                    double q = nearbyint(x[i * c->k + k] * (128 / amax));

                    ref[i * c->k + k] = (q > 127 ? 127 : q < -128 ? -128 : q) * (amax / 128);
                }
        }
}

static double flops(const Case *c)
{
    return 2.0 * (double)c->m * (double)c->n * (double)c->k;
}

static double flops_geglu(const Case *c)
{
    return 2 * flops(c);
}

#define PLAIN .run = run_plain, .reference = ref_plain, .flops = flops
#define RESIDUAL .run = run_residual, .reference = ref_residual, .flops = flops
#define GELU .run = run_gelu, .reference = ref_gelu, .flops = flops
#define GEGLU .run = run_geglu, .reference = ref_geglu, .flops = flops_geglu
#define QUANTISE .run = run_quantise, .reference = ref_quantise

const Case linear_cases[] = {
    { "linear", "bf16 1x256x256", .m = 1, .n = 256, .k = 256, .bound = 3e-3, .exact = 1, PLAIN },
    { "linear", "bf16 127x200x72", .m = 127, .n = 200, .k = 72, .bound = 3e-3, .exact = 1, PLAIN },
    { "linear", "bf16 200x96x96", .m = 200, .n = 96, .k = 96, .bound = 3e-3, .exact = 1, PLAIN },
    { "linear", "bf16 333x1536x512", .m = 333, .n = 1536, .k = 512, .bound = 3e-3, .exact = 1, PLAIN },
    { "linear", "int8 1x256x256", .m = 1, .n = 256, .k = 256, .extra = 1, .bound = 4e-3, .exact = 1, PLAIN },
    { "linear", "int8 129x136x384", .m = 129, .n = 136, .k = 384, .extra = 1, .bound = 4e-3, .exact = 1, PLAIN },
    { "linear", "int8 300x1536x640", .m = 300, .n = 1536, .k = 640, .extra = 1, .bound = 4e-3, .exact = 1, PLAIN },
    { "linear", "int8 700x1152x1536", .m = 700, .n = 1152, .k = 1536, .extra = 1, .bound = 4e-3, .exact = 1, PLAIN },
    { "linear_residual", "int8 700x640x1024", .m = 700, .n = 640, .k = 1024, .extra = 1, .bound = 5e-3,
      .exact = 1, RESIDUAL },
    { "linear_residual", "bf16 200x96x96", .m = 200, .n = 96, .k = 96, .bound = 4e-3, .exact = 1, RESIDUAL },
    { "linear_residual", "bf16 520x384x640", .m = 520, .n = 384, .k = 640, .bound = 4e-3, .exact = 1, RESIDUAL },
    { "linear_gelu", "bf16 130x384x256", .m = 130, .n = 384, .k = 256, .bound = 4e-3, GELU },
    { "linear_gelu", "int8 257x512x256", .m = 257, .n = 512, .k = 256, .extra = 1, .bound = 2e-2,
      .wild_bound = 0.1, GELU },
    { "linear_residual", "bf16 128x256x384", .m = 128, .n = 256, .k = 384, .bound = 4e-3, .exact = 1, RESIDUAL },
    { "linear_residual", "int8 255x256x256", .m = 255, .n = 256, .k = 256, .extra = 1, .bound = 5e-3,
      .exact = 1, RESIDUAL },
    { "linear", "int8 257x264x384, a term added", .m = 257, .n = 264, .k = 384, .extra = 3, .bound = 4e-3, .exact = 1,
      PLAIN },
    { "linear_gelu", "int8 257x512x256, a term added", .m = 257, .n = 512, .k = 256, .extra = 3, .bound = 2e-2,
      .wild_bound = 0.1, GELU },
    { "linear_residual", "int8 129x256x256, a term added", .m = 129, .n = 256, .k = 256, .extra = 3, .bound = 5e-3,
      .exact = 1, RESIDUAL },
    /* steps of its chain show in few values */
    { "linear_geglu", "bf16 77x320x256", .m = 77, .n = 320, .k = 256, .bound = 1e-2, .points = 1.5e-4, GEGLU },
    { "quantise", "257x384", .m = 257, .k = 384, .bound = 1e-3, .exact = 1, QUANTISE },
    { "quantise", "257x384, largest ones 4e-7", .m = 257, .k = 384, .extra = 23, .bound = 1e-3, .exact = 1, QUANTISE },
    { "quantise", "257x384, all below 1e-8", .m = 257, .k = 384, .extra = 29, .bound = 1e-3, .exact = 1, QUANTISE },
    { 0 }
};
