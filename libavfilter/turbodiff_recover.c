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
 * what a channel does after an error
 */

#include <stdio.h>
#include <string.h>

#include "libavutil/avstring.h"
#include "libavutil/error.h"
#include "libavutil/log.h"
#include "libavutil/macros.h"
#include "libavutil/mem.h"
#include "libavutil/thread.h"
#include "libavutil/time.h"
#include "turbodiff_channel_priv.h"
#include "turbodiff_common.h"

/* seconds between an error and the next try, doubled each time up to the last one */
#define FIRST_PAUSE 1
#define LAST_PAUSE 60

/* filters whose last frame is kept */
#define MAX_SHOWN 16

/* a name of a device, of len characters, that the option device takes for one, or the CPU's */
static int is_device(const char *name, size_t len)
{
    if (len == 3 && !strncmp(name, "cpu", 3))
        return 1;
    return strspn(name, "0123456789") == len || (len > 4 && (av_strstart(name, "GPU-", NULL) || av_strstart(name, "MIG-", NULL))) ||
           (memchr(name, ':', len) && strspn(name, "0123456789abcdefABCDEF:.") >= len);
}

static int check_fallback(AVFilterContext *ctx, const char *fallback)
{
    for (const char *p = fallback; p; p = *p ? p + 1 : NULL) {
        size_t len = strcspn(p, "|");

        if (!len || !is_device(p, len)) {
            av_log(ctx, AV_LOG_ERROR, "fallback '%s': expected cpu, or a GPU's number, UUID (GPU-...) or PCI bus id, several "
                   "joined with |\n", fallback);
            return AVERROR(EINVAL);
        }
        p += len;
    }
    return 0;
}

int ff_turbodiff_check_channel(AVFilterContext *ctx, const TurboDiffChannelOptions *o, int channel, const char *want)
{
    const char *set = o->on_error != ERROR_STOP ? "on_error" : o->timeout != TURBODIFF_AUTO_TIMEOUT ? "timeout" :
                      o->metrics ? "metrics" : NULL;
    int ret;

    if (o->fallback && o->on_error != ERROR_RESTART) {
        av_log(ctx, AV_LOG_ERROR, "fallback: expected on_error=restart\n");
        return AVERROR(EINVAL);
    }
    if (set && !channel) {
        av_log(ctx, AV_LOG_ERROR, "%s: expected %s\n", set, want);
        return AVERROR(EINVAL);
    }
    ret = check_fallback(ctx, o->fallback);
    return ret < 0 ? ret : ff_turbodiff_check_metrics(ctx, o->metrics);
}

/* the next device of the list for the settings; @return 1 there was one, 0 there is none left */
static int take_device(TurboDiffChannel *c)
{
    TurboDiffContext *s = c->ctx->priv;
    size_t len;
    char *name;
    int cpu;

    if (!c->fallback || !*c->fallback)
        return 0;
    len  = strcspn(c->fallback, "|");
    cpu  = len == 3 && !strncmp(c->fallback, "cpu", 3);
    name = cpu ? av_strdup("auto") : av_strndup(c->fallback, len);
    if (!name)
        return AVERROR(ENOMEM);
    c->fallback += len + (c->fallback[len] == '|');
    av_free((char *)s->settings.card);
    s->settings.card    = name;
    s->settings.backend = cpu ? TD_BACKEND_CPU : TD_BACKEND_CUDA;
    return 1;
}

/* @return whether the channel is to end meanwhile */
static int wait_pause(TurboDiffChannel *c)
{
    int64_t until = av_gettime_relative() + c->pause * INT64_C(1000000);
    int quit;

    pthread_mutex_lock(&c->lock);
    while (!(quit = c->quit || c->input_ended || ff_turbodiff_interrupted(c->ctx)) && av_gettime_relative() < until)
        ff_turbodiff_wait(c, TURBODIFF_PERIOD);
    pthread_mutex_unlock(&c->lock);
    return quit;
}

/* whether no clip follows, and so no try */
static int is_last(TurboDiffChannel *c)
{
    int last;

    pthread_mutex_lock(&c->lock);
    last = c->input_ended ||
           (c->o->idle == IDLE_END && !ff_turbodiff_coming(c) && ff_turbodiff_programme_ended(&c->programme));
    pthread_mutex_unlock(&c->lock);
    return last;
}

/* what the filter's model is known by */
static char *model_key(AVFilterContext *ctx)
{
    const TurboDiffContext *s = ctx->priv;

    return av_asprintf("\n%s\n%s\n%s", ctx->name, s->settings.model ? s->settings.model : "",
                       s->settings.dit ? s->settings.dit : "");
}

/* last frames of filters that have ended, whose times are those of the ones to follow. A graph is built anew by the thread that
 * runs it: what another one keeps is of another stream */
static AVMutex shown_lock = AV_MUTEX_INITIALIZER;
static struct {
    char *key;
    pthread_t thread;
    AVFrame *frame;
} shown[MAX_SHOWN];
static unsigned next_shown;

/* exchange the frame that is kept for one, which may be NULL */
static void swap_shown(AVFilterContext *ctx, AVFrame **frame)
{
    char *key = model_key(ctx);
    int i;

    if (!key)
        return;
    ff_mutex_lock(&shown_lock);
    for (i = 0; i < MAX_SHOWN; i++)
        if (shown[i].key && !strcmp(shown[i].key, key) && pthread_equal(shown[i].thread, pthread_self()))
            break;
    if (i == MAX_SHOWN && *frame) {
        i = next_shown++ % MAX_SHOWN;
        av_free(shown[i].key);
        av_frame_free(&shown[i].frame);
        shown[i].key    = key;
        shown[i].thread = pthread_self();
        key = NULL;
    }
    if (i < MAX_SHOWN && shown[i].key)
        FFSWAP(AVFrame *, shown[i].frame, *frame);
    ff_mutex_unlock(&shown_lock);
    av_free(key);
}

void ff_turbodiff_keep_shown(TurboDiffChannel *c)
{
    AVFrame *frame = NULL;

    if (c->o->pace != PACE_INPUT || !c->shown || c->shown->hw_frames_ctx || !(frame = av_frame_clone(c->shown)))
        return;
    frame->pts = c->first_pts + c->n_out;
    swap_shown(c->ctx, &frame);
    av_frame_free(&frame);
}

void ff_turbodiff_take_shown(TurboDiffChannel *c)
{
    const TurboDiffContext *s = c->ctx->priv;

    if (c->o->pace != PACE_INPUT)
        return;
    swap_shown(c->ctx, &c->shown);
    if (c->shown && (c->shown->width != s->w || c->shown->height != s->h || c->shown->format != s->format))
        av_frame_free(&c->shown);
}

/* where clips begin with frames of an input, a model of another kind is as one that does not load */
static int open_model(TurboDiffChannel *c)
{
    TurboDiffContext *s = c->ctx->priv;
    int ret = ff_turbodiff_open(c->ctx);
    TDInfo info;

    if (ret < 0 || c->o->pace != PACE_INPUT || td_info(s->td, &info) < 0 || info.needs_image)
        return ret;
    av_log(c->ctx, AV_LOG_ERROR, "%s is a text-to-video model: expected an image-to-video model\n", info.model);
    td_close(&s->td);
    return AVERROR(EINVAL);
}

int ff_turbodiff_open_model(TurboDiffChannel *c)
{
    TurboDiffContext *s = c->ctx->priv;
    char *key = model_key(c->ctx), *kept = NULL, text[64];
    int w, h, frames, ret;
    TDInfo info;

    if (!key)
        return AVERROR(ENOMEM);
    ret = open_model(c);
    if (ret >= 0 && td_info(s->td, &info) >= 0) {
        c->needs_image  = info.needs_image;
        c->transformers = info.transformers;
        snprintf(text, sizeof(text), "%d %d %d %d %d", info.default_width, info.default_height, info.default_frames,
                 info.needs_image, info.transformers);
        ret = ff_turbodiff_keep_text(key, text);
    } else if (ret < 0 && ret != AVERROR_EXIT && c->o->on_error != ERROR_STOP && (kept = ff_turbodiff_kept_text(key)) &&
               sscanf(kept, "%d %d %d %d %d", &w, &h, &frames, &c->needs_image, &c->transformers) == 5) {
        ff_turbodiff_set_defaults(s, w, h, frames);
        c->unopened = ret;
        ret = 0;
    }
    av_free(kept);
    av_free(key);
    return ret;
}

int ff_turbodiff_recover(TurboDiffChannel *c, int err)
{
    AVFilterContext *ctx = c->ctx;
    TurboDiffContext *s = ctx->priv;
    const char *what = s->td ? "The clip is left out" : "The model is not loaded";
    int restart = c->o->on_error == ERROR_RESTART, reload = restart || !s->td, w = s->w, h = s->h;

    if (err == AVERROR_EXIT || c->o->on_error == ERROR_STOP || (!restart && err == AVERROR(EIO)))
        return 0;
    if (!reload && is_last(c)) {
        av_log(ctx, AV_LOG_WARNING, "%s: %s\n", what, av_err2str(err));
        return 1;
    }
    do {
        /* what fails to open is left for good, too */
        int moved = restart && (err == AVERROR(EIO) || !s->td) ? take_device(c) : 0;

        if (moved < 0)
            return 0;
        if (moved) {
            av_log(ctx, AV_LOG_WARNING, "%s: %s; device %s is next\n", what, av_err2str(err),
                   s->settings.backend == TD_BACKEND_CPU ? "cpu" : s->settings.card);
        } else {
            c->pause = c->pause ? FFMIN(c->pause * 2, LAST_PAUSE) : FIRST_PAUSE;
            av_log(ctx, AV_LOG_WARNING, "%s: %s; the next try is in %d s\n", what, av_err2str(err), c->pause);
            if (wait_pause(c))
                return 0;
        }
        if (!reload)
            return 1;
        pthread_mutex_lock(&c->lock);
        c->n_restarts++;
        c->td      = NULL;
        c->longest = c->slowest = 0;             /* of another device */
        pthread_mutex_unlock(&c->lock);
        td_close(&s->td);
        err = open_model(c);
        s->w = w;                                /* adaptive has set them, and the output is so */
        s->h = h;
        what = "The model is not loaded";
        if (err == AVERROR_EXIT)
            return 0;
    } while (err < 0);
    pthread_mutex_lock(&c->lock);
    c->td = s->td;
    pthread_mutex_unlock(&c->lock);
    return 1;
}
