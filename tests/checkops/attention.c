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

static int run_dense(Run *r, const Case *c, float **out, int64_t *count)
{
    Inputs *in = inputs(r);
    int64_t d = c->k * c->extra;
    TDQkv qkv = { .cfg = { .kind = TD_ATTN_DENSE }, .n_q = c->m, .n_kv = c->n, .n_heads = c->extra, .head_dim = c->k };
    TDAct o;
    int ret;

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

static void ref_dense(Run *r, const Case *c, double *ref)
{
    const Inputs *in = r->note;

    for (int64_t h = 0; h < c->extra; h++)
        for (int64_t i = 0; i < c->m; i++)
            attend(ref + i * c->k * c->extra + h * c->k, in, h, i, c->k, c->k * c->extra, NULL, c->n,
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

static int run_sparse(Run *r, const Case *c, float **out, int64_t *count)
{
    Inputs *in = inputs(r);
    int64_t d = c->k * c->extra, n_map;
    TDQkv qkv = { .cfg = sparse_config(c), .n_q = c->m, .n_kv = c->m, .n_heads = c->extra, .head_dim = c->k };
    TDLinear proj;
    float *w, *b, *map;
    TDAct o;
    int ret;

    in->q = drifting(r, 0, c, 0);
    in->k = drifting(r, 1, c, 0.5f);
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

static void softmax_row(double *y, const float *x, int64_t n)
{
    double m = -INFINITY, s = 0;

    for (int64_t i = 0; i < n; i++)
        m = fmax(m, x[i]);
    for (int64_t i = 0; i < n; i++)
        s += y[i] = exp(x[i] - m);
    for (int64_t i = 0; i < n; i++)
        y[i] /= s;
}

/* adds proj(fq kv / (fq . k_sum)) of every token of a head */
static void ref_linear_branch(const Inputs *in, const Case *c, int64_t h, double *ref)
{
    int64_t d = c->k, dim = c->k * c->extra;
    double *kv = calloc((size_t)(d * d + 3 * d), sizeof(*kv)), *sum = kv + d * d, *f = sum + d, *o = f + d;

    for (int64_t j = 0; j < c->m; j++) {
        softmax_row(f, in->k + j * dim + h * d, d);
        for (int64_t a = 0; a < d; a++) {
            sum[a] += f[a];
            for (int64_t b = 0; b < d; b++)
                kv[a * d + b] += f[a] * in->v[j * dim + h * d + b];
        }
    }
    for (int64_t i = 0; i < c->m; i++) {
        double den = 1e-5;

        softmax_row(f, in->q + i * dim + h * d, d);
        for (int64_t b = 0; b < d; b++) {
            o[b] = 0;
            for (int64_t a = 0; a < d; a++)
                o[b] += f[a] * kv[a * d + b];
            den += f[b] * sum[b];
        }
        for (int64_t n = 0; n < d; n++) {
            double y = in->proj_bias[n];

            for (int64_t b = 0; b < d; b++)
                y += o[b] / den * in->w[n * d + b];
            ref[i * dim + h * d + n] += y;
        }
    }
    free(kv);
}

static void ref_sparse(Run *r, const Case *c, double *ref)
{
    const Inputs *in = r->note;
    int64_t n_q = (c->m + in->bq - 1) / in->bq;
    char *use = malloc((size_t)c->m);

    for (int64_t h = 0; h < c->extra; h++) {
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
        ref_linear_branch(in, c, h, ref);
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

static void ref_t5(Run *r, const Case *c, double *ref)
{
    for (int64_t h = 0; h < c->extra; h++)
        for (int64_t i = 0; i < c->m; i++)
            attend(ref + i * c->k * c->extra + h * c->k, r->note, h, i, c->k, c->k * c->extra, NULL, c->m, 1);
}

static double flops_dense(const Case *c)
{
    return 4.0 * (double)c->m * (double)c->n * (double)c->k * (double)c->extra;
}

const Case attention_cases[] = {
    { "attn_dense", "300 queries, 300 keys, 2 heads", 300, 300, 128, 2, 6e-3, 0, run_dense, ref_dense, flops_dense },
    { "attn_dense", "1 query, 512 keys", 1, 512, 128, 1, 6e-3, 0, run_dense, ref_dense, flops_dense },
    { "attn_dense", "130 queries, 129 keys, d 64", 130, 129, 64, 1, 6e-3, 0, run_dense, ref_dense, flops_dense },
    { "attn_dense", "200 pixels, d 384", 200, 200, 384, 1, 6e-3, 0, run_dense, ref_dense, flops_dense },
    { "attn_sla", "sla 128x64, 333 tokens", 333, 40, 128, 1, 1e-2, 0, run_sparse, ref_sparse, NULL },
    { "attn_sla", "sla 128x64, 128 tokens, all", 128, 100, 128, 2, 1e-2, 0, run_sparse, ref_sparse, NULL },
    { "attn_sla", "sagesla 128x64, 700 tokens", 700, 30, 128, 2, 5e-2, 0.3, run_sparse, ref_sparse, NULL },
    { "attn_sla", "sagesla 64x128, 700 tokens", 700, 35, 128, 2, 5e-2, 0.3, run_sparse, ref_sparse, NULL },
    { "attn_sla", "sagesla 128x64, 65 tokens", 65, 100, 128, 1, 5e-2, 0.3, run_sparse, ref_sparse, NULL },
    { "block_map", "sla 128x64, 1000 tokens", 1000, 20, 128, 2, 0, 0, run_map, ref_map, NULL },
    { "block_map", "sagesla 64x128, 1000 tokens", 1000, 30, 128, 2, 0, 0, run_map, ref_map, NULL },
    { "attn_t5", "77 tokens, 4 heads", 77, 0, 64, 4, 1.5e-2, 0.3, run_t5, ref_t5, NULL },
    { "attn_t5", "1 token", 1, 0, 64, 2, 1e-2, 0, run_t5, ref_t5, NULL },
    { "attn_t5", "300 tokens, 1 head", 300, 0, 64, 1, 1.5e-2, 0.3, run_t5, ref_t5, NULL },
    { 0 }
};
