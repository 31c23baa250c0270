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

#ifndef AVFILTER_TURBODIFF_CHANNEL_H
#define AVFILTER_TURBODIFF_CHANNEL_H

/**
 * @file
 * A channel: clip after clip of a programme, made by a thread of their own
 * while those before are on air, and sent at the pace of a clock if wanted.
 */

#include <turbodiff.h>

#include "libavutil/frame.h"
#include "avfilter.h"

enum { IDLE_END, IDLE_REPEAT, IDLE_HOLD };
enum { PACE_OFF, PACE_LIVE, PACE_INPUT };      /* INPUT: the frames of a filter are the clock */
enum { LATE_HOLD, LATE_REPEAT, LATE_PINGPONG, LATE_BLACK, LATE_SLATE };
enum { FIRST_WAIT, FIRST_BLACK, FIRST_SLATE };
enum { ERROR_STOP, ERROR_SKIP, ERROR_RESTART };

/* default of the option chain */
#define TURBODIFF_CHAIN 6

/* no limit but what earlier clips took; see TD_NO_DURATION */
#define TURBODIFF_AUTO_TIMEOUT TD_NO_DURATION

/* options of all that have a channel, whose contexts have a member channel_options */
#define TURBODIFF_CHANNEL_OPTIONS \
    { "on_error",        "set what follows a clip that cannot be made", OFFSET(channel_options.on_error), AV_OPT_TYPE_INT, { .i64 = ERROR_STOP }, ERROR_STOP, ERROR_RESTART, TD_FLAGS, .unit = "on_error" }, \
        TD_CONST("stop",      "the end, with the error",              ERROR_STOP,            "on_error"), \
        TD_CONST("skip",      "the next clip, after a pause",         ERROR_SKIP,            "on_error"), \
        TD_CONST("restart",   "the same, with the model loaded anew", ERROR_RESTART,         "on_error"), \
    { "fallback",        "set the devices for after a fault of the first one: cpu, or as device, joined with |", OFFSET(channel_options.fallback), AV_OPT_TYPE_STRING, { .str = NULL }, 0, 0, TD_FLAGS }, \
    { "timeout",         "set how long a clip may take before it is given up (-1: ten times as long as those before, 0: no limit)", OFFSET(channel_options.timeout), AV_OPT_TYPE_DURATION, { .i64 = TURBODIFF_AUTO_TIMEOUT }, TURBODIFF_AUTO_TIMEOUT, INT64_MAX, TD_FLAGS }, \
    { "metrics",         "set a file to write the state of a channel to each second, in the text format of Prometheus", OFFSET(channel_options.metrics), AV_OPT_TYPE_STRING, { .str = NULL }, 0, 0, TD_FLAGS }

typedef struct TurboDiffChannel TurboDiffChannel;

typedef struct TurboDiffChannelOptions {
    char *programme;
    const char *name;           ///< of the option that this is, for the log; NULL: the same
    int loop;                   ///< rounds of the programme after the first; -1: for ever
    int lookahead;              ///< clips that may be made ahead of the one on air
    int idle, pace, late, first, on_error;
    char *slate;
    int64_t slate_after;        ///< microseconds of the last frame before it
    char *metrics;
    int64_t timeout;            ///< microseconds that a clip may take; 0: no limit, < 0: as those before say
    char *from;                 ///< path of a socket that another process sends frames to; NULL: they are made here
    char *fallback;             ///< devices for after a fault of the first one, joined with |
    int chain, match;           ///< of clips that continue each other: how many, and whether colours stay
    char *transition;           ///< from clip to clip, where a line has none of its own
} TurboDiffChannelOptions;

/**
 * Whether the options ask for a channel rather than for one clip.
 */
int ff_turbodiff_is_channel(const TurboDiffChannelOptions *o);

/**
 * Check TURBODIFF_CHANNEL_OPTIONS.
 *
 * @param channel whether there is one, else what to expect for them
 */
int ff_turbodiff_check_channel(AVFilterContext *ctx, const TurboDiffChannelOptions *o, int channel, const char *want);

/**
 * Check the option metrics.
 */
int ff_turbodiff_check_metrics(AVFilterContext *ctx, const char *metrics);

/**
 * Read and check the programme, before the model is opened.
 *
 * @param o must stay where it is
 */
int ff_turbodiff_open_channel(AVFilterContext *ctx, TurboDiffChannel **c, const TurboDiffChannelOptions *o);

/**
 * Load the model. Where on_error is not stop, and this process has loaded that
 * of the filter before (a graph is built anew where an input changes), one that
 * does not load is for the thread, as after any other fault.
 */
int ff_turbodiff_open_model(TurboDiffChannel *c);

/**
 * Start the thread, where the model is open, or left to it, and the output link is set.
 *
 * @param image first frame of each clip, or NULL; must stay
 */
int ff_turbodiff_start_channel(TurboDiffChannel *c, const TDImage *image);

/**
 * What activate() is to do while the output link wants a frame.
 *
 * @return what activate() returns; < 0 but TURBODIFF_READ_OTHERS is an error
 */
int ff_turbodiff_run_channel(TurboDiffChannel *c);

/**
 * PACE_INPUT: a frame of the input, which the next clip to be begun may start
 * from; those before it that none has started from are dropped.
 *
 * @param frame is the channel's from now on
 * @param until output frames up to this time, in the output's time base, are due
 */
void ff_turbodiff_give_frame(TurboDiffChannel *c, AVFrame *frame, int64_t until);

/**
 * PACE_INPUT: no more frames come. Where no clip was on air yet, the first one is
 * shown as a whole.
 */
void ff_turbodiff_end_input(TurboDiffChannel *c, int64_t until);

/**
 * PACE_INPUT: what activate() is to do while the output link wants a frame.
 *
 * @return 1 done, 0 more of the input is needed, < 0 as
 *         ff_turbodiff_run_channel()
 */
int ff_turbodiff_run_by_input(TurboDiffChannel *c);

/**
 * Do what a command says at once, or at the next clip.
 *
 * @param res   gets a line "key=value ..."
 * @param flags of process_command()
 */
int ff_turbodiff_command(TurboDiffChannel *c, const char *cmd, const char *arg, char *res, int res_len, int flags);

/**
 * Answer a command to a filter that has no channel.
 *
 * @param want what to expect for one
 */
int ff_turbodiff_no_commands(AVFilterContext *ctx, char *res, int res_len, int flags, const char *want);

/**
 * Stop the thread. To be called before ff_turbodiff_close(). NULL-safe, sets *c
 * to NULL.
 */
void ff_turbodiff_close_channel(TurboDiffChannel **c);

#endif /* AVFILTER_TURBODIFF_CHANNEL_H */
