/* SPDX-License-Identifier: BSD-2-Clause */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include "nets/tensors.h"

#define EPS 1e-6f
#define MAX_BLOCKS 1000

void td_sizes_init(int64_t sizes[TD_N_SIZES])
{
    static const int constant[] = { [TD_SIZE_1] = 1, [TD_SIZE_2] = 2, [TD_SIZE_3] = 3, [TD_SIZE_6] = 6,
                                    [TD_SIZE_16] = 16, [TD_SIZE_32] = 32, [TD_SIZE_64] = 64, [TD_SIZE_256] = 256 };

    for (int i = 0; i < TD_N_SIZES; i++)
        sizes[i] = i <= TD_SIZE_256 ? constant[i] : 0;
}

int td_count_blocks(const TDCheckpoint *ckpt)
{
    int n = 0, block;

    for (int i = 0; i < td_checkpoint_count(ckpt); i++)
        if (sscanf(td_checkpoint_entry(ckpt, i)->name, "blocks.%d.", &block) == 1 && block >= n && block < MAX_BLOCKS)
            n = block + 1;
    return n;
}

/* linears of one place are parts of one. @return how many */
static int stacked(const TDNetTensor *row)
{
    int n = 1;

    while (row->kind <= TD_IS_QUANT && n < TD_LINEAR_PARTS && row[n].name && row[n].at == row->at)
        n++;
    return n;
}

static int bind_norm(const TDBind *b, TDNormW *norm, const TDNetTensor *row, const char *name, int64_t n,
                     enum TDNorm profile)
{
    int ret;

    *norm = (TDNormW){ .dim = n, .eps = EPS, .profile = profile };
    TRY(td_bind_vector(b, &norm->weight, n, name, "weight"));
    if (row->kind == TD_IS_NORM_BIAS)
        TRY(td_bind_vector(b, &norm->bias, n, name, "bias"));
fail:
    return ret;
}

static int bind_conv(const TDBind *b, TDConv *conv, const TDNetTensor *row, const char *name, int64_t n, int64_t k,
                     float reach)
{
    *conv = (TDConv){ .c_out = n, .c_in = k, .kt = row->kt ? row->kt : 1, .kh = row->ks, .kw = row->ks,
                      .stride_t = 1, .stride_s = 1, .reach = b->f16 ? reach : 0 };
    return td_bind_conv(b, conv, name, row->kind == TD_IS_CONV);
}

/* The norm makes a pixel's 2-norm sqrt(n), gammas at most so many times more of it, and SiLU no value larger; a
 * hundredth is for what is rounded on the way. */
static int bind_gamma(const TDBind *b, const float **gamma, const char *name, int64_t n, float *reach)
{
    float *values = malloc((size_t)n * sizeof(*values)), most = 0;
    int ret = values ? 0 : td_error(b->dev->log, ENOMEM, "%s.gamma: out of memory", name);

    TRY(ret);
    TRY(td_bind_values(b, values, n, name, "gamma"));
    for (int64_t i = 0; i < n; i++)
        most = fabsf(values[i]) > most ? fabsf(values[i]) : most;
    *reach = 1.01f * sqrtf((float)n) * most;
    TRY(td_pack_vector(b->dev, b->weights, gamma, values, n));
fail:
    free(values);
    return ret;
}

/* a convolution behind a gamma is of what was normed with that */
int td_bind_tensors(const TDBind *b, const TDNetTensor *row, const char *prefix, const int64_t sizes[TD_N_SIZES],
                    enum TDDtype quant, enum TDNorm norm, void *net)
{
    float reach = 0;
    int parts, ret = 0;

    for (; row->name; row += parts) {
        char name[TD_LINEAR_PARTS][160];
        const char *names[TD_LINEAR_PARTS];
        int64_t n = sizes[row->n], k = sizes[row->k];
        void *to = (char *)net + row->at;

        parts = stacked(row);
        if (row->at == TD_BY_HAND || !n)
            continue;
        for (int i = 0; i < parts; i++) {
            snprintf(name[i], sizeof(name[i]), "%s%s", prefix, row[i].name);
            names[i] = name[i];
        }
        switch (row->kind) {
        case TD_IS_LINEAR:    TRY(td_bind_linear(b, to, TD_BF16, n, k, parts, names)); break;
        case TD_IS_F32:       TRY(td_bind_linear(b, to, TD_F32, n, k, parts, names)); break;
        case TD_IS_QUANT:     TRY(td_bind_linear(b, to, quant, n, k, parts, names)); break;
        case TD_IS_NORM:
        case TD_IS_NORM_BIAS: TRY(bind_norm(b, to, row, name[0], n, norm)); break;
        case TD_IS_TABLE:     TRY(td_bind_table(b, to, n, k, name[0])); break;
        case TD_IS_MATRIX:    TRY(td_bind_matrix(b, to, n, k, name[0])); break;
        case TD_IS_ROWS:      break;             /* by hand */
        case TD_IS_CONV:
        case TD_IS_CONV_BARE: TRY(bind_conv(b, to, row, name[0], n, k, reach)); reach = 0; break;
        case TD_IS_GAMMA:     TRY(bind_gamma(b, to, name[0], n, &reach)); break;
        }
    }
fail:
    return ret;
}

/* ---- as a file has them ---- */

/* dims ends with 0 */
static int tell(TDFileTensor *t, const char *prefix, const char *ending, const int64_t *dims, TDTensorFn fn,
                void *cookie)
{
    snprintf(t->name, sizeof(t->name), "%s%s%s%s", prefix, t->of->name, *ending ? "." : "", ending);
    t->ending = ending;
    for (t->n_dims = 0; dims[t->n_dims]; t->n_dims++)
        t->shape[t->n_dims] = dims[t->n_dims];
    return fn(cookie, t);
}

#define TELL(ending, ...) tell(&t, prefix, ending, (const int64_t[]){ __VA_ARGS__, 0 }, fn, cookie)

int td_each_tensor(const TDNetTensor *row, const char *prefix, const int64_t sizes[TD_N_SIZES], int biased, int int8,
                   TDTensorFn fn, void *cookie)
{
    int ret = 0;

    for (; row->name; row++) {
        int64_t n = sizes[row->n], k = sizes[row->k];
        TDFileTensor t = { .of = row, .n = n, .k = k };
        int bias = row->kind == TD_IS_NORM_BIAS || row->kind == TD_IS_CONV || (biased && row->kind <= TD_IS_QUANT);

        if (!n)
            continue;
        if (row->kind == TD_IS_QUANT && int8) {
            TRY(TELL("int8_weight", n, k));
            TRY(TELL("scale", (n + 127) / 128, (k + 127) / 128));
        } else if (row->kind == TD_IS_NORM || row->kind == TD_IS_NORM_BIAS) {
            TRY(TELL("weight", n));
        } else if (row->kind == TD_IS_ROWS) {
            TRY(TELL("", 1, n, k));
        } else if (row->kind == TD_IS_GAMMA) {
            TRY(TELL("gamma", n, 1, 1, row->ks == 3));
        } else if ((row->kind == TD_IS_CONV || row->kind == TD_IS_CONV_BARE) && row->kt) {
            TRY(TELL("weight", n, k, row->kt, row->ks, row->ks));
        } else if (row->ks) {                    /* a linear may be written as a convolution */
            TRY(TELL("weight", n, k, row->ks, row->ks));
        } else {
            TRY(TELL("weight", n, k));
        }
        if (bias)
            TRY(TELL("bias", n));
    }
fail:
    return ret;
}
