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
 * few-step video diffusion from a text prompt, or from a prompt and a picture
 */

#include "libavutil/opt.h"
#include "avfilter.h"
#include "filters.h"
#include "formats.h"
#include "turbodiff_common.h"
#include "turbodiff_compat.h"
#include "turbodiff_picture.h"
#include "video.h"

static const AVOption turbodiff_options[] = {
    TURBODIFF_OPTIONS,
    { "image",           "set the first frame of an image-to-video model, a picture file", TD_OFFSET(image), AV_OPT_TYPE_STRING, { .str = NULL }, 0, 0, TD_FLAGS },
    { NULL }
};

AVFILTER_DEFINE_CLASS(turbodiff);

static av_cold int init(AVFilterContext *ctx)
{
    TurboDiffContext *s = ctx->priv;

    if (s->adaptive && !s->image) {
        av_log(ctx, AV_LOG_ERROR, "adaptive: expected an image to take the shape from\n");
        return AVERROR(EINVAL);
    }
    return ff_turbodiff_init(ctx, "480p");
}

static int config_output(AVFilterLink *outlink)
{
    AVFilterContext *ctx = outlink->src;
    TurboDiffContext *s = ctx->priv;
    FilterLink *l = ff_filter_link(outlink);
    TurboDiffPicture picture = { 0 };
    int ret;

    s->format = outlink->format;
    if ((s->image && (ret = ff_turbodiff_load_picture(ctx, &picture)) < 0) ||
        (ret = ff_turbodiff_open(ctx)) < 0 ||
        (s->image && (ret = ff_turbodiff_adapt(ctx, picture.image.width, picture.image.height)) < 0))
        goto end;

    outlink->w                   = s->w;
    outlink->h                   = s->h;
    outlink->sample_aspect_ratio = (AVRational){ 1, 1 };
    outlink->time_base           = av_inv_q(s->frame_rate);
    l->frame_rate                = s->frame_rate;

    if ((ret = ff_turbodiff_config(outlink)) >= 0)
        ret = ff_turbodiff_start(ctx, s->image ? &picture.image : NULL, 0);
end:
    ff_turbodiff_free_picture(&picture);
    return ret;
}

static int activate(AVFilterContext *ctx)
{
    AVFilterLink *outlink = ctx->outputs[0];
    TurboDiffContext *s = ctx->priv;
    AVFrame *frame;
    int ret;

    if (ff_outlink_get_status(outlink)) {
        ff_turbodiff_close(ctx);
        return 0;
    }
    if (s->error)
        return ff_turbodiff_fail(ctx, s->error);
    if (!ff_outlink_frame_wanted(outlink))
        return FFERROR_NOT_READY;

    ret = ff_turbodiff_read(outlink, &frame);
    if (ret == AVERROR(EAGAIN)) {
        ff_filter_set_ready(ctx, 100);
        return 0;
    }
    if (ret == 0 || ret == AVERROR_EXIT) {
        ff_turbodiff_close(ctx);
        ff_outlink_set_status(outlink, ret ? ret : AVERROR_EOF, s->pts);
        return 0;
    }
    if (ret > 0)
        ret = ff_filter_frame(outlink, frame);
    return ret < 0 ? ff_turbodiff_fail(ctx, ret) : ret;
}

static const AVFilterPad turbodiff_outputs[] = {
    {
        .name         = "default",
        .type         = AVMEDIA_TYPE_VIDEO,
        .config_props = config_output,
    },
};

const FFFilter ff_vsrc_turbodiff = {
    FILTER_P(name)        = "turbodiff",
    FILTER_P(description) = NULL_IF_CONFIG_SMALL("Generate a video from a text prompt with a diffusion model."),
    FILTER_P(priv_class)  = &turbodiff_class,
    FILTER_P(flags)       = AVFILTER_FLAG_HWDEVICE,
    .priv_size            = sizeof(TurboDiffContext),
    .init                 = init,
    .uninit               = ff_turbodiff_close,
    .activate             = activate,
    FILTER_OUTPUTS(turbodiff_outputs),
    FILTER_QUERY_FUNC2(ff_turbodiff_query_formats),
};
