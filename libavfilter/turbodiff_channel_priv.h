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

#ifndef AVFILTER_TURBODIFF_CHANNEL_PRIV_H
#define AVFILTER_TURBODIFF_CHANNEL_PRIV_H

/**
 * @file
 * What a channel consists of, for its thread, its clock and its commands.
 */

#include <stdint.h>

#include <turbodiff.h>

#include "libavutil/frame.h"
#include "libavutil/thread.h"
#include "turbodiff_channel.h"
#include "turbodiff_metrics.h"
#include "turbodiff_picture.h"
#include "turbodiff_programme.h"
#include "turbodiff_transition.h"

#define MAX_QUEUE 16

/* microseconds between two looks at what does not wake a thread */
#define TURBODIFF_PERIOD 20000

/**
 * Frames of a clip; those up to nb_made are there.
 */
typedef struct TurboDiffClip {
    struct TurboDiffClip *next;
    int64_t number;
    AVFrame **frames;
    int nb_frames, nb_made;
    int pos;                    ///< frame that is next on air
    int played;                 ///< how many of its frames have been on air
    int plays;                  ///< how many times more it is to be played
    int done;                   ///< no more frames are made
    int dropped;                ///< nobody wants it: its making ends
    int64_t start;              ///< when its making began
    int64_t first_made, last_made;   ///< when these frames were made
    TurboDiffTransition in;     ///< how it comes after the one before
    float *picture;             ///< its last one, as the VAE made it; NULL: not there
    int place;                  ///< in a chain of clips that continue each other; 0: the first one
    int skip;                   ///< frames at its beginning that are not wanted
    int faded;                  ///< how many of its first frames the fade into it took
} TurboDiffClip;

struct TurboDiffChannel {
    AVFilterContext *ctx;
    const TurboDiffChannelOptions *o;
    const TDImage *image;
    int needs_image;            ///< an image-to-video model
    int transformers;           ///< of the model
    int unopened;               ///< why the model was not loaded, which the thread does; 0: it was
    TurboDiffTransition transition;  ///< where a clip says nothing
    TurboDiffProgramme programme;
    int round;                  ///< of the programme
    TurboDiffJob last;          ///< of the last clip, for idle=repeat
    TDParams params;            ///< as the options say
    int64_t nb_frames;
    pthread_t thread;
    int has_thread;

    /* of that thread */
    int pause;                  ///< seconds between the last error and the next try
    double longest, slowest;    ///< microseconds of a clip, and by its work: of the slowest one; 0: none is made yet
    const char *fallback;       ///< devices that are left

    /* of both threads, under the lock */
    pthread_mutex_t lock;
    pthread_cond_t wake;        ///< something here has changed
    int has_lock;
    TurboDiffJob queue[MAX_QUEUE];
    int nb_queue;
    char *negative;             ///< what commands have set; NULL, 0: nothing
    int steps;
    double guidance, guidance_low;
    uint64_t seed;              ///< a clip without one has this and its number
    int64_t number;             ///< of the next clip
    TDContext *td;              ///< to be cancelled; NULL while the model is loaded anew
    TurboDiffClip *clips;       ///< on air, or next to be so; then those that follow
    const TurboDiffJob *taken;  ///< by the thread, of a clip that is not in the list yet
    TurboDiffClip *making;      ///< last one, while the thread is at it
    float *last_picture;        ///< of the clip that was on air last and is gone, with its place
    int picture_place;
    AVFrame *newest;            ///< PACE_INPUT: frame of the input that the next clip starts from
    int quit, stopping;
    int ended;                  ///< nothing more will be made
    int error;                  ///< why

    /* of the thread: what the clip that it begins goes on from, and the colours that its chain began with */
    float *from;
    AVFrame *from_frame;
    AVFrame *like;              ///< PACE_INPUT: frame of the input that the clip started from
    unsigned warned;            ///< of frames of the input
    double match_mean[3], match_deviation[3];

    /* of activate() */
    AVFrame *shown;             ///< last frame on air; changed under the lock
    TurboDiffPicture picture;   ///< of the slate, until that is made
    AVFrame *black, *slate;
    int64_t t0;                 ///< time of frame 0 on the clock
    int64_t n_out;              ///< frames sent
    int64_t first_pts;          ///< of the first one
    int64_t until;              ///< PACE_INPUT: where the frames that are due end
    int input_ended, whole;     ///< PACE_INPUT: no more frames come; a clip is shown without regard to them
    int64_t n_held, held;       ///< frames that were no new ones: in all, of this lateness
    int64_t n_late;
    int replayed;               ///< frames of the clip on air that have been sent again since it ended
    int paused, next_when_ready;
    int cut;                    ///< the clip on air ends without a fade
    int fade_frames, faded;     ///< of the fade on air, 0 if there is none; and those that were seen
    AVFrame *under;             ///< frame of the clip that goes, for the fade
    int64_t n_clips;            ///< clips that were on air
    int64_t n_restarts;
    TurboDiffMetrics metrics;
};

/**
 * Whether all of a clip's frames are there, or will be before they are needed.
 * Under the lock.
 */
int ff_turbodiff_is_ready(const TurboDiffChannel *c, const TurboDiffClip *clip);

/**
 * The call into the library that is at work, or is next, ends soon. Under the
 * lock.
 */
void ff_turbodiff_cancel(TurboDiffChannel *c);

/**
 * What the next clip to be begun will be, if that is known. Under the lock.
 */
const TurboDiffJob *ff_turbodiff_coming(TurboDiffChannel *c);

/**
 * Of a clip that has just come into the list: find what it goes on from, if its
 * transition wants that and the chain is not too long. Under the lock.
 */
void ff_turbodiff_take_picture(TurboDiffChannel *c, TurboDiffClip *clip);

/**
 * Start it.
 */
int ff_turbodiff_begin_clip(TurboDiffChannel *c, const TurboDiffClip *clip);

/**
 * The picture of the clip's last frame, where that has been read and the model
 * could go on from it; else NULL.
 */
float *ff_turbodiff_keep_picture(TurboDiffChannel *c);

void ff_turbodiff_free_pictures(TurboDiffChannel *c);

void ff_turbodiff_free_clip(TurboDiffClip *clip);

/**
 * PACE_INPUT: remember the last frame on air, and the time of the next one, or go
 * on from there: ffmpeg builds a graph anew where its input changes.
 */
void ff_turbodiff_keep_shown(TurboDiffChannel *c);
void ff_turbodiff_take_shown(TurboDiffChannel *c);

/**
 * After an error: wait longer each time, and load the model anew if wanted,
 * after a fault of the device on the next one. To be called by the thread that
 * makes clips.
 *
 * @return 0 not to go on
 */
int ff_turbodiff_recover(TurboDiffChannel *c, int err);

/**
 * The thread of a channel whose frames another process makes.
 *
 * @param channel a TurboDiffChannel
 */
void *ff_turbodiff_relay(void *channel);

/**
 * Wait until something has changed, but no longer than so many microseconds.
 * Under the lock.
 */
void ff_turbodiff_wait(TurboDiffChannel *c, int64_t us);

/**
 * Read the option slate's file.
 *
 * @return >= 0 or an error that has been logged
 */
int ff_turbodiff_load_slate(TurboDiffChannel *c);

/**
 * Make the frames that late and first ask for, where size and format are
 * known.
 */
int ff_turbodiff_make_stills(TurboDiffChannel *c);

void ff_turbodiff_free_stills(TurboDiffChannel *c);

#endif /* AVFILTER_TURBODIFF_CHANNEL_PRIV_H */
