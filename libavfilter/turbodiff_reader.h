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
 * A thread that works on the clip of a source, some frames ahead, so that
 * sources of one graph use their devices at the same time.
 */

#include "libavutil/frame.h"
#include "avfilter.h"

typedef struct TurboDiffReader TurboDiffReader;

/**
 * Start the thread, where the clip is started.
 */
int ff_turbodiff_open_reader(AVFilterContext *ctx, TurboDiffReader **reader);

/**
 * As ff_turbodiff_read(), which is called by the thread; waits for a short
 * time.
 */
int ff_turbodiff_take(TurboDiffReader *r, AVFrame **out);

/**
 * Stop the thread. To be called before ff_turbodiff_close(). NULL-safe, sets
 * *reader to NULL.
 */
void ff_turbodiff_close_reader(TurboDiffReader **reader);

#endif /* AVFILTER_TURBODIFF_READER_H */
