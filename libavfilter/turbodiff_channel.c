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
 * a thread that makes clips, and the clock that they are sent by
 */

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libavutil/error.h"
#include "libavutil/log.h"
#include "libavutil/macros.h"
#include "libavutil/mathematics.h"
#include "libavutil/mem.h"
#include "libavutil/thread.h"
#include "libavutil/time.h"
#include "filters.h"
#include "turbodiff_channel_priv.h"
#include "turbodiff_common.h"
#include "turbodiff_compat.h"
#include "turbodiff_convert.h"
#include "turbodiff_programme.h"
#include "turbodiff_reader.h"
#include "turbodiff_transition.h"

/* microseconds that a clock may be behind before it is set anew */
#define MAX_BEHIND 5000000

/* timeout=-1: how many times as long as the slowest clip before a clip may take, and what it may take in any case */
#define MAX_SLOWER 10
#define LEAST_TIMEOUT 60000000

int ff_turbodiff_is_channel(const TurboDiffChannelOptions *o)
{
    return o->from || o->programme || o->idle != IDLE_END || o->pace != PACE_OFF;
}

void ff_turbodiff_free_clip(TurboDiffClip *clip)
{
    for (int i = 0; i < clip->nb_made; i++)
        av_frame_free(&clip->frames[i]);
    av_free(clip->frames);
    av_free(clip->picture);
    av_free(clip);
}

/* ---- the thread ---- */

/* the next clip's job, where there is one now; under the lock, which is left where a round of the programme begins */
static int next_job(TurboDiffChannel *c, TurboDiffJob *job)
{
    int ret;

    if (c->nb_queue) {
        *job = c->queue[0];
        memmove(c->queue, c->queue + 1, --c->nb_queue * sizeof(*job));
        return 1;
    }
    ret = ff_turbodiff_next_job(c->ctx, &c->programme, job);
    if (ret)
        return ret;
    if (c->programme.file && c->programme.fd < 0 && (c->o->loop < 0 || c->round < c->o->loop)) {
        /* not counted before: what is on air asks for the clip that is next */
        c->round += ff_turbodiff_rewind_programme(c->ctx, &c->programme, &c->lock);
        return c->quit || c->stopping || c->nb_queue ? 0 : ff_turbodiff_next_job(c->ctx, &c->programme, job);
    }
    if (c->o->idle == IDLE_REPEAT && c->last.prompt) {
        ret = ff_turbodiff_prompt_job(c->ctx, job, c->last.prompt, NULL);
        if (ret >= 0 && c->last.negative && !(job->negative = av_strdup(c->last.negative)))
            ret = AVERROR(ENOMEM);
        job->frames = c->last.frames;
        job->steps  = c->last.steps;
        job->in     = c->last.in;
        if (ret < 0)
            ff_turbodiff_free_job(job);
        return ret < 0 ? ret : 1;
    }
    if (c->o->idle == IDLE_END && ff_turbodiff_programme_ended(&c->programme))
        return AVERROR_EOF;
    return 0;
}

const TurboDiffJob *ff_turbodiff_coming(TurboDiffChannel *c)
{
    const TurboDiffJob *job = c->taken ? c->taken : c->nb_queue ? &c->queue[0] : ff_turbodiff_peek_job(c->ctx, &c->programme);

    if (!job && c->programme.nb_jobs && (c->o->loop < 0 || c->round < c->o->loop))
        job = &c->programme.jobs[0];
    if (!job && c->o->idle == IDLE_REPEAT)
        job = &c->last;
    return job;
}

/* whether all of the clip on air but a fade has been there as often as wanted; under the lock */
static int is_over(TurboDiffChannel *c)
{
    return c->clips->done && c->clips->pos >= ff_turbodiff_own_frames(c) && !c->clips->plays;
}

/* whether a clip may be begun; under the lock */
static int has_room(TurboDiffChannel *c)
{
    int ahead = 0;

    for (const TurboDiffClip *clip = c->clips; clip; clip = clip->next)
        ahead += !clip->played;
    return !c->clips || ahead < c->o->lookahead || (!ahead && is_over(c));
}

void ff_turbodiff_wait(TurboDiffChannel *c, int64_t us)
{
    struct timespec until;
    int64_t t = av_gettime() + us;

    until.tv_sec  = t / 1000000;
    until.tv_nsec = t % 1000000 * 1000;
    pthread_cond_timedwait(&c->wake, &c->lock, &until);
}

/* what a clip is made by, in the filter's context, which the thread has for itself */
static int set_clip(TurboDiffChannel *c, const TurboDiffJob *job, const TurboDiffClip *clip, char **negative)
{
    TDParams own = c->params;
    int64_t nb_frames;
    uint64_t seed;
    int failed;

    pthread_mutex_lock(&c->lock);
    *negative = c->negative ? av_strdup(c->negative) : NULL;
    failed = c->negative && !*negative;
    if (c->negative)
        own.negative_prompt = *negative;
    if (c->steps)
        own.n_steps = c->steps;
    if (c->guidance) {
        own.guidance     = c->guidance;
        own.guidance_low = c->guidance_low;
    }
    nb_frames = c->nb_frames;
    seed      = c->seed + (uint64_t)clip->number;
    pthread_mutex_unlock(&c->lock);
    return !failed ? ff_turbodiff_set_job(c->ctx, job, &own, nb_frames, seed) : AVERROR(ENOMEM);
}

/* frame after frame of a clip */
static int make_frames(TurboDiffChannel *c, TurboDiffClip *clip)
{
    AVFrame *frame;
    int ret;

    while ((ret = ff_turbodiff_read(c->ctx, &frame)) == 1 || ret == AVERROR(EAGAIN)) {
        float *picture = ret == 1 ? ff_turbodiff_keep_picture(c) : NULL;
        int unwanted;

        if (ret == 1 && c->like && (unwanted = ff_turbodiff_copy_side_data(frame, c->like)) < 0) {
            av_frame_free(&frame);
            av_free(picture);
            return unwanted;
        }

        if (ret == 1 && clip->skip) {
            clip->skip--;
            av_frame_free(&frame);
            ret = AVERROR(EAGAIN);
        }
        pthread_mutex_lock(&c->lock);
        if (picture)
            clip->picture = picture;
        unwanted = c->quit || clip->dropped;
        if (ret == 1 && !unwanted && clip->nb_made < clip->nb_frames) {
            clip->last_made = av_gettime_relative();
            if (!clip->nb_made)
                clip->first_made = clip->last_made;
            clip->frames[clip->nb_made++] = frame;
            frame = NULL;
            pthread_cond_broadcast(&c->wake);
        }
        pthread_mutex_unlock(&c->lock);
        if (ret == 1)
            av_frame_free(&frame);
        if (unwanted)
            return AVERROR(ECANCELED);
    }
    return ret;
}

/* what a clip's time grows with at most: steps, and tokens that attend to each other */
static double work_of(TurboDiffChannel *c, const TurboDiffJob *job, int64_t nb_frames)
{
    int steps = job->steps ? job->steps : c->steps ? c->steps : c->params.n_steps;

    return (double)nb_frames * nb_frames * (steps ? steps : c->params.sampler == TD_SAMPLER_RCM ? 4 : 50);
}

/* when a clip is given up; 0: never. Before there is one to compare with nothing is known of the machine */
static int64_t deadline(const TurboDiffChannel *c, int64_t start, double size)
{
    double limit = c->o->timeout;

    if (limit < 0)
        limit = c->slowest ? FFMAX3(MAX_SLOWER * c->slowest * size, MAX_SLOWER * c->longest, LEAST_TIMEOUT) : 0;
    return limit ? start + llrint(FFMIN(limit, INT64_MAX / 4)) : 0;
}

/* commands and the limit of time end a call of the library as an interruption does */
static int why(TurboDiffChannel *c, const TurboDiffClip *clip, int err)
{
    const TurboDiffContext *s = c->ctx->priv;

    if (err != AVERROR_EXIT || ff_turbodiff_interrupted(c->ctx))
        return err;
    if (clip->dropped || c->quit || !ff_turbodiff_is_overdue(s))
        return AVERROR(ECANCELED);
    av_log(c->ctx, AV_LOG_ERROR, "clip %"PRId64" has %d of its %d frames after the %.3g s that timeout allows: it is given up\n",
           clip->number, clip->nb_made, clip->nb_frames, (s->deadline - clip->start) / 1e6);
    return AVERROR(ETIMEDOUT);
}

/* a clip from its job, into the list */
static int make_clip(TurboDiffChannel *c, const TurboDiffJob *job)
{
    AVFilterContext *ctx = c->ctx;
    TurboDiffContext *s = ctx->priv;
    TurboDiffClip *clip = av_mallocz(sizeof(*clip)), **last;
    double size;
    char *negative = NULL;
    const char *refused = ff_turbodiff_check_transition(c, &job->in);
    int ret;

    if (!clip)
        return AVERROR(ENOMEM);
    pthread_mutex_lock(&c->lock);
    clip->start     = av_gettime_relative();
    clip->number    = c->number++;
    clip->plays     = job->repeat;
    clip->in        = refused ? (TurboDiffTransition){ TRANSITION_CUT, 0 } : job->in;
    clip->nb_frames = job->frames ? job->frames : c->nb_frames;
    if (!(clip->frames = av_calloc(clip->nb_frames, sizeof(*clip->frames)))) {
        pthread_mutex_unlock(&c->lock);
        av_free(clip);
        return AVERROR(ENOMEM);
    }
    for (last = &c->clips; *last; last = &(*last)->next)
        ;
    size = work_of(c, job, clip->nb_frames);
    s->deadline = deadline(c, clip->start, size);
    *last = c->making = clip;
    c->taken = NULL;
    ff_turbodiff_take_picture(c, clip);
    pthread_mutex_unlock(&c->lock);

    if (refused)
        av_log(ctx, AV_LOG_WARNING, "Clip %"PRId64" comes by a cut: %s\n", clip->number, refused);
    ret = set_clip(c, job, clip, &negative);
    if (ret >= 0)
        ret = ff_turbodiff_begin_clip(c, clip);
    if (ret >= 0)
        ret = av_dict_set_int(&s->metadata, "lavfi.turbodiff.clip", clip->number, 0);
    if (ret >= 0 && job->id)
        ret = av_dict_set(&s->metadata, "lavfi.turbodiff.id", job->id, 0);
    if (ret >= 0)
        ret = make_frames(c, clip);
    pthread_mutex_lock(&c->lock);
    ret = why(c, clip, ret);
    pthread_mutex_unlock(&c->lock);
    ff_turbodiff_count_clip(c, ret, av_gettime_relative() - clip->start, clip->nb_made);
    if (ret >= 0) {
        c->longest = FFMAX(c->longest, av_gettime_relative() - clip->start);
        c->slowest = FFMAX(c->slowest, (av_gettime_relative() - clip->start) / size);
    }
    s->deadline = 0;

    s->params = c->params;                       /* strings end with the job */
    pthread_mutex_lock(&c->lock);
    clip->nb_frames = clip->nb_made;
    clip->done = 1;
    c->making = NULL;
    if (!clip->nb_made || (clip->dropped && !clip->played)) {
        for (last = &c->clips; *last != clip; last = &(*last)->next)
            ;
        *last = clip->next;
        ff_turbodiff_free_clip(clip);
    }
    pthread_cond_broadcast(&c->wake);
    pthread_mutex_unlock(&c->lock);
    av_free(negative);
    return ret;
}

static void *work(void *arg)
{
    TurboDiffChannel *c = arg;
    int made = 0, failure = c->unopened, ret = failure, go_on = !failure || ff_turbodiff_recover(c, failure);

    while (go_on) {
        TurboDiffJob job = { 0 };

        pthread_mutex_lock(&c->lock);
        ret = 0;
        while (!c->quit && !c->stopping && ret == 0) {
            if (has_room(c) && (c->o->pace != PACE_INPUT || c->newest))
                ret = next_job(c, &job);
            /* no clip comes any more */
            if (ret == 0 && !made && c->input_ended && (!c->newest || (!c->nb_queue && ff_turbodiff_programme_ended(&c->programme))))
                ret = AVERROR_EOF;
            if (ret == 0)
                ff_turbodiff_wait(c, TURBODIFF_PERIOD);
        }
        if (c->quit || c->stopping)
            ret = AVERROR_EOF;
        c->taken = ret > 0 ? &job : NULL;
        pthread_mutex_unlock(&c->lock);
        if (ret > 0) {
            ret = make_clip(c, &job);
            if (ret == AVERROR(ECANCELED))       /* by a command */
                ret = 0;
            if (ret >= 0) {
                c->pause = 0;
                made = 1;
            } else {
                failure = ret;
            }
            pthread_mutex_lock(&c->lock);
            c->taken = NULL;
            ff_turbodiff_free_job(&c->last);
            c->last = job;
            pthread_mutex_unlock(&c->lock);
        }
        go_on = ret >= 0 || (ret != AVERROR_EOF && ff_turbodiff_recover(c, ret));
    }
    pthread_mutex_lock(&c->lock);
    c->ended = 1;
    if (ret == AVERROR_EOF)                      /* where no clip could be made, that is no plain end */
        ret = made ? 0 : failure;
    if (!ret && !made && c->programme.file && !c->quit && !c->stopping) {
        av_log(c->ctx, AV_LOG_ERROR, "%s '%s' ended without a clip\n", c->programme.name, c->programme.file);
        ret = AVERROR_INVALIDDATA;
    }
    c->error = ret;
    pthread_cond_broadcast(&c->wake);
    pthread_mutex_unlock(&c->lock);
    return NULL;
}

/* ---- what is on air ---- */

int ff_turbodiff_is_ready(const TurboDiffChannel *c, const TurboDiffClip *clip)
{
    const TurboDiffContext *s = c->ctx->priv;
    int64_t made, whole, play;

    if (!clip || clip->dropped)
        return 0;
    if (clip->done || c->o->pace == PACE_OFF)
        return clip->nb_made > 0;
    if (clip->nb_made < 5)
        return 0;
    made  = clip->last_made - clip->first_made;
    whole = av_rescale(made, clip->nb_frames, clip->nb_made - 1);
    play  = av_rescale(clip->nb_frames, INT64_C(1000000) * s->frame_rate.den, s->frame_rate.num);
    return made + play / 10 * 9 > whole;
}

/* the clip on air ends; under the lock */
static void end_clip(TurboDiffChannel *c)
{
    TurboDiffClip *clip = c->clips;

    if (c->making == clip)
        return;
    c->clips = clip->next;
    c->replayed = 0;
    c->cut = c->fade_frames = 0;
    FFSWAP(float *, c->last_picture, clip->picture);
    c->picture_place = clip->place;
    ff_turbodiff_free_clip(clip);
    pthread_cond_broadcast(&c->wake);
}

/* the frame that is new and next; NULL: there is none now, *end: nor will be. Under the lock */
static AVFrame *next_frame(TurboDiffChannel *c, int *end)
{
    for (;;) {
        TurboDiffClip *clip = c->clips, *next = clip ? clip->next : NULL;

        if (!clip) {
            *end = c->ended;
            return NULL;
        }
        if (!clip->played && !ff_turbodiff_is_ready(c, clip))
            return NULL;
        if (c->fade_frames && (c->cut || c->faded == c->fade_frames || (next->done && next->pos >= next->nb_made))) {
            end_clip(c);
            continue;
        }
        if (c->fade_frames || ff_turbodiff_begin_fade(c))
            return ff_turbodiff_fade(c);
        if (clip->played && c->next_when_ready && ff_turbodiff_is_ready(c, next) && c->making != clip) {
            c->next_when_ready = 0;
            end_clip(c);
            continue;
        }
        if (clip->pos < FFMIN(clip->nb_made, ff_turbodiff_own_frames(c))) {
            c->n_clips += !clip->played;
            clip->played++;
            c->replayed = 0;
            pthread_cond_broadcast(&c->wake);
            return clip->frames[clip->pos++];
        }
        if (!clip->done || clip->pos < clip->nb_made)
            return NULL;
        if (clip->plays > 0 && !c->stopping) {
            clip->plays--;
            clip->pos = 0;
            continue;
        }
        if (c->stopping) {
            *end = 1;
            return NULL;
        }
        /* late=repeat and pingpong need it until there is another one */
        if ((c->o->late != LATE_REPEAT && c->o->late != LATE_PINGPONG) || c->o->pace == PACE_OFF ||
            ff_turbodiff_is_ready(c, next) || (!next && c->ended)) {
            end_clip(c);
            continue;
        }
        if (has_room(c))
            pthread_cond_broadcast(&c->wake);
        return NULL;
    }
}

/* what is seen in place of a frame that is not there yet; under the lock */
static AVFrame *held_frame(TurboDiffChannel *c, const char **state)
{
    const TurboDiffContext *s = c->ctx->priv;
    TurboDiffClip *clip = c->clips;
    int64_t held = av_rescale_q(c->held, av_inv_q(s->frame_rate), AV_TIME_BASE_Q);

    *state = "hold";
    if (c->n_clips ? c->o->late == LATE_BLACK && !c->paused : c->o->first == FIRST_BLACK) {
        *state = "black";
        return c->black;
    }
    if (c->n_clips ? c->o->late == LATE_SLATE && !c->paused && held >= c->o->slate_after : c->o->first == FIRST_SLATE) {
        *state = "slate";
        return c->slate;
    }
    if (c->paused)
        return c->shown;
    if ((c->o->late == LATE_REPEAT || c->o->late == LATE_PINGPONG) && clip && clip->played && clip->done &&
        clip->nb_made > 1) {
        int n = FFMAX(FFMIN(clip->nb_made, clip->pos), 2), i = c->replayed++;

        *state = c->o->late == LATE_REPEAT ? "repeat" : "pingpong";
        if (c->o->late == LATE_REPEAT)
            return clip->frames[i % n];
        /* from the last frame back to the first, and forth again, ends once each */
        i = (i + 1) % (2 * n - 2);
        return clip->frames[i < n ? n - 1 - i : i - n + 1];
    }
    return c->shown;
}

/* where an input sets the pace, it is the rule */
static int late_level(const TurboDiffChannel *c)
{
    return c->o->pace == PACE_INPUT ? AV_LOG_VERBOSE : AV_LOG_WARNING;
}

/* lateness is over, and why */
static void report_end_of_late(TurboDiffChannel *c, const char *what)
{
    const TurboDiffContext *s = c->ctx->priv;

    if (c->held)
        av_log(c->ctx, late_level(c), "%s after %"PRId64" frames, %.1f s\n", what, c->held,
               c->held / av_q2d(s->frame_rate));
    c->held = 0;
}

static void report_late(TurboDiffChannel *c, int late)
{
    int level = late_level(c);

    if (late && !c->held++) {
        const TurboDiffClip *clip = c->making;

        c->n_late++;
        if (clip)
            av_log(c->ctx, level, "late: clip %"PRId64" has %d of its %d frames\n", clip->number, clip->nb_made,
                   clip->nb_frames);
        else
            av_log(c->ctx, level, "late: no clip is there\n");
    } else if (!late) {
        report_end_of_late(c, "on time again");
    }
    c->n_held += late;
}

/* the time of a frame on the clock */
static int64_t due(const TurboDiffChannel *c)
{
    const TurboDiffContext *s = c->ctx->priv;

    return c->t0 + av_rescale(c->n_out, INT64_C(1000000) * s->frame_rate.den, s->frame_rate.num);
}

static int send_frame(TurboDiffChannel *c, AVFrame *from, const char *state)
{
    AVFrame *frame = av_frame_clone(from);
    int ret;

    if (!frame)
        return AVERROR(ENOMEM);
    frame->pts      = c->first_pts + c->n_out++;
    frame->duration = 1;
    if (c->o->pace != PACE_OFF) {
        if ((ret = av_dict_set(&frame->metadata, "lavfi.turbodiff.state", state, 0)) < 0 ||
            (c->held && (ret = av_dict_set_int(&frame->metadata, "lavfi.turbodiff.held", c->held, 0)) < 0)) {
            av_frame_free(&frame);
            return ret;
        }
    }
    return ff_turbodiff_output(c->ctx->outputs[0], frame);
}

static int finish(TurboDiffChannel *c)
{
    AVFilterContext *ctx = c->ctx;

    if (c->error && c->error != AVERROR_EXIT)
        return c->error;
    report_end_of_late(c, "the end came while it was late,");
    ff_outlink_set_status(ctx->outputs[0], c->error ? c->error : AVERROR_EOF, c->first_pts + c->n_out);
    return 0;
}

/* there is nothing to send yet; where another filter's input is waited for, the caller reads that in between */
static int rest(AVFilterContext *ctx, int starving)
{
    if (!starving || !TURBODIFF_IS_ASKED_AGAIN)
        ff_filter_set_ready(ctx, 1);
    return starving ? TURBODIFF_READ_OTHERS : 0;
}

int ff_turbodiff_run_channel(TurboDiffChannel *c)
{
    AVFilterContext *ctx = c->ctx;
    int live = c->o->pace == PACE_LIVE, input = c->o->pace == PACE_INPUT && !c->input_ended, end = 0, held = 0, ret;
    int starving = !input && ff_turbodiff_is_starving(ctx->graph);
    const char *state = "play";
    AVFrame *frame = NULL, *send = NULL;
    int64_t now;

    ff_turbodiff_write_metrics(c, 0);
    if (ff_turbodiff_interrupted(ctx)) {
        ff_outlink_set_status(ctx->outputs[0], AVERROR_EXIT, c->n_out);
        return 0;
    }
    if (live && c->t0) {                         /* never before its time; waits in short pieces, as others want to run */
        now = av_gettime_relative();
        if (now - due(c) > MAX_BEHIND) {
            av_log(ctx, AV_LOG_WARNING, "The output was %.1f s behind: its clock is set anew\n", (now - due(c)) / 1e6);
            c->t0 += now - due(c);
        }
        if (now < due(c)) {
            av_usleep(FFMIN(due(c) - now, TURBODIFF_PERIOD));
            if (av_gettime_relative() < due(c)) {
                ff_filter_set_ready(ctx, 100);
                return 0;
            }
        }
    }

    pthread_mutex_lock(&c->lock);
    if (!c->paused)
        frame = next_frame(c, &end);
    if (!frame && !end && (live ? c->t0 || c->o->first != FIRST_WAIT : c->o->pace == PACE_INPUT && c->shown && !c->whole)) {
        frame = held_frame(c, &state);
        held = 1;
        if (!c->paused && c->n_clips)
            report_late(c, 1);
    } else if (frame && !held) {
        report_late(c, 0);
    }
    if (frame && !(send = av_frame_clone(frame)))
        end = 1;
    if (!frame && !end && !input && !starving)
        ff_turbodiff_wait(c, TURBODIFF_PERIOD);
    pthread_mutex_unlock(&c->lock);

    if (send && c->under) {
        ret = ff_turbodiff_blend(ctx, &send, c->under, c->faded, c->fade_frames + 1);
        av_frame_free(&c->under);
        if (ret < 0) {
            av_frame_free(&send);
            return ret;
        }
    }
    if (end)
        return frame ? AVERROR(ENOMEM) : finish(c);
    if (!frame)
        return input ? 0 : rest(ctx, starving);
    if (!c->t0) {
        c->t0 = av_gettime_relative();
        if (c->o->pace == PACE_INPUT)
            c->first_pts = c->until - 1;
    }
    ret = send_frame(c, send, state);
    pthread_mutex_lock(&c->lock);
    av_frame_free(&c->shown);
    c->shown = send;
    pthread_mutex_unlock(&c->lock);
    ff_turbodiff_count_frame(c, state);
    return ret;
}

void ff_turbodiff_give_frame(TurboDiffChannel *c, AVFrame *frame, int64_t until)
{
    pthread_mutex_lock(&c->lock);
    FFSWAP(AVFrame *, c->newest, frame);
    c->until = until;
    pthread_cond_broadcast(&c->wake);
    pthread_mutex_unlock(&c->lock);
    av_frame_free(&frame);
}

void ff_turbodiff_end_input(TurboDiffChannel *c, int64_t until)
{
    pthread_mutex_lock(&c->lock);
    c->until       = until;
    c->whole       = !c->n_clips;
    c->input_ended = 1;
    pthread_mutex_unlock(&c->lock);
}

int ff_turbodiff_run_by_input(TurboDiffChannel *c)
{
    const TurboDiffContext *s = c->ctx->priv;
    int64_t n = c->n_out;
    int ret;

    if (c->shown && !c->t0) {                    /* of the filter before, which goes on, unless times have jumped */
        int64_t gap = av_rescale(MAX_BEHIND, s->frame_rate.num, INT64_C(1000000) * s->frame_rate.den);

        c->t0        = av_gettime_relative();
        c->first_pts = FFABS(c->until - c->shown->pts) < gap ? c->shown->pts : c->until - 1;
    }
    if (c->whole) {
        pthread_mutex_lock(&c->lock);
        c->stopping |= !!c->clips;
        pthread_mutex_unlock(&c->lock);
    } else if (c->t0 && c->first_pts + n >= c->until) {
        if (!c->input_ended)
            return 0;
        ret = finish(c);
        return ret < 0 ? ret : 1;
    }
    ret = ff_turbodiff_run_channel(c);
    return ret < 0 ? ret : c->n_out > n || c->input_ended || ff_outlink_get_status(c->ctx->outputs[0]);
}

/* ---- opening and closing ---- */

void ff_turbodiff_cancel(TurboDiffChannel *c)
{
    if (c->td)
        td_cancel(c->td);
}

int ff_turbodiff_open_channel(AVFilterContext *ctx, TurboDiffChannel **dst, const TurboDiffChannelOptions *o)
{
    TurboDiffContext *s = ctx->priv;
    TurboDiffChannel *c = *dst = av_mallocz(sizeof(*c));
    TurboDiffJob job = { 0 };
    int ret;

    if (!c)
        return AVERROR(ENOMEM);
    c->ctx = ctx;
    c->o   = o;
    c->programme.fd = -1;
    if (ff_turbodiff_parse_transition(o->transition, &c->transition) < 0) {
        av_log(ctx, AV_LOG_ERROR, "transition '%s': expected %s\n", o->transition, TRANSITION_WANT);
        return AVERROR(EINVAL);
    }
    if ((ret = ff_turbodiff_load_slate(c)) < 0 || o->from)
        return ret;
    if (o->programme) {
        if ((ret = ff_turbodiff_start_programme(ctx, &c->programme, o->name ? o->name : "programme", o->programme)) < 0)
            return ret;
        /* each clip brings its own: nothing to load from the options */
        return s->clean_prompt || (s->clean_prompt = av_strdup("")) ? 0 : AVERROR(ENOMEM);
    }
    if ((ret = ff_turbodiff_load_prompt(ctx)) < 0 ||
        (ret = ff_turbodiff_prompt_job(ctx, &job, s->params.prompt, NULL)) < 0)
        return ret;
    c->queue[c->nb_queue++] = job;
    return 0;
}

int ff_turbodiff_start_channel(TurboDiffChannel *c, const TDImage *image)
{
    TurboDiffContext *s = c->ctx->priv;
    int ret;

    c->image     = image;
    c->params    = s->params;
    c->nb_frames = s->nb_frames;
    if (s->seed_unknown && !c->o->from) {
        s->seed = ff_turbodiff_draw_seed(c->ctx);
        s->seed_unknown = 0;
    }
    c->seed = s->seed;
    c->fallback = c->o->fallback;
    s->interrupt   = c->ctx->graph->interrupt_callback;
    s->is_threaded = 1;
    c->td   = s->td;
    if ((ret = ff_turbodiff_check_transitions(c)) < 0 ||
        (ret = ff_turbodiff_claim_metrics(c)) < 0 ||
        (ret = ff_turbodiff_make_stills(c)) < 0)
        return ret;
    if ((ret = pthread_mutex_init(&c->lock, NULL)))
        return AVERROR(ret);
    if ((ret = pthread_cond_init(&c->wake, NULL))) {
        pthread_mutex_destroy(&c->lock);
        return AVERROR(ret);
    }
    c->has_lock = 1;
    ff_turbodiff_take_shown(c);
    if ((ret = pthread_create(&c->thread, NULL, c->o->from ? ff_turbodiff_relay : work, c)))
        return AVERROR(ret);
    c->has_thread = 1;
    return 0;
}

void ff_turbodiff_close_channel(TurboDiffChannel **channel)
{
    TurboDiffChannel *c = *channel;

    if (!c)
        return;
    if (c->has_thread) {
        pthread_mutex_lock(&c->lock);
        c->quit = 1;
        ff_turbodiff_cancel(c);
        pthread_cond_broadcast(&c->wake);
        pthread_mutex_unlock(&c->lock);
        pthread_join(c->thread, NULL);
        ff_turbodiff_write_metrics(c, 1);
    }
    ff_turbodiff_release_metrics(c);
    ff_turbodiff_keep_shown(c);
    while (c->clips) {
        TurboDiffClip *clip = c->clips;

        c->clips = clip->next;
        ff_turbodiff_free_clip(clip);
    }
    while (c->nb_queue)
        ff_turbodiff_free_job(&c->queue[--c->nb_queue]);
    ff_turbodiff_free_job(&c->last);
    ff_turbodiff_close_programme(&c->programme);
    ff_turbodiff_free_pictures(c);
    av_frame_free(&c->shown);
    av_frame_free(&c->under);
    ff_turbodiff_free_stills(c);
    av_free(c->negative);
    if (c->has_lock) {
        pthread_cond_destroy(&c->wake);
        pthread_mutex_destroy(&c->lock);
    }
    av_freep(channel);
}
