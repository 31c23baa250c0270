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
 * the clips of turbodiff_i2v: which prompts they have, how they begin, and what
 * they share
 */

#include <inttypes.h>

#include "libavutil/avstring.h"
#include "libavutil/error.h"
#include "libavutil/log.h"
#include "libavutil/macros.h"
#include "libavutil/mathematics.h"
#include "libavutil/mem.h"
#include "libavutil/time.h"
#include "filters.h"
#include "turbodiff_common.h"
#include "turbodiff_convert.h"
#include "turbodiff_i2v.h"
#include "turbodiff_programme.h"
#include "turbodiff_reader.h"
#include "turbodiff_transition.h"

/* microseconds between two looks at a pipe of prompts before its first line */
#define PROMPT_PERIOD 20000

void ff_turbodiff_i2v_free_tail(TurboDiffI2VContext *s)
{
    for (int i = 0; i < FF_ARRAY_ELEMS(s->tail); i++)
        av_frame_free(&s->tail[i]);
    s->at_tail = s->nb_tail = 0;
}

int64_t ff_turbodiff_i2v_end_of(AVFilterContext *ctx, const AVFrame *frame)
{
    TurboDiffI2VContext *s = ctx->priv;
    AVFilterLink *inlink = ctx->inputs[0];
    FilterLink *il = ff_filter_link(inlink);
    AVRational rate = il->frame_rate.num > 0 && il->frame_rate.den > 0 ? il->frame_rate : s->common.frame_rate;

    return frame->pts + (frame->duration > 0 ? frame->duration :
                         FFMAX(av_rescale_q(1, av_inv_q(rate), inlink->time_base), 1));
}

int ff_turbodiff_i2v_open_prompts(AVFilterContext *ctx)
{
    TurboDiffI2VContext *s = ctx->priv;
    TurboDiffProgramme *p = &s->programme;
    int ret = ff_turbodiff_start_programme(ctx, p, "prompts", s->prompts);

    if (ret < 0)
        return ret;
    s->params = s->common.params;
    s->seed   = s->common.seed;
    if (!s->clips && !s->every && p->fd < 0)
        s->clips = p->nb_jobs;
    for (int i = 0; i < p->nb_jobs; i++)
        if (!p->again && (p->jobs[i].repeat || p->jobs[i].in.kind != TRANSITION_UNSET)) {
            av_log(ctx, AV_LOG_ERROR, "%.40s:%d: repeat and in are for a channel\n", av_basename(p->file), p->jobs[i].line);
            return AVERROR(EINVAL);
        }
    /* each clip brings its own: nothing to load from the options */
    return s->common.clean_prompt || (s->common.clean_prompt = av_strdup("")) ? 0 : AVERROR(ENOMEM);
}

int ff_turbodiff_i2v_check_overlap(AVFilterContext *ctx)
{
    TurboDiffI2VContext *s = ctx->priv;
    int64_t least = s->common.nb_frames;

    s->clips     = FFMAX(s->clips, 1);
    s->nb_frames = s->common.nb_frames;
    for (int i = 0; i < s->programme.nb_jobs; i++)
        if (s->programme.jobs[i].frames && !s->programme.again)
            least = FFMIN(least, s->programme.jobs[i].frames);
    if (s->overlap > 1 && s->overlap >= least) {
        av_log(ctx, AV_LOG_ERROR, "overlap %d: expected less than the %"PRId64" frames of a clip\n", s->overlap, least);
        return AVERROR(EINVAL);
    }
    return 0;
}

/* with prompts: the next line, the first one again after the last; of a pipe that is silent the one before again */
static int next_prompt(AVFilterContext *ctx)
{
    TurboDiffI2VContext *s = ctx->priv;
    TurboDiffProgramme *p = &s->programme;
    TurboDiffJob job = { 0 };
    int ret;

    while (!(ret = ff_turbodiff_next_job(ctx, p, &job))) {
        if (p->fd < 0) {
            ff_turbodiff_rewind_programme(ctx, p, NULL);
        } else if (s->job.prompt) {
            break;
        } else if (ff_filter_interrupted(ctx)) {
            return AVERROR_EXIT;
        } else if (ff_turbodiff_programme_ended(p)) {
            av_log(ctx, AV_LOG_ERROR, "prompts '%s' has no clip, expected a prompt in each line\n", s->prompts);
            return AVERROR_INVALIDDATA;
        } else {
            av_usleep(PROMPT_PERIOD);
        }
    }
    if (ret < 0)
        return ret;
    if (ret > 0) {
        if (job.repeat || job.in.kind != TRANSITION_UNSET || (job.frames && job.frames <= s->overlap && s->overlap > 1))
            av_log(ctx, AV_LOG_WARNING, "prompts: repeat, in and frames that are fewer than the overlap are left out\n");
        if (s->overlap > 1 && job.frames <= s->overlap)
            job.frames = 0;
        ff_turbodiff_free_job(&s->job);
        s->job = job;
    } else {
        s->job.has_seed = 0;
    }
    return ff_turbodiff_set_job(ctx, &s->job, &s->params, s->nb_frames, s->seed);
}

int ff_turbodiff_i2v_read(AVFilterContext *ctx, AVFrame **frame)
{
    TurboDiffI2VContext *s = ctx->priv;
    TurboDiffContext *c = &s->common;
    int ret = ff_turbodiff_read(ctx, frame);

    if (ret != 1 || (*frame)->pts != s->keep)
        return ret;
    if (!s->picture && !(s->picture = av_malloc_array((size_t)c->w * c->h, 3 * sizeof(*s->picture))))
        ret = AVERROR(ENOMEM);
    else if (td_last_picture(c->td, s->picture) < 0)
        ret = AVERROR_EXTERNAL;
    if (ret < 0)
        av_frame_free(frame);
    return ret;
}

/* how many frames the clip under way shares with the one that follows it */
static int shared_with_next(TurboDiffI2VContext *s)
{
    int64_t next = s->nb_frames;

    if (s->prompts && s->programme.fd < 0) {
        const TurboDiffProgramme *p = &s->programme;
        int frames = p->jobs[p->next < p->nb_jobs ? p->next : 0].frames;

        next = frames ? frames : next;
    }
    return FFMIN(s->overlap, FFMIN(next, s->common.nb_frames) - 1);
}

int ff_turbodiff_i2v_start(AVFilterContext *ctx, const AVFrame *from)
{
    TurboDiffI2VContext *s = ctx->priv;
    TurboDiffContext *c = &s->common;
    int64_t n = s->nb_started;
    AVFrame *rgb = NULL;
    TDImage image;
    int ret;

    if (c->seed_unknown) {
        c->seed = s->seed = ff_turbodiff_draw_seed(ctx);
        c->seed_unknown = 0;
    }
    if (from && ((ret = ff_turbodiff_check_frame(ctx, from, s->mode == MODE_EXTEND, &s->warned)) < 0 ||
                 (ret = ff_turbodiff_to_rgb(ctx, &rgb, from)) < 0))
        return ret;
    if (s->prompts) {
        if ((ret = next_prompt(ctx)) < 0)
            goto end;
        if (s->job.has_seed)                     /* itself, whichever clip it is of */
            n = 0;
    }
    if (from)
        image = (TDImage){ rgb->width, rgb->height, rgb->linesize[0], rgb->data[0] };
    else
        c->params.picture = s->picture;
    ret = ff_turbodiff_start(ctx, from ? &image : NULL, n);
    c->params.picture = NULL;
    if (ret >= 0 && s->job.id)
        ret = av_dict_set(&c->metadata, "lavfi.turbodiff.id", s->job.id, 0);
    if (ret >= 0) {
        s->nb_started++;
        s->active = 1;
        s->next_shared = s->clip + 1 < s->clips ? shared_with_next(s) : 0;
        s->keep        = s->clip + 1 < s->clips ? c->nb_frames - FFMAX(s->next_shared, 1) : -1;
        ret = ff_turbodiff_open_reader(ctx, ff_turbodiff_i2v_read);
    }
end:
    av_frame_free(&rgb);
    return ret;
}

int ff_turbodiff_i2v_join(AVFilterContext *ctx, AVFrame **frame, int64_t n)
{
    TurboDiffI2VContext *s = ctx->priv;
    int next = s->next_shared, ret;

    if (n == 0 && s->shared) {                   /* the same picture as the one that it was made from */
        av_frame_free(frame);
        return 0;
    }
    if (n < s->shared) {
        if ((ret = ff_turbodiff_blend(ctx, frame, s->tail[s->at_tail], n, s->shared)) < 0)
            return ret;
        av_frame_free(&s->tail[s->at_tail]);
        s->at_tail = (s->at_tail + 1) % FF_ARRAY_ELEMS(s->tail);
        s->nb_tail--;
    }
    if (next > 1 && n > s->common.nb_frames - next) {
        s->tail[(s->at_tail + s->nb_tail++) % FF_ARRAY_ELEMS(s->tail)] = *frame;
        *frame = NULL;
    }
    return 0;
}
