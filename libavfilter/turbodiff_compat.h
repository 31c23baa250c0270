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

#ifndef AVFILTER_TURBODIFF_COMPAT_H
#define AVFILTER_TURBODIFF_COMPAT_H

/**
 * @file
 * Lets one source compile in FFmpeg 7.1, where filters are AVFilter, and
 * later, where they are FFFilter with the public part in a member p; and return
 * from activate() as an input does that has no frame yet.
 */

#include "version_major.h"
#include "filters.h"

#if LIBAVFILTER_VERSION_MAJOR < 11
#define FFFilter        AVFilter
#define FILTER_P(field) .field
#else
#define FILTER_P(field) .p.field
#endif

/* the caller of the graph is to read other inputs; until 7.1 nobody makes the filter ready again after it */
#ifdef FFERROR_BUFFERSRC_EMPTY
#define TURBODIFF_READ_OTHERS   FFERROR_BUFFERSRC_EMPTY
#define TURBODIFF_IS_ASKED_AGAIN 1
#else
#define TURBODIFF_READ_OTHERS   AVERROR(EAGAIN)
#define TURBODIFF_IS_ASKED_AGAIN 0
#endif

#endif /* AVFILTER_TURBODIFF_COMPAT_H */
