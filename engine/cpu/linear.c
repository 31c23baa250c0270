/* SPDX-License-Identifier: BSD-2-Clause
 * Linears: y = x W^T + b with the epilogues the seam fuses. bf16 weights are read from the file mapping where its
 * layout allows, int8 ones always.
 *
 * Rounding: bf16 rounds once, bf16(acc + bias); int8 twice, bf16(bf16(acc) + bias), as the official int8 linear does.
 */
#include <stdlib.h>
#include "cpu/cpu.h"

enum Epilogue { STORE, GELU, RESIDUAL, GEGLU };

typedef struct LinearJob {
    const TDLinear *lin;
    enum Epilogue epilogue;
    const uint16_t *table;                       /* GELU, GEGLU: activation of a bf16 value */
    const float *gate;                           /* RESIDUAL: [N] or NULL */
    const uint16_t *up;                          /* GEGLU: [M,N] */
    uint16_t *y;                                 /* bf16 [M,N] */
    float *y32;                                  /* td_cpu_linear_f32 */
} LinearJob;

static void store_bf16(void *ctx, int64_t m0, int64_t m, int64_t n0, int64_t n, const float *c, int64_t ldc)
{
    const LinearJob *job = ctx;
    const float *bias = job->lin->bias;
    int twice = job->lin->dtype == TD_I8;

    for (int64_t i = 0; i < m; i++) {
        int64_t at = (m0 + i) * job->lin->n + n0;

        for (int64_t j = 0; j < n; j++) {
            float v = twice ? td_bf16_round(c[i * ldc + j]) : c[i * ldc + j];
            uint16_t r = td_f32_to_bf16(bias ? v + bias[n0 + j] : v);

            if (job->epilogue == GELU) {
                r = job->table[r];
            } else if (job->epilogue == GEGLU) {
                r = td_f32_to_bf16(td_bf16_to_f32(job->up[at + j]) * td_bf16_to_f32(job->table[r]));
            } else if (job->epilogue == RESIDUAL) {
                float p = td_bf16_to_f32(r);

                if (job->gate)
                    p = td_bf16_round(p * td_bf16_round(job->gate[n0 + j]));
                r = td_f32_to_bf16(td_bf16_to_f32(job->y[at + j]) + p);
            }
            job->y[at + j] = r;
        }
    }
}

static void store_f32(void *ctx, int64_t m0, int64_t m, int64_t n0, int64_t n, const float *c, int64_t ldc)
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

    return td_cpu_gemm(cpu, in->shape[0], lin->n, lin->k, &a, &b, lin->dtype == TD_I8 ? &scales : NULL, store_bf16,
                       job);
}

int td_cpu_linear(TDDev *dev, TDTensor *y, const TDAct *x, const TDLinear *lin)
{
    LinearJob job = { .lin = lin, .epilogue = STORE, .y = y->data };

    return run_linear(td_cpu(dev), x, &job);
}

int td_cpu_linear_gelu(TDDev *dev, TDAct *y, const TDAct *x, const TDLinear *lin)
{
    LinearJob job = { .lin = lin, .epilogue = GELU, .table = td_cpu(dev)->gelu, .y = y->x.data };
    int ret = run_linear(td_cpu(dev), x, &job);

    return ret < 0 ? ret : td_cpu_quantise_act(td_cpu(dev), y);
}

int td_cpu_linear_residual(TDDev *dev, TDTensor *x, const TDAct *y, const TDLinear *lin, const float *gate)
{
    LinearJob job = { .lin = lin, .epilogue = RESIDUAL, .gate = gate, .y = x->data };

    return run_linear(td_cpu(dev), y, &job);
}

int td_cpu_linear_geglu(TDDev *dev, TDAct *y, TDTensor *u, const TDAct *x, const TDLinear *gate, const TDLinear *up)
{
    LinearJob job = { .lin = gate, .epilogue = GEGLU, .table = td_cpu(dev)->gelu_t5, .up = u->data, .y = y->x.data };
    int ret = td_cpu_linear(dev, u, x, up);

    if (ret >= 0)
        ret = run_linear(td_cpu(dev), x, &job);
    return ret < 0 ? ret : td_cpu_quantise_act(td_cpu(dev), y);
}

int td_cpu_linear_f32(TDCpu *cpu, float *y, const float *x, int64_t m, const TDLinear *lin)
{
    LinearJob job = { .lin = lin, .y32 = y };
    TDMatrix mat = { x, lin->k, lin->k, sizeof(float) };
    TDRows a = { TD_F32, td_rows_matrix, &mat }, b = { lin->dtype, weight_rows, lin };

    return td_cpu_gemm(cpu, m, lin->n, lin->k, &a, &b, NULL, store_f32, &job);
}

/* ---- packing at load ---- */

static int check_source(TDDev *dev, const TDLinearSource *s, const TDLinearSource *first)
{
    const TDEntry *w = s->w;

    if (w->n_dims < 2 || td_entry_count(w) % w->shape[0])
        return td_error(dev->log, EBADMSG, "%s: %s: %d dims, want a matrix", w->file, w->name, w->n_dims);
    if (w->shape[0] != first->w->shape[0] || td_entry_count(w) != td_entry_count(first->w) ||
        w->dtype != first->w->dtype)
        return td_error(dev->log, EBADMSG, "%s: %s: [%lld,...] %s, want [%lld,...] %s as in %s", w->file, w->name,
                        (long long)w->shape[0], td_dtype_name(w->dtype), (long long)first->w->shape[0],
                        td_dtype_name(first->w->dtype), first->w->name);
    if (s->bias && td_entry_count(s->bias) != w->shape[0])
        return td_error(dev->log, EBADMSG, "%s: %s: %lld values, want %lld", s->bias->file, s->bias->name,
                        (long long)td_entry_count(s->bias), (long long)w->shape[0]);
    return 0;
}

/* a float weight as bf16 (or f32) rows: in place, or converted into device memory */
static int pack_float(TDDev *dev, TDWeights *weights, const void **dst, const TDLinearSource *s, int64_t rows,
                      int64_t k, enum TDDtype want)
{
    const TDEntry *e = s->w;
    size_t elem = td_dtype_size(want), n = (size_t)(rows * k);
    float *row = NULL;
    void *p;
    int ret;

    if (e->dtype == want && td_entry_is_contiguous(e) && (uintptr_t)e->data % elem == 0) {
        *dst = e->data + (size_t)(s->row0 * k) * elem;
        return 0;
    }
    TRY(td_weights_alloc(dev, weights, &p, n * elem));
    if (weights->measure)
        return 0;
    row = malloc((size_t)td_entry_count(e) * sizeof(*row));
    if (!row)
        return td_error(dev->log, ENOMEM, "%s: %s: out of memory", e->file, e->name);
    ret = td_entry_to_f32(e, row);
    if (ret < 0) {
        td_error(dev->log, -ret, "%s: %s: dtype %s, want bf16, f16 or f32", e->file, e->name, td_dtype_name(e->dtype));
        goto fail;
    }
    for (size_t i = 0; i < n; i++) {
        float v = row[(size_t)(s->row0 * k) + i];

        if (want == TD_BF16)
            ((uint16_t *)p)[i] = td_f32_to_bf16(v);
        else
            ((float *)p)[i] = v;
    }
    *dst = p;
fail:
    free(row);
    return ret;
}

static int pack_int8(TDDev *dev, TDWeights *weights, TDLinear *lin, const TDLinearSource *src, int n_src, float *scale)
{
    int64_t kb = (lin->k + 127) / 128, rows = lin->part_n;
    int ret = 0;

    for (int p = 0; p < n_src; p++, scale = scale ? scale + (rows + 127) / 128 * kb : NULL) {
        const TDEntry *e = src[p].w, *s = src[p].scale;

        if (e->dtype == TD_I8) {
            if (!s || s->dtype != TD_F32 || td_entry_count(s) != (rows + 127) / 128 * kb)
                return td_error(dev->log, EBADMSG, "%s: %s: int8 without an f32 scale of [%lld,%lld]", e->file, e->name,
                                (long long)((rows + 127) / 128), (long long)kb);
            if (!td_entry_is_contiguous(e)) {
                void *code;

                TRY(td_weights_alloc(dev, weights, &code, (size_t)(rows * lin->k)));
                if (!weights->measure)
                    td_entry_to_rows(e, code);
                lin->w[p] = code;
            } else {
                lin->w[p] = e->data;
            }
            if (!weights->measure)
                TRY(td_entry_to_f32(s, scale));
        } else {
            const void *bf16;
            void *code;
            TDWeights tmp = { .measure = weights->measure };

            TRY(td_weights_alloc(dev, weights, &code, (size_t)(rows * lin->k)));
            ret = pack_float(dev, &tmp, &bf16, &src[p], rows, lin->k, TD_BF16);
            weights->scratch = tmp.bytes > weights->scratch ? tmp.bytes : weights->scratch;
            for (int64_t r = 0; r < rows && ret >= 0 && !weights->measure; r += 128)
                td_cpu_quantise_blocks(bf16, rows, lin->k, r, code, scale);
            td_weights_free(dev, &tmp);
            TRY(ret);
            lin->w[p] = code;
        }
    }
fail:
    return ret;
}

int td_cpu_pack_linear(TDDev *dev, TDWeights *weights, TDLinear *lin, const TDLinearSource *src, int n_src,
                       enum TDDtype want)
{
    const TDEntry *w = src[0].w;
    int64_t rows = src[0].n_rows ? src[0].n_rows : w->shape[0];
    int has_bias = src[0].bias != NULL, ret = 0;
    float *bias = NULL, *scale, *full = NULL;
    void *p;

    for (int i = 0; i < n_src; i++)
        TRY(check_source(dev, &src[i], &src[0]));
    *lin = (TDLinear){ .n = rows * n_src, .k = td_entry_count(w) / w->shape[0], .part_n = rows };
    lin->dtype = w->dtype == TD_I8 || want == TD_I8 ? TD_I8 : want == TD_F32 && w->dtype != TD_BF16 ? TD_F32 : TD_BF16;
    if (lin->dtype == TD_I8) {
        if (lin->k % 128 || (n_src > 1 && rows % 128))
            return td_error(dev->log, ENOTSUP, "%s: %s: [%lld,%lld] as int8, want multiples of 128", w->file, w->name,
                            (long long)rows, (long long)lin->k);
        TRY(td_weights_alloc(dev, weights, &p, (size_t)((lin->n + 127) / 128 * (lin->k / 128)) * sizeof(float)));
        lin->scale = scale = p;
        TRY(pack_int8(dev, weights, lin, src, n_src, scale));
    } else {
        for (int i = 0; i < n_src; i++)
            TRY(pack_float(dev, weights, &lin->w[i], &src[i], rows, lin->k, lin->dtype));
    }
    if (!has_bias)
        return 0;
    TRY(td_weights_alloc(dev, weights, &p, (size_t)lin->n * sizeof(float)));
    lin->bias = bias = p;
    if (weights->measure)
        return 0;
    full = malloc((size_t)w->shape[0] * sizeof(*full));
    if (!full) {
        ret = td_error(dev->log, ENOMEM, "%s: %s: out of memory", w->file, w->name);
        goto fail;
    }
    for (int i = 0; i < n_src; i++) {
        TRY(td_entry_to_f32(src[i].bias, full));
        memcpy(bias + i * rows, full + src[i].row0, (size_t)rows * sizeof(*bias));
    }
    if (lin->dtype != TD_F32)                    /* a bf16 module adds a bf16 bias */
        for (int64_t i = 0; i < lin->n; i++)
            bias[i] = td_bf16_round(bias[i]);
fail:
    free(full);
    return ret;
}

int td_cpu_pack_table(TDDev *dev, TDWeights *weights, TDTensor *dst, const TDEntry *e)
{
    TDLinearSource src = { .w = e };
    const void *p = NULL;
    int ret;

    if (e->n_dims != 2)
        return td_error(dev->log, EBADMSG, "%s: %s: %d dims, want 2", e->file, e->name, e->n_dims);
    ret = pack_float(dev, weights, &p, &src, e->shape[0], e->shape[1], TD_BF16);
    *dst =
        (TDTensor){ .data = (void *)p, .n_dims = 2, .dtype = TD_BF16, .shape = { e->shape[0], e->shape[1], 1, 1, 1 } };
    return ret;
}
