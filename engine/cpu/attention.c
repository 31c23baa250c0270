/* SPDX-License-Identifier: BSD-2-Clause
 * Clip memory of attention, dense attention, and umT5's attention with relative position bias. */
#include <math.h>
#include "base/wan.h"
#include "cpu/flash.h"

int td_cpu_plan_qkv(TDDev *dev, TDArena *a, TDQkv *qkv)
{
    int64_t d = qkv->head_dim, h = qkv->n_heads, n_q, n_k;
    int sparse = qkv->cfg.kind != TD_ATTN_DENSE, ret;

    if (d % TD_NR || d > TD_FLASH_MAX_D)
        return td_error(dev->log, ENOTSUP, "attention: head dim %lld, want a multiple of %d up to %d", (long long)d,
                        TD_NR, TD_FLASH_MAX_D);
    if (sparse && d > TD_SLA_MAX_D)
        return td_error(dev->log, ENOTSUP, "sparse-linear attention: head dim %lld, want up to %d", (long long)d,
                        TD_SLA_MAX_D);
    if (!sparse) {
        qkv->cfg.bq = TD_FLASH_BQ / TD_MR * TD_MR;
        qkv->cfg.bk = TD_FLASH_BK;
    }
    n_q = td_blocks(qkv->n_q, qkv->cfg.bq);
    n_k = td_blocks(qkv->n_kv, qkv->cfg.bk);
    if (sparse && n_k > TD_MAP_MAX_BLOCKS(d))
        return td_error(dev->log, ENOTSUP, "sparse-linear attention over %lld blocks of keys, want at most %lld",
                        (long long)n_k, (long long)TD_MAP_MAX_BLOCKS(d));
    TRY(TD_CARVE(a, &qkv->own[OWN_K_PANEL], TD_F32, h, n_k, qkv->cfg.bk, d));
    TRY(TD_CARVE(a, &qkv->own[OWN_V_PANEL], TD_F32, h, n_k, qkv->cfg.bk, d));
    if (sparse) {
        TRY(TD_CARVE(a, &qkv->own[OWN_Q_POOL], TD_F32, h, n_q, d));
        TRY(TD_CARVE(a, &qkv->own[OWN_K_POOL], TD_F32, h, n_k, d));
        TRY(TD_CARVE(a, &qkv->own[OWN_KV], TD_F32, h, d, d));
        TRY(TD_CARVE(a, &qkv->own[OWN_K_SUM], TD_F32, h, d));
    }
fail:
    return ret;
}

typedef struct DenseJob { TDCpu *cpu; TDQkv *qkv; uint16_t *o; } DenseJob;

static void pack_task(void *arg, int64_t i, int worker)
{
    DenseJob *job = arg;
    int64_t n_k = td_blocks(job->qkv->n_kv, job->qkv->cfg.bk);

    (void)worker;
    td_flash_pack_kv(job->cpu, job->qkv, i / n_k, i % n_k);
}

static void dense_task(void *arg, int64_t i, int worker)
{
    DenseJob *job = arg;
    const TDQkv *qkv = job->qkv;
    int64_t n_q = td_blocks(qkv->n_q, qkv->cfg.bq), h = i / n_q, qi = i % n_q, d = qkv->head_dim, rows;
    TDFlash f;

    td_flash_carve(&f, job->cpu->scratch[worker], d);
    rows = td_flash_block(job->cpu, &f, qkv, h, qi, NULL, td_blocks(qkv->n_kv, qkv->cfg.bk));
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < d; c++)
            job->o[((qi * qkv->cfg.bq + r) * qkv->n_heads + h) * d + c] = td_f32_to_bf16(f.o[r * d + c]);
}

int td_cpu_attn_dense(TDDev *dev, TDAct *o, TDQkv *qkv)
{
    TDCpu *cpu = td_cpu(dev);
    DenseJob job = { cpu, qkv, o->x.data };
    int ret;

    TRY(td_parallel(cpu->pool, qkv->n_heads * td_blocks(qkv->n_kv, qkv->cfg.bk), pack_task, &job));
    TRY(td_parallel(cpu->pool, qkv->n_heads * td_blocks(qkv->n_q, qkv->cfg.bq), dense_task, &job));
    return td_cpu_quantise_act(cpu, o);
fail:
    return ret;
}

/* ---- umT5 ---- */

#define T5_BQ 60
#define T5_MAX TD_TEXT_LEN
#define T5_D TD_TEXT_HEAD_DIM
_Static_assert(2 * (T5_BQ + T5_MAX) * T5_D + T5_BQ * T5_MAX <= TD_CPU_SCRATCH, "a task of t5_task()");

typedef struct T5Job { TDCpu *cpu; const TDTensor *qkv, *bias; uint16_t *o; int64_t n, n_heads, d, n_blocks; } T5Job;

/* bucket of key - query: exact below 8, then logarithmic up to 128; thresholds of the f32 formula */
static int t5_bucket(int64_t rel)
{
    static const uint8_t start[] = { 8, 12, 16, 23, 32, 46, 64, 91 };
    int64_t n = rel < 0 ? -rel : rel;
    int b = (int)(n < 8 ? n : 7);

    for (int i = 0; i < 8 && n >= start[i]; i++)
        b = 8 + i;
    return (rel > 0 ? 16 : 0) + b;
}

static void t5_task(void *arg, int64_t task, int worker)
{
    T5Job *job = arg;
    const TDKernels *kern = job->cpu->k;
    int64_t n = job->n, d = job->d, w = job->n_heads * d, h = task / job->n_blocks, q0 = task % job->n_blocks * T5_BQ;
    int64_t rows = n - q0 < T5_BQ ? n - q0 : T5_BQ, cols = td_blocks(n, TD_NR) * TD_NR;
    const uint16_t *x = job->qkv->data, *bias = job->bias->data;
    float *q = job->cpu->scratch[worker], *k = q + T5_BQ * d, *v = k + T5_MAX * d, *s = v + T5_MAX * d,
          *o = s + T5_BQ * T5_MAX;
    TDMatrix qm = { x + h * d, 3 * w, d, 2 }, km = { x + w + h * d, 3 * w, d, 2 };
    TDRows qr = { TD_BF16, td_rows_matrix, &qm }, kr = { TD_BF16, td_rows_matrix, &km };

    td_cpu_widen_rows(q, &qr, q0, rows, 0, d);
    for (int64_t j = 0; j < n; j += TD_NR)
        td_cpu_pack(kern, k + j * d, TD_NR, &kr, j, (int)(n - j < TD_NR ? n - j : TD_NR), 0, d);
    for (int64_t c = 0; c < d; c++)
        for (int64_t j = 0; j < n; j++)
            v[c / TD_NR * n * TD_NR + j * TD_NR + c % TD_NR] = td_bf16_to_f32(x[j * 3 * w + 2 * w + h * d + c]);
    td_cpu_product(kern, rows, cols / TD_NR, d, q, d, k, s, T5_MAX, 1);
    for (int64_t r = 0; r < rows; r++) {
        float *row = s + r * T5_MAX, m, sum = 0;

        for (int64_t j = 0; j < n; j++)
            row[j] =
                td_bf16_round(td_bf16_round(row[j]) + td_bf16_to_f32(bias[t5_bucket(j - q0 - r) * job->n_heads + h]));
        m = kern->max_row(row, n);
        for (int64_t j = 0; j < n; j++)
            row[j] = (row[j] - m) * 1.44269504f;
        kern->exp2_row(row, n);
        for (int64_t j = 0; j < n; j++)
            sum += row[j];
        for (int64_t j = 0; j < n; j++)
            row[j] = td_bf16_round(row[j] / sum);
    }
    td_cpu_product(kern, rows, d / TD_NR, n, s, T5_MAX, v, o, d, 1);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < d; c++)
            job->o[(q0 + r) * w + h * d + c] = td_f32_to_bf16(o[r * d + c]);
}

int td_cpu_attn_t5(TDDev *dev, TDTensor *o, const TDTensor *qkv, const TDTensor *bias, int64_t n_heads)
{
    TDCpu *cpu = td_cpu(dev);
    int64_t n = qkv->shape[0], d = qkv->shape[1] / 3 / n_heads;
    T5Job job = { cpu, qkv, bias, o->data, n, n_heads, d, td_blocks(n, T5_BQ) };

    return td_parallel(cpu->pool, n_heads * job.n_blocks, t5_task, &job);
}
