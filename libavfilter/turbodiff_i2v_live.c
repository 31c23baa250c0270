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
 * turbodiff_i2v with live=1: the input is read while a thread makes clips, and
 * is the clock that they are shown by
 */

#include <stdio.h>
#include <string.h>

#include "libavutil/error.h"
#include "libavutil/log.h"
#include "libavutil/mathematics.h"
#include "filters.h"
#include "turbodiff_channel.h"
#include "turbodiff_i2v.h"

int ff_turbodiff_i2v_open_live(AVFilterContext *ctx)
{
    TurboDiffI2VContext *s = ctx->priv;
    TurboDiffChannelOptions *o = &s->channel_options;

    snprintf(s->transition, sizeof(s->transition), s->overlap > 1 ? "fade/%d" : "cut", s->overlap);
    o->programme  = s->prompts;
    o->name       = "prompts";
    o->loop       = -1;
    o->lookahead  = 1;
    o->idle       = IDLE_REPEAT;
    o->pace       = PACE_INPUT;
    o->transition = s->transition;
    return ff_turbodiff_open_channel(ctx, &s->channel, o);
}

/* all that is there of the input, and its end */
static int read_input(AVFilterContext *ctx)
{
    AVFilterLink *inlink = ctx->inputs[0], *outlink = ctx->outputs[0];
    TurboDiffI2VContext *s = ctx->priv;
    AVFrame *frame;
    int64_t pts;
    int status, ret;

    while ((ret = ff_inlink_consume_frame(inlink, &frame)) > 0) {
        if (frame->pts == AV_NOPTS_VALUE)
            frame->pts = s->input_end;
        s->input_end = ff_turbodiff_i2v_end_of(ctx, frame);
        s->nb_in++;
        ff_turbodiff_give_frame(s->channel, frame, av_rescale_q(frame->pts, inlink->time_base, outlink->time_base) + 1);
    }
    if (ret < 0 || s->ended || !ff_inlink_acknowledge_status(inlink, &status, &pts))
        return ret;
    s->ended = 1;
    if (!s->nb_in && status == AVERROR_EOF)
        av_log(ctx, AV_LOG_WARNING, "The input has no frame to start a clip from\n");
    if (!s->nb_in || status != AVERROR_EOF)
        ff_outlink_set_status(outlink, status, pts);
    else
        ff_turbodiff_end_input(s->channel, av_rescale_q(s->input_end, inlink->time_base, outlink->time_base));
    return 0;
}

/* whether the input comes from outside of the graph, at its own pace, and goes on. Then it is read, and frames go out as they
 * are due, asked for or not, unless the one before still waits: where outputs of the graph go their own ways, the one that
 * is behind is asked alone */
static int is_fed(const AVFilterContext *ctx)
{
    const TurboDiffI2VContext *s = ctx->priv;

    if (s->ended)
        return 0;
    while (ctx->nb_inputs == 1)
        ctx = ctx->inputs[0]->src;
    return !strcmp(ctx->filter->name, "buffer");
}

/* more of the input, and where a frame was sent maybe another one */
static int go_on(AVFilterContext *ctx, int sent)
{
    AVFilterLink *inlink = ctx->inputs[0], *outlink = ctx->outputs[0];
    TurboDiffI2VContext *s = ctx->priv;

    if (is_fed(ctx)) {
        if (sent)
            ff_filter_set_ready(ctx, 100);
        else
            ff_inlink_request_frame(inlink);
        return 0;
    }
    if (sent || s->ended)
        return 0;
    FF_FILTER_FORWARD_WANTED(outlink, inlink);
    return FFERROR_NOT_READY;
}

int ff_turbodiff_i2v_live(AVFilterContext *ctx)
{
    AVFilterLink *inlink = ctx->inputs[0], *outlink = ctx->outputs[0];
    TurboDiffI2VContext *s = ctx->priv;
    int wanted, ret = 0;

    if (!ff_outlink_get_status(outlink)) {
        if ((ret = read_input(ctx)) < 0)
            return ret;
        if (!ff_outlink_get_status(outlink)) {
            wanted = ff_outlink_frame_wanted(outlink) || (is_fed(ctx) && !ff_inlink_queued_frames(outlink));
            if (wanted && (ret = ff_turbodiff_run_by_input(s->channel)) < 0)
                return ret;
        }
    }
    if (ff_outlink_get_status(outlink)) {
        ff_turbodiff_close_channel(&s->channel);
        ff_turbodiff_close(ctx);
        ff_inlink_set_status(inlink, ff_outlink_get_status(outlink));
        return 0;
    }
    return go_on(ctx, ret > 0);
}
