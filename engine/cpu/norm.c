/* SPDX-License-Identifier: BSD-2-Clause
 * Norms with what follows them: modulation and quantisation, RoPE, SiLU. Statistics are summed in f64, the rest is f32.
 */
#include <math.h>
#include "cpu/cpu.h"

#define ROWS 32                                  /* rows per task */

typedef struct NormJob {
    TDCpu *cpu;
    const TDTensor *x;
    TDAct *y;
    const TDNormW *norm, *norm_k;
    const float *shift, *scale;
    TDQkv *qkv;
    const float *rope;
    uint16_t *out;
    int silu;
} NormJob;

static double sum_squares(const uint16_t *x, int64_t n, double mean)
{
    double s[4] = { 0 };
    int64_t i = 0;

    for (; i + 4 <= n; i += 4)
        for (int j = 0; j < 4; j++) {
            double d = td_bf16_to_f32(x[i + j]) - mean;

            s[j] += d * d;
        }
    for (; i < n; i++) {
        double d = td_bf16_to_f32(x[i]) - mean;

        s[i % 4] += d * d;
    }
    return (s[0] + s[1]) + (s[2] + s[3]);
}

void td_cpu_layer_stats(const uint16_t *x, int64_t n, const TDNormW *norm, float *mean, float *rstd)
{
    double s[4] = { 0 }, m, var;
    int64_t lanes = 1, i = 0;

    for (; i + 4 <= n; i += 4)
        for (int j = 0; j < 4; j++)
            s[j] += td_bf16_to_f32(x[i + j]);
    for (; i < n; i++)
        s[i % 4] += td_bf16_to_f32(x[i]);
    m = ((s[0] + s[1]) + (s[2] + s[3])) / (double)n;
    var = sum_squares(x, n, m);
    /* the official kernel works on a power of two of lanes; the zero lanes past n add mean^2 each to the variance */
    if (norm->profile == TD_NORM_OFFICIAL) {
        while (lanes < n)
            lanes *= 2;
        var += (double)(lanes - n) * m * m;
    }
    *mean = (float)m;
    *rstd = (float)(1.0 / sqrt(var / (double)n + norm->eps));
}

static void norm_modulate_row(const NormJob *job, int64_t row)
{
    int64_t n = job->norm->dim;
    const uint16_t *x = (const uint16_t *)job->x->data + row * n;
    uint16_t *y = (uint16_t *)job->y->x.data + row * n;
    const float *w = job->norm->weight, *b = job->norm->bias;
    float mean, rstd;

    td_cpu_layer_stats(x, n, job->norm, &mean, &rstd);
    for (int64_t i = 0; i < n; i++) {
        float v = (td_bf16_to_f32(x[i]) - mean) * rstd;

        if (w)
            v = v * w[i] + b[i];
        y[i] = td_f32_to_bf16(v);
    }
    for (int64_t i = 0; i < n && job->scale; i++)
        y[i] = td_f32_to_bf16(td_bf16_to_f32(y[i]) * (1.0f + job->scale[i]) + job->shift[i]);
}

/* OFFICIAL: bf16(x*r*w), EXACT: bf16(bf16(x*r)*bf16(w)) */
static void rms_row(uint16_t *y, const uint16_t *x, const TDNormW *norm)
{
    int64_t n = norm->dim;
    float r = (float)(1.0 / sqrt(sum_squares(x, n, 0.0) / (double)n + norm->eps));

    if (norm->profile == TD_NORM_OFFICIAL)
        for (int64_t i = 0; i < n; i++)
            y[i] = td_f32_to_bf16(td_bf16_to_f32(x[i]) * r * norm->weight[i]);
    else
        for (int64_t i = 0; i < n; i++)
            y[i] = td_f32_to_bf16(td_bf16_round(td_bf16_to_f32(x[i]) * r) * td_bf16_round(norm->weight[i]));
}

static void norm_modulate_task(void *arg, int64_t task, int worker)
{
    const NormJob *job = arg;
    int64_t rows = job->x->shape[0];

    (void)worker;
    for (int64_t r = task * ROWS; r < (task + 1) * ROWS && r < rows; r++)
        norm_modulate_row(job, r);
}

int td_cpu_norm_modulate(TDDev *dev, TDAct *y, const TDTensor *x, const TDNormW *norm, const float *shift,
                         const float *scale)
{
    NormJob job = { .cpu = td_cpu(dev), .x = x, .y = y, .norm = norm, .shift = shift, .scale = scale };
    int ret = td_parallel(job.cpu->pool, (x->shape[0] + ROWS - 1) / ROWS, norm_modulate_task, &job);

    return ret < 0 ? ret : td_cpu_quantise_act(job.cpu, y);
}

static void rms_norm_task(void *arg, int64_t task, int worker)
{
    const NormJob *job = arg;
    int64_t n = job->norm->dim;

    (void)worker;
    for (int64_t r = task * ROWS; r < (task + 1) * ROWS && r < job->x->shape[0]; r++)
        rms_row((uint16_t *)job->y->x.data + r * n, (const uint16_t *)job->x->data + r * n, job->norm);
}

int td_cpu_rms_norm(TDDev *dev, TDAct *y, const TDTensor *x, const TDNormW *norm)
{
    NormJob job = { .cpu = td_cpu(dev), .x = x, .y = y, .norm = norm };
    int ret = td_parallel(job.cpu->pool, (x->shape[0] + ROWS - 1) / ROWS, rms_norm_task, &job);

    return ret < 0 ? ret : td_cpu_quantise_act(job.cpu, y);
}

/* pairs (2j, 2j+1) of every head turn by the row's angle j; rope: [d/2][cos, sin] */
static void rope_row(uint16_t *x, int64_t n, int64_t head_dim, const float *rope)
{
    for (int64_t i = 0; i < n; i += 2) {
        const float *cs = rope + i % head_dim;
        float a = td_bf16_to_f32(x[i]), b = td_bf16_to_f32(x[i + 1]);

        x[i]     = td_f32_to_bf16(a * cs[0] - b * cs[1]);
        x[i + 1] = td_f32_to_bf16(b * cs[0] + a * cs[1]);
    }
}

static void qk_norm_rope_task(void *arg, int64_t task, int worker)
{
    const NormJob *job = arg;
    const TDQkv *qkv = job->qkv;
    int64_t n = job->norm->dim, d = qkv->head_dim;

    (void)worker;
    for (int64_t r = task * ROWS; r < (task + 1) * ROWS && r < qkv->n_q; r++) {
        uint16_t *q = (uint16_t *)qkv->q.data + r * n, *k = (uint16_t *)qkv->k.data + r * n;

        rms_row(q, q, job->norm);
        rms_row(k, k, job->norm_k);
        rope_row(q, n, d, job->rope + r * d);
        rope_row(k, n, d, job->rope + r * d);
    }
}

int td_cpu_qk_norm_rope(TDDev *dev, TDQkv *qkv, const TDNormW *norm_q, const TDNormW *norm_k, const TDTensor *rope)
{
    NormJob job = { .qkv = qkv, .norm = norm_q, .norm_k = norm_k, .rope = rope->data };

    return td_parallel(td_cpu(dev)->pool, (qkv->n_q + ROWS - 1) / ROWS, qk_norm_rope_task, &job);
}

static void rms_silu_task(void *arg, int64_t task, int worker)
{
    const NormJob *job = arg;
    int64_t n = job->x->shape[3], pixels = td_tensor_count(job->x) / n, p0 = task * 8 * ROWS;
    float root = sqrtf((float)n), r[8 * ROWS];

    (void)worker;
    for (int64_t p = p0; p < p0 + 8 * ROWS && p < pixels; p++) {
        double norm = sqrt(sum_squares((const uint16_t *)job->x->data + p * n, n, 0.0));

        r[p - p0] = root / (float)(norm > 1e-12 ? norm : 1e-12);
    }
    for (int64_t p = p0; p < p0 + 8 * ROWS && p < pixels; p++) {
        const uint16_t *x = (const uint16_t *)job->x->data + p * n;

        if (job->silu)
            job->cpu->k->norm_silu(job->out + p * n, x, r[p - p0], job->scale, n);
        for (int64_t i = 0; i < n && !job->silu; i++)
            job->out[p * n + i] = td_f32_to_bf16(td_bf16_to_f32(x[i]) * r[p - p0] * job->scale[i]);
    }
}

int td_cpu_rms_silu(TDDev *dev, TDTensor *y, const TDTensor *x, const float *gamma, int silu)
{
    NormJob job = { .cpu = td_cpu(dev), .x = x, .out = y->data, .scale = gamma, .silu = silu };
    int64_t pixels = td_tensor_count(x) / x->shape[3];

    return td_parallel(td_cpu(dev)->pool, (pixels + 8 * ROWS - 1) / (8 * ROWS), rms_silu_task, &job);
}
