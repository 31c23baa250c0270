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

#ifndef AVFILTER_TURBODIFF_CONVERT_H
#define AVFILTER_TURBODIFF_CONVERT_H

/**
 * @file
 * Frames of the input and of clips: what their colours are, and the way from
 * one kind of frame to another.
 */

#include "libavutil/frame.h"
#include "libswscale/swscale.h"
#include "avfilter.h"

/**
 * The format of the pixels, wherever they are.
 */
enum AVPixelFormat ff_turbodiff_sw_format(const AVFrame *frame);

int ff_turbodiff_is_full_range(const AVFrame *frame);

/**
 * Whether libswscale converts this matrix.
 *
 * @param format of the pixels, in memory
 * @return 0 or an error that has been logged
 */
int ff_turbodiff_check_matrix(AVFilterContext *ctx, enum AVPixelFormat format, enum AVColorSpace space);

/**
 * Check a frame that clips start from. What the model has no idea of is an
 * error, or where the colours stay as they are, a warning.
 *
 * @param keep   whether the output has the colours of the input
 * @param warned bits of the warnings so far; each is given once
 * @return 0 or an error that has been logged
 */
int ff_turbodiff_check_frame(AVFilterContext *ctx, const AVFrame *frame, int keep, unsigned *warned);

/**
 * A scaler from src to dst, both in memory, colours of both sides as their
 * frames say; what is not said is as everywhere in FFmpeg.
 */
struct SwsContext *ff_turbodiff_open_scaler(const AVFrame *dst, const AVFrame *src);

void ff_turbodiff_scale(struct SwsContext *sws, AVFrame *dst, const AVFrame *src);

/**
 * Make a frame in RGB24 of one of any kind and size, wherever it is.
 *
 * @return 0 or an error that has been logged, or AVERROR(ENOMEM)
 */
int ff_turbodiff_to_rgb(AVFilterContext *ctx, AVFrame **rgb, const AVFrame *from);

/**
 * Make a frame in memory of one of a device.
 */
int ff_turbodiff_download(AVFilterContext *ctx, AVFrame **sw, const AVFrame *from);

/**
 * Make a frame in memory one of the device and size of another. Where that
 * fails it stays as it is.
 */
int ff_turbodiff_upload(AVFilterContext *ctx, AVFrame **frame, const AVFrame *like);

/**
 * Make a frame in memory, of the pixels and size that are made, one of where those
 * are. Where that fails it stays as it is.
 */
int ff_turbodiff_place(AVFilterContext *ctx, AVFrame **frame);

/**
 * Copy the orientation, and what else belongs to all frames of a video.
 */
int ff_turbodiff_copy_side_data(AVFrame *dst, const AVFrame *src);

#endif /* AVFILTER_TURBODIFF_CONVERT_H */
