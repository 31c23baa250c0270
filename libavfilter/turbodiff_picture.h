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

#ifndef AVFILTER_TURBODIFF_PICTURE_H
#define AVFILTER_TURBODIFF_PICTURE_H

#include <turbodiff.h>

#include "libavcodec/avcodec.h"
#include "libavformat/avformat.h"
#include "libavutil/frame.h"
#include "avfilter.h"

/**
 * A picture that is to be the first frame, or a slate.
 */
typedef struct TurboDiffPicture {
    TDImage image;
    AVFrame *frame;             ///< whose pixels those of image are, NULL if they are libturbodiff's
} TurboDiffPicture;

/**
 * Read a picture file.
 *
 * @param option whose value path is, for messages
 * @return >= 0, AVERROR_EXIT interrupted, other < 0 error that has been logged.
 *         To be freed with ff_turbodiff_free_picture() in any case.
 */
int ff_turbodiff_load_picture(AVFilterContext *ctx, TurboDiffPicture *p, const char *option, const char *path);

/**
 * Open a decoder of the best video stream, one that takes damage for an error.
 *
 * @return >= 0 or an error, which is not logged. To be freed with
 *         avcodec_free_context() in any case.
 */
int ff_turbodiff_open_decoder(AVFormatContext *fmt, AVCodecContext **dec, int *stream);

/**
 * Safe to call again.
 */
void ff_turbodiff_free_picture(TurboDiffPicture *p);

#endif /* AVFILTER_TURBODIFF_PICTURE_H */
