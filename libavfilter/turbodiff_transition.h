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

#ifndef AVFILTER_TURBODIFF_TRANSITION_H
#define AVFILTER_TURBODIFF_TRANSITION_H

/**
 * @file
 * How a clip comes after the one before: by a cut, by a fade in linear light, or
 * as a continuation of its last picture.
 */

#include "libavutil/frame.h"
#include "avfilter.h"

enum { TRANSITION_UNSET, TRANSITION_CUT, TRANSITION_FADE, TRANSITION_CONTINUE };

typedef struct TurboDiffTransition {
    int kind;
    int frames;                 ///< of a fade
} TurboDiffTransition;

/* what of a transition is expected, in words */
#define TRANSITION_WANT "cut, fade/FRAMES with 1 to 508 of them, or continue"

/**
 * Read "cut", "fade/FRAMES" or "continue".
 *
 * @return 0, or < 0: it is none of them
 */
int ff_turbodiff_parse_transition(const char *text, TurboDiffTransition *t);

struct TurboDiffChannel;

/**
 * What is true of a clip whose own transition may be unset.
 */
const TurboDiffTransition *ff_turbodiff_transition(const struct TurboDiffChannel *c, const TurboDiffTransition *own);

/**
 * Whether the model and the frames allow it.
 *
 * @return NULL, or in words why not
 */
const char *ff_turbodiff_check_transition(const struct TurboDiffChannel *c, const TurboDiffTransition *own);

/**
 * The same of the options and of all lines that are there; of those that come
 * later the thread finds out.
 *
 * @return >= 0 or an error that has been logged
 */
int ff_turbodiff_check_transitions(struct TurboDiffChannel *c);

/**
 * Frames of the fade to a clip of so many frames, at most; 0 if there is none.
 */
int ff_turbodiff_fade_frames(const struct TurboDiffChannel *c, const TurboDiffTransition *own, int64_t nb_frames);

/**
 * How many frames of the clip on air are seen before the fade to the one after
 * it, which need not be there yet. Under the lock.
 */
int ff_turbodiff_own_frames(struct TurboDiffChannel *c);

/**
 * Begin the fade from the clip on air to the next one, if it is time and all is
 * there. Under the lock.
 */
int ff_turbodiff_begin_fade(struct TurboDiffChannel *c);

/**
 * The next frame of a fade, in c->under what is to be under it; NULL if it is
 * not there yet. Under the lock.
 */
AVFrame *ff_turbodiff_fade(struct TurboDiffChannel *c);

/**
 * Mix two frames of one kind in linear light, as a display of sRGB makes it of
 * their values. Frames are in a format of libturbodiff, or CUDA frames of one,
 * which go through the machine's memory.
 *
 * @param frame is replaced by a frame with its properties, and num/den of its
 *              light
 * @param under gives the rest
 */
int ff_turbodiff_blend(AVFilterContext *ctx, AVFrame **frame, const AVFrame *under, int num, int den);

#endif /* AVFILTER_TURBODIFF_TRANSITION_H */
