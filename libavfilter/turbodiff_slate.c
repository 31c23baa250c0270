/*
 * This file is part of FFmpeg.
 *
 * FFmpeg is free software; you can redistribute it and/or
 * modify it under the terms of the GNU Lesser General Public
 * License as published by the Free Software Foundation; either
 * version 2.1 of the License, or (at your option) any later version.
 *
 * FFmpeg is distributed in the hope that it will be useful,
 * but WITHOUT ANY WARRANTY; without even the implied warranty of
 * MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE.  See the GNU
 * Lesser General Public License for more details.
 *
 * You should have received a copy of the GNU Lesser General Public
 * License along with FFmpeg; if not, write to the Free Software
 * Foundation, Inc., 51 Franklin Street, Fifth Floor, Boston, MA 02110-1301 USA
 */

/**
 * @file
 * still pictures that a channel sends where it has none of its own
 */

#include "libavutil/error.h"
#include "libavutil/frame.h"
#include "libavutil/imgutils.h"
#include "libavutil/log.h"
#include "libavutil/macros.h"
#include "libavutil/mathematics.h"
#include "libavutil/mem.h"
#include "libavutil/pixdesc.h"
#include "libswscale/swscale.h"
#include "turbodiff_channel_priv.h"
#include "turbodiff_common.h"
#include "turbodiff_convert.h"
#include "turbodiff_picture.h"

/* a frame of the output's kind, in memory */
static int make_frame(AVFilterContext *ctx, AVFrame **dst, int w, int h)
{
    const TurboDiffContext *s = ctx->priv;
    AVFrame *frame = *dst = av_frame_alloc();

    if (!frame)
        return AVERROR(ENOMEM);
    frame->format = ff_turbodiff_pixels(s);
    frame->width  = w;
    frame->height = h;
    ff_turbodiff_set_props(ctx, frame, (AVRational){ 1, 1 });
    return av_frame_get_buffer(frame, 0);
}

static int make_black(AVFilterContext *ctx, AVFrame **dst)
{
    const TurboDiffContext *s = ctx->priv;
    ptrdiff_t stride[4];
    int ret = make_frame(ctx, dst, s->w, s->h);

    if (ret < 0)
        return ret;
    for (int i = 0; i < 4; i++)
        stride[i] = (*dst)->linesize[i];
    return av_image_fill_black((*dst)->data, stride, (*dst)->format, (*dst)->color_range, s->w, s->h);
}

/* the picture as large as it fits, in the middle of a black frame */
static int draw(AVFilterContext *ctx, AVFrame *dst, const TDImage *image)
{
    const AVPixFmtDescriptor *desc = av_pix_fmt_desc_get(dst->format);
    int wide = (int64_t)image->width * dst->height > (int64_t)image->height * dst->width;
    int w = wide ? dst->width  : FFMAX(av_rescale(dst->height, image->width, image->height) & ~1, 2);
    int h = wide ? FFMAX(av_rescale(dst->width, image->height, image->width) & ~1, 2) : dst->height;
    int x = (dst->width - w) / 2 & ~1, y = (dst->height - h) / 2 & ~1, ret;
    struct SwsContext *sws = NULL;
    AVFrame *part = NULL, *src = av_frame_alloc();
    uint8_t *data[4] = { 0 };

    if (!src || (ret = make_frame(ctx, &part, w, h)) < 0) {
        ret = AVERROR(ENOMEM);
        goto end;
    }
    src->format      = AV_PIX_FMT_RGB24;             /* the pixels stay the picture's */
    src->width       = image->width;
    src->height      = image->height;
    src->colorspace  = AVCOL_SPC_RGB;
    src->color_range = AVCOL_RANGE_JPEG;
    src->data[0]     = image->data;
    src->linesize[0] = image->stride;
    if (!(sws = ff_turbodiff_open_scaler(part, src))) {
        av_log(ctx, AV_LOG_ERROR, "A slate of %dx%d cannot be made a frame of %dx%d\n", image->width, image->height, w, h);
        ret = AVERROR(EINVAL);
        goto end;
    }
    ff_turbodiff_scale(sws, part, src);
    for (int i = 0; i < 4 && dst->data[i]; i++) {
        int shift = i == 1 || i == 2 ? desc->log2_chroma_h : 0;

        data[i] = dst->data[i] + (ptrdiff_t)(y >> shift) * dst->linesize[i] + av_image_get_linesize(dst->format, x, i);
    }
    av_image_copy(data, dst->linesize, (const uint8_t **)part->data, part->linesize, dst->format, w, h);
    ret = 0;
end:
    sws_freeContext(sws);
    av_frame_free(&part);
    av_frame_free(&src);
    return ret;
}

int ff_turbodiff_load_slate(TurboDiffChannel *c)
{
    return c->o->slate ? ff_turbodiff_load_picture(c->ctx, &c->picture, "slate", c->o->slate) : 0;
}

int ff_turbodiff_make_stills(TurboDiffChannel *c)
{
    const TurboDiffContext *s = c->ctx->priv;
    int black = c->o->late == LATE_BLACK || c->o->first == FIRST_BLACK, ret = 0;

    if (s->format == AV_PIX_FMT_CUDA && c->o->fallback) {
        av_log(c->ctx, AV_LOG_ERROR, "fallback: expected frames in memory, not CUDA frames\n");
        return AVERROR(EINVAL);
    }
    if (black && (ret = make_black(c->ctx, &c->black)) >= 0)
        ret = ff_turbodiff_place(c->ctx, &c->black);
    if (ret >= 0 && c->o->slate && (ret = make_black(c->ctx, &c->slate)) >= 0 &&
        (ret = draw(c->ctx, c->slate, &c->picture.image)) >= 0)
        ret = ff_turbodiff_place(c->ctx, &c->slate);
    ff_turbodiff_free_picture(&c->picture);
    return ret;
}

void ff_turbodiff_free_stills(TurboDiffChannel *c)
{
    ff_turbodiff_free_picture(&c->picture);
    av_frame_free(&c->black);
    av_frame_free(&c->slate);
}
