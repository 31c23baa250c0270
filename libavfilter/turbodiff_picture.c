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
 * a picture from a file: JPEG by libturbodiff, whose pixels are those of
 * the official programs, and all else that libavformat and libavcodec read
 */

#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libavcodec/avcodec.h"
#include "libavformat/avformat.h"
#include "libavutil/avstring.h"
#include "libavutil/dict.h"
#include "libavutil/error.h"
#include "libavutil/file_open.h"
#include "libavutil/log.h"
#include "libavutil/mem.h"
#include "filters.h"
#include "turbodiff_common.h"
#include "turbodiff_convert.h"
#include "turbodiff_picture.h"

/* as libturbodiff takes them */
#define MAX_PIXELS (1 << 27)

enum { OTHER, JPEG, NO_FILE };

/* of a file; a name that is none may be a URL */
static int kind(AVFilterContext *ctx, const char *option, const char *path)
{
    uint8_t start[3] = { 0 };
    struct stat st;
    int fd = avpriv_open(path, O_RDONLY | O_NONBLOCK);
    int ret = NO_FILE;

    if (fd < 0)
        return ret;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        av_log(ctx, AV_LOG_ERROR, "%s '%s' is no regular file: expected a picture\n", option, path);
        ret = AVERROR(EINVAL);
    } else {
        ret = read(fd, start, sizeof(start)) == sizeof(start) && !memcmp(start, "\xff\xd8\xff", 3) ? JPEG : OTHER;
    }
    close(fd);
    return ret;
}

static int is_interrupted(void *ctx)
{
    return ff_filter_interrupted(ctx);
}

static int open_input(AVFormatContext **fmt, const char *url, const AVIOInterruptCB *interrupt)
{
    AVDictionary *options = NULL;
    int ret;

    *fmt = avformat_alloc_context();
    if (!*fmt)
        return AVERROR(ENOMEM);
    (*fmt)->interrupt_callback = *interrupt;
    /* a % in a name is no counter */
    if ((ret = av_dict_set(&options, "pattern_type", "none", 0)) >= 0)
        ret = avformat_open_input(fmt, url, NULL, &options);
    av_dict_free(&options);
    return ret < 0 ? ret : avformat_find_stream_info(*fmt, NULL);
}

int ff_turbodiff_open_decoder(AVFormatContext *fmt, AVCodecContext **dec, int *stream)
{
    const AVCodec *codec;
    int ret;

    *stream = ret = av_find_best_stream(fmt, AVMEDIA_TYPE_VIDEO, -1, -1, &codec, 0);
    if (ret < 0)
        return ret;
    *dec = avcodec_alloc_context3(codec);
    if (!*dec)
        return AVERROR(ENOMEM);
    if ((ret = avcodec_parameters_to_context(*dec, fmt->streams[*stream]->codecpar)) < 0)
        return ret;
    /* the TIFF decoder takes a tag that it does not know for an error then */
    if (codec->id != AV_CODEC_ID_TIFF)
        (*dec)->err_recognition |= AV_EF_EXPLODE;
    (*dec)->max_pixels       = MAX_PIXELS;
    return avcodec_open2(*dec, codec, NULL);
}

static int read_first(AVFormatContext *fmt, AVCodecContext *dec, int stream, AVFrame *frame)
{
    AVPacket *pkt = av_packet_alloc();
    int ret;

    if (!pkt)
        return AVERROR(ENOMEM);
    while ((ret = avcodec_receive_frame(dec, frame)) == AVERROR(EAGAIN)) {
        ret = av_read_frame(fmt, pkt);
        if (ret == AVERROR_EOF)
            ret = avcodec_send_packet(dec, NULL);
        else if (ret >= 0 && pkt->stream_index == stream)
            ret = avcodec_send_packet(dec, pkt);
        av_packet_unref(pkt);
        if (ret < 0)
            break;
    }
    av_packet_free(&pkt);
    /* part of a picture is none */
    return ret == AVERROR_EOF || (ret >= 0 && (frame->decode_error_flags || frame->flags & AV_FRAME_FLAG_CORRUPT)) ?
           AVERROR_INVALIDDATA : ret;
}

static int decode(AVFilterContext *ctx, TurboDiffPicture *p, const char *url)
{
    const AVIOInterruptCB interrupt = { is_interrupted, ctx };
    AVFrame *frame = av_frame_alloc();
    AVFormatContext *fmt = NULL;
    AVCodecContext *dec = NULL;
    unsigned warned = 0;
    int stream, ret = AVERROR(ENOMEM);

    if (frame &&
        (ret = open_input(&fmt, url, &interrupt)) >= 0 &&
        (ret = ff_turbodiff_open_decoder(fmt, &dec, &stream)) >= 0 &&
        (ret = read_first(fmt, dec, stream, frame)) >= 0 &&
        (ret = ff_turbodiff_check_frame(ctx, frame, 0, &warned)) >= 0 &&
        (ret = ff_turbodiff_to_rgb(ctx, &p->frame, frame)) >= 0)
        p->image = (TDImage){ p->frame->width, p->frame->height, p->frame->linesize[0], p->frame->data[0] };
    avcodec_free_context(&dec);
    avformat_close_input(&fmt);
    av_frame_free(&frame);
    return ret;
}

int ff_turbodiff_load_picture(AVFilterContext *ctx, TurboDiffPicture *p, const char *option, const char *path)
{
    char *url;
    int ret = kind(ctx, option, path);

    memset(p, 0, sizeof(*p));
    if (ret < 0)
        return ret;
    if (ret == JPEG)
        return ff_turbodiff_load_jpeg(ctx, &p->image, path);
    url = av_asprintf("%s%s", ret == NO_FILE ? "" : "file:", path);
    if (!url)
        return AVERROR(ENOMEM);
    ret = decode(ctx, p, url);
    av_free(url);
    if (ret < 0 && ret != AVERROR_EXIT)
        av_log(ctx, AV_LOG_ERROR, "%s '%s' cannot be read: %s; expected a picture in a format that FFmpeg was built "
               "with\n", option, path, av_err2str(ret));
    return ret;
}

void ff_turbodiff_free_picture(TurboDiffPicture *p)
{
    if (p->frame)
        av_frame_free(&p->frame);
    else
        td_image_free(&p->image);
    memset(p, 0, sizeof(*p));
}
