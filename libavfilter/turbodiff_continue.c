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

/**
 * @file
 * clips that begin with the last picture of the one before
 */

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "libavutil/common.h"
#include "libavutil/error.h"
#include "libavutil/log.h"
#include "libavutil/mem.h"
#include "turbodiff_channel_priv.h"
#include "turbodiff_common.h"
#include "turbodiff_convert.h"
#include "turbodiff_transition.h"

/* how far a channel's contrast may be changed in one step: the picture may be of something else by now */
#define MAX_GAIN 1.25f

static size_t nb_values(const TurboDiffChannel *c)
{
    const TurboDiffContext *s = c->ctx->priv;

    return (size_t)s->w * s->h * 3;
}

/* mean and standard deviation of R, G and B */
static void measure(const float *rgb, size_t n, double mean[3], double deviation[3])
{
    double sum[3] = { 0 }, squares[3] = { 0 };

    for (size_t i = 0; i < n; i += 3)
        for (int k = 0; k < 3; k++) {
            sum[k]     += rgb[i + k];
            squares[k] += (double)rgb[i + k] * rgb[i + k];
        }
    for (int k = 0; k < 3; k++) {
        mean[k]      = 3 * sum[k] / n;
        deviation[k] = sqrt(fmax(3 * squares[k] / n - mean[k] * mean[k], 0));
    }
}

/* one gain and one offset a channel, to what the chain began with */
static void match_colours(TurboDiffChannel *c, float *rgb, size_t n)
{
    double mean[3], deviation[3];

    measure(rgb, n, mean, deviation);
    for (int k = 0; k < 3; k++) {
        float gain = deviation[k] > 0 ? av_clipf(c->match_deviation[k] / deviation[k], 1 / MAX_GAIN, MAX_GAIN) : 1;

        for (size_t i = k; i < n; i += 3)
            rgb[i] = av_clipf((rgb[i] - mean[k]) * gain + c->match_mean[k], 0, 1);
    }
}

void ff_turbodiff_take_picture(TurboDiffChannel *c, TurboDiffClip *clip)
{
    const TurboDiffClip *before = c->clips;
    const float *picture = c->last_picture;
    int place = c->picture_place;
    const AVFrame *frame = c->shown;

    if (ff_turbodiff_transition(c, &clip->in)->kind != TRANSITION_CONTINUE)
        return;
    if (before == clip) {
        before = NULL;
    } else {
        while (before->next != clip)
            before = before->next;
        picture = before->picture;
        place   = before->place;
        frame   = before->nb_made ? before->frames[before->nb_made - 1] : NULL;
    }
    if (c->o->chain && place + 1 >= c->o->chain) {
        av_log(c->ctx, AV_LOG_VERBOSE, "Clip %"PRId64" comes by a cut, after a chain of %d\n", clip->number, place + 1);
        return;
    }
    if (picture) {
        if (!c->from && !(c->from = av_malloc_array(nb_values(c), sizeof(*c->from))))
            return;
        memcpy(c->from, picture, nb_values(c) * sizeof(*c->from));
    } else if (!frame || !(c->from_frame = av_frame_clone(frame))) {
        return;
    }
    clip->place = place + 1;
    if (clip->nb_frames > 1) {                   /* its first frame has been seen */
        clip->nb_frames--;
        clip->skip = 1;
    }
}

int ff_turbodiff_begin_clip(TurboDiffChannel *c, const TurboDiffClip *clip)
{
    TurboDiffContext *s = c->ctx->priv;
    AVFrame *rgb = NULL;
    TDImage image;
    int ret;

    if (s->unfit_w)
        return ff_turbodiff_adapt(c->ctx, s->unfit_w, s->unfit_h);
    if (!clip->place && c->o->pace != PACE_INPUT)
        return ff_turbodiff_start(c->ctx, c->image, 0);
    if (!clip->place) {                          /* the thread waited for it */
        pthread_mutex_lock(&c->lock);
        c->from_frame = c->newest;
        c->newest = NULL;
        pthread_mutex_unlock(&c->lock);
        av_frame_free(&c->like);
        if (!(c->like = av_frame_clone(c->from_frame)))
            return AVERROR(ENOMEM);
        if ((ret = ff_turbodiff_check_frame(c->ctx, c->like, 0, &c->warned)) < 0)
            return ret;
    }
    if (c->from_frame) {                         /* of the input, or of a clip that ended before its time */
        ret = ff_turbodiff_to_rgb(c->ctx, &rgb, c->from_frame);
        av_frame_free(&c->from_frame);
        if (ret < 0)
            return ret;
        image = (TDImage){ rgb->width, rgb->height, rgb->linesize[0], rgb->data[0] };
        ret = ff_turbodiff_start(c->ctx, &image, 0);
        av_frame_free(&rgb);
        return ret;
    }
    if (clip->place == 1)
        measure(c->from, nb_values(c), c->match_mean, c->match_deviation);
    else if (c->o->match)
        match_colours(c, c->from, nb_values(c));
    s->params.picture = c->from;
    ret = ff_turbodiff_start(c->ctx, NULL, 0);
    s->params.picture = NULL;
    return ret;
}

float *ff_turbodiff_keep_picture(TurboDiffChannel *c)
{
    const TurboDiffContext *s = c->ctx->priv;
    float *picture;

    if (!c->needs_image || s->pts < s->nb_frames || !(picture = av_malloc_array(nb_values(c), sizeof(*picture))))
        return NULL;
    if (td_last_picture(s->td, picture) < 0)
        av_freep(&picture);
    return picture;
}

void ff_turbodiff_free_pictures(TurboDiffChannel *c)
{
    av_freep(&c->last_picture);
    av_freep(&c->from);
    av_frame_free(&c->from_frame);
    av_frame_free(&c->like);
    av_frame_free(&c->newest);
}
