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

#ifndef AVFILTER_TURBODIFF_I2V_H
#define AVFILTER_TURBODIFF_I2V_H

/**
 * @file
 * What the filter turbodiff_i2v consists of, for its way from input to output
 * and for the clips that it makes on it.
 */

#include <stdint.h>

#include <turbodiff.h>

#include "libavutil/frame.h"
#include "libswscale/swscale.h"
#include "avfilter.h"
#include "turbodiff_channel.h"
#include "turbodiff_common.h"
#include "turbodiff_programme.h"

enum { MODE_REPLACE, MODE_EXTEND, NB_MODES };

typedef struct TurboDiffI2VContext {
    TurboDiffContext common;    ///< must be the first member

    /* options */
    int mode;
    int every;
    int clips;                  ///< 0: as many as prompts has, else one
    int overlap;
    char *prompts;
    int live;

    /* state, with live */
    TurboDiffChannelOptions channel_options;
    TurboDiffChannel *channel;
    char transition[16];        ///< one of its options

    /* state */
    TurboDiffProgramme programme;    ///< of the option prompts
    TurboDiffJob job;           ///< of the clip under way, with prompts
    TDParams params;            ///< as the options say, with prompts; likewise
    int64_t nb_frames;
    uint64_t seed;
    AVFrame *from;              ///< extend: last frame that passed
    int64_t from_pts;           ///< its time in the output, AV_NOPTS_VALUE if it has none
    float *picture;             ///< frame of the clip that the next one begins with, before it was rounded
    int64_t keep;               ///< its number; -1: none is kept
    AVFrame *tail[TD_MAX_FRAMES];    ///< a ring of frames that a clip shares with the next one, from the second on
    int at_tail, nb_tail;       ///< the first one, and how many there are
    int shared, next_shared;    ///< frames that the clip under way shares with the one before, and with the one after
    AVFrame *like;              ///< input frame whose properties those of its clips have
    struct SwsContext *to_link; ///< extend: from the frames that are made to those of the link, NULL if they are the same
    int active;                 ///< a clip is under way
    int clip;                   ///< its number, of those from one input frame
    unsigned warned;            ///< of the frames that clips start from
    int64_t nb_started;         ///< clips so far
    int64_t nb_in;              ///< input frames so far
    int64_t start_pts;          ///< of the clip, or where the next one starts

    /* state, with every; times of the output are in its time base */
    AVFrame *next;              ///< input frame that the next clip starts from
    AVFrame *last;              ///< frame that was output last
    int64_t next_pts;           ///< of the next frame to output
    int64_t end_pts;            ///< where those that can be output now end
    int64_t input_end;          ///< where the input frames so far end, in the input's time base
    int ended;                  ///< the input has no more frames
} TurboDiffI2VContext;

/**
 * Read and check all lines of the option prompts, before the model is opened.
 */
int ff_turbodiff_i2v_open_prompts(AVFilterContext *ctx);

/**
 * Check the option overlap where the model is open, which says how long a clip
 * is, and set how many clips there are.
 */
int ff_turbodiff_i2v_check_overlap(AVFilterContext *ctx);

/**
 * Start a clip from a frame, wherever it is; NULL: from the picture that was
 * kept of the clip before.
 */
int ff_turbodiff_i2v_start(AVFilterContext *ctx, const AVFrame *from);

/**
 * As ff_turbodiff_read(); of the frame that the next clip begins with, what it was
 * before it was rounded is kept. Where there is a thread, that calls it.
 */
int ff_turbodiff_i2v_read(AVFilterContext *ctx, AVFrame **frame);

/**
 * Do with frame n of the clip under way what it shares with the one before and
 * the one after: it may be mixed, and may have to wait, or not be wanted; then
 * it is NULL.
 */
int ff_turbodiff_i2v_join(AVFilterContext *ctx, AVFrame **frame, int64_t n);

/**
 * Where a frame of the input that has a time ends, in its time base.
 */
int64_t ff_turbodiff_i2v_end_of(AVFilterContext *ctx, const AVFrame *frame);

/**
 * live=1: before the model is opened; to be started with
 * ff_turbodiff_start_channel(), and to be closed before the model.
 */
int ff_turbodiff_i2v_open_live(AVFilterContext *ctx);

/**
 * live=1: what activate() does.
 */
int ff_turbodiff_i2v_live(AVFilterContext *ctx);

void ff_turbodiff_i2v_free_tail(TurboDiffI2VContext *s);

#endif /* AVFILTER_TURBODIFF_I2V_H */
