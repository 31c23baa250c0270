/* SPDX-License-Identifier: BSD-2-Clause
 * Sparse-linear attention: a map of the key blocks each query block attends to, the sparse branch over them (flash.c),
 * and a linear branch over all tokens, added.
 *
 * Rounding points (official SLA): k mean, k - mean, pooled q and k, block scores: bf16; every line of the linear
 * branch: bf16. */
#include <math.h>
#include <stdlib.h>
#include "cpu/flash.h"

typedef struct SlaJob { TDCpu *cpu; TDQkv *qkv; const TDLinear *proj_l; uint16_t *o; } SlaJob;

static const uint16_t *head_row(const TDTensor *x, const TDQkv *qkv, int64_t h, int64_t row)
{
    return (const uint16_t *)x->data + (row * qkv->n_heads + h) * qkv->head_dim;
}

/* per head: mean of k over all tokens; sagesla: v scale per channel */
static void mean_task(void *arg, int64_t h, int worker)
{
    TDQkv *qkv = ((SlaJob *)arg)->qkv;
    int64_t d = qkv->head_dim, dim = d * qkv->n_heads;
    float *mean = (float *)qkv->k_mean.data + h * d, inv = 1.0f / (float)qkv->n_kv;
    double sum[TD_FLASH_MAX_D] = { 0 };
    uint16_t amax[TD_FLASH_MAX_D] = { 0 };

    (void)worker;
    for (int64_t r = 0; r < qkv->n_kv; r++) {
        const uint16_t *k = head_row(&qkv->k, qkv, h, r), *v = head_row(&qkv->v, qkv, h, r);

        for (int64_t c = 0; c < d; c++) {
            sum[c] += td_bf16_to_f32(k[c]);
            amax[c] = (v[c] & 0x7fff) > amax[c] ? v[c] & 0x7fff : amax[c];
        }
    }
    for (int64_t c = 0; c < d; c++)
        mean[c] = td_bf16_round((float)sum[c] * inv);
    if (qkv->cfg.kind != TD_ATTN_SAGESLA)
        return;
    for (int64_t c = 0; c < d; c++) { /* an all-zero channel keeps scale 1: the official kernel would make NaN */
        float *scale = (float *)qkv->v_scale.data + h * d + c, top = td_bf16_to_f32(amax[c]);

        scale[0] = top > 0 ? top / 2.25f : 1.0f;
        scale[dim] = top > 0 ? 2.25f / top : 1.0f;
    }
}

static void pool_rows(float *dst, const TDTensor *x, const TDQkv *qkv, int64_t h, int64_t r0, int64_t r1,
                      const float *mean)
{
    double sum[TD_FLASH_MAX_D] = { 0 };

    for (int64_t r = r0; r < r1; r++) {
        const uint16_t *row = head_row(x, qkv, h, r);

        for (int64_t c = 0; c < qkv->head_dim; c++) {
            float v = td_bf16_to_f32(row[c]);

            sum[c] += mean ? td_bf16_round(v - mean[c]) : v;
        }
    }
    for (int64_t c = 0; c < qkv->head_dim; c++)
        dst[c] = td_bf16_round((float)sum[c] / (float)(r1 - r0));
}

/* sagesla: int8 codes of a query block, amax/127 + 1e-7, half away from zero */
static void code_q(TDQkv *qkv, int64_t h, int64_t qi, int64_t r0, int64_t r1)
{
    float amax = 0, scale;

    for (int64_t r = r0; r < r1; r++)
        for (int64_t c = 0; c < qkv->head_dim; c++)
            amax = td_most(amax, fabsf(td_bf16_to_f32(head_row(&qkv->q, qkv, h, r)[c])));
    scale = amax / 127.0f + 1e-7f;
    ((float *)qkv->q_scale.data)[h * td_blocks(qkv->n_q, qkv->cfg.bq) + qi] = scale;
    for (int64_t r = r0; r < r1; r++) {
        const uint16_t *q = head_row(&qkv->q, qkv, h, r);
        int8_t *code = (int8_t *)qkv->q_code.data + (q - (const uint16_t *)qkv->q.data);

        for (int64_t c = 0; c < qkv->head_dim; c++) {
            float v = td_bf16_to_f32(q[c]) / scale;

            code[c] = (int8_t)(v + (v >= 0.0f ? 0.5f : -0.5f));
        }
    }
}

/* per head and block: pooled q and codes, then pooled k and packed k, v */
static void prepare_task(void *arg, int64_t i, int worker)
{
    SlaJob *job = arg;
    TDQkv *qkv = job->qkv;
    int64_t bq = qkv->cfg.bq, bk = qkv->cfg.bk, n_q = td_blocks(qkv->n_q, bq), n_k = td_blocks(qkv->n_kv, bk);
    int64_t h = i / (n_q + n_k), b = i % (n_q + n_k), d = qkv->head_dim;

    (void)worker;
    if (b < n_q) {
        int64_t r0 = b * bq, r1 = qkv->n_q - r0 < bq ? qkv->n_q : r0 + bq;

        pool_rows((float *)qkv->own[OWN_Q_POOL].data + (h * n_q + b) * d, &qkv->q, qkv, h, r0, r1, NULL);
        if (qkv->cfg.kind == TD_ATTN_SAGESLA)
            code_q(qkv, h, b, r0, r1);
    } else {
        int64_t r0 = (b - n_q) * bk, r1 = qkv->n_kv - r0 < bk ? qkv->n_kv : r0 + bk;

        pool_rows((float *)qkv->own[OWN_K_POOL].data + (h * n_k + b - n_q) * d, &qkv->k, qkv, h, r0, r1,
                  (const float *)qkv->k_mean.data + h * d);
        td_flash_pack_kv(job->cpu, qkv, h, b - n_q);
    }
}

/* unsigned key in the order of bf16 values, NaN on top, +0 above -0 */
static uint16_t order_key(float x)
{
    uint16_t b = td_f32_to_bf16(x);

    return b & 0x8000 ? (uint16_t)~b : b | 0x8000;
}

/* the n largest keys; ties at the n-th go to the lowest index. sla lists the greater ones first, then the ties (its
 * loop order); sagesla's list ascends. */
static void select_blocks(int32_t *list, const uint16_t *key, int64_t n_keys, int64_t n, int ascending)
{
    int64_t count[256] = { 0 }, above = 0, n_ties, out = 0;
    int high, low;
    uint16_t cut;

    for (int64_t i = 0; i < n_keys; i++)
        count[key[i] >> 8]++;
    for (high = 255; above + count[high] < n; high--)
        above += count[high];
    memset(count, 0, sizeof(count));
    for (int64_t i = 0; i < n_keys; i++)
        if (key[i] >> 8 == high)
            count[key[i] & 255]++;
    for (low = 255; above + count[low] < n; low--)
        above += count[low];
    cut = (uint16_t)(high << 8 | low);
    n_ties = n - above;
    for (int64_t i = 0; i < n_keys; i++)
        if (key[i] > cut || (ascending && key[i] == cut && n_ties-- > 0))
            list[out++] = (int32_t)i;
    for (int64_t i = 0; i < n_keys && out < n; i++)
        if (key[i] == cut)
            list[out++] = (int32_t)i;
}

static void map_task(void *arg, int64_t i, int worker)
{
    SlaJob *job = arg;
    const TDKernels *kern = job->cpu->k;
    TDQkv *qkv = job->qkv;
    int64_t n_q = td_blocks(qkv->n_q, qkv->cfg.bq), n_k = td_blocks(qkv->n_kv, qkv->cfg.bk), d = qkv->head_dim;
    int64_t n_groups = td_blocks(n_q, TD_MAP_ROWS), h = i / n_groups, r0 = i % n_groups * TD_MAP_ROWS;
    int64_t rows = n_q - r0 < TD_MAP_ROWS ? n_q - r0 : TD_MAP_ROWS;
    const float *q = (const float *)qkv->own[OWN_Q_POOL].data + (h * n_q + r0) * d;
    TDMatrix km = { (const float *)qkv->own[OWN_K_POOL].data + h * n_k * d, d, d, 4 };
    TDRows kr = { TD_F32, td_rows_matrix, &km };
    float *b = job->cpu->scratch[worker], *s = b + TD_MAP_COLS * d;
    uint16_t *key = (uint16_t *)(s + TD_MAP_ROWS * TD_MAP_COLS);

    for (int64_t c0 = 0; c0 < n_k; c0 += TD_MAP_COLS) {
        int64_t cols = n_k - c0 < TD_MAP_COLS ? n_k - c0 : TD_MAP_COLS;

        for (int64_t j = 0; j < cols; j += TD_NR)
            td_cpu_pack(kern, b + j * d, TD_NR, &kr, c0 + j, (int)(cols - j < TD_NR ? cols - j : TD_NR), 0, d);
        td_cpu_product(kern, rows, td_blocks(cols, TD_NR), d, q, d, b, s, TD_MAP_COLS, 1);
        for (int64_t r = 0; r < rows; r++)
            for (int64_t j = 0; j < cols; j++)
                key[r * n_k + c0 + j] = order_key(s[r * TD_MAP_COLS + j]);
    }
    for (int64_t r = 0; r < rows; r++)
        select_blocks((int32_t *)qkv->map.data + (h * n_q + r0 + r) * qkv->n_keep, key + r * n_k, n_k, qkv->n_keep,
                      qkv->cfg.kind == TD_ATTN_SAGESLA);
}

/* softmax over the head dim -> bf16 values */
static void feature_row(const TDKernels *kern, float *dst, const uint16_t *x, int64_t d)
{
    float m, sum = 0;

    for (int64_t c = 0; c < d; c++)
        dst[c] = td_bf16_to_f32(x[c]);
    m = kern->max_row(dst, d);
    for (int64_t c = 0; c < d; c++)
        dst[c] = (dst[c] - m) * 1.44269504f;
    kern->exp2_row(dst, d);
    for (int64_t c = 0; c < d; c++)
        sum += dst[c];
    for (int64_t c = 0; c < d; c++)
        dst[c] = td_bf16_round(dst[c] / sum);
}

#define KV_ROWS 128                              /* tokens per product */
_Static_assert((1 + KV_ROWS + TD_SLA_MAX_D) * (TD_SLA_MAX_D + TD_MR) + KV_ROWS * TD_SLA_MAX_D <= TD_CPU_SCRATCH,
               "a task of linear_kv_task()");

/* kv = fk^T v and k_sum = sum fk of one head, over all tokens */
static void linear_kv_task(void *arg, int64_t h, int worker)
{
    SlaJob *job = arg;
    const TDKernels *kern = job->cpu->k;
    TDQkv *qkv = job->qkv;
    int64_t d = qkv->head_dim;
    float *fk = job->cpu->scratch[worker], *a = fk + d, *b = a + KV_ROWS * d, *c = b + KV_ROWS * d;
    float *kv = (float *)qkv->own[OWN_KV].data + h * d * d, *k_sum = (float *)qkv->own[OWN_K_SUM].data + h * d;
    double sum[TD_FLASH_MAX_D] = { 0 };

    for (int64_t r0 = 0; r0 < qkv->n_kv; r0 += KV_ROWS) {
        int64_t n = qkv->n_kv - r0 < KV_ROWS ? qkv->n_kv - r0 : KV_ROWS;

        for (int64_t r = 0; r < n; r++) {
            const uint16_t *v = head_row(&qkv->v, qkv, h, r0 + r);

            feature_row(kern, fk, head_row(&qkv->k, qkv, h, r0 + r), d);
            for (int64_t i = 0; i < d; i++) {
                a[i * n + r] = fk[i];
                sum[i] += fk[i];
                b[i / TD_NR * TD_NR * n + r * TD_NR + i % TD_NR] = td_bf16_to_f32(v[i]);
            }
        }
        td_cpu_product(kern, d, d / TD_NR, n, a, n, b, c, d, r0 == 0);
    }
    for (int64_t i = 0; i < d * d; i++)
        kv[i] = td_bf16_round(c[i]);
    for (int64_t i = 0; i < d; i++)
        k_sum[i] = td_bf16_round((float)sum[i]);
}

_Static_assert(TD_FLASH_FLOATS(TD_SLA_MAX_D) + TD_FLASH_ROWS * TD_SLA_MAX_D + TD_SLA_MAX_D * TD_SLA_MAX_D + 8 <=
                   TD_CPU_SCRATCH, "a task of block_task()");

/* one query block: sparse branch, then ol = (fq kv) / (fq . k_sum) through proj_l; o = bf16(os) + ol */
static void block_task(void *arg, int64_t i, int worker)
{
    SlaJob *job = arg;
    const TDKernels *kern = job->cpu->k;
    const TDQkv *qkv = job->qkv;
    int64_t n_q = td_blocks(qkv->n_q, qkv->cfg.bq), h = i / n_q, qi = i % n_q, d = qkv->head_dim, q0 = qi * qkv->cfg.bq,
            rows;
    const float *kv = (const float *)qkv->own[OWN_KV].data + h * d * d;
    const float *k_sum = (const float *)qkv->own[OWN_K_SUM].data + h * d;
    TDMatrix wm = { job->proj_l->w[0], d, d, 2 };
    TDRows wr = { TD_BF16, td_rows_matrix, &wm };
    TDFlash f;
    float *fq, *b;

    td_flash_carve(&f, job->cpu->scratch[worker], d);
    rows = td_flash_block(job->cpu, &f, qkv, h, qi, (const int32_t *)qkv->map.data + (h * n_q + qi) * qkv->n_keep,
                          qkv->n_keep);
    if (!job->proj_l->n) {                        /* a transformer without proj_l: the sparse branch alone */
        for (int64_t r = 0; r < rows; r++)
            for (int64_t c = 0; c < d; c++)
                job->o[((q0 + r) * qkv->n_heads + h) * d + c] = td_f32_to_bf16(f.o[r * d + c]);
        return;
    }
    fq = f.more;
    b = fq + TD_FLASH_ROWS * d;

    for (int64_t r = 0; r < rows; r++)
        feature_row(kern, fq + r * d, head_row(&qkv->q, qkv, h, q0 + r), d);
    for (int64_t c = 0; c < d; c++)
        for (int64_t j = 0; j < d; j++)
            b[j / TD_NR * d * TD_NR + c * TD_NR + j % TD_NR] = kv[c * d + j];
    td_cpu_product(kern, rows, d / TD_NR, d, fq, d, b, f.inner, d, 1);
    for (int64_t r = 0; r < rows; r++) {
        float den = 0;

        for (int64_t c = 0; c < d; c++)
            den += td_bf16_round(fq[r * d + c] * k_sum[c]);
        den = td_bf16_round(1e-5f + td_bf16_round(den));
        for (int64_t c = 0; c < d; c++)
            f.inner[r * d + c] = td_bf16_round(td_bf16_round(f.inner[r * d + c]) / den);
    }
    for (int64_t j = 0; j < d; j += TD_NR)
        td_cpu_pack(kern, b + j * d, TD_NR, &wr, j, TD_NR, 0, d);
    td_cpu_product(kern, rows, d / TD_NR, d, f.inner, d, b, fq, d, 1);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < d; c++) {
            float ol = td_bf16_round(fq[r * d + c] + (job->proj_l->bias ? job->proj_l->bias[c] : 0.0f));

            job->o[((q0 + r) * qkv->n_heads + h) * d + c] = td_f32_to_bf16(td_bf16_round(f.o[r * d + c]) + ol);
        }
}

int td_cpu_attn_sla(TDDev *dev, TDAct *o, TDQkv *qkv, const TDLinear *proj_l)
{
    TDCpu *cpu = td_cpu(dev);
    SlaJob job = { cpu, qkv, proj_l, o->x.data };
    int64_t n_q = td_blocks(qkv->n_q, qkv->cfg.bq), n_k = td_blocks(qkv->n_kv, qkv->cfg.bk);
    int ret;

    TRY(td_parallel(cpu->pool, qkv->n_heads, mean_task, &job));
    TRY(td_parallel(cpu->pool, qkv->n_heads * (n_q + n_k), prepare_task, &job));
    TRY(td_parallel(cpu->pool, qkv->n_heads * td_blocks(n_q, TD_MAP_ROWS), map_task, &job));
    TRY(td_parallel(cpu->pool, qkv->n_heads, linear_kv_task, &job));
    TRY(td_parallel(cpu->pool, qkv->n_heads * n_q, block_task, &job));
    return td_cpu_quantise_act(cpu, o);
fail:
    return ret;
}
