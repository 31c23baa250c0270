/* SPDX-License-Identifier: BSD-2-Clause */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include "nets/bind.h"
#include "base/thread.h"
#include "files/change.h"

#define MAX_NAME 160

static void join(char name[MAX_NAME], const char *prefix, const char *suffix)
{
    snprintf(name, MAX_NAME, "%s%s%s", prefix, *suffix ? "." : "", suffix);
}

static int has(const TDBind *b, const char *prefix, const char *suffix)
{
    char name[MAX_NAME];

    join(name, prefix, suffix);
    return td_checkpoint_find(b->ckpt, name) != NULL;
}

static int check_count(const TDBind *b, const TDEntry *e, int64_t n, int64_t k)
{
    char shape[TD_SHAPE_TEXT], want[TD_SHAPE_TEXT];

    if (td_entry_count(e) == n * k && (k == 1 || e->shape[0] == n))
        return 0;
    return td_error(b->dev->log, EBADMSG, "%s: %s: shape %s, want %s", td_checkpoint_path(b->ckpt), e->name,
                    td_shape_text(shape, e->shape, e->n_dims), td_rows_text(want, n, k));
}

static int check_dtype(const TDBind *b, const TDEntry *e, enum TDDtype want)
{
    if (e->dtype == want)
        return 0;
    return td_error(b->dev->log, EBADMSG, "%s: %s: dtype %s, want %s", td_checkpoint_path(b->ckpt), e->name,
                    td_dtype_name(e->dtype), td_dtype_name(want));
}

static int check_float(const TDBind *b, const TDEntry *e)
{
    if (td_dtype_has_values(e->dtype) && (e->dtype != TD_I8 || e->scale))
        return 0;
    return td_error(b->dev->log, ENOTSUP, "%s: %s: dtype %s%s, want a float type%s", td_checkpoint_path(b->ckpt),
                    e->name, td_dtype_name(e->dtype), e->dtype == TD_I8 ? " without a scale" : "",
                    e->dtype == TD_I8 ? ", or its scale beside it" : "");
}

/* dst: one f32 a value */
static int read_finite(const TDBind *b, const TDEntry *e, float *dst)
{
    const TDChange *lora = e->change;
    int ret;

    TRY(check_float(b, e));
    TRY(td_entry_to_f32(e, dst));
    for (int64_t i = 0, n = td_entry_count(e); i < n; i++)
        if (!isfinite(dst[i]))
            return td_error(b->dev->log, EBADMSG, "%s%s%s%s: %s[%lld] is %g, want a finite value",
                            td_checkpoint_path(b->ckpt), lora ? " with LoRA " : "", lora ? lora->file : "",
                            lora && lora->next ? " and others" : "", e->name, (long long)i, dst[i]);
fail:
    return ret;
}

/* of a bias or of scales */
static int check_finite(const TDBind *b, const TDEntry *e)
{
    float *tmp = malloc((size_t)td_entry_count(e) * sizeof(*tmp));
    int ret = tmp ? read_finite(b, e, tmp) : td_error(b->dev->log, ENOMEM, "%s: %s: out of memory", e->file, e->name);

    free(tmp);
    return ret;
}

int td_bind_entry(const TDBind *b, const TDEntry **e, const char *prefix, const char *suffix)
{
    char name[MAX_NAME];
    int ret = b->dev->cancel ? td_cancel_check(b->dev->cancel) : 0;

    if (ret < 0)
        return ret;
    join(name, prefix, suffix);
    *e = td_checkpoint_find(b->ckpt, name);
    if (!*e)
        return td_error(b->dev->log, EBADMSG, "%s: tensor %s is missing", td_checkpoint_path(b->ckpt), name);
    if (td_entry_count(*e) < 1 || (uint64_t)td_entry_count(*e) / (uint64_t)td_dtype_block((*e)->dtype) >
                                      (*e)->bytes / td_dtype_size((*e)->dtype))
        return td_error(b->dev->log, EBADMSG,
                        "%s: %s: %lld values over %zu bytes, want at least one, and each stored once",
                        td_checkpoint_path(b->ckpt), name, (long long)td_entry_count(*e), (*e)->bytes);
    td_checkpoint_use(b->ckpt, *e);
    if (((*e)->scale && (ret = check_finite(b, (*e)->scale)) < 0) ||
        ((*e)->columns && (ret = check_finite(b, (*e)->columns)) < 0))
        return ret;
    return (*e)->scale_2 ? check_finite(b, (*e)->scale_2) : 0;
}

int td_bind_source(const TDBind *b, TDLinearSource *src, enum TDDtype want, int64_t n, int64_t k, const char *prefix)
{
    int ret;

    *src = (TDLinearSource){ 0 };
    if (want == TD_I8 && has(b, prefix, "int8_weight")) {
        TRY(td_bind_entry(b, &src->w, prefix, "int8_weight"));
        TRY(td_bind_entry(b, &src->scale, prefix, "scale"));
        TRY(check_dtype(b, src->w, TD_I8));
        TRY(check_dtype(b, src->scale, TD_F32));
        TRY(check_count(b, src->scale, (n + 127) / 128, (k + 127) / 128));
        TRY(check_finite(b, src->scale));
    } else {
        TRY(td_bind_entry(b, &src->w, prefix, "weight"));
        TRY(check_float(b, src->w));
    }
    TRY(check_count(b, src->w, n, k));
    if (b->biased) {
        TRY(td_bind_entry(b, &src->bias, prefix, "bias"));
        TRY(check_count(b, src->bias, n, 1));
        TRY(check_finite(b, src->bias));
    } else if (has(b, prefix, "bias")) {
        ret = td_error(b->dev->log, EBADMSG, "%s: %s.bias: this model has no bias there", td_checkpoint_path(b->ckpt),
                       prefix);
    }
fail:
    return ret;
}

int td_bind_linear(const TDBind *b, TDLinear *lin, enum TDDtype want, int64_t n, int64_t k, int n_parts,
                   const char *const prefix[])
{
    TDLinearSource src[TD_LINEAR_PARTS];
    int ret;

    for (int i = 0; i < n_parts; i++) {
        TRY(td_bind_source(b, &src[i], want, n, k, prefix[i]));
        if (want == TD_F32)                      /* it depends on the file's type what that is packed as */
            TRY(check_dtype(b, src[i].w, src[0].w->dtype));
    }
    TRY(td_pack_linear(b->dev, b->weights, lin, src, n_parts, want));
fail:
    return ret;
}

int td_bind_matrix(const TDBind *b, const TDEntry **out, int64_t n, int64_t k, const char *prefix)
{
    char shape[TD_SHAPE_TEXT];
    const TDEntry *e;
    int ret;

    TRY(td_bind_entry(b, out, prefix, "weight"));
    e = *out;
    TRY(check_float(b, e));
    if (e->n_dims != 2 || e->shape[0] != n || e->shape[1] != k)
        ret = td_error(b->dev->log, EBADMSG, "%s: %s: shape %s, want [%lld,%lld]", td_checkpoint_path(b->ckpt),
                       e->name, td_shape_text(shape, e->shape, e->n_dims), (long long)n, (long long)k);
fail:
    return ret;
}

int td_bind_table(const TDBind *b, TDTensor *table, int64_t n, int64_t k, const char *prefix)
{
    const TDEntry *e;
    int ret;

    TRY(td_bind_matrix(b, &e, n, k, prefix));
    TRY(td_pack_table(b->dev, b->weights, table, e));
fail:
    return ret;
}

int td_bind_values(const TDBind *b, float *dst, int64_t n, const char *prefix, const char *suffix)
{
    const TDEntry *e;
    int ret;

    TRY(td_bind_entry(b, &e, prefix, suffix));
    TRY(check_count(b, e, n, 1));
    TRY(read_finite(b, e, dst));
fail:
    return ret;
}

int td_bind_vector(const TDBind *b, const float **dst, int64_t n, const char *prefix, const char *suffix)
{
    float *tmp = malloc((size_t)n * sizeof(*tmp));
    int ret;

    if (!tmp)
        return td_error(b->dev->log, ENOMEM, "%s.%s: out of memory", prefix, suffix);
    TRY(td_bind_values(b, tmp, n, prefix, suffix));
    TRY(td_pack_vector(b->dev, b->weights, dst, tmp, n));
fail:
    free(tmp);
    return ret;
}

/* zeros where there is none */
static int bind_conv_bias(const TDBind *b, TDConv *conv, const char *prefix, int biased)
{
    float *bias = calloc((size_t)conv->c_out, sizeof(*bias));
    int ret = bias ? 0 : td_error(b->dev->log, ENOMEM, "%s.bias: out of memory", prefix);

    if (ret >= 0 && biased)
        ret = td_bind_values(b, bias, conv->c_out, prefix, "bias");
    for (int64_t i = 0; i < conv->c_out && ret >= 0 && conv->widened; i++)
        bias[i] = 2.0f * bias[i] - 1.0f;
    if (ret >= 0)
        ret = td_pack_vector(b->dev, b->weights, &conv->bias, bias, conv->c_out);
    free(bias);
    return ret;
}

int td_bind_conv(const TDBind *b, TDConv *conv, const char *prefix, int biased)
{
    const TDEntry *w;
    int ret;

    TRY(td_bind_entry(b, &w, prefix, "weight"));
    TRY(check_float(b, w));
    TRY(check_count(b, w, conv->c_out, (conv->c_in - conv->c_pad) * conv->kt * conv->kh * conv->kw));
    TRY(td_pack_conv(b->dev, b->weights, conv, w));
    TRY(bind_conv_bias(b, conv, prefix, biased));
fail:
    return ret;
}
