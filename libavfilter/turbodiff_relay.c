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

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "libavcodec/avcodec.h"
#include "libavformat/avformat.h"
#include "libavutil/avstring.h"
#include "libavutil/dict.h"
#include "libavutil/error.h"
#include "libavutil/log.h"
#include "libavutil/mathematics.h"
#include "libavutil/mem.h"
#include "libavutil/pixdesc.h"
#include "libavutil/time.h"
#include "libswscale/swscale.h"
#include "turbodiff_channel_priv.h"
#include "turbodiff_common.h"
#include "turbodiff_convert.h"
#include "turbodiff_picture.h"

/* seconds of frames that are taken ahead of the one on air */
#define AHEAD 2

/* microseconds between two tries to listen, and two looks at the path */
#define PAUSE 1000000

/* milliseconds that a wait for the other process lasts before it is seen whether the channel ends */
#define POLL_MS 20

#define BUFFER_SIZE 65536

/* FFmpeg's unix protocol listens no more while a process is connected, when nobody could tell whether the path is in use,
 * and removes whatever is at the path: the socket is this file's own */
typedef struct Relay {
    TurboDiffChannel *c;
    int listener, peer;         ///< -1: none
    dev_t dev;                  ///< with ino, of the listener's path
    ino_t ino;
} Relay;

static int is_ending(void *arg)
{
    TurboDiffChannel *c = arg;
    int quit;

    pthread_mutex_lock(&c->lock);
    quit = c->quit || c->stopping;
    pthread_mutex_unlock(&c->lock);
    return quit || ff_turbodiff_interrupted(c->ctx);
}

static int open_socket(void)
{
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    if (fd >= 0 && (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 || fcntl(fd, F_SETFL, O_NONBLOCK) < 0)) {
        close(fd);
        return -1;
    }
    return fd;
}

static int is_own(const Relay *r)
{
    struct stat st;

    return !lstat(r->c->o->from, &st) && st.st_dev == r->dev && st.st_ino == r->ino;
}

static void close_listener(Relay *r)
{
    if (r->listener < 0)
        return;
    if (is_own(r))
        unlink(r->c->o->from);
    close(r->listener);
    r->listener = -1;
}

/* remove a socket that nobody listens at; else say what is in the way */
static int clear_path(Relay *r, const struct sockaddr_un *addr, int level)
{
    const char *path = r->c->o->from, *kind;
    struct stat st;
    int fd, err;

    if (lstat(path, &st) < 0)
        return 0;                                /* bind() finds what else is wrong */
    if (!S_ISSOCK(st.st_mode)) {
        kind = S_ISDIR(st.st_mode) ? "a directory" : S_ISREG(st.st_mode) ? "a regular file" :
               S_ISLNK(st.st_mode) ? "a symbolic link" : "no socket";
        av_log(r->c->ctx, level, "from '%s' is %s: expected a socket, or a path where one can be made\n", path, kind);
        return AVERROR(EINVAL);
    }
    fd  = open_socket();
    err = fd < 0 || connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0 ? errno : 0;
    if (fd >= 0)
        close(fd);
    if (err == ENOENT)                           /* its process has just ended */
        return 0;
    if (err == ECONNREFUSED) {
        if (!unlink(path) || errno == ENOENT)
            return 0;
        err = errno;
    } else if (!err || err == EAGAIN || err == EPROTOTYPE) {
        av_log(r->c->ctx, level, "from '%s' is in use by another process: expected a socket that nobody listens at\n", path);
        return AVERROR(EADDRINUSE);
    }
    av_log(r->c->ctx, level, "from '%s': a socket that cannot be taken over: %s; expected one of this user, or a path "
           "where one can be made\n", path, av_err2str(AVERROR(err)));
    return AVERROR(err);
}

/* listen at the path; level: of the line that says why not */
static int open_listener(Relay *r, int level)
{
    const char *path = r->c->o->from;
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    struct stat st;
    int ret;

    av_strlcpy(addr.sun_path, path, sizeof(addr.sun_path));       /* it fits: the option was checked */
    if ((ret = clear_path(r, &addr, level)) < 0)
        return ret;
    if ((r->listener = open_socket()) < 0 || bind(r->listener, (const struct sockaddr *)&addr, sizeof(addr)) < 0)
        goto fail;
    if (lstat(path, &st) < 0)
        goto fail;
    r->dev = st.st_dev;
    r->ino = st.st_ino;
    if (listen(r->listener, 1) >= 0)
        return 0;
    ret = AVERROR(errno);
    close_listener(r);
    errno = AVUNERROR(ret);
fail:
    ret = AVERROR(errno);
    if (r->listener >= 0)
        close(r->listener);
    r->listener = -1;
    av_log(r->c->ctx, level, "from '%s': %s: expected a path where a socket can be made\n", path, av_err2str(ret));
    return ret;
}

/* the next process that sends something; who connects and goes only looked whether somebody listens */
static int accept_peer(Relay *r)
{
    int64_t look = av_gettime_relative() + PAUSE;
    char byte;

    while (!is_ending(r->c)) {
        struct pollfd p = { r->peer >= 0 ? r->peer : r->listener, POLLIN };

        if (av_gettime_relative() >= look) {
            if (!is_own(r))
                return AVERROR(EAGAIN);
            look = av_gettime_relative() + PAUSE;
        }
        if (poll(&p, 1, POLL_MS) <= 0)
            continue;
        if (r->peer < 0) {
            r->peer = accept(r->listener, NULL, NULL);
            if (r->peer >= 0 && fcntl(r->peer, F_SETFD, FD_CLOEXEC) >= 0 && fcntl(r->peer, F_SETFL, O_NONBLOCK) >= 0)
                continue;
        } else if (recv(r->peer, &byte, 1, MSG_PEEK) == 1) {
            return 0;
        }
        if (r->peer >= 0)
            close(r->peer);
        r->peer = -1;
    }
    return AVERROR_EXIT;
}

/* of the process that is connected; others that would be so are turned away */
static int receive(void *opaque, uint8_t *buf, int size)
{
    Relay *r = opaque;

    while (!is_ending(r->c)) {
        struct pollfd p[2] = { { r->peer, POLLIN }, { r->listener, POLLIN } };
        ssize_t n;
        int other;

        if (poll(p, 2, POLL_MS) <= 0)
            continue;
        if (p[1].revents && (other = accept(r->listener, NULL, NULL)) >= 0)
            close(other);
        if (!p[0].revents)
            continue;
        n = recv(r->peer, buf, size, 0);
        if (n >= 0)
            return n ? n : AVERROR_EOF;
        if (errno != EAGAIN && errno != EINTR)
            return AVERROR(errno);
    }
    return AVERROR_EXIT;
}

/* the stream of the process that is connected, and its decoder */
static int open_stream(Relay *r, AVIOContext **pb, AVFormatContext **fmt, AVCodecContext **dec, int *stream)
{
    const AVInputFormat *format = av_find_input_format("nut");
    uint8_t *buf = av_malloc(BUFFER_SIZE);
    int ret;

    if (!buf || !(*pb = avio_alloc_context(buf, BUFFER_SIZE, 0, r, receive, NULL, NULL))) {
        av_free(buf);
        return AVERROR(ENOMEM);
    }
    if (!format)
        return AVERROR_DEMUXER_NOT_FOUND;
    if (!(*fmt = avformat_alloc_context()))
        return AVERROR(ENOMEM);
    (*fmt)->pb = *pb;
    (*fmt)->interrupt_callback = (AVIOInterruptCB){ is_ending, r->c };
    if ((ret = avformat_open_input(fmt, NULL, format, NULL)) < 0 || (ret = avformat_find_stream_info(*fmt, NULL)) < 0)
        return ret;
    return ff_turbodiff_open_decoder(*fmt, dec, stream);
}

/* nut does not tell colours: the other process's are what all of these filters make */
static void set_colours(AVFrame *frame)
{
    const AVPixFmtDescriptor *desc = av_pix_fmt_desc_get(frame->format);

    if (frame->colorspace == AVCOL_SPC_UNSPECIFIED && !(desc->flags & AV_PIX_FMT_FLAG_RGB))
        frame->colorspace = AVCOL_SPC_BT709;
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
    frame->format = ff_turbodiff_pixels(s);
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
    if ((ret = ff_turbodiff_place(c->ctx, &frame)) < 0)
        goto fail;
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
            while (ret >= 0 && avcodec_receive_frame(dec, from) >= 0) {
                set_colours(from);
                if ((ret = convert(c, &frame, from)) >= 0)
                    ret = append(c, frame);
            }
        av_packet_unref(pkt);
    }
    av_packet_free(&pkt);
    av_frame_free(&from);
    return ret;
}

/* one process, from its first byte to its end */
static int serve(Relay *r)
{
    AVFormatContext *fmt = NULL;
    AVCodecContext *dec = NULL;
    AVIOContext *pb = NULL;
    int stream, ret = open_stream(r, &pb, &fmt, &dec, &stream);

    if (ret >= 0) {
        av_log(r->c->ctx, AV_LOG_INFO, "from '%s': a process sends frames of %dx%d\n", r->c->o->from, dec->width, dec->height);
        ret = take_frames(r->c, fmt, dec, stream);
    }
    avcodec_free_context(&dec);
    avformat_close_input(&fmt);
    if (pb)
        av_freep(&pb->buffer);
    avio_context_free(&pb);
    close(r->peer);
    r->peer = -1;
    if (is_ending(r->c))
        ;
    else if (ret == AVERROR_EOF)
        av_log(r->c->ctx, AV_LOG_WARNING, "from '%s': the process has gone; waiting for the next one\n", r->c->o->from);
    else
        av_log(r->c->ctx, AV_LOG_WARNING, "from '%s': %s; waiting for the next process\n", r->c->o->from, av_err2str(ret));
    return ret;
}

void *ff_turbodiff_relay(void *arg)
{
    TurboDiffChannel *c = arg;
    Relay r = { c, -1, -1 };
    int error = open_listener(&r, AV_LOG_ERROR), ret = error, warned = 0;

    while (error >= 0 && !is_ending(c)) {
        /* somebody has removed the path: the next process would not find it */
        if (r.listener < 0 || !is_own(&r)) {
            close_listener(&r);
            ret = open_listener(&r, warned ? AV_LOG_DEBUG : AV_LOG_WARNING);
            warned = ret < 0;
        }
        if (r.listener >= 0 && (ret = accept_peer(&r)) >= 0)
            ret = serve(&r);
        pthread_mutex_lock(&c->lock);
        for (int64_t until = av_gettime_relative() + PAUSE;
             ret < 0 && ret != AVERROR_EOF && !c->quit && !c->stopping && av_gettime_relative() < until;)
            ff_turbodiff_wait(c, TURBODIFF_PERIOD);
        pthread_mutex_unlock(&c->lock);
    }
    if (r.peer >= 0)
        close(r.peer);
    close_listener(&r);
    pthread_mutex_lock(&c->lock);
    c->error = FFMIN(error, 0);
    c->ended = 1;
    pthread_cond_broadcast(&c->wake);
    pthread_mutex_unlock(&c->lock);
    return NULL;
}
