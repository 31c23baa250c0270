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

#ifndef AVFILTER_TURBODIFF_METRICS_H
#define AVFILTER_TURBODIFF_METRICS_H

/**
 * @file
 * What a monitor wants to know of a channel, as a file in the text format of
 * Prometheus.
 */

#include <stdint.h>

#include <turbodiff.h>

struct TurboDiffChannel;

/* what is sent in place of a new frame */
#define TURBODIFF_N_HELD 5

/**
 * What is counted for the file alone; under the channel's lock.
 */
typedef struct TurboDiffMetrics {
    int64_t n_held[TURBODIFF_N_HELD];        ///< by kind
    int64_t n_made, n_failed, n_cancelled;   ///< clips
    double clip_seconds;                     ///< of all clips that were made
    double stage_seconds[TD_N_STAGES];       ///< of the last one
    double rate;                             ///< of the last one: how long it lasts by how long it took
    uint64_t peak_bytes;
    const char *state;                       ///< of the last frame
    int64_t last_frame;                      ///< when it was sent, in microseconds of the world's clock
    int64_t next_write;
    struct TurboDiffWriter *writer;          ///< of the file; NULL: there is none
    struct TurboDiffChannel *next;           ///< of those of the process that write a file
} TurboDiffMetrics;

/**
 * Take the file of the option metrics, if it is set, for this channel alone, and
 * start the thread that writes it.
 *
 * @return < 0 another one of the process has it, which is logged, or no memory
 */
int ff_turbodiff_claim_metrics(struct TurboDiffChannel *c);

/**
 * Leave it, when what it is to have at last is written. Safe where it was not
 * taken.
 */
void ff_turbodiff_release_metrics(struct TurboDiffChannel *c);

/**
 * A clip has ended. To be called by the thread that makes them.
 *
 * @param err    0, AVERROR(ECANCELED) by a command, else its error
 * @param us     how long it took
 * @param frames how many were made
 */
void ff_turbodiff_count_clip(struct TurboDiffChannel *c, int err, int64_t us, int frames);

/**
 * A frame was sent: a new one (state "play") or another. Without the lock.
 */
void ff_turbodiff_count_frame(struct TurboDiffChannel *c, const char *state);

/**
 * Hand the file's text to its thread if the last time is a second ago. Without
 * the lock, by activate() or where nothing else runs.
 *
 * @param end the last time
 */
void ff_turbodiff_write_metrics(struct TurboDiffChannel *c, int end);

#endif /* AVFILTER_TURBODIFF_METRICS_H */
