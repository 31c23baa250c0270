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
 * a channel whose frames another process makes: its thread listens for that
 * process, takes frames while one is connected, and listens again when that one
 * has gone
 */

#include "config.h"

#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libavcodec/avcodec.h"
#include "libavformat/avformat.h"
#include "libavutil/avstring.h"
#include "libavutil/dict.h"
#include "libavutil/error.h"
#include "libavutil/log.h"
#include "libavutil/mathematics.h"
#include "libavutil/mem.h"
#include "libavutil/time.h"
#include "libswscale/swscale.h"
#include "turbodiff_channel_priv.h"
#include "turbodiff_common.h"
#include "turbodiff_convert.h"
#include "turbodiff_picture.h"

/* seconds of frames that are taken ahead of the one on air */
#define AHEAD 2

/* microseconds between two tries to listen */
#define PAUSE 1000000

static int is_ending(void *arg)
{
    TurboDiffChannel *c = arg;
    int quit;

    pthread_mutex_lock(&c->lock);
    quit = c->quit || c->stopping;
    pthread_mutex_unlock(&c->lock);
    return quit || ff_turbodiff_interrupted(c->ctx);
}

/* a socket that an earlier process has left would be in the way */
static void remove_socket(const char *path)
{
    struct stat st;

    if (!lstat(path, &st) && S_ISSOCK(st.st_mode))
        unlink(path);
}

/* a frame of the output's kind of one of the other process's */
static int convert(TurboDiffChannel *c, AVFrame **dst, const AVFrame *src)
{
    const TurboDiffContext *s = c->ctx->priv;
    struct SwsContext *sws;
    AVFrame *frame = av_frame_alloc();
    int ret;

    if (!frame)
        return AVERROR(ENOMEM);
    frame->format = s->format;
    frame->width  = s->w;
    frame->height = s->h;
    ff_turbodiff_set_props(c->ctx, frame, (AVRational){ 1, 1 });
    /* the IPTC term, which a mark wants to see */
    if ((ret = av_frame_get_buffer(frame, 0)) < 0 ||
        (ret = av_dict_set(&frame->metadata, "lavfi.turbodiff.digital_source_type", "trainedAlgorithmicMedia", 0)) < 0)
        goto fail;
    if (src->format == frame->format && src->width == frame->width && src->height == frame->height) {
        if ((ret = av_frame_copy(frame, src)) < 0)
            goto fail;
    } else {
        if (!(sws = ff_turbodiff_open_scaler(frame, src))) {
            ret = AVERROR(EINVAL);
            goto fail;
        }
        ff_turbodiff_scale(sws, frame, src);
        sws_freeContext(sws);
    }
    *dst = frame;
    return 0;
fail:
    av_frame_free(&frame);
    return ret;
}

/* a frame as a clip of one, which waits for its turn */
static int append(TurboDiffChannel *c, AVFrame *frame)
{
    const TurboDiffContext *s = c->ctx->priv;
    TurboDiffClip *clip = av_mallocz(sizeof(*clip)), **last;
    int n;

    if (!clip || !(clip->frames = av_calloc(1, sizeof(*clip->frames)))) {
        av_free(clip);
        av_frame_free(&frame);
        return AVERROR(ENOMEM);
    }
    clip->frames[0] = frame;
    clip->nb_frames = clip->nb_made = clip->done = 1;
    pthread_mutex_lock(&c->lock);
    for (;;) {
        for (n = 0, last = &c->clips; *last; last = &(*last)->next)
            n++;
        if (n < AHEAD * av_q2d(s->frame_rate) || c->quit || c->stopping)
            break;
        ff_turbodiff_wait(c, TURBODIFF_PERIOD);
    }
    clip->number = c->number++;
    *last = clip;
    pthread_cond_broadcast(&c->wake);
    pthread_mutex_unlock(&c->lock);
    return 0;
}

/* frames until the other process has gone */
static int take_frames(TurboDiffChannel *c, AVFormatContext *fmt, AVCodecContext *dec, int stream)
{
    AVPacket *pkt = av_packet_alloc();
    AVFrame *from = av_frame_alloc(), *frame;
    int ret = pkt && from ? 0 : AVERROR(ENOMEM);

    while (ret >= 0 && !is_ending(c) && (ret = av_read_frame(fmt, pkt)) >= 0) {
        /* what is cut short, as its process was, is no frame */
        if (pkt->stream_index == stream && !(pkt->flags & AV_PKT_FLAG_CORRUPT) && avcodec_send_packet(dec, pkt) >= 0)
            while (ret >= 0 && avcodec_receive_frame(dec, from) >= 0)
                if ((ret = convert(c, &frame, from)) >= 0)
                    ret = append(c, frame);
        av_packet_unref(pkt);
    }
    av_packet_free(&pkt);
    av_frame_free(&from);
    return ret;
}

void *ff_turbodiff_relay(void *arg)
{
    TurboDiffChannel *c = arg;
    const AVIOInterruptCB interrupt = { is_ending, c };
    char *url = av_asprintf("unix:%s", c->o->from);
    int warned = 0;

    while (!is_ending(c)) {
        AVFormatContext *fmt = NULL;
        AVCodecContext *dec = NULL;
        int stream, ret;

        remove_socket(c->o->from);
        ret = url ? ff_turbodiff_open_video(&fmt, &dec, &stream, url, 1, &interrupt) : AVERROR(ENOMEM);
        if (ret >= 0) {
            av_log(c->ctx, AV_LOG_INFO, "from '%s': a process sends frames of %dx%d\n", c->o->from, dec->width, dec->height);
            warned = 0;
            ret = take_frames(c, fmt, dec, stream);
        }
        avcodec_free_context(&dec);
        avformat_close_input(&fmt);
        if (is_ending(c) || warned)
            ;
        else if (ret == AVERROR_EOF)
            av_log(c->ctx, AV_LOG_WARNING, "from '%s': the process has gone; waiting for the next one\n", c->o->from);
        else
            av_log(c->ctx, AV_LOG_WARNING, "from '%s': %s; waiting for the next process\n", c->o->from, av_err2str(ret));
        warned = 1;
        pthread_mutex_lock(&c->lock);
        for (int64_t until = av_gettime_relative() + PAUSE;
             ret < 0 && ret != AVERROR_EOF && !c->quit && !c->stopping && av_gettime_relative() < until;)
            ff_turbodiff_wait(c, TURBODIFF_PERIOD);
        pthread_mutex_unlock(&c->lock);
    }
    av_free(url);
    pthread_mutex_lock(&c->lock);
    c->ended = 1;
    pthread_cond_broadcast(&c->wake);
    pthread_mutex_unlock(&c->lock);
    return NULL;
}
