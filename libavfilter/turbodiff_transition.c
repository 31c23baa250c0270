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
 * how a clip of a channel comes after the one before
 */

#include <stdlib.h>
#include <string.h>

#include "libavutil/avstring.h"
#include "libavutil/error.h"
#include "libavutil/log.h"
#include "libavutil/macros.h"
#include "turbodiff_channel_priv.h"
#include "turbodiff_common.h"
#include "turbodiff_transition.h"

int ff_turbodiff_parse_transition(const char *text, TurboDiffTransition *t)
{
    char *end;
    long n = 0;

    *t = (TurboDiffTransition){ TRANSITION_CUT, 0 };
    if (!strcmp(text, "cut"))
        return 0;
    t->kind = TRANSITION_CONTINUE;
    if (!strcmp(text, "continue"))
        return 0;
    t->kind = TRANSITION_FADE;
    if (!strncmp(text, "fade/", 5) && text[5] >= '0' && text[5] <= '9')
        n = strtol(text + 5, &end, 10);
    if (n < 1 || n >= TD_MAX_FRAMES || *end)
        return AVERROR(EINVAL);
    t->frames = n;
    return 0;
}

const char *ff_turbodiff_check_transition(const TurboDiffChannel *c, const TurboDiffTransition *own)
{
    if (ff_turbodiff_transition(c, own)->kind == TRANSITION_CONTINUE && !c->needs_image)
        return "a text-to-video model cannot continue a clip, expected an image-to-video model";
    return NULL;
}

int ff_turbodiff_check_transitions(TurboDiffChannel *c)
{
    const TurboDiffProgramme *p = &c->programme;
    const char *why = ff_turbodiff_check_transition(c, &c->transition);
    int continues = c->transition.kind == TRANSITION_CONTINUE || p->text;        /* a pipe may say so later */

    if (why) {
        av_log(c->ctx, AV_LOG_ERROR, "transition: %s\n", why);
        return AVERROR(EINVAL);
    }
    for (int i = 0; i < p->nb_jobs; i++)
        continues |= p->jobs[i].in.kind == TRANSITION_CONTINUE;
    if (c->o->match && !continues)
        av_log(c->ctx, AV_LOG_WARNING, "match has no effect without transition=continue or in=continue\n");
    /* where the input is the clock it is no option */
    if (c->o->chain != TURBODIFF_CHAIN && c->o->pace != PACE_INPUT && !continues)
        av_log(c->ctx, AV_LOG_WARNING, "chain has no effect without transition=continue or in=continue\n");
    for (int i = 0; i < p->nb_jobs && !p->again; i++)
        if ((why = ff_turbodiff_check_transition(c, &p->jobs[i].in))) {
            av_log(c->ctx, AV_LOG_ERROR, "%.40s:%d: in: %s\n", av_basename(p->file), p->jobs[i].line, why);
            return AVERROR(EINVAL);
        }
    return 0;
}

const TurboDiffTransition *ff_turbodiff_transition(const TurboDiffChannel *c, const TurboDiffTransition *own)
{
    return own->kind == TRANSITION_UNSET ? &c->transition : own;
}

int ff_turbodiff_fade_frames(const TurboDiffChannel *c, const TurboDiffTransition *own, int64_t nb_frames)
{
    const TurboDiffTransition *t = ff_turbodiff_transition(c, own);

    return t->kind == TRANSITION_FADE ? FFMIN(t->frames, nb_frames) : 0;
}

/* of the clip on air: how many of its last frames the fade to the one after it takes */
static int held_back(TurboDiffChannel *c)
{
    const TurboDiffClip *clip = c->clips, *next = clip->next;
    const TurboDiffJob *job;
    int n;

    if (clip->plays || c->stopping || c->cut)
        return 0;
    if (next) {
        n = ff_turbodiff_fade_frames(c, &next->in, next->nb_frames);
    } else {
        if (c->ended || !(job = ff_turbodiff_coming(c)))
            return 0;
        n = ff_turbodiff_fade_frames(c, &job->in, job->frames ? job->frames : c->nb_frames);
    }
    return FFMIN(n, clip->nb_frames - FFMAX(clip->faded, 1));
}

int ff_turbodiff_own_frames(TurboDiffChannel *c)
{
    return c->clips->nb_frames - held_back(c);
}

int ff_turbodiff_begin_fade(TurboDiffChannel *c)
{
    TurboDiffClip *clip = c->clips, *next = clip->next;
    int n, left;

    if (!next || !clip->done || clip->plays || c->stopping || c->cut || c->fade_frames || !ff_turbodiff_is_ready(c, next))
        return 0;
    n = ff_turbodiff_fade_frames(c, &next->in, next->nb_frames);
    left = FFMAX(clip->nb_made - clip->pos, 0);
    if (!n || (!c->next_when_ready && left > held_back(c)))
        return 0;
    c->next_when_ready = 0;
    c->faded = 0;
    c->fade_frames = next->faded = left ? FFMIN(n, left) : n;    /* all seen: from its last one, which stands */
    return 1;
}

AVFrame *ff_turbodiff_fade(TurboDiffChannel *c)
{
    TurboDiffClip *clip = c->clips, *next = clip->next;

    if (next->pos >= next->nb_made)
        return NULL;
    av_frame_free(&c->under);
    if (!(c->under = av_frame_clone(clip->frames[FFMIN(clip->pos, clip->nb_made - 1)])))
        return NULL;
    clip->pos++;
    clip->played++;
    c->n_clips += !next->played;
    next->played++;
    c->faded++;
    return next->frames[next->pos++];
}
