/* SPDX-License-Identifier: BSD-2-Clause
 * Attention. m queries, n keys, k head dim, extra heads. Sparse kinds: m tokens; the reference takes the block map the
 * device chose, and the map's own scores are checked apart. */
#include <math.h>
#include <stdlib.h>
#include "checkops.h"

typedef struct Inputs {
    const float *q, *k, *v, *w, *proj_bias, *map;
    const double *relative;
    int64_t n_keep, bq, bk;
    uint64_t doubled;                            /* as in TDQkv */
} Inputs;

static Inputs *inputs(Run *r)
{
    Inputs *in = (Inputs *)run_floats(r, sizeof(Inputs) / sizeof(float) + 1);

    r->note = in;
    return in;
}

static int upload_qkv(Run *r, TDQkv *qkv, const Inputs *in)
{
    const float *src[3] = { in->q, in->k, in->v };
    TDTensor *dst[3] = { &qkv->q, &qkv->k, &qkv->v };
    int ret = 0;

    for (int i = 0; i < 3; i++) {
        int64_t n = td_tensor_count(dst[i]);
        uint16_t *tmp = malloc((size_t)n * sizeof(*tmp));

        for (int64_t j = 0; j < n; j++)
            tmp[j] = td_f32_to_bf16(src[i][j]);
        ret = r->dev->ops->upload(r->dev, dst[i], tmp);
        free(tmp);
        TRY(ret);
    }
fail:
    return ret;
}

/* title: "..., doubled HEX" */
static int run_dense(Run *r, const Case *c, float **out, int64_t *count)
{
    const char *doubled = strstr(c->title, "doubled ");
    Inputs *in = inputs(r);
    int64_t d = c->k * c->extra;
    TDQkv qkv = { .cfg = { .kind = TD_ATTN_DENSE }, .n_q = c->m, .n_kv = c->n, .n_heads = c->extra, .head_dim = c->k };
    TDAct o;
    int ret;

    in->doubled = qkv.doubled = doubled ? strtoull(doubled + 8, NULL, 16) : 0;
    in->q = run_values(r, 0, c->m * d, 1, 1);
    in->k = run_values(r, 1, c->n * d, 1, 1);
    in->v = run_values(r, 2, c->n * d, 1, 1);
    TRY(td_plan_qkv(r->dev, &r->arena, &qkv));
    TRY(run_act(r, &o, NULL, c->m, d, 0));
    TRY(upload_qkv(r, &qkv, in));
    TIMED(r, r->dev->ops->attn_dense(r->dev, &o, &qkv));
    TRY(run_download(r, out, count, &o, TD_UNPACK_ACT));
fail:
    return ret;
}

/* softmax(scale q k^T + bias) v of one query and head over the keys in use; relative: [h][2n] by key - query + n, or
 * NULL */
static void attend(double *o, const Inputs *in, int64_t h, int64_t i, int64_t d, int64_t dim, const char *use,
                   int64_t n, double scale)
{
    double *p = malloc((size_t)n * sizeof(*p)), m = -INFINITY, sum = 0;

    for (int64_t j = 0; j < n; j++) {
        double s = 0;

        for (int64_t c = 0; c < d; c++)
            s += (double)in->q[i * dim + h * d + c] * in->k[j * dim + h * d + c];
        p[j] = use && !use[j] ? -INFINITY : s * scale + (in->relative ? in->relative[h * 2 * n + n + j - i] : 0);
        m = fmax(m, p[j]);
    }
    for (int64_t j = 0; j < n; j++)
        sum += p[j] = exp(p[j] - m);
    for (int64_t c = 0; c < d; c++) {
        o[c] = 0;
        for (int64_t j = 0; j < n; j++)
            o[c] += p[j] / sum * in->v[j * dim + h * d + c];
    }
    free(p);
}

/* equal keys that key j of n stands for */
static int64_t times(const Inputs *in, int64_t n, int64_t j)
{
    return n - 1 - j < 16 ? 1 << (in->doubled >> 4 * (n - 1 - j) & 15) : 1;
}

/* ---- the same with points: blocks of keys in order, a running maximum, P rounded before V ---- */

typedef struct Online { double m, l, o[1024]; } Online;

/* a new maximum: what was summed so far is of another scale */
static void online_max(Online *s, double m, int64_t d)
{
    double a = m > s->m ? exp2(s->m - m) : 1;

    if (m <= s->m)
        return;
    s->m = m;
    s->l *= a;
    for (int64_t c = 0; c < d; c++)
        s->o[c] *= a;
}

/* query i of head h; block: the first key of each of n blocks of bk */
static void attend_points(double *o, const Inputs *in, int64_t h, int64_t i, int64_t d, int64_t dim,
                          const int64_t *block, int64_t n, int64_t bk, int64_t n_keys)
{
    Online s = { .m = -INFINITY };
    double scale = 1.4426950408889634 / sqrt((double)d), *p = malloc((size_t)bk * sizeof(*p));

    for (int64_t b = 0; b < n; b++) {
        int64_t rows = n_keys - block[b] < bk ? n_keys - block[b] : bk;
        double m = -INFINITY;

        for (int64_t j = 0; j < rows; j++) {
            p[j] = 0;
            for (int64_t c = 0; c < d; c++)
                p[j] += (double)in->q[i * dim + h * d + c] * in->k[(block[b] + j) * dim + h * d + c];
            p[j] *= scale;
            m = fmax(m, p[j]);
        }
        online_max(&s, m, d);
        for (int64_t j = 0; j < rows; j++) {
            double e = exp2(p[j] - s.m) * (double)times(in, n_keys, block[b] + j), rounded = td_bf16_round((float)e);

            s.l += e;
            for (int64_t c = 0; c < d; c++)
                s.o[c] += rounded * in->v[(block[b] + j) * dim + h * d + c];
        }
    }
    for (int64_t c = 0; c < d; c++)
        o[c] = td_bf16_round((float)(s.o[c] / s.l));
    free(p);
}

/* keys of the CPU backend's blocks under dense attention; another number moves where P is rounded */
#define DENSE_BK 128

/* rows of x, as often as they count: all keys, one by one */
static float *all_keys(Run *r, const Inputs *in, const float *x, int64_t n, int64_t dim, int64_t *n_all)
{
    float *y;

    *n_all = 0;
    for (int64_t i = 0; i < n; i++)
        *n_all += times(in, n, i);
    y = run_floats(r, *n_all * dim);
    *n_all = 0;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < times(in, n, i); j++)
            memcpy(y + (*n_all)++ * dim, x + i * dim, (size_t)dim * sizeof(*y));
    return y;
}

static void ref_dense(Run *r, const Case *c, double *ref)
{
    const Inputs *in = r->note;
    Inputs all = *in;
    int64_t block[64], n = c->n;

    if (in->doubled) {
        all.k = all_keys(r, in, in->k, c->n, c->k * c->extra, &n);
        all.v = all_keys(r, in, in->v, c->n, c->k * c->extra, &n);
    }
    for (int64_t b = 0; b * DENSE_BK < c->n; b++)
        block[b] = b * DENSE_BK;
    for (int64_t h = 0; h < c->extra && r->points; h++)
        for (int64_t i = 0; i < c->m; i++)
            attend_points(ref + i * c->k * c->extra + h * c->k, in, h, i, c->k, c->k * c->extra, block,
                          (c->n + DENSE_BK - 1) / DENSE_BK, DENSE_BK, c->n);
    for (int64_t h = 0; h < c->extra && !r->points; h++)
        for (int64_t i = 0; i < c->m; i++)
            attend(ref + i * c->k * c->extra + h * c->k, &all, h, i, c->k, c->k * c->extra, NULL, n,
                   1 / sqrt((double)c->k));
}

/* ---- sparse-linear: kind in the title's first letters ---- */

static TDAttnConfig sparse_config(const Case *c)
{
    int sage = !strncmp(c->title, "sage", 4), tall = strstr(c->title, "64x128") != NULL;

    return (TDAttnConfig){ sage ? TD_ATTN_SAGESLA : TD_ATTN_SLA, tall ? 64 : 128, tall ? 128 : 64, (double)c->n / 100 };
}

/* tokens drift, as in a video: neighbouring blocks are alike, so that a map has something to choose */
static float *drifting(Run *r, int stream, const Case *c, float offset)
{
    int64_t d = c->k * c->extra;
    float *x = run_values(r, stream, c->m * d, 1, 1), *trend = run_values(r, 10, (c->m / 48 + 1) * d, 1, 1);

    for (int64_t i = 0; i < c->m * d; i++)
        x[i] = td_bf16_round(x[i] + trend[i / d / 48 * d + i % d] + offset);
    return x;
}

/* q and k of in are there, and v may be */
static int run_sparse_of(Run *r, const Case *c, Inputs *in, float **out, int64_t *count)
{
    int64_t d = c->k * c->extra, n_map;
    TDQkv qkv = { .cfg = sparse_config(c), .n_q = c->m, .n_kv = c->m, .n_heads = c->extra, .head_dim = c->k };
    TDLinear proj;
    float *w, *b, *map;
    TDAct o;
    int ret;

    if (!in->v)
        in->v = run_values(r, 2, c->m * d, 1, 1);
    TRY(td_plan_qkv(r->dev, &r->arena, &qkv));
    TRY(run_act(r, &o, NULL, c->m, d, 0));
    TRY(run_linear(r, &proj, TD_BF16, c->k, c->k, 3, 0, &w, &b));
    TRY(upload_qkv(r, &qkv, in));
    TIMED(r, r->dev->ops->attn_sla(r->dev, &o, &qkv, &proj));
    TRY(run_download(r, out, count, &o, TD_UNPACK_ACT));
    TRY(run_download(r, &map, &n_map, &qkv.map, TD_UNPACK_TENSOR));
    in->w = w;
    in->proj_bias = b;
    in->map = map;
    in->n_keep = qkv.n_keep;
    in->bq = qkv.cfg.bq;
    in->bk = qkv.cfg.bk;
fail:
    return ret;
}

static int run_sparse(Run *r, const Case *c, float **out, int64_t *count)
{
    Inputs *in = inputs(r);

    in->q = drifting(r, 0, c, 0);
    in->k = drifting(r, 1, c, 0.5f);
    return run_sparse_of(r, c, in, out, count);
}

/* One head's q and k whose codes are halves before they are rounded: their scale is 2, as each block has a 254 in a
 * channel where the other side is zero (2 + 1e-7 is 2), and all else is odd. k's mean is zero. 256 tokens. */
static int run_halves(Run *r, const Case *c, float **out, int64_t *count)
{
    int64_t d = c->k;
    float *q = run_values(r, 4, c->m * d, 1, 1), *k = run_values(r, 5, c->m * d, 1, 1);
    Inputs *in = inputs(r);

    for (int64_t i = 0; i < c->m; i++)
        for (int64_t ch = 0; ch < d; ch++) {
            float *a = q + i * d + ch, *b = k + i * d + ch;

            *a = *a > 1.5f ? 3 : *a > 0 ? 1 : *a > -1.5f ? -1 : -3;
            *b = i % 2 ? -b[-d] : *b > 1.5f ? 3 : *b > 0 ? 1 : *b > -1.5f ? -1 : -3;
            if (ch < 2)
                *(ch ? a : b) = 0;
        }
    for (int64_t i = 0; i < c->m; i++) {
        q[i * d] = i % 64 ? 0 : 254;
        k[i * d + 1] = i % 64 > 1 ? 0 : i % 2 ? -254 : 254;
    }
    in->q = q;
    in->k = k;
    return run_sparse_of(r, c, in, out, count);
}

/* One head whose linear branch has a denominator of 128.5, which is a tie: 128 where it is rounded before its 1e-5, 129
 * where it is not. Queries look at two channels alike, 129 keys at the first of these and 128 at the other one; e^-128
 * is nothing beside that. All of v is positive, so that the branch weighs. */
static int run_tie(Run *r, const Case *c, float **out, int64_t *count)
{
    int64_t d = c->k;
    float *q = run_floats(r, c->m * d), *k = run_floats(r, c->m * d), *v = run_values(r, 2, c->m * d, 1, 1);
    Inputs *in = inputs(r);

    for (int64_t i = 0; i < c->m; i++)
        q[i * d] = q[i * d + 1] = k[i * d + i % 2] = 128;
    for (int64_t i = 0; i < c->m * d; i++)
        v[i] = fabsf(v[i]);
    in->q = q;
    in->k = k;
    in->v = v;
    return run_sparse_of(r, c, in, out, count);
}

/* bf16 in the contract */
static void softmax_row(const Run *r, double *y, const float *x, int64_t n)
{
    double m = -INFINITY, s = 0;

    for (int64_t i = 0; i < n; i++)
        m = fmax(m, x[i]);
    for (int64_t i = 0; i < n; i++)
        s += y[i] = exp(x[i] - m);
    for (int64_t i = 0; i < n; i++)
        y[i] = point(r, y[i] / s);
}

/* adds proj(fq kv / (fq . k_sum)) of every token of a head */
static void ref_linear_branch(const Run *r, const Case *c, int64_t h, double *ref)
{
    const Inputs *in = r->note;
    int64_t d = c->k, dim = c->k * c->extra;
    double *kv = calloc((size_t)(d * d + 3 * d), sizeof(*kv)), *sum = kv + d * d, *f = sum + d, *o = f + d;

    for (int64_t j = 0; j < c->m; j++) {
        softmax_row(r, f, in->k + j * dim + h * d, d);
        for (int64_t a = 0; a < d; a++) {
            sum[a] += f[a];
            for (int64_t b = 0; b < d; b++)
                kv[a * d + b] += f[a] * in->v[j * dim + h * d + b];
        }
    }
    for (int64_t a = 0; a < d; a++) {
        sum[a] = point(r, sum[a]);
        for (int64_t b = 0; b < d; b++)
            kv[a * d + b] = point(r, kv[a * d + b]);
    }
    for (int64_t i = 0; i < c->m; i++) {
        double den = 0;

        softmax_row(r, f, in->q + i * dim + h * d, d);
        for (int64_t b = 0; b < d; b++) {
            o[b] = 0;
            for (int64_t a = 0; a < d; a++)
                o[b] += f[a] * kv[a * d + b];
            den += point(r, f[b] * sum[b]);
        }
        den = point(r, 1e-5 + point(r, den));
        for (int64_t b = 0; b < d; b++)
            o[b] = point(r, point(r, o[b]) / den);
        for (int64_t n = 0; n < d; n++) {
            double y = in->proj_bias[n], *at = ref + i * dim + h * d + n;

            for (int64_t b = 0; b < d; b++)
                y += o[b] * in->w[n * d + b];
            *at = point(r, *at + point(r, y));
        }
    }
    free(kv);
}

/* ---- sagesla's codes ---- */

typedef struct Sage {
    float *q, *k, *v;                            /* of one head: int8 codes, int8 codes, e4m3 [tokens][d] */
    float q_scale[64], k_scale[64], v_scale[256];
} Sage;

/* rows [n][d] of one head as codes, one scale for each block of rows */
static void codes(float *dst, float *scale, const float *x, const float *mean, int64_t n, int64_t d, int64_t dim,
                  int64_t rows)
{
    for (int64_t i0 = 0; i0 < n; i0 += rows) {
        int64_t i1 = i0 + rows < n ? i0 + rows : n;
        float amax = 0;

        for (int64_t i = i0; i < i1; i++)
            for (int64_t c = 0; c < d; c++) {
                dst[i * d + c] = mean ? td_bf16_round(x[i * dim + c] - mean[c]) : x[i * dim + c];
                amax = fmaxf(amax, fabsf(dst[i * d + c]));
            }
        *scale = amax / 127.0f + 1e-7f;
        for (int64_t i = i0 * d; i < i1 * d; i++)
            dst[i] = truncf(dst[i] / *scale + (dst[i] >= 0 ? 0.5f : -0.5f));
        scale++;
    }
}

/* the nearest of 8 values a binade up to 448, of multiples of 2^-9 below 2^-6 */
static double e4m3(double x)
{
    int e;
    double a = fabs(x), step;

    frexp(a, &e);
    step = a < 0x1p-6 ? 0x1p-9 : ldexp(1, e - 4);
    return copysign(fmin(448, rint(a / step) * step), x);
}

static void sage_codes(Sage *s, const Inputs *in, const Case *c, int64_t h)
{
    int64_t n = c->m, d = c->k, dim = c->k * c->extra;
    float mean[256];

    for (int64_t ch = 0; ch < d; ch++) {
        double sum = 0;
        float top = 0;

        for (int64_t i = 0; i < n; i++) {
            sum += in->k[i * dim + h * d + ch];
            top = fmaxf(top, fabsf(in->v[i * dim + h * d + ch]));
        }
        mean[ch] = td_bf16_round((float)sum * (1.0f / (float)n));
        s->v_scale[ch] = top > 0 ? top / 2.25f : 1;
        for (int64_t i = 0; i < n; i++)
            s->v[i * d + ch] = (float)e4m3(in->v[i * dim + h * d + ch] * (top > 0 ? 2.25f / top : 1));
    }
    codes(s->q, s->q_scale, in->q + h * d, NULL, n, d, dim, in->bq);
    codes(s->k, s->k_scale, in->k + h * d, mean, n, d, dim, in->bk);
}

/* as attend_points(), of codes. The last key block of the 64x128 form, the last two of 128x64 multiply S by the codes'
 * scales before the exponent's fused multiply-add, the others the scales by log2(e) / sqrt(d). */
static void attend_codes(double *o, const Inputs *in, const Sage *sage, int64_t i, int64_t d, const int64_t *block,
                         int64_t n, int64_t n_keys)
{
    Online s = { .m = -5e6f };
    float sm = (float)(1.0 / sqrt((double)d)) * 1.44269504f, p[128], inverse;

    for (int64_t b = 0; b < n; b++) {
        int64_t rows = n_keys - block[b] < in->bk ? n_keys - block[b] : in->bk;
        int late = b >= n - (in->bk == 128 ? 1 : 2);
        float dq = sage->q_scale[i / in->bq] * sage->k_scale[block[b] / in->bk], a = late ? sm : sm * dq;
        float part[256] = { 0 }, m = -5e6f, bias;

        for (int64_t j = 0; j < rows; j++) {
            double dot = 0;

            for (int64_t c = 0; c < d; c++)
                dot += (double)sage->q[i * d + c] * sage->k[(block[b] + j) * d + c];
            p[j] = late ? (float)dot * dq : (float)dot;
            m = fmaxf(m, p[j]);
        }
        online_max(&s, m * a, d);
        bias = -(float)s.m + 8.807f;
        for (int64_t j = 0; j < rows; j++) {
            double e = exp2((float)((double)p[j] * a + bias)), rounded = e4m3(e);

            s.l += e;
            for (int64_t c = 0; c < d; c++)
                part[c] += (float)rounded * sage->v[(block[b] + j) * d + c];
        }
        for (int64_t c = 0; c < d; c++)
            s.o[c] += part[c];
    }
    inverse = 1.0f / (float)s.l;
    for (int64_t c = 0; c < d; c++)
        o[c] = td_bf16_round((float)s.o[c] * inverse * sage->v_scale[c]);
}

static void ref_sparse_points(Run *r, const Case *c, double *ref)
{
    const Inputs *in = r->note;
    int64_t n_q = (c->m + in->bq - 1) / in->bq, dim = c->k * c->extra, block[64];
    Sage sage = { .q = run_floats(r, c->m * c->k), .k = run_floats(r, c->m * c->k), .v = run_floats(r, c->m * c->k) };
    int codes = sparse_config(c).kind == TD_ATTN_SAGESLA;

    for (int64_t h = 0; h < c->extra; h++) {
        if (codes)
            sage_codes(&sage, in, c, h);
        for (int64_t i = 0; i < c->m; i++) {
            double *o = ref + i * dim + h * c->k;

            for (int64_t b = 0; b < in->n_keep; b++)
                block[b] = (int64_t)in->map[(h * n_q + i / in->bq) * in->n_keep + b] * in->bk;
            if (codes)
                attend_codes(o, in, &sage, i, c->k, block, in->n_keep, c->m);
            else
                attend_points(o, in, h, i, c->k, dim, block, in->n_keep, in->bk, c->m);
        }
        ref_linear_branch(r, c, h, ref);
    }
}

static void ref_sparse(Run *r, const Case *c, double *ref)
{
    const Inputs *in = r->note;
    int64_t n_q = (c->m + in->bq - 1) / in->bq;
    char *use = malloc((size_t)c->m);

    if (r->points)
        ref_sparse_points(r, c, ref);
    for (int64_t h = 0; h < c->extra && !r->points; h++) {
        for (int64_t i = 0; i < c->m; i++) {
            if (i % in->bq == 0) {
                memset(use, 0, (size_t)c->m);
                for (int64_t b = 0; b < in->n_keep; b++)
                    for (int64_t j = 0, k0 = (int64_t)in->map[(h * n_q + i / in->bq) * in->n_keep + b] * in->bk;
                         j < in->bk && k0 + j < c->m; j++)
                        use[k0 + j] = 1;
            }
            attend(ref + i * c->k * c->extra + h * c->k, in, h, i, c->k, c->k * c->extra, use, c->m,
                   1 / sqrt((double)c->k));
        }
        ref_linear_branch(r, c, h, ref);
    }
    free(use);
}

/* ---- the block map alone: share of the best possible score the chosen blocks reach, per query block (1 = the top
 * ones) ---- */

static int run_map(Run *r, const Case *c, float **out, int64_t *count)
{
    const Inputs *in;
    float *scores, *o;
    int64_t d = c->k * c->extra, n_q, n_k, n_o;
    int ret;

    TRY(run_sparse(r, c, &o, &n_o));
    in = r->note;
    n_q = (c->m + in->bq - 1) / in->bq;
    n_k = (c->m + in->bk - 1) / in->bk;
    *count = c->extra * n_q;
    *out = run_floats(r, *count);
    scores = run_floats(r, n_k);
    for (int64_t h = 0; h < c->extra; h++)
        for (int64_t qi = 0; qi < n_q; qi++) {
            double least = INFINITY, most = -INFINITY, span = 0;
            int64_t chosen = 0;

            for (int64_t kj = 0; kj < n_k; kj++) {
                double s = 0;

                for (int64_t ch = h * c->k; ch < (h + 1) * c->k; ch++) {
                    double q = 0, k = 0, mean = 0;
                    int64_t nq = 0, nk = 0;

                    for (int64_t i = qi * in->bq; i < (qi + 1) * in->bq && i < c->m; i++, nq++)
                        q += in->q[i * d + ch];
                    for (int64_t i = kj * in->bk; i < (kj + 1) * in->bk && i < c->m; i++, nk++)
                        k += in->k[i * d + ch];
                    for (int64_t i = 0; i < c->m; i++)
                        mean += in->k[i * d + ch];
                    s += q / (double)nq * (k / (double)nk - mean / (double)c->m);
                }
                scores[kj] = (float)s;
                span = fmax(span, fabs(s));
            }
            for (int64_t kj = 0; kj < n_k; kj++) {
                int in_map = 0;

                for (int64_t b = 0; b < in->n_keep; b++)
                    in_map |= (int64_t)in->map[(h * n_q + qi) * in->n_keep + b] == kj;
                chosen += in_map;
                if (in_map)
                    least = fmin(least, scores[kj]);
                else
                    most = fmax(most, scores[kj]);
            }
            /* 1 when every chosen block scores at least what the others do, within 3 % of the row's span; 0 if not */
            (*out)[h * n_q + qi] = chosen == in->n_keep && least >= most - 0.03 * span;
        }
fail:
    return ret;
}

static void ref_map(Run *r, const Case *c, double *ref)
{
    const Inputs *in = r->note;

    for (int64_t i = 0; i < c->extra * ((c->m + in->bq - 1) / in->bq); i++)
        ref[i] = 1;
}

/* ---- the block map of blocks whose scores are known: 4 of 128 queries, 8 of 64 keys ---- */

/* one channel of q or k: value[b] in all rows of block b, and more[b] in every second one besides */
static void fill_channel(float *x, int64_t d, int ch, int rows, int n, const float *value, const float *more)
{
    for (int i = 0; i < n * rows; i++)
        x[i * d + ch] = value[i / rows] + (i % 2 ? more[i / rows] : 0);
}

/* Each block of queries looks at channels of its own. */
static int run_known_map(Run *r, const Case *c, float **out, int64_t *count)
{
    static const float q[8][4] = { { 1 }, { 0, 1 }, { 0, -1 }, { 0, 1 }, { 0, 0, 1 }, { 0, 0, 0, 256 },
                                   { 0, 0, 0, -256 }, { 0, 0, 0, 1 } };
    static const float k[8][8] = {
        { 0, 2, 0, 1, 0, -1, -2, 0 },            /* ties at 0, one of them before the greater ones */
        { 0, 0, 256, 0, 0, 0, 0, -256 },         /* a mean of 257 that becomes 256, and the next channel is taken off */
        { 0, 0, 256, 0, 0, 0, 0, -256 },
        { -1, 0, 0, 0, 0.5f, 0.25f, 0.25f, 0 },
        { 0, 0, -256, 0, 0, 0, 0, 4 },           /* of a mean of 0.5: 255.5 becomes 256, -256.5 becomes -256 */
        { 0, 0, 0, 1, 0, -1, 0, 0 },             /* times a mean of q of 257, and the next channel is taken off */
        { 0, 0, 0, 1, 0, -1, 0, 0 },
        { -1, 0.5f, 0, 0, 0.25f, 0, 0.25f, 0 },
    };
    static const float q_more[8][4] = { [5] = { 0, 0, 0, 2 } };
    static const float k_more[8][8] = { [1] = { 0, 0, 2, 0, 0, 0, 0, -2 }, [4] = { 0, 0, 512 } };
    Inputs *in = inputs(r);
    float *x = run_floats(r, c->m * c->k), *y = run_floats(r, c->m * c->k), *o;
    int64_t n_o, n;
    int ret;

    for (int ch = 0; ch < 8; ch++) {
        fill_channel(x, c->k, ch, 128, 4, q[ch], q_more[ch]);
        fill_channel(y, c->k, ch, 64, 8, k[ch], k_more[ch]);
    }
    in->q = x;
    in->k = y;
    TRY(run_sparse_of(r, c, in, &o, &n_o));
    n = 4 * in->n_keep;
    *count = n;
    *out = run_floats(r, n);
    memcpy(*out, in->map, (size_t)n * sizeof(**out));
fail:
    return ret;
}

/* sla: the greater ones, then ties, each by index; sagesla: all by index. Without the rounding of k's mean over a block
 * the second row would have block 2, without that of k - mean the third 0 and 1, of q's mean the fourth 3. */
static void ref_known_map(Run *r, const Case *c, double *ref)
{
    static const double map[2][12] = { { 1, 3, 0,  4, 5, 6,  2, 7, 0,  1, 4, 6 },
                                       { 0, 1, 3,  4, 5, 6,  0, 2, 7,  1, 4, 6 } };

    (void)r;
    memcpy(ref, map[sparse_config(c).kind == TD_ATTN_SAGESLA], sizeof(map[0]));
}

/* ---- umT5 ---- */

static int bucket(int64_t rel)
{
    int64_t n = rel < 0 ? -rel : rel;
    int b = n < 8 ? (int)n : 8 + (int)(log((double)n / 8) / log(16) * 8 + 1e-9);

    return (rel > 0 ? 16 : 0) + (b > 15 ? 15 : b);
}

static int run_t5(Run *r, const Case *c, float **out, int64_t *count)
{
    Inputs *in = inputs(r);
    int64_t w = c->k * c->extra;
    float *fused = run_values(r, 0, c->m * 3 * w, 0.5f, 1), *table = run_values(r, 1, 32 * c->extra, 1, 1), *part[3];
    double *rel = (double *)run_floats(r, 4 * c->extra * c->m + 2);
    TDTensor qkv, bias;
    TDAct o;
    int ret;

    for (int p = 0; p < 3; p++) {
        part[p] = run_floats(r, c->m * w);
        for (int64_t i = 0; i < c->m; i++)
            memcpy(part[p] + i * w, fused + (i * 3 + p) * w, (size_t)w * sizeof(float));
    }
    for (int64_t h = 0; h < c->extra; h++)
        for (int64_t j = -c->m + 1; j < c->m; j++)
            rel[h * 2 * c->m + c->m + j] = table[bucket(j) * c->extra + h];
    in->q = part[0];
    in->k = part[1];
    in->v = part[2];
    in->relative = rel;
    TRY(run_tensor(r, &qkv, TD_BF16, fused, c->m, 3 * w, 0, 0));
    TRY(run_tensor(r, &bias, TD_BF16, table, 32, c->extra, 0, 0));
    TRY(run_act(r, &o, NULL, c->m, w, 0));
    TIMED(r, r->dev->ops->attn_t5(r->dev, &o.x, &qkv, &bias, c->extra));
    TRY(run_download(r, out, count, &o, TD_UNPACK_ACT));
fail:
    return ret;
}

/* scores, scores and bias, and weights are bf16 */
static void attend_t5_points(const Run *r, const Case *c, int64_t h, int64_t i, double *o)
{
    const Inputs *in = r->note;
    int64_t n = c->m, d = c->k, dim = c->k * c->extra;
    double p[512], m = -INFINITY, sum = 0;

    for (int64_t j = 0; j < n; j++) {
        p[j] = 0;
        for (int64_t ch = 0; ch < d; ch++)
            p[j] += (double)in->q[i * dim + h * d + ch] * in->k[j * dim + h * d + ch];
        p[j] = point(r, point(r, p[j]) + in->relative[h * 2 * n + n + j - i]);
        m = fmax(m, p[j]);
    }
    for (int64_t j = 0; j < n; j++)
        sum += p[j] = exp(p[j] - m);
    for (int64_t ch = 0; ch < d; ch++) {
        o[ch] = 0;
        for (int64_t j = 0; j < n; j++)
            o[ch] += point(r, p[j] / sum) * in->v[j * dim + h * d + ch];
        o[ch] = point(r, o[ch]);
    }
}

static void ref_t5(Run *r, const Case *c, double *ref)
{
    for (int64_t h = 0; h < c->extra && r->points; h++)
        for (int64_t i = 0; i < c->m; i++)
            attend_t5_points(r, c, h, i, ref + i * c->k * c->extra + h * c->k);
    for (int64_t h = 0; h < c->extra && !r->points; h++)
        for (int64_t i = 0; i < c->m; i++)
            attend(ref + i * c->k * c->extra + h * c->k, r->note, h, i, c->k, c->k * c->extra, NULL, c->m, 1);
}

static double flops_dense(const Case *c)
{
    return 4.0 * (double)c->m * (double)c->n * (double)c->k * (double)c->extra;
}

#define DENSE .run = run_dense, .reference = ref_dense, .flops = flops_dense
#define SPARSE .run = run_sparse, .reference = ref_sparse
#define HALVES .run = run_halves, .reference = ref_sparse
#define TIE .run = run_tie, .reference = ref_sparse
#define MAP .run = run_map, .reference = ref_map
#define KNOWN_MAP .run = run_known_map, .reference = ref_known_map
#define T5 .run = run_t5, .reference = ref_t5

const Case attention_cases[] = {
    { "attn_dense", "300 queries, 300 keys, 2 heads", .m = 300, .n = 300, .k = 128, .extra = 2, .bound = 6e-3, DENSE },
    { "attn_dense", "1 query, 512 keys", .m = 1, .n = 512, .k = 128, .extra = 1, .bound = 6e-3, DENSE },
    { "attn_dense", "130 queries, 129 keys, d 64", .m = 130, .n = 129, .k = 64, .extra = 1, .bound = 6e-3, DENSE },
    { "attn_dense", "200 pixels, d 96", .m = 200, .n = 200, .k = 96, .extra = 1, .bound = 6e-3, DENSE },
    { "attn_dense", "200 pixels, d 384", .m = 200, .n = 200, .k = 384, .extra = 1, .bound = 6e-3, DENSE },
    { "attn_dense", "150 queries, 83 keys, doubled 014578", .m = 150, .n = 83, .k = 128, .extra = 2, .bound = 6e-3,
      DENSE },
    { "attn_dense", "70 queries, 133 keys, doubled 12345678", .m = 70, .n = 133, .k = 128, .extra = 1, .bound = 6e-3,
      DENSE },
    { "attn_dense", "150 queries, 64 keys, doubled 8", .m = 150, .n = 64, .k = 128, .extra = 1, .bound = 6e-3, DENSE },
    { "attn_dense", "90 queries, 66 keys, doubled 123456780", .m = 90, .n = 66, .k = 128, .extra = 1, .bound = 6e-3,
      DENSE },
    { "attn_dense", "3 queries, 10 keys, doubled 012345678, d 64", .m = 3, .n = 10, .k = 64, .extra = 1, .bound = 6e-3,
      DENSE },
    { "attn_sla", "sla 128x64, 333 tokens", .m = 333, .n = 40, .k = 128, .extra = 1, .bound = 1e-2, SPARSE },
    { "attn_sla", "sla 128x64, 128 tokens, all", .m = 128, .n = 100, .k = 128, .extra = 2, .bound = 1e-2, SPARSE },
    { "attn_sla", "sagesla 128x64, 700 tokens", .m = 700, .n = 30, .k = 128, .extra = 2, .bound = 5e-2,
      .wild_bound = 0.3, SPARSE },
    { "attn_sla", "sagesla 64x128, 700 tokens", .m = 700, .n = 35, .k = 128, .extra = 2, .bound = 5e-2,
      .wild_bound = 0.3, SPARSE },
    { "attn_sla", "sagesla 128x64, 65 tokens", .m = 65, .n = 100, .k = 128, .extra = 1, .bound = 5e-2,
      .wild_bound = 0.3, SPARSE },
    /* codes of 1 and 2 are far from what they stand for: the points alone tell */
    { "attn_sla", "sagesla 128x64, codes that are halves", .m = 256, .n = 100, .k = 128, .extra = 1, .bound = 2,
      HALVES },
    { "attn_sla", "sagesla 64x128, codes that are halves", .m = 256, .n = 100, .k = 128, .extra = 1, .bound = 2,
      HALVES },
    { "attn_sla", "sla 128x64, a denominator that is a tie", .m = 257, .n = 100, .k = 128, .extra = 1, .bound = 1e-2,
      TIE },
    { "block_map", "sla 128x64, 1000 tokens", .m = 1000, .n = 20, .k = 128, .extra = 2, MAP },
    { "block_map", "sagesla 64x128, 1000 tokens", .m = 1000, .n = 30, .k = 128, .extra = 2, MAP },
    { "block_map", "sla 128x64, known scores", .m = 512, .n = 40, .k = 128, .extra = 1, KNOWN_MAP },
    { "block_map", "sagesla 128x64, known scores", .m = 512, .n = 40, .k = 128, .extra = 1, KNOWN_MAP },
    { "attn_t5", "77 tokens, 4 heads", .m = 77, .k = 64, .extra = 4, .bound = 1.5e-2, .wild_bound = 0.3, T5 },
    { "attn_t5", "1 token", .m = 1, .k = 64, .extra = 2, .bound = 1e-2, T5 },
    { "attn_t5", "300 tokens, 1 head", .m = 300, .k = 64, .extra = 1, .bound = 1.5e-2, .wild_bound = 0.3, T5 },
    { 0 }
};
