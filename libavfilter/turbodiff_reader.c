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
 * a thread that works on the clip of a source
 */

#include <string.h>

#include "libavutil/error.h"
#include "libavutil/mem.h"
#include "libavutil/thread.h"
#include "libavutil/time.h"
#include "filters.h"
#include "turbodiff_common.h"
#include "turbodiff_reader.h"

/* frames that wait to be taken: as many as a model decodes at a time */
#define AHEAD 4

/* microseconds that taking a frame waits for one: other filters want to run */
#define PERIOD 10000

struct TurboDiffReader {
    AVFilterContext *ctx;
    pthread_t thread;
    int has_thread;

    /* of both threads, under the lock */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    AVFrame *frames[AHEAD];
    int nb_frames;
    int quit;
    int ended;                  ///< no more frames come, and
    int ret;                    ///< this is why
};

static void *work(void *arg)
{
    TurboDiffReader *r = arg;
    int ret = 1;

    while (ret == 1 || ret == AVERROR(EAGAIN)) {
        AVFrame *frame = NULL;

        ret = ff_turbodiff_read(r->ctx, &frame);
        pthread_mutex_lock(&r->lock);
        while (ret == 1 && r->nb_frames == AHEAD && !r->quit)
            pthread_cond_wait(&r->wake, &r->lock);
        if (r->quit)
            ret = AVERROR_EXIT;
        else if (ret == 1)
            r->frames[r->nb_frames++] = frame, frame = NULL;
        pthread_cond_broadcast(&r->wake);
        pthread_mutex_unlock(&r->lock);
        av_frame_free(&frame);
    }
    pthread_mutex_lock(&r->lock);
    r->ended = 1;
    r->ret   = ret;
    pthread_cond_broadcast(&r->wake);
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

int ff_turbodiff_open_reader(AVFilterContext *ctx, TurboDiffReader **reader)
{
    TurboDiffContext *s = ctx->priv;
    TurboDiffReader *r = av_mallocz(sizeof(*r));
    int ret;

    if (!r)
        return AVERROR(ENOMEM);
    r->ctx = ctx;
    if ((ret = pthread_mutex_init(&r->lock, NULL)))
        goto fail;
    if ((ret = pthread_cond_init(&r->wake, NULL))) {
        pthread_mutex_destroy(&r->lock);
        goto fail;
    }
    s->interrupt   = ctx->graph->interrupt_callback;
    s->is_threaded = 1;
    *reader = r;
    if ((ret = pthread_create(&r->thread, NULL, work, r)))
        return AVERROR(ret);
    r->has_thread = 1;
    return 0;
fail:
    av_free(r);
    return AVERROR(ret);
}

int ff_turbodiff_take(TurboDiffReader *r, AVFrame **out)
{
    int ret = AVERROR(EAGAIN);

    if (ff_turbodiff_interrupted(r->ctx))
        return AVERROR_EXIT;
    pthread_mutex_lock(&r->lock);
    if (!r->nb_frames && !r->ended) {
        int64_t t = av_gettime() + PERIOD;
        struct timespec until = { t / 1000000, t % 1000000 * 1000 };

        pthread_cond_timedwait(&r->wake, &r->lock, &until);
    }
    if (r->nb_frames) {
        *out = r->frames[0];
        memmove(r->frames, r->frames + 1, --r->nb_frames * sizeof(*r->frames));
        pthread_cond_broadcast(&r->wake);
        ret = 1;
    } else if (r->ended) {
        ret = r->ret;
    }
    pthread_mutex_unlock(&r->lock);
    return ret;
}

void ff_turbodiff_close_reader(TurboDiffReader **reader)
{
    TurboDiffReader *r = *reader;
    TurboDiffContext *s;

    if (!r)
        return;
    s = r->ctx->priv;
    if (r->has_thread) {
        pthread_mutex_lock(&r->lock);
        r->quit = 1;
        td_cancel(s->td);
        pthread_cond_broadcast(&r->wake);
        pthread_mutex_unlock(&r->lock);
        pthread_join(r->thread, NULL);
    }
    while (r->nb_frames)
        av_frame_free(&r->frames[--r->nb_frames]);
    pthread_cond_destroy(&r->wake);
    pthread_mutex_destroy(&r->lock);
    av_freep(reader);
}
