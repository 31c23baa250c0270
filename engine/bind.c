/* SPDX-License-Identifier: BSD-2-Clause */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include "bind.h"

#define MAX_NAME 160

static void join(char name[MAX_NAME], const char *prefix, const char *suffix)
{
    snprintf(name, MAX_NAME, "%s%s%s", prefix, *suffix ? "." : "", suffix);
}

int td_bind_has(const TDBind *b, const char *prefix, const char *suffix)
{
    char name[MAX_NAME];

    join(name, prefix, suffix);
    return td_checkpoint_find(b->ckpt, name) != NULL;
}

int td_bind_entry(const TDBind *b, const TDEntry **e, const char *prefix, const char *suffix)
{
    char name[MAX_NAME];

    join(name, prefix, suffix);
    *e = td_checkpoint_find(b->ckpt, name);
    return *e ? 0 : td_error(b->dev->log, EBADMSG, "%s: tensor %s is missing", td_checkpoint_path(b->ckpt), name);
}

static int check_count(const TDBind *b, const TDEntry *e, int64_t n, int64_t k)
{
    if (td_entry_count(e) == n * k && (k == 1 || e->shape[0] == n))
        return 0;
    return td_error(b->dev->log, EBADMSG, "%s: %s: shape [%lld,%lld,...] of %lld values, want [%lld,%lld]", td_checkpoint_path(b->ckpt), e->name,
                    (long long)e->shape[0], (long long)e->shape[1], (long long)td_entry_count(e), (long long)n, (long long)k);
}

int td_bind_linear(const TDBind *b, TDLinear *lin, enum TDDtype want, int64_t n, int64_t k, int n_parts, const char *const prefix[])
{
    TDLinearSource src[TD_LINEAR_PARTS] = { { 0 } };
    int ret = 0;

    for (int i = 0; i < n_parts; i++) {
        if (td_bind_has(b, prefix[i], "int8_weight")) {
            TRY(td_bind_entry(b, &src[i].w, prefix[i], "int8_weight"));
            TRY(td_bind_entry(b, &src[i].scale, prefix[i], "scale"));
            if (src[i].w->dtype != TD_I8) {
                ret = td_error(b->dev->log, EBADMSG, "%s: %s: dtype %s, want i8", td_checkpoint_path(b->ckpt), src[i].w->name,
                               td_dtype_name(src[i].w->dtype));
                goto fail;
            }
        } else {
            TRY(td_bind_entry(b, &src[i].w, prefix[i], "weight"));
        }
        TRY(check_count(b, src[i].w, n, k));
        if (td_bind_has(b, prefix[i], "bias")) {
            TRY(td_bind_entry(b, &src[i].bias, prefix[i], "bias"));
            TRY(check_count(b, src[i].bias, n, 1));
        }
    }
    TRY(b->dev->ops->pack_linear(b->dev, b->weights, lin, src, n_parts, want));
fail:
    return ret;
}

int td_bind_vector(const TDBind *b, const float **dst, int64_t n, const char *prefix, const char *suffix)
{
    const TDEntry *e;
    float *tmp = NULL;
    int ret;

    TRY(td_bind_entry(b, &e, prefix, suffix));
    TRY(check_count(b, e, n, 1));
    tmp = malloc((size_t)n * sizeof(*tmp));
    if (!tmp) {
        ret = td_error(b->dev->log, ENOMEM, "%s: out of memory", e->name);
        goto fail;
    }
    if ((ret = td_entry_to_f32(e, tmp)) < 0) {
        td_error(b->dev->log, -ret, "%s: %s: dtype %s, want a float type", td_checkpoint_path(b->ckpt), e->name, td_dtype_name(e->dtype));
        goto fail;
    }
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(tmp[i])) {
            ret = td_error(b->dev->log, EBADMSG, "%s: %s[%lld] is %g, want a finite value", td_checkpoint_path(b->ckpt), e->name,
                           (long long)i, tmp[i]);
            goto fail;
        }
    TRY(b->dev->ops->pack_vector(b->dev, b->weights, dst, tmp, n));
fail:
    free(tmp);
    return ret;
}

int td_bind_conv(const TDBind *b, TDConv *conv, const char *prefix)
{
    const TDEntry *w;
    int ret;

    TRY(td_bind_entry(b, &w, prefix, "weight"));
    TRY(check_count(b, w, conv->c_out, conv->c_in * conv->kt * conv->kh * conv->kw));
    TRY(b->dev->ops->pack_conv(b->dev, b->weights, conv, w));
    TRY(td_bind_vector(b, &conv->bias, conv->c_out, prefix, "bias"));
fail:
    return ret;
}
