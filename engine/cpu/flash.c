/* SPDX-License-Identifier: BSD-2-Clause
 * Scores and outputs are f32 products of packed operands; what differs between the kinds is the step from S to P:
 *   dense, sla  s = S*C (C = log2(e)/sqrt(d)), p = 2^(s-m), doubled where the key is; P = bf16(p)
 *   sagesla     int8 codes: S exact; x*a as in the official kernels (doc/numerics.md), p = 2^(x*a - m + 8.807),
 *               P = e4m3(p)
 * Row sums are of the unrounded p. */
#include <math.h>
#include "cpu/flash.h"

#define P_OFFSET 8.807f                          /* 2^8.807 = 447.9: P fills the e4m3 range */

void td_flash_carve(TDFlash *f, float *scratch, int64_t d)
{
    f->q = scratch;
    f->s = f->q + TD_FLASH_ROWS * d;
    f->inner = f->s + TD_FLASH_ROWS * TD_FLASH_BK;
    f->o = f->inner + TD_FLASH_ROWS * d;
    f->m = f->o + TD_FLASH_ROWS * d;
    f->l = f->m + TD_FLASH_ROWS;
    f->more = f->l + TD_FLASH_ROWS;
}

static float row_sum(const float *p, int64_t n)
{
    float s[4] = { 0 };

    for (int64_t i = 0; i < n; i += 4)
        for (int j = 0; j < 4; j++)
            s[j] += p[i + j];
    return (s[0] + s[1]) + (s[2] + s[3]);
}

/* new maximum m of the row: rescale sum and output so far */
static void rescale(TDFlash *f, int64_t r, int64_t d, float m)
{
    float a[1] = { f->m[r] - m };

    if (a[0] == 0.0f)
        return;
    a[0] = a[0] < -126.0f ? 0.0f : exp2f(a[0]);
    f->m[r] = m;
    f->l[r] *= a[0];
    for (int64_t c = 0; c < d; c++)
        f->o[r * d + c] *= a[0];
}

/* S row -> P row, bf16 kinds; `left` keys from the block's first on, what is past them gets 0 */
static void softmax_bf16(const TDKernels *kern, TDFlash *f, int64_t r, int64_t d, int64_t bk, int64_t left, float c,
                         uint64_t doubled)
{
    float *s = f->s + r * TD_FLASH_BK, m;

    for (int64_t i = 0; i < bk; i++)
        s[i] = i < left ? s[i] * c : -INFINITY;
    m = kern->max_row(s, bk);
    rescale(f, r, d, m > f->m[r] ? m : f->m[r]);
    for (int64_t i = 0; i < bk; i++)
        s[i] -= f->m[r];
    kern->exp2_row(s, bk);
    for (int64_t i = left > TD_DOUBLED_KEYS ? left - TD_DOUBLED_KEYS : 0; i < left && i < bk && doubled; i++)
        s[i] *= (float)(1 << TD_KEY_DOUBLED(doubled, left - 1 - i));
    f->l[r] += row_sum(s, bk);
    for (int64_t i = 0; i < bk; i++)
        s[i] = td_bf16_round(s[i]);
}

/* nearest e4m3 of values in [0, 448], as td_e4m3_round() but without branches */
static void round_row_e4m3(float *p, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        float normal, sub = (p[i] + 0x1.8p14f) - 0x1.8p14f;
        uint32_t u;

        memcpy(&u, &p[i], sizeof(u));
        u = (u + 0x7ffff + (u >> 20 & 1)) & ~0xfffffu;
        memcpy(&normal, &u, sizeof(normal));
        normal = normal > 448.0f ? 448.0f : normal;
        p[i] = p[i] >= 0x1p-6f ? normal : sub;
    }
}

/* late: the last block (64x128) or last two (128x64) scale S before the exponent's multiply-add */
static void softmax_e4m3(const TDKernels *kern, TDFlash *f, int64_t r, int64_t d, int64_t bk, int64_t valid, float dq,
                         int late, float sm)
{
    float *s = f->s + r * TD_FLASH_BK, a = late ? sm : sm * dq, m, bias;

    for (int64_t i = 0; i < bk; i++)
        s[i] = i < valid ? (late ? s[i] * dq : s[i]) : -5e6f;
    m = fmaxf(kern->max_row(s, bk) * a, -5e6f * a);
    rescale(f, r, d, m > f->m[r] ? m : f->m[r]);
    bias = -f->m[r] + P_OFFSET;
    for (int64_t i = 0; i < bk; i++)
        s[i] = (float)((double)s[i] * a + bias);         /* one rounding, as a fused multiply-add */
    kern->exp2_row(s, bk);
    f->l[r] += row_sum(s, bk);
    round_row_e4m3(s, bk);
}

/* o (bf16 kinds) or inner (e4m3: added to o afterwards) += P V */
static void product_pv(const TDKernels *kern, TDFlash *f, const float *v, int64_t rows, int64_t bk, int64_t d,
                       int two_level)
{
    td_cpu_product(kern, rows, d / TD_NR, bk, f->s, TD_FLASH_BK, v, two_level ? f->inner : f->o, d, two_level);
    if (two_level)
        for (int64_t i = 0; i < rows * d; i++)
            f->o[i] += f->inner[i];
}

int64_t td_flash_block(const TDCpu *cpu, TDFlash *f, const TDQkv *qkv, int64_t h, int64_t qi, const int32_t *list,
                       int64_t n)
{
    const TDKernels *kern = cpu->k;
    int64_t d = qkv->head_dim, dim = d * qkv->n_heads, bq = qkv->cfg.bq, bk = qkv->cfg.bk;
    int64_t q0 = qi * bq, rows = qkv->n_q - q0 < bq ? qkv->n_q - q0 : bq;
    int64_t n_k = td_blocks(qkv->n_kv, bk), n_q = td_blocks(qkv->n_q, bq);
    int sage = qkv->cfg.kind == TD_ATTN_SAGESLA, n_late = bk == 128 ? 1 : 2;
    const TDTensor *src = sage ? &qkv->q_code : &qkv->q;
    TDMatrix mat = { (const uint8_t *)src->data + h * d * (int64_t)td_dtype_size(src->dtype), dim, d,
                     td_dtype_size(src->dtype) };
    TDRows a = { src->dtype, td_rows_matrix, &mat };
    float c = (float)(1.0 / sqrt((double)d)) * 1.4426950408889634f, sm = (float)(1.0 / sqrt((double)d)) * 1.44269504f;

    td_cpu_widen_rows(f->q, &a, q0, rows, 0, d);
    for (int64_t r = 0; r < rows; r++) {
        f->m[r] = sage ? -5e6f : -INFINITY;
        f->l[r] = 0.0f;
    }
    memset(f->o, 0, (size_t)(td_blocks(rows, TD_MR) * TD_MR * d) * sizeof(float));

    for (int64_t i = 0; i < n; i++) {
        int64_t kj = list ? list[i] : i, left = qkv->n_kv - kj * bk;
        const float *k = (const float *)qkv->own[OWN_K_PANEL].data + (h * n_k + kj) * bk * d;
        const float *v = (const float *)qkv->own[OWN_V_PANEL].data + (h * n_k + kj) * bk * d;

        if (!sage)
            td_cpu_product(kern, rows, bk / TD_NR, d, f->q, d, k, f->s, TD_FLASH_BK, 1);
        for (int64_t j = 0; j < bk && sage; j += TD_NR)
            td_cpu_product_i8(kern, rows, d / 2, (const int16_t *)f->q, d, (const int16_t *)k + j * d, f->s + j,
                              TD_FLASH_BK, 1.0f, 1);
        for (int64_t r = 0; r < rows; r++) {
            if (sage) {
                float dq =
                    ((const float *)qkv->q_scale.data)[h * n_q + qi] * ((const float *)qkv->k_scale.data)[h * n_k + kj];

                softmax_e4m3(kern, f, r, d, bk, left, dq, i >= n - n_late, sm);
            } else {
                softmax_bf16(kern, f, r, d, bk, left, c, qkv->doubled);
            }
        }
        product_pv(kern, f, v, rows, bk, d, sage);
    }
    for (int64_t r = 0; r < rows; r++) {
        float inv = 1.0f / f->l[r];

        for (int64_t i = 0; i < d; i++)
            f->o[r * d + i] = sage ? f->o[r * d + i] * inv * ((const float *)qkv->v_scale.data)[h * d + i]
                                   : f->o[r * d + i] / f->l[r];
    }
    return rows;
}

/* int8 codes of one head's key block, K minus its mean: amax/127 + 1e-7, half away from zero */
static void pack_k_codes(const TDKernels *kern, TDQkv *qkv, int64_t h, int64_t kj, int16_t *dst)
{
    int64_t d = qkv->head_dim, dim = d * qkv->n_heads, bk = qkv->cfg.bk, k0 = kj * bk;
    int64_t valid = qkv->n_kv - k0 < bk ? qkv->n_kv - k0 : bk;
    const uint16_t *k = (const uint16_t *)qkv->k.data + k0 * dim + h * d;
    const float *mean = (const float *)qkv->k_mean.data + h * d;
    int8_t code[TD_NR][TD_FLASH_MAX_D];
    float amax = 0, scale;

    for (int64_t r = 0; r < valid; r++)
        for (int64_t i = 0; i < d; i++)
            amax = td_most(amax, fabsf(td_bf16_round(td_bf16_to_f32(k[r * dim + i]) - mean[i])));
    scale = amax / 127.0f + 1e-7f;
    ((float *)qkv->k_scale.data)[h * td_blocks(qkv->n_kv, bk) + kj] = scale;
    for (int64_t p = 0; p < bk / TD_NR; p++) {
        for (int half = 0; half < TD_NR; half += 8) {
            const int8_t *row[8] = { NULL };

            for (int r = 0; r < 8 && p * TD_NR + half + r < valid; r++) {
                const uint16_t *x = k + (p * TD_NR + half + r) * dim;

                for (int64_t i = 0; i < d; i++) {
                    float v = td_bf16_round(td_bf16_to_f32(x[i]) - mean[i]) / scale;

                    code[half + r][i] = (int8_t)(v + (v >= 0.0f ? 0.5f : -0.5f));
                }
                row[r] = code[half + r];
            }
            kern->pack_i8(dst + p * TD_NR * d + 2 * half, row, d);
        }
    }
}

void td_flash_pack_kv(const TDCpu *cpu, TDQkv *qkv, int64_t h, int64_t kj)
{
    int64_t d = qkv->head_dim, dim = d * qkv->n_heads, bk = qkv->cfg.bk, k0 = kj * bk, n_k = td_blocks(qkv->n_kv, bk);
    int64_t valid = qkv->n_kv - k0 < bk ? qkv->n_kv - k0 : bk;
    float *kp = (float *)qkv->own[OWN_K_PANEL].data + (h * n_k + kj) * bk * d,
          *vp = (float *)qkv->own[OWN_V_PANEL].data + (h * n_k + kj) * bk * d;
    const uint16_t *v = (const uint16_t *)qkv->v.data + k0 * dim + h * d;
    const float *v_mult = (const float *)qkv->v_scale.data + dim;
    TDMatrix mat = { (const uint16_t *)qkv->k.data + h * d, dim, d, sizeof(uint16_t) };
    TDRows rows = { TD_BF16, td_rows_matrix, &mat };

    if (qkv->cfg.kind == TD_ATTN_SAGESLA)
        pack_k_codes(cpu->k, qkv, h, kj, (int16_t *)kp);
    else
        for (int64_t p = 0; p < bk / TD_NR; p++) {
            int64_t n = valid - p * TD_NR;

            td_cpu_pack(cpu->k, kp + p * TD_NR * d, TD_NR, &rows, k0 + p * TD_NR,
                        (int)(n < 0       ? 0
                              : n > TD_NR ? TD_NR
                                          : n),
                        0, d);
        }
    for (int64_t p = 0; p < d / TD_NR; p++)
        for (int64_t r = 0; r < bk; r++)
            for (int i = 0; i < TD_NR; i++) {
                int64_t c = p * TD_NR + i;
                float x = r < valid ? td_bf16_to_f32(v[r * dim + c]) : 0.0f;

                if (qkv->cfg.kind == TD_ATTN_SAGESLA)
                    x = td_e4m3_round(x * v_mult[h * d + c]);
                vp[(p * bk + r) * TD_NR + i] = x;
            }
}
