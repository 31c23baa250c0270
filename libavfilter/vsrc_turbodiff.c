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
 * few-step video diffusion from a text prompt, or from a prompt and a picture;
 * one clip, or a channel of clips without an end
 */

#define TD_RUNTIME AV_OPT_FLAG_RUNTIME_PARAM

#include <string.h>

#include "libavutil/opt.h"
#include "avfilter.h"
#include "filters.h"
#include "formats.h"
#include "turbodiff_channel.h"
#include "turbodiff_common.h"
#include "turbodiff_compat.h"
#include "turbodiff_picture.h"
#include "turbodiff_reader.h"
#include "video.h"

typedef struct TurboDiffSource {
    TurboDiffContext base;      ///< first, as the shared functions want it
    TurboDiffChannelOptions channel_options;
    TurboDiffPicture picture;   ///< a channel's first frame of each clip
    TurboDiffChannel *channel;  ///< NULL: one clip
} TurboDiffSource;

/* microseconds that the last frame stands before the slate */
#define SLATE_AFTER INT64_C(5000000)

#define OFFSET(x) offsetof(TurboDiffSource, x)

static const AVOption turbodiff_options[] = {
    TURBODIFF_OPTIONS,
    { "image",           "set the first frame of an image-to-video model, a picture file", TD_OFFSET(image), AV_OPT_TYPE_STRING, { .str = NULL }, 0, 0, TD_FLAGS },
    { "programme",       "set a file or pipe with the prompt of a clip in each line, instead of a prompt", OFFSET(channel_options.programme), AV_OPT_TYPE_STRING, { .str = NULL }, 0, 0, TD_FLAGS },
    { "loop",            "set how many times more a programme is played (-1: for ever)", OFFSET(channel_options.loop), AV_OPT_TYPE_INT, { .i64 = 0 }, -1, INT_MAX, TD_FLAGS },
    { "lookahead",       "set how many clips are made ahead of the one on air", OFFSET(channel_options.lookahead), AV_OPT_TYPE_INT, { .i64 = 1 }, 0, 16, TD_FLAGS },
    { "idle",            "set what follows the last clip", OFFSET(channel_options.idle), AV_OPT_TYPE_INT, { .i64 = IDLE_END }, IDLE_END, IDLE_HOLD, TD_FLAGS, .unit = "idle" },
        TD_CONST("end",       "the end",                              IDLE_END,              "idle"),
        TD_CONST("repeat",    "a clip of the same prompt, with a new seed", IDLE_REPEAT,     "idle"),
        TD_CONST("hold",      "nothing new, until a command comes",   IDLE_HOLD,             "idle"),
    { "pace",            "set when frames are sent", OFFSET(channel_options.pace), AV_OPT_TYPE_INT, { .i64 = PACE_OFF }, PACE_OFF, PACE_LIVE, TD_FLAGS, .unit = "pace" },
        TD_CONST("off",       "as fast as they are wanted",           PACE_OFF,              "pace"),
        TD_CONST("live",      "at their time, by the clock",          PACE_LIVE,             "pace"),
    { "late",            "set what is seen with pace=live while the next clip is not there", OFFSET(channel_options.late), AV_OPT_TYPE_INT, { .i64 = LATE_HOLD }, LATE_HOLD, LATE_SLATE, TD_FLAGS, .unit = "late" },
        TD_CONST("hold",      "the last frame",                       LATE_HOLD,             "late"),
        TD_CONST("repeat",    "the last clip again",                  LATE_REPEAT,           "late"),
        TD_CONST("pingpong",  "the last clip back and forth",         LATE_PINGPONG,         "late"),
        TD_CONST("black",     "black",                                LATE_BLACK,            "late"),
        TD_CONST("slate",     "the picture that slate names",         LATE_SLATE,            "late"),
    { "first",           "set what is sent with pace=live before the first clip is there", OFFSET(channel_options.first), AV_OPT_TYPE_INT, { .i64 = FIRST_WAIT }, FIRST_WAIT, FIRST_SLATE, TD_FLAGS, .unit = "first" },
        TD_CONST("wait",      "nothing",                              FIRST_WAIT,            "first"),
        TD_CONST("black",     "black",                                FIRST_BLACK,           "first"),
        TD_CONST("slate",     "the picture that slate names",         FIRST_SLATE,           "first"),
    { "slate",           "set the picture file of late=slate and first=slate", OFFSET(channel_options.slate), AV_OPT_TYPE_STRING, { .str = NULL }, 0, 0, TD_FLAGS },
    { "slate_after",     "set how long the last frame is held before the slate is shown", OFFSET(channel_options.slate_after), AV_OPT_TYPE_DURATION, { .i64 = SLATE_AFTER }, 0, INT64_MAX, TD_FLAGS },
    { "transition",      "set how a clip comes after the one before: cut, fade/FRAMES or continue", OFFSET(channel_options.transition), AV_OPT_TYPE_STRING, { .str = "cut" }, 0, 0, TD_FLAGS },
    { "chain",           "set after how many clips that continue each other a cut comes (0: never)", OFFSET(channel_options.chain), AV_OPT_TYPE_INT, { .i64 = TURBODIFF_CHAIN }, 0, INT_MAX, TD_FLAGS },
    { "match",           "match the colours of the picture that a clip continues to those that the chain began with", OFFSET(channel_options.match), AV_OPT_TYPE_BOOL, { .i64 = 0 }, 0, 1, TD_FLAGS },
    TURBODIFF_CHANNEL_OPTIONS,
    { "from",            "set the path of a socket to listen at for frames that another process makes", OFFSET(channel_options.from), AV_OPT_TYPE_STRING, { .str = NULL }, 0, 0, TD_FLAGS },
    { NULL }
};

AVFILTER_DEFINE_CLASS(turbodiff);

/* of a channel, that only a channel or its clock can do; the option is set and would change nothing */
static int check_channel(AVFilterContext *ctx)
{
    TurboDiffSource *s = ctx->priv;
    const TurboDiffChannelOptions *o = &s->channel_options;
    int live = o->pace == PACE_LIVE, channel = ff_turbodiff_is_channel(o);
    const struct {
        const char *what;
        int wrong;
    } rules[] = {
        { "Both a programme and a prompt: expected one of them", o->programme && (s->base.params.prompt || s->base.textfile) },
        { "loop: expected a programme",                          o->loop && !o->programme },
        { "late: expected pace=live",                            o->late != LATE_HOLD && !live },
        { "first: expected pace=live",                           o->first != FIRST_WAIT && !live },
        { "late=slate, first=slate: expected a picture as slate", (o->late == LATE_SLATE || o->first == FIRST_SLATE) && !o->slate },
        { "slate: expected late=slate or first=slate",           o->slate && o->late != LATE_SLATE && o->first != FIRST_SLATE },
        { "slate_after: expected late=slate",                    o->slate_after != SLATE_AFTER && o->late != LATE_SLATE },
        { "transition: expected programme, idle or pace",        strcmp(o->transition, "cut") && !channel },
        { "chain, match: expected programme, idle or pace",      (o->chain != TURBODIFF_CHAIN || o->match) && !channel },
        { "from: expected the path of a socket, of 1 to 107 bytes", o->from && (!*o->from || strlen(o->from) > 107) },
        { "from: expected a size, as the other process has it",  o->from && !s->base.size },
        { "from: expected pace=live",                            o->from && !live },
        { "from: expected late=hold, black or slate",            o->from && (o->late == LATE_REPEAT || o->late == LATE_PINGPONG) },
        { "from: the other process makes the clips, expected no prompt, image, programme, idle, lookahead, on_error or timeout here",
          o->from && (s->base.params.prompt || s->base.textfile || s->base.image || o->programme || o->idle != IDLE_END ||
                      o->lookahead != 1 || o->on_error != ERROR_STOP || o->timeout != TURBODIFF_AUTO_TIMEOUT) },
        { "lookahead: expected programme, idle or pace",         o->lookahead != 1 && !channel },
    };

    for (int i = 0; i < FF_ARRAY_ELEMS(rules); i++)
        if (rules[i].wrong) {
            av_log(ctx, AV_LOG_ERROR, "%s\n", rules[i].what);
            return AVERROR(EINVAL);
        }
    return ff_turbodiff_check_channel(ctx, o, channel, "programme, idle or pace");
}

static av_cold int init(AVFilterContext *ctx)
{
    TurboDiffSource *source = ctx->priv;
    TurboDiffContext *s = &source->base;
    int ret;

    if (s->adaptive && !s->image) {
        av_log(ctx, AV_LOG_ERROR, "adaptive: expected an image to take the shape from\n");
        return AVERROR(EINVAL);
    }
    if ((ret = check_channel(ctx)) < 0)
        return ret;
    s->has_programme = source->channel_options.programme || source->channel_options.from;
    return ff_turbodiff_init(ctx, "480p");
}

static int config_output(AVFilterLink *outlink)
{
    AVFilterContext *ctx = outlink->src;
    TurboDiffSource *source = ctx->priv;
    TurboDiffContext *s = &source->base;
    FilterLink *l = ff_filter_link(outlink);
    TurboDiffPicture *picture = &source->picture;
    int channel = ff_turbodiff_is_channel(&source->channel_options), from = !!source->channel_options.from, ret;

    s->format = outlink->format;
    if ((channel && (ret = ff_turbodiff_open_channel(ctx, &source->channel, &source->channel_options)) < 0) ||
        (s->image && (ret = ff_turbodiff_load_picture(ctx, picture, "image", s->image)) < 0) ||
        (!from && (ret = channel ? ff_turbodiff_open_model(source->channel) : ff_turbodiff_open(ctx)) < 0) ||
        (s->image && (ret = ff_turbodiff_adapt(ctx, picture->image.width, picture->image.height)) < 0))
        goto end;

    outlink->w                   = s->w;
    outlink->h                   = s->h;
    outlink->sample_aspect_ratio = (AVRational){ 1, 1 };
    outlink->time_base           = av_inv_q(s->frame_rate);
    l->frame_rate                = s->frame_rate;

    if ((ret = ff_turbodiff_config(outlink)) < 0)
        goto end;
    if (channel)
        return ff_turbodiff_start_channel(source->channel, s->image ? &picture->image : NULL);
    ret = ff_turbodiff_start(ctx, s->image ? &picture->image : NULL, 0);
    if (ret >= 0)
        ret = ff_turbodiff_open_reader(ctx, ff_turbodiff_read);
end:
    ff_turbodiff_free_picture(picture);
    return ret;
}

static av_cold void uninit(AVFilterContext *ctx)
{
    TurboDiffSource *s = ctx->priv;

    ff_turbodiff_close_channel(&s->channel);
    ff_turbodiff_close(ctx);
    ff_turbodiff_free_picture(&s->picture);
}

static int activate(AVFilterContext *ctx)
{
    AVFilterLink *outlink = ctx->outputs[0];
    TurboDiffSource *source = ctx->priv;
    TurboDiffContext *s = &source->base;
    AVFrame *frame;
    int ret;

    if (ff_outlink_get_status(outlink)) {
        uninit(ctx);
        return 0;
    }
    if (s->error)
        return ff_turbodiff_fail(ctx, s->error);
    if (!ff_outlink_frame_wanted(outlink))
        return FFERROR_NOT_READY;

    if (source->channel) {
        ret = ff_turbodiff_run_channel(source->channel);
        if (ret == TURBODIFF_READ_OTHERS)
            return ret;
        if (ret < 0)
            ff_turbodiff_close_channel(&source->channel);
        return ret < 0 ? ff_turbodiff_fail(ctx, ret) : ret;
    }
    ret = ff_turbodiff_take(ctx, ff_turbodiff_read, &frame);
    if (ret == AVERROR(EAGAIN))
        return 0;
    if (ret == 0 || ret == AVERROR_EXIT) {
        ff_turbodiff_close(ctx);
        ff_outlink_set_status(outlink, ret ? ret : AVERROR_EOF, s->pts);
        return 0;
    }
    if (ret > 0)
        ret = ff_turbodiff_output(outlink, frame);
    return ret < 0 ? ff_turbodiff_fail(ctx, ret) : ret;
}

static int process_command(AVFilterContext *ctx, const char *cmd, const char *arg, char *res, int res_len, int flags)
{
    TurboDiffSource *s = ctx->priv;

    return s->channel ? ff_turbodiff_command(s->channel, cmd, arg, res, res_len, flags) :
                        ff_turbodiff_no_commands(ctx, res, res_len, flags, "programme, idle or pace");
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
    .priv_size            = sizeof(TurboDiffSource),
    .init                 = init,
    .uninit               = uninit,
    .activate             = activate,
    .process_command      = process_command,
    FILTER_OUTPUTS(turbodiff_outputs),
    FILTER_QUERY_FUNC2(ff_turbodiff_query_formats),
};
