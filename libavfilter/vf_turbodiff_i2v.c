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
 * few-step video diffusion from a prompt and a frame of the input
 *
 * A clip that follows another one begins with a frame of it, which is not output twice; where they share more of them,
 * those are mixed. At most one clip is under way. While there is one, the input waits; while
 * there is none, input frames are taken, and either start a clip (replace) or
 * pass through, the last one to start a clip at the end (extend).
 *
 * With the option every, the output has a frame at each multiple of its time
 * base from the first input frame to the end of the last one: it goes no
 * further than the input is known to go, and then takes input frames until one
 * starts a clip, which cuts the one before, or the input goes on.
 */

#include "config.h"

/* with live=1 */
#define TD_RUNTIME AV_OPT_FLAG_RUNTIME_PARAM

#include "libavutil/hwcontext.h"
#include "libavutil/mathematics.h"
#include "libavutil/mem.h"
#include "libavutil/opt.h"
#include "libavutil/pixdesc.h"
#include "libswscale/swscale.h"
#include "avfilter.h"
#include "filters.h"
#include "formats.h"
#include "turbodiff_common.h"
#include "turbodiff_compat.h"
#include "turbodiff_convert.h"
#include "turbodiff_i2v.h"
#include "turbodiff_programme.h"
#include "turbodiff_reader.h"
#include "video.h"

/* encoders of MPEG-4 take no finer time base */
#define MAX_TIME_BASE 65535

#define OFFSET(x) offsetof(TurboDiffI2VContext, x)
#define FLAGS TD_FLAGS

static const AVOption turbodiff_i2v_options[] = {
    TURBODIFF_OPTIONS,
    { "mode",  "set what becomes of the input", OFFSET(mode), AV_OPT_TYPE_INT, { .i64 = MODE_REPLACE }, 0, NB_MODES - 1, FLAGS, .unit = "mode" },
        { "replace", "clips replace it",             0, AV_OPT_TYPE_CONST, { .i64 = MODE_REPLACE }, 0, 0, FLAGS, .unit = "mode" },
        { "extend",  "clips follow its last frame",  0, AV_OPT_TYPE_CONST, { .i64 = MODE_EXTEND  }, 0, 0, FLAGS, .unit = "mode" },
    { "every", "start a clip from every so many input frames (0: from the first one only)", OFFSET(every), AV_OPT_TYPE_INT, { .i64 = 0 }, 0, INT_MAX, FLAGS },
    { "clips", "set how many clips follow each other, each from the end of the one before (0: as many as prompts has, else 1)", OFFSET(clips), AV_OPT_TYPE_INT, { .i64 = 0 }, 0, 10000, FLAGS },
    { "overlap", "set how many frames a clip shares with what it follows (0: it begins with its last frame once more)", OFFSET(overlap), AV_OPT_TYPE_INT, { .i64 = 1 }, 0, TD_MAX_FRAMES - 1, FLAGS },
    { "prompts", "set a file or pipe with the prompt of a clip in each line, instead of a prompt", OFFSET(prompts), AV_OPT_TYPE_STRING, { .str = NULL }, 0, 0, FLAGS },
    { "live", "read on and drop frames while a clip is made, and start the next one from the newest", OFFSET(live), AV_OPT_TYPE_BOOL, { .i64 = 0 }, 0, 1, FLAGS },
    TURBODIFF_CHANNEL_OPTIONS,
    { NULL }
};

AVFILTER_DEFINE_CLASS(turbodiff_i2v);

static av_cold int init(AVFilterContext *ctx)
{
    TurboDiffI2VContext *s = ctx->priv;
    int ret;

    if (s->mode == MODE_EXTEND && s->every) {
        av_log(ctx, AV_LOG_ERROR, "every %d: expected with mode replace only\n", s->every);
        return AVERROR(EINVAL);
    }
    if (s->live && (s->mode == MODE_EXTEND || s->every || s->clips)) {
        av_log(ctx, AV_LOG_ERROR, "live: expected mode replace, without every and clips\n");
        return AVERROR(EINVAL);
    }
    if (s->prompts && (s->common.params.prompt || s->common.textfile)) {
        av_log(ctx, AV_LOG_ERROR, "Both prompts and a prompt: expected one of them\n");
        return AVERROR(EINVAL);
    }
    if ((ret = ff_turbodiff_check_channel(ctx, &s->channel_options, s->live, "live=1")) < 0)
        return ret;
    s->common.has_programme = !!s->prompts;
    s->programme.fd = -1;
    s->common.settings.image_to_video = 1;
    if (s->mode == MODE_EXTEND && !s->common.size)
        s->common.adaptive = 1;
    return ff_turbodiff_init(ctx, "720p");
}

static av_cold void uninit(AVFilterContext *ctx)
{
    TurboDiffI2VContext *s = ctx->priv;

    ff_turbodiff_close_channel(&s->channel);
    ff_turbodiff_close(ctx);
    ff_turbodiff_i2v_free_tail(s);
    if (s->job.prompt)
        s->common.params = s->params;            /* in place of the job's strings */
    ff_turbodiff_free_job(&s->job);
    ff_turbodiff_close_programme(&s->programme);
    av_freep(&s->picture);
    av_frame_free(&s->from);
    av_frame_free(&s->like);
    av_frame_free(&s->next);
    av_frame_free(&s->last);
    sws_freeContext(s->to_link);
    s->to_link = NULL;
}

static int query_formats(const AVFilterContext *ctx,
                         AVFilterFormatsConfig **cfg_in,
                         AVFilterFormatsConfig **cfg_out)
{
    const TurboDiffI2VContext *s = ctx->priv;
    const AVPixFmtDescriptor *desc = NULL;
    AVFilterFormats *formats = NULL;
    int ret;

    while ((desc = av_pix_fmt_desc_next(desc))) {
        enum AVPixelFormat fmt = av_pix_fmt_desc_get_id(desc);

        if (!(desc->flags & AV_PIX_FMT_FLAG_HWACCEL) && sws_isSupportedInput(fmt) &&
            (s->mode == MODE_REPLACE || (sws_isSupportedOutput(fmt) && !(desc->flags & AV_PIX_FMT_FLAG_PAL))) &&
            (ret = ff_add_format(&formats, fmt)) < 0)
            return ret;
    }
    /* frames in CUDA memory are copied from there, where they start a clip */
    if (CONFIG_CUDA && (ret = ff_add_format(&formats, AV_PIX_FMT_CUDA)) < 0)
        return ret;
    if (s->mode == MODE_EXTEND)
        return ff_set_common_formats2(ctx, cfg_in, cfg_out, formats);
    if ((ret = ff_formats_ref(formats, &cfg_in[0]->formats)) < 0 ||
        (ret = ff_formats_ref(ff_all_color_spaces(), &cfg_in[0]->color_spaces)) < 0 ||
        (ret = ff_formats_ref(ff_all_color_ranges(), &cfg_in[0]->color_ranges)) < 0)
        return ret;
    return ff_turbodiff_query_formats(ctx, cfg_in, cfg_out);
}

/* extend: the format of the link's pixels, wherever they are; frames of a device stay those of the input's pool */
static int config_pixels(AVFilterLink *outlink, enum AVPixelFormat *format)
{
    AVFilterContext *ctx = outlink->src;
    FilterLink *l = ff_filter_link(outlink), *il = ff_filter_link(ctx->inputs[0]);

    *format = outlink->format;
    if (!(av_pix_fmt_desc_get(outlink->format)->flags & AV_PIX_FMT_FLAG_HWACCEL))
        return 0;
    if (!il->hw_frames_ctx) {
        av_log(ctx, AV_LOG_ERROR, "The input has CUDA frames without a context: expected one\n");
        return AVERROR(EINVAL);
    }
    *format = ((AVHWFramesContext *)il->hw_frames_ctx->data)->sw_format;
    if (!sws_isSupportedInput(*format) || !sws_isSupportedOutput(*format)) {
        av_log(ctx, AV_LOG_ERROR, "The input has CUDA frames in %s: expected a format that libswscale reads and "
               "writes\n", av_get_pix_fmt_name(*format));
        return AVERROR(EINVAL);
    }
    av_buffer_unref(&l->hw_frames_ctx);
    l->hw_frames_ctx = av_buffer_ref(il->hw_frames_ctx);
    return l->hw_frames_ctx ? 0 : AVERROR(ENOMEM);
}

/* extend: a time base that holds the times of the input and of the clip, and the rate if it is the same throughout */
static void config_times(AVFilterLink *outlink)
{
    AVFilterLink *inlink = outlink->src->inputs[0];
    TurboDiffI2VContext *s = outlink->src->priv;
    FilterLink *l = ff_filter_link(outlink), *il = ff_filter_link(inlink);
    AVRational clip = s->common.frame_rate, rate = il->frame_rate, ratio = { 0 };
    AVRational tb = av_inv_q(clip), grid = tb;

    if (rate.num > 0 && rate.den > 0) {
        ratio = av_div_q(rate, clip);
        grid  = av_gcd_q(av_inv_q(rate), tb, MAX_TIME_BASE + 1, tb);
    }
    grid = (AVRational){ 1, grid.den * FFMAX(MAX_TIME_BASE / grid.den, 1) };
    outlink->time_base = av_gcd_q(inlink->time_base, tb, MAX_TIME_BASE + 1, grid);
    if (ratio.den == 1)
        l->frame_rate = rate;
    else if (ratio.num == 1)
        l->frame_rate = clip;
    else
        l->frame_rate = (AVRational){ 1, 0 };
}

static int adapt(AVFilterContext *ctx, int w, int h)
{
    TurboDiffI2VContext *s = ctx->priv;
    TurboDiffContext *c = &s->common;

    if (!s->live)
        return ff_turbodiff_adapt(ctx, w, h);
    if (c->adaptive && td_adaptive_size(&c->w, &c->h, w, h) < 0) {
        c->unfit_w = w;
        c->unfit_h = h;
    }
    return 0;
}

static int config_output(AVFilterLink *outlink)
{
    AVFilterContext *ctx = outlink->src;
    AVFilterLink *inlink = ctx->inputs[0];
    TurboDiffI2VContext *s = ctx->priv;
    TurboDiffContext *c = &s->common;
    FilterLink *l = ff_filter_link(outlink), *il = ff_filter_link(inlink);
    AVRational sar = inlink->sample_aspect_ratio.num > 0 ? inlink->sample_aspect_ratio : (AVRational){ 1, 1 };
    TDInfo info;
    int w, h, ret;

    /* extend keeps the sample aspect ratio; replace makes square pixels */
    if (s->mode == MODE_EXTEND)
        sar = (AVRational){ 1, 1 };
    av_reduce(&w, &h, (int64_t)inlink->w * sar.num, (int64_t)inlink->h * sar.den, INT_MAX);
    c->format = outlink->format;
    if (s->mode == MODE_EXTEND && (ret = config_pixels(outlink, &c->format)) < 0)
        return ret;
    /* with live a matrix or a shape that is refused is the clip's error, as other colours are: on_error says what follows */
    if ((!s->live && (ret = ff_turbodiff_check_matrix(ctx, il->hw_frames_ctx ?
                                                      ((AVHWFramesContext *)il->hw_frames_ctx->data)->sw_format :
                                                      inlink->format, inlink->colorspace)) < 0) ||
        (s->live && (ret = ff_turbodiff_i2v_open_live(ctx)) < 0) ||
        (s->prompts && !s->live && (ret = ff_turbodiff_i2v_open_prompts(ctx)) < 0) ||
        (ret = s->live ? ff_turbodiff_open_model(s->channel) : ff_turbodiff_open(ctx)) < 0)
        return ret;
    if (c->td && td_info(c->td, &info) < 0)
        return AVERROR_BUG;
    if (c->td && !info.needs_image) {
        av_log(ctx, AV_LOG_ERROR, "%s is a text-to-video model: expected an image-to-video model\n", info.model);
        return AVERROR(EINVAL);
    }
    if ((ret = ff_turbodiff_i2v_check_overlap(ctx)) < 0 ||
        (ret = adapt(ctx, w, h)) < 0)
        return ret;

    if (s->mode == MODE_EXTEND) {
        /* not scaled where blocks of 16 pixels alone tell the sizes apart */
        if (c->adaptive && FFABS(c->w - inlink->w) < 16 && FFABS(c->h - inlink->h) < 16) {
            c->w = inlink->w;
            c->h = inlink->h;
        }
        outlink->w                   = inlink->w;
        outlink->h                   = inlink->h;
        outlink->sample_aspect_ratio = inlink->sample_aspect_ratio;
        config_times(outlink);
        if (!ff_turbodiff_makes(c->format) || c->w != outlink->w || c->h != outlink->h ||
            (!(av_pix_fmt_desc_get(c->format)->flags & AV_PIX_FMT_FLAG_RGB) &&
             (outlink->colorspace != AVCOL_SPC_BT709 || outlink->color_range != AVCOL_RANGE_MPEG)))
            c->format = AV_PIX_FMT_RGB24;
    } else {
        outlink->w                   = c->w;
        outlink->h                   = c->h;
        outlink->sample_aspect_ratio = (AVRational){ 1, 1 };
        outlink->time_base           = av_inv_q(c->frame_rate);
        l->frame_rate                = c->frame_rate;
    }

    if ((ret = ff_turbodiff_config(outlink)) < 0 || !s->live)
        return ret;
    ff_filter_set_ready(ctx, 100);               /* to ask for its input, whether or not it is asked itself */
    return ff_turbodiff_start_channel(s->channel, NULL);
}

/* extend: make a frame of the clip one of the input's kind */
static int match_input(AVFilterLink *outlink, AVFrame **frame)
{
    TurboDiffI2VContext *s = outlink->src->priv;
    const AVFrame *like = s->like;
    enum AVPixelFormat format = ff_turbodiff_sw_format(like);
    AVFrame *out = *frame;
    int ret;

    if (s->common.format != format || s->common.w != like->width || s->common.h != like->height ||
        (!(av_pix_fmt_desc_get(format)->flags & AV_PIX_FMT_FLAG_RGB) &&
         (like->colorspace != AVCOL_SPC_BT709 || ff_turbodiff_is_full_range(like)))) {
        out = av_frame_alloc();
        if (!out)
            return AVERROR(ENOMEM);
        out->format = format;
        out->width  = like->width;
        out->height = like->height;
        if (av_frame_get_buffer(out, 0) < 0 || av_dict_copy(&out->metadata, (*frame)->metadata, 0) < 0) {
            av_frame_free(&out);
            return AVERROR(ENOMEM);
        }
        out->colorspace  = like->colorspace;
        out->color_range = like->color_range;
        if (!s->to_link && !(s->to_link = ff_turbodiff_open_scaler(out, *frame))) {
            av_log(outlink->src, AV_LOG_ERROR, "The clip cannot be converted to %dx%d in %s\n", like->width,
                   like->height, av_get_pix_fmt_name(format));
            av_frame_free(&out);
            return AVERROR(EINVAL);
        }
        ff_turbodiff_scale(s->to_link, out, *frame);
        out->pts       = (*frame)->pts;
        out->flags     = (*frame)->flags;
        out->pict_type = (*frame)->pict_type;
        av_frame_free(frame);
        *frame = out;
    }
    if (like->hw_frames_ctx) {
        if ((ret = ff_turbodiff_upload(outlink->src, frame, like)) < 0)
            return ret;
        out = *frame;
    }
    out->sample_aspect_ratio = like->sample_aspect_ratio;
    out->colorspace          = like->colorspace;
    out->color_range         = like->color_range;
    out->color_primaries     = like->color_primaries;
    out->color_trc           = like->color_trc;
    out->chroma_location     = like->chroma_location;
    return 0;
}

/* keep a reference to a frame that a clip may start from; where that fails the frame is freed */
static int remember(TurboDiffI2VContext *s, AVFrame *frame)
{
    av_frame_free(&s->from);
    s->from = av_frame_clone(frame);
    if (s->from)
        return 0;
    av_frame_free(&frame);
    return AVERROR(ENOMEM);
}

/* every: a frame of the clip under way, or the last one of the clip before once more */
static int output_every(AVFilterLink *outlink, AVFrame *frame)
{
    TurboDiffI2VContext *s = outlink->src->priv;

    frame->pts = s->next_pts++;
    frame->duration = 1;
    av_frame_free(&s->last);
    s->last = av_frame_clone(frame);
    if (!s->last) {
        av_frame_free(&frame);
        return AVERROR(ENOMEM);
    }
    return ff_turbodiff_output(outlink, frame);
}

/* the next frame of the clip under way, or its end */
static int work(AVFilterLink *outlink)
{
    AVFilterContext *ctx = outlink->src;
    TurboDiffI2VContext *s = ctx->priv;
    AVRational tb = av_inv_q(s->common.frame_rate);
    AVFrame *frame;
    int64_t n;
    int ret;

    ret = ff_turbodiff_take(ctx, ff_turbodiff_i2v_read, &frame);
    if (ret < 0)
        return ret == AVERROR(EAGAIN) ? 0 : ret;
    if (ret == 0) {
        s->active = 0;
        if (++s->clip < s->clips) {
            s->shared = s->next_shared;
            s->start_pts += av_rescale_q(s->common.nb_frames - s->shared, tb, outlink->time_base);
            ret = ff_turbodiff_i2v_start(ctx, NULL);
        } else {
            s->start_pts += av_rescale_q(s->common.nb_frames, tb, outlink->time_base);
        }
        ff_filter_set_ready(ctx, 100);
        return ret;
    }
    n = frame->pts;
    if ((ret = ff_turbodiff_i2v_join(ctx, &frame, n)) < 0 || !frame) {
        av_frame_free(&frame);
        ff_filter_set_ready(ctx, 100);
        return ret;
    }
    if ((s->mode == MODE_EXTEND && (ret = match_input(outlink, &frame)) < 0) ||
        (ret = ff_turbodiff_copy_side_data(frame, s->like)) < 0) {
        av_frame_free(&frame);
        return ret;
    }
    frame->pts      = s->start_pts + av_rescale_q(n, tb, outlink->time_base);
    frame->duration = s->start_pts + av_rescale_q(n + 1, tb, outlink->time_base) - frame->pts;
    return s->every ? output_every(outlink, frame) : ff_turbodiff_output(outlink, frame);
}

/* replace: the first frame starts a clip */
static int take_frame(AVFilterContext *ctx, AVFrame *frame)
{
    TurboDiffI2VContext *s = ctx->priv;

    s->nb_in++;
    av_frame_free(&s->like);
    s->like = frame;
    s->clip = s->shared = 0;
    ff_filter_set_ready(ctx, 100);
    return ff_turbodiff_i2v_start(ctx, frame);
}

/* every: a frame that starts a clip, which cuts the one before, or that one goes on */
static void take_every(AVFilterContext *ctx, AVFrame *frame)
{
    TurboDiffI2VContext *s = ctx->priv;
    AVFilterLink *inlink = ctx->inputs[0], *outlink = ctx->outputs[0];
    int64_t n = s->nb_in++;

    if (frame->pts == AV_NOPTS_VALUE)
        frame->pts = s->input_end;
    s->input_end = ff_turbodiff_i2v_end_of(ctx, frame);
    if (n % s->every == 0) {
        s->end_pts = av_rescale_q(frame->pts, inlink->time_base, outlink->time_base);
        if (!n)
            s->next_pts = s->end_pts;
        s->next = frame;
    } else {
        s->end_pts = av_rescale_q(s->input_end, inlink->time_base, outlink->time_base);
        av_frame_free(&frame);
    }
    ff_filter_set_ready(ctx, 100);
}

/* every: the clip before is output up to the frame that starts the next one */
static int start_next(AVFilterContext *ctx)
{
    TurboDiffI2VContext *s = ctx->priv;

    s->end_pts = av_rescale_q(s->input_end, ctx->inputs[0]->time_base, ctx->outputs[0]->time_base);
    av_frame_free(&s->like);
    s->like = s->next;
    s->next = NULL;
    s->clip = s->shared = 0;
    ff_turbodiff_i2v_free_tail(s);
    ff_filter_set_ready(ctx, 100);
    return ff_turbodiff_i2v_start(ctx, s->like);
}

/* extend: let a frame pass, and remember it and where it ends */
static int pass_frame(AVFilterLink *outlink, AVFrame *frame)
{
    AVFilterContext *ctx = outlink->src;
    AVFilterLink *inlink = ctx->inputs[0];
    TurboDiffI2VContext *s = ctx->priv;
    int ret;

    s->nb_in++;
    if (frame->pts != AV_NOPTS_VALUE) {
        s->start_pts = av_rescale_q(ff_turbodiff_i2v_end_of(ctx, frame), inlink->time_base, outlink->time_base);
        frame->pts = av_rescale_q(frame->pts, inlink->time_base, outlink->time_base);
    }
    s->from_pts = frame->pts;
    frame->duration = av_rescale_q(frame->duration, inlink->time_base, outlink->time_base);
    ret = remember(s, frame);
    return ret < 0 ? ret : ff_filter_frame(outlink, frame);
}

static int finish(AVFilterLink *outlink, int status)
{
    TurboDiffI2VContext *s = outlink->src->priv;

    ff_turbodiff_close(outlink->src);
    ff_inlink_set_status(outlink->src->inputs[0], status);
    ff_outlink_set_status(outlink, status, s->every ? s->next_pts : s->start_pts);
    return 0;
}

/* the input has ended */
static int end_input(AVFilterLink *outlink, int status)
{
    AVFilterContext *ctx = outlink->src;
    TurboDiffI2VContext *s = ctx->priv;
    int ret;

    if (!s->nb_in && status == AVERROR_EOF)
        av_log(ctx, AV_LOG_WARNING, "The input has no frame to start a clip from\n");
    if (s->every && status == AVERROR_EOF) {
        s->ended = 1;
        ff_filter_set_ready(ctx, 100);
        return 0;
    }
    if (s->mode == MODE_REPLACE || !s->from || status != AVERROR_EOF || s->like)
        return finish(outlink, status);
    s->like = av_frame_clone(s->from);
    if (!s->like)
        return AVERROR(ENOMEM);
    /* the clip's first frame is the input's last one, and takes up its time from there on */
    s->shared = FFMIN(s->overlap, 1);
    if (s->shared && s->from_pts != AV_NOPTS_VALUE)
        s->start_pts = s->from_pts;
    ret = ff_turbodiff_i2v_start(ctx, s->from);
    ff_filter_set_ready(ctx, 100);
    return ret;
}

/* every: the next frame, of the clip under way or where that has ended its last one */
static int go_on(AVFilterLink *outlink)
{
    TurboDiffI2VContext *s = outlink->src->priv;
    AVFrame *frame;

    if (s->active)
        return work(outlink);
    frame = av_frame_clone(s->last);
    return frame ? output_every(outlink, frame) : AVERROR(ENOMEM);
}

static int advance(AVFilterContext *ctx)
{
    AVFilterLink *inlink = ctx->inputs[0], *outlink = ctx->outputs[0];
    TurboDiffI2VContext *s = ctx->priv;
    AVFrame *frame;
    int64_t pts;
    int status, ret;

    if ((status = ff_outlink_get_status(outlink))) {
        ff_turbodiff_close(ctx);
        ff_inlink_set_status(inlink, status);
        return 0;
    }
    /* every: the clips of an only frame, a picture, are whole */
    if (s->every ? s->next_pts < s->end_pts || (s->active && s->ended && s->nb_in == 1) : s->active) {
        if (!ff_outlink_frame_wanted(outlink))
            return FFERROR_NOT_READY;
        ret = s->every ? go_on(outlink) : work(outlink);
        return ret == AVERROR_EXIT ? finish(outlink, ret) : ret;
    }
    if (s->next)
        return start_next(ctx);
    /* all clips of the only frame, or of the last one, are made */
    if ((s->mode == MODE_REPLACE && s->nb_in && !s->every) || (s->mode == MODE_EXTEND && s->like) || s->ended)
        return finish(outlink, AVERROR_EOF);
    if ((ret = ff_inlink_consume_frame(inlink, &frame)) < 0)
        return ret;
    if (ret > 0 && s->every) {
        take_every(ctx, frame);
        return 0;
    }
    if (ret > 0)
        return s->mode == MODE_EXTEND ? pass_frame(outlink, frame) : take_frame(ctx, frame);
    if (ff_inlink_acknowledge_status(inlink, &status, &pts))
        return end_input(outlink, status);
    FF_FILTER_FORWARD_WANTED(outlink, inlink);
    return FFERROR_NOT_READY;
}

static int activate(AVFilterContext *ctx)
{
    TurboDiffI2VContext *s = ctx->priv;
    int ret;

    if (s->common.error && !ff_outlink_get_status(ctx->outputs[0]))
        return ff_turbodiff_fail(ctx, s->common.error);
    ret = s->live ? ff_turbodiff_i2v_live(ctx) : advance(ctx);
    if (ret >= 0 || ret == FFERROR_NOT_READY || (s->live && ret == TURBODIFF_READ_OTHERS))
        return ret;
    ff_turbodiff_close_channel(&s->channel);
    return ff_turbodiff_fail(ctx, ret);
}

static int process_command(AVFilterContext *ctx, const char *cmd, const char *arg, char *res, int res_len, int flags)
{
    TurboDiffI2VContext *s = ctx->priv;

    return s->channel ? ff_turbodiff_command(s->channel, cmd, arg, res, res_len, flags) :
                        ff_turbodiff_no_commands(ctx, res, res_len, flags, "live=1");
}

static const AVFilterPad turbodiff_i2v_outputs[] = {
    {
        .name         = "default",
        .type         = AVMEDIA_TYPE_VIDEO,
        .config_props = config_output,
    },
};

const FFFilter ff_vf_turbodiff_i2v = {
    FILTER_P(name)        = "turbodiff_i2v",
    FILTER_P(description) = NULL_IF_CONFIG_SMALL("Make a video that begins with an input frame, with a diffusion model."),
    FILTER_P(priv_class)  = &turbodiff_i2v_class,
    FILTER_P(flags)       = AVFILTER_FLAG_HWDEVICE,
    .flags_internal       = FF_FILTER_FLAG_HWFRAME_AWARE,
    .priv_size            = sizeof(TurboDiffI2VContext),
    .init                 = init,
    .uninit               = uninit,
    .activate             = activate,
    .process_command      = process_command,
    FILTER_INPUTS(ff_video_default_filterpad),
    FILTER_OUTPUTS(turbodiff_i2v_outputs),
    FILTER_QUERY_FUNC2(query_formats),
};
