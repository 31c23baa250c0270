/* SPDX-License-Identifier: BSD-2-Clause
 * Linears: y = x W^T + b with the epilogues the seam fuses.
 *
 * Rounding: bf16 rounds once, bf16(acc + bias); int8 twice, bf16(bf16(acc) + bias), as the official int8 linear does.
 * What a LoRA adds comes to the int8 sums before the first rounding: a small term would not outlive it.
 */
#include "cpu/cpu.h"

typedef struct LinearJob {
    const TDLinear *lin;
    int residual;                                /* y += , */
    const float *gate;                           /* times [N] or NULL */
    const uint16_t *table;                       /* activation of a bf16 value, or NULL */
    const uint16_t *up;                          /* times [M,N] or NULL */
    const uint16_t *add;                         /* int8: [M,N] or NULL, maybe y */
    uint16_t *y;                                 /* bf16 [M,N] */
    float *y32;                                  /* td_cpu_linear_f32 */
} LinearJob;

static void store_bf16(void *ctx, int64_t m0, int64_t m, int64_t n0, int64_t n, float *c, int64_t ldc)
{
    const LinearJob *job = ctx;
    const float *bias = job->lin->bias;
    int twice = job->lin->dtype == TD_I8;

    for (int64_t i = 0; i < m; i++, c += ldc) {
        int64_t at = (m0 + i) * job->lin->n + n0;
        uint16_t *y = job->y + at;

        for (int64_t j = 0; j < n; j++) {
            float sum = job->add ? c[j] + td_bf16_to_f32(job->add[at + j]) : c[j];
            float v = twice ? td_bf16_round(sum) : sum;

            c[j] = bias ? v + bias[n0 + j] : v;
        }
        for (int64_t j = 0; j < n && job->residual; j++) {
            float p = td_bf16_round(c[j]);

            if (job->gate)
                p = td_bf16_round(p * td_bf16_round(job->gate[n0 + j]));
            c[j] = td_bf16_to_f32(y[j]) + p;
        }
        for (int64_t j = 0; j < n; j++)
            y[j] = td_f32_to_bf16(c[j]);
        for (int64_t j = 0; j < n && job->table; j++)
            y[j] = job->table[y[j]];
        for (int64_t j = 0; j < n && job->up; j++)
            y[j] = td_f32_to_bf16(td_bf16_to_f32(job->up[at + j]) * td_bf16_to_f32(y[j]));
    }
}

static void store_f32(void *ctx, int64_t m0, int64_t m, int64_t n0, int64_t n, float *c, int64_t ldc)
{
    const LinearJob *job = ctx;

    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++)
            job->y32[(m0 + i) * job->lin->n + n0 + j] =
                c[i * ldc + j] + (job->lin->bias ? job->lin->bias[n0 + j] : 0.0f);
}

/* rows of a weight that may be stacked from parts */
static int64_t weight_rows(const void *ctx, int64_t r0, int n, int64_t k0, const void *row[8])
{
    const TDLinear *lin = ctx;
    size_t elem = td_dtype_size(lin->dtype);

    for (int i = 0; i < n; i++) {
        int64_t r = r0 + i;

        row[i] = (const uint8_t *)lin->w[r / lin->part_n] + (size_t)(r % lin->part_n * lin->k + k0) * elem;
    }
    return lin->k - k0;
}

static int run_linear(TDCpu *cpu, const TDAct *x, LinearJob *job)
{
    const TDLinear *lin = job->lin;
    const TDTensor *in = lin->dtype == TD_I8 ? &x->code : &x->x;
    TDMatrix mat = { in->data, lin->k, lin->k, td_dtype_size(in->dtype) };
    TDRows a = { in->dtype, td_rows_matrix, &mat }, b = { lin->dtype, weight_rows, lin };
    TDBlockScales scales = { x->scale.data, lin->scale, (lin->k + 127) / 128 };

    job->add = lin->dtype == TD_I8 ? x->add : NULL;
    return td_cpu_gemm(cpu, in->shape[0], lin->n, lin->k, &a, &b, lin->dtype == TD_I8 ? &scales : NULL, store_bf16,
                       job);
}

int td_cpu_linear(TDDev *dev, TDTensor *y, const TDAct *x, const TDLinear *lin)
{
    LinearJob job = { .lin = lin, .y = y->data };

    return run_linear(td_cpu(dev), x, &job);
}

int td_cpu_linear_gelu(TDDev *dev, TDAct *y, const TDAct *x, const TDLinear *lin)
{
    LinearJob job = { .lin = lin, .table = td_cpu(dev)->gelu, .y = y->x.data };
    int ret = run_linear(td_cpu(dev), x, &job);

    return ret < 0 ? ret : td_cpu_quantise_act(td_cpu(dev), y);
}

int td_cpu_linear_residual(TDDev *dev, TDTensor *x, const TDAct *y, const TDLinear *lin, const float *gate)
{
    LinearJob job = { .lin = lin, .residual = 1, .gate = gate, .y = x->data };

    return run_linear(td_cpu(dev), y, &job);
}

int td_cpu_linear_geglu(TDDev *dev, TDTensor *y, TDTensor *u, const TDAct *x, const TDLinear *gate, const TDLinear *up)
{
    LinearJob job = { .lin = gate, .table = td_cpu(dev)->gelu_t5, .up = u->data, .y = y->data };
    int ret = td_cpu_linear(dev, u, x, up);

    return ret < 0 ? ret : run_linear(td_cpu(dev), x, &job);
}

int td_cpu_linear_f32(TDCpu *cpu, float *y, const float *x, int64_t m, const TDLinear *lin)
{
    LinearJob job = { .lin = lin, .y32 = y };
    TDMatrix mat = { x, lin->k, lin->k, sizeof(float) };
    TDRows a = { TD_F32, td_rows_matrix, &mat }, b = { lin->dtype, weight_rows, lin };

    return td_cpu_gemm(cpu, m, lin->n, lin->k, &a, &b, NULL, store_f32, &job);
}
