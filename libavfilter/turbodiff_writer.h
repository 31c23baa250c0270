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

#ifndef AVFILTER_TURBODIFF_WRITER_H
#define AVFILTER_TURBODIFF_WRITER_H

/**
 * @file
 * A thread that writes a file anew each time, so that a disk that is slow keeps
 * nobody who sends frames.
 */

#include <stddef.h>

#include "avfilter.h"

typedef struct TurboDiffWriter TurboDiffWriter;

/**
 * Start the thread. Where none is to be had, texts are written by who hands them
 * over.
 *
 * @param option of which the file is, for the log
 * @param file   a regular file or none; of a link the file that it leads to. A
 *               device or a pipe stays as it is, with a warning
 * @return 0 or AVERROR(ENOMEM), *w is NULL then
 */
int ff_turbodiff_open_writer(AVFilterContext *ctx, TurboDiffWriter **w, const char *option, const char *file);

/**
 * Hand over what is to be in the file, and do not wait for it. Where the thread
 * is still busy with a text before, this one takes the place of any that waits.
 * A file that cannot be written has one warning, and the next text is tried
 * again.
 *
 * @param text len bytes by av_malloc(), the writer's from now on
 */
void ff_turbodiff_write_text(TurboDiffWriter *w, char *text, size_t len);

/**
 * Wait until the last text is written, and end the thread. NULL-safe, sets *w to
 * NULL.
 */
void ff_turbodiff_close_writer(TurboDiffWriter **w);

#endif /* AVFILTER_TURBODIFF_WRITER_H */
