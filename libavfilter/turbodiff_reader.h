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

#ifndef AVFILTER_TURBODIFF_READER_H
#define AVFILTER_TURBODIFF_READER_H

/**
 * @file
 * A thread that works on a filter's clip, some frames ahead, so that filters of
 * one graph use their devices at the same time.
 */

#include "libavutil/frame.h"
#include "avfilter.h"

typedef struct TurboDiffReader TurboDiffReader;

/**
 * As ff_turbodiff_read().
 */
typedef int TurboDiffRead(AVFilterContext *ctx, AVFrame **out);

/**
 * Start the thread, where the clip is started and its device can work beside the
 * graph; else there is none.
 *
 * @param read what the thread calls
 */
int ff_turbodiff_open_reader(AVFilterContext *ctx, TurboDiffRead *read);

/**
 * Take what the thread has read, for which it waits a short time, and where
 * there is no thread, read. With AVERROR(EAGAIN) the filter is made ready again,
 * after others of the graph.
 */
int ff_turbodiff_take(AVFilterContext *ctx, TurboDiffRead *read, AVFrame **out);

/**
 * Whether an input of the graph has been asked for a frame, which comes when no
 * filter is ready.
 */
int ff_turbodiff_is_starving(const AVFilterGraph *graph);

/**
 * Stop the thread. Safe to call again, and done by ff_turbodiff_start() and
 * ff_turbodiff_close().
 */
void ff_turbodiff_close_reader(AVFilterContext *ctx);

#endif /* AVFILTER_TURBODIFF_READER_H */
