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
 * a thread that works on a filter's clip
 */

#include <string.h>

#include "libavutil/error.h"
#include "libavutil/mem.h"
#include "libavutil/thread.h"
#include "libavutil/time.h"
#include "buffersrc.h"
#include "filters.h"
#include "turbodiff_common.h"
#include "turbodiff_reader.h"

/* frames that wait to be taken: as many as a model decodes at a time */
#define AHEAD 4

/* microseconds that taking a frame waits for one: other filters want to run */
#define PERIOD 10000

struct TurboDiffReader {
    AVFilterContext *ctx;
    TurboDiffRead *read;
    pthread_t thread;
    int has_thread;
    int is_quiet;               ///< the last look that found nothing asked for no other one

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

        ret = r->read(r->ctx, &frame);
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

/* a CPU has nothing to do beside the graph's own work; and CUDA frames are of the graph's only device */
static int is_wanted(const TurboDiffContext *s)
{
    TDInfo info;

    return s->format != AV_PIX_FMT_CUDA && td_info(s->td, &info) >= 0 && strcmp(info.backend, "cpu");
}

int ff_turbodiff_open_reader(AVFilterContext *ctx, TurboDiffRead *read)
{
    TurboDiffContext *s = ctx->priv;
    TurboDiffReader *r;
    int ret;

    if (!is_wanted(s))
        return 0;
    if (!(r = av_mallocz(sizeof(*r))))
        return AVERROR(ENOMEM);
    r->ctx  = ctx;
    r->read = read;
    if ((ret = pthread_mutex_init(&r->lock, NULL)))
        goto fail;
    if ((ret = pthread_cond_init(&r->wake, NULL))) {
        pthread_mutex_destroy(&r->lock);
        goto fail;
    }
    s->interrupt   = ctx->graph->interrupt_callback;
    s->is_threaded = 1;
    s->reader      = r;
    if ((ret = pthread_create(&r->thread, NULL, work, r)))
        return AVERROR(ret);
    r->has_thread = 1;
    return 0;
fail:
    av_free(r);
    return AVERROR(ret);
}

int ff_turbodiff_is_starving(const AVFilterGraph *graph)
{
    for (unsigned i = 0; i < graph->nb_filters; i++) {
        AVFilterContext *f = graph->filters[i];

        if (!strcmp(f->filter->name, "buffer") && !ff_outlink_get_status(f->outputs[0]) &&
            av_buffersrc_get_nb_failed_requests(f))
            return 1;
    }
    return 0;
}

int ff_turbodiff_take(AVFilterContext *ctx, TurboDiffRead *read, AVFrame **out)
{
    TurboDiffContext *s = ctx->priv;
    TurboDiffReader *r = s->reader;
    int ret = AVERROR(EAGAIN);

    if (!r) {
        ret = read(ctx, out);
        if (ret == AVERROR(EAGAIN))
            ff_filter_set_ready(ctx, 100);
        return ret;
    }
    if (ff_turbodiff_interrupted(ctx))
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
    if (ret == AVERROR(EAGAIN)) {
        /* now and then nothing is asked for, so that another filter's input is read: it may have a clip to begin */
        r->is_quiet = !r->is_quiet && ff_turbodiff_is_starving(ctx->graph);
        if (!r->is_quiet)
            ff_filter_set_ready(ctx, 1);
    }
    return ret;
}

void ff_turbodiff_close_reader(AVFilterContext *ctx)
{
    TurboDiffContext *s = ctx->priv;
    TurboDiffReader *r = s->reader;

    if (!r)
        return;
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
    av_freep(&s->reader);
}
