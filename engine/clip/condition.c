/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdlib.h>
#include <string.h>
#include "clip/condition.h"
#include "picture/image.h"

/* keep a picture of w x h with its right and bottom edge repeated */
static int keep(TDCondition *c, const uint16_t *rgb, int w, int h, int whole_w, int whole_h, TDLog *log)
{
    uint16_t *to = c->pixels = calloc((size_t)whole_w * (size_t)whole_h, TD_VAE_IN_CHANNELS * sizeof(*c->pixels));

    if (!to)
        return td_error(log, ENOMEM, "image: out of memory");
    for (int y = 0; y < whole_h; y++)
        for (int x = 0; x < whole_w; x++, to += TD_VAE_IN_CHANNELS)
            memcpy(to, rgb + 3 * ((size_t)(y < h ? y : h - 1) * (size_t)w + (size_t)(x < w ? x : w - 1)),
                   3 * sizeof(*to));
    return 0;
}

int td_condition_image(TDCondition *c, const TDImage *image, int w, int h, int whole_w, int whole_h, int from_zero,
                       TDLog *log)
{
    size_t n = 3 * (size_t)w * (size_t)h;
    uint8_t *bytes = malloc(n);
    uint16_t *rgb = malloc(n * sizeof(*rgb)), level[256];
    int ret;

    if (!bytes || !rgb) {
        ret = td_error(log, ENOMEM, "image: out of memory");
        goto fail;
    }
    TRY(td_image_resize(bytes, w, h, image, log));
    for (int i = 0; i < 256; i++)
        level[i] = td_f32_to_bf16(from_zero ? (float)i / 255.0f : ((float)i * (1.0f / 255.0f) - 0.5f) / 0.5f);
    for (size_t i = 0; i < n; i++)
        rgb[i] = level[bytes[i]];
    TRY(keep(c, rgb, w, h, whole_w, whole_h, log));
fail:
    free(bytes);
    free(rgb);
    return ret;
}

int td_condition_picture(TDCondition *c, const float *picture, int w, int h, int whole_w, int whole_h, int from_zero,
                         TDLog *log)
{
    size_t n = 3 * (size_t)w * (size_t)h;
    uint16_t *rgb = malloc(n * sizeof(*rgb));
    int ret;

    if (!rgb)
        return td_error(log, ENOMEM, "picture: out of memory");
    for (size_t i = 0; i < n; i++) {
        if (!(picture[i] >= 0.0f && picture[i] <= 1.0f)) {
            ret = td_error(log, EINVAL, "picture: %g in row %zu, want values from 0 to 1", (double)picture[i],
                           i / (3 * (size_t)w));
            goto fail;
        }
        rgb[i] = td_f32_to_bf16(from_zero ? picture[i] : (picture[i] - 0.5f) / 0.5f);
    }
    TRY(keep(c, rgb, w, h, whole_w, whole_h, log));
fail:
    free(rgb);
    return ret;
}

int td_condition_plan(TDCondition *c, TDArena *a, int64_t t, int64_t h, int64_t w)
{
    return TD_CARVE(a, &c->cond, TD_BF16, TD_COND_CHANNELS, t, h, w);
}

int td_condition_plan_work(TDCondition *c, const TDEncoder *enc, TDArena *a, int64_t h, int64_t w)
{
    int ret;

    TRY(TD_CARVE(a, &c->image, TD_BF16, 1, 8 * h, 8 * w, TD_VAE_IN_CHANNELS));
    TRY(enc->kind->plan_encode(&c->clip, enc->net, a, h, w));
fail:
    return ret;
}

int td_condition_begin(TDCondition *c, const TDEncoder *enc)
{
    const TDOps *op = enc->dev->ops;
    size_t area = (size_t)c->cond.shape[2] * (size_t)c->cond.shape[3];
    uint16_t *ones = malloc(area * sizeof(*ones));
    int ret;

    if (!ones)
        return td_error(enc->dev->log, ENOMEM, "image: out of memory");
    for (size_t i = 0; i < area; i++)
        ones[i] = td_f32_to_bf16(1.0f);
    TRY(op->zero(enc->dev, &c->cond));
    for (int i = 0; i < TD_MASK_CHANNELS; i++) {
        TDTensor frame0 = td_tensor_part(&c->cond, i, 1);

        frame0.shape[1] = 1;
        TRY(op->upload(enc->dev, &frame0, ones));
    }
    TRY(op->upload(enc->dev, &c->image, c->pixels));
    free(c->pixels);
    c->pixels = NULL;
    c->encoded = 0;
    TRY(enc->kind->begin_encode(enc->net, &c->clip));
fail:
    free(ones);
    return ret;
}

static int check_finite(const TDCondition *c, const TDEncoder *enc, const char *path)
{
    size_t n = (size_t)td_tensor_count(&c->cond);
    uint16_t *host = malloc(n * sizeof(*host));
    int ret;

    if (!host)
        return td_error(enc->dev->log, ENOMEM, "image: out of memory");
    ret = enc->dev->ops->download(enc->dev, host, &c->cond);
    if (ret >= 0 && !td_bf16_all_finite(host, n))
        ret = td_error(enc->dev->log, EBADMSG,
                       "image: its latent is not finite; the encoder of %s holds NaN or infinite weights", path);
    free(host);
    return ret;
}

int td_condition_next(TDCondition *c, const TDEncoder *enc, const char *path)
{
    TDTensor latent = td_tensor_part(&c->cond, TD_MASK_CHANNELS, TD_LATENT_CHANNELS);
    int ret;

    TRY(enc->kind->encode(enc->net, &c->clip, c->encoded ? NULL : &c->image, &latent));
    if (++c->encoded < c->cond.shape[1])
        return 0;
    TRY(check_finite(c, enc, path));
    return 1;
fail:
    return ret;
}

void td_condition_free(TDCondition *c)
{
    free(c->pixels);
    c->pixels = NULL;
}
