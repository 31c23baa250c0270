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
 * few-step video diffusion from a text prompt
 */

#include "libavutil/opt.h"
#include "avfilter.h"
#include "filters.h"
#include "formats.h"
#include "turbodiff_common.h"
#include "turbodiff_compat.h"
#include "video.h"

static const AVOption turbodiff_options[] = {
    TURBODIFF_OPTIONS,
    { NULL }
};

AVFILTER_DEFINE_CLASS(turbodiff);

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
    if (!ff_outlink_frame_wanted(outlink))
        return FFERROR_NOT_READY;

    ret = ff_turbodiff_read(outlink, &frame);
    if (ret == AVERROR(EAGAIN)) {
        ff_filter_set_ready(ctx, 100);
        return 0;
    }
    if (ret > 0)
        return ff_filter_frame(outlink, frame);

    ff_turbodiff_close(ctx);
    if (ret == 0 || ret == AVERROR_EXIT) {
        ff_outlink_set_status(outlink, ret ? ret : AVERROR_EOF, s->pts);
        return 0;
    }
    return ret;
}

static const AVFilterPad turbodiff_outputs[] = {
    {
        .name         = "default",
        .type         = AVMEDIA_TYPE_VIDEO,
        .config_props = ff_turbodiff_start,
    },
};

const FFFilter ff_vsrc_turbodiff = {
    FILTER_P(name)        = "turbodiff",
    FILTER_P(description) = NULL_IF_CONFIG_SMALL("Generate a video from a text prompt with a diffusion model."),
    FILTER_P(priv_class)  = &turbodiff_class,
    FILTER_P(flags)       = AVFILTER_FLAG_HWDEVICE,
    .priv_size            = sizeof(TurboDiffContext),
    .init                 = ff_turbodiff_init,
    .uninit               = ff_turbodiff_close,
    .activate             = activate,
    FILTER_OUTPUTS(turbodiff_outputs),
    FILTER_QUERY_FUNC2(ff_turbodiff_query_formats),
};
