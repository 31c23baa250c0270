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
 * commands to a channel
 */

#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libavutil/attributes.h"
#include "libavutil/error.h"
#include "libavutil/log.h"
#include "libavutil/macros.h"
#include "libavutil/mem.h"
#include "turbodiff_channel_priv.h"
#include "turbodiff_common.h"

void ff_turbodiff_refuse(AVFilterContext *ctx, TurboDiffReason *why, const char *format, ...)
{
    TurboDiffReason line;
    va_list args;

    va_start(args, format);
    vsnprintf(line.text, sizeof(line.text), format, args);
    va_end(args);
    if (why && !*why->text)
        *why = line;
    else
        av_log(ctx, AV_LOG_ERROR, "%s\n", line.text);
}

static int answer(char *res, int res_len, const char *format, ...) av_printf_format(3, 4);
static int answer(char *res, int res_len, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    if (res && res_len > 0)
        vsnprintf(res, res_len, format, args);
    va_end(args);
    return 0;
}

/* what was taken and changes nothing is said behind the answer, which is a warning then, as for an option; @return 1 */
static int add_unused(const char *what, const char *unused, char *res, int res_len)
{
    size_t len = strlen(res);

    answer(res + len, res_len - len, ", but %s %s", what, unused);
    return 1;
}

/* number of the clip that a job at the queue's place i will be, and the time it will be on air at the earliest */
static int answer_clip(TurboDiffChannel *c, int i, char *res, int res_len)
{
    const TurboDiffContext *s = c->ctx->priv;
    int64_t frames = c->first_pts + c->n_out;

    for (int k = 0; k <= i; k++) {
        int64_t n = c->queue[k].frames ? c->queue[k].frames : c->nb_frames;

        frames += (k < i) * n - ff_turbodiff_fade_frames(c, &c->queue[k].in, n);
    }
    for (const TurboDiffClip *clip = c->clips; clip; clip = clip->next)
        frames -= clip != c->clips && !clip->played ? ff_turbodiff_fade_frames(c, &clip->in, clip->nb_frames) : 0;
    for (const TurboDiffClip *clip = c->clips; clip; clip = clip->next)
        frames += clip->nb_frames - FFMIN(clip->pos, clip->nb_frames) + (int64_t)clip->plays * clip->nb_frames;
    return answer(res, res_len, "clip=%"PRId64" at=%.2f", c->number + i, frames / av_q2d(s->frame_rate));
}

/* the clip at work is to end, and those that nobody has seen yet are dropped */
static void drop_unseen(TurboDiffChannel *c)
{
    for (TurboDiffClip **at = &c->clips; *at;) {
        TurboDiffClip *clip = *at;

        if (clip == c->making && !clip->played) {
            clip->dropped = 1;
            ff_turbodiff_cancel(c);
        }
        if (clip->played || clip == c->making) {
            at = &clip->next;
        } else {
            *at = clip->next;
            ff_turbodiff_free_clip(clip);
        }
    }
}

static int enqueue(TurboDiffChannel *c, TurboDiffJob *job, char *res, int res_len)
{
    if (c->ended || c->stopping) {
        ff_turbodiff_free_job(job);
        answer(res, res_len, "the channel is at its end, no more clips are taken");
        return AVERROR_EOF;
    }
    if (c->nb_queue == MAX_QUEUE) {
        ff_turbodiff_free_job(job);
        answer(res, res_len, "%d clips are queued, no more are taken", MAX_QUEUE);
        return AVERROR(EAGAIN);
    }
    c->queue[c->nb_queue++] = *job;
    pthread_cond_broadcast(&c->wake);
    return answer_clip(c, c->nb_queue - 1, res, res_len);
}

static int command_clip(TurboDiffChannel *c, const char *cmd, const char *arg, char *res, int res_len)
{
    TurboDiffReason reason = { 0 };
    TurboDiffJob job = { 0 };
    const char *why, *unused;
    int is_line = !strcmp(cmd, "enqueue"), ret;

    ret = is_line ? ff_turbodiff_parse_job(c->ctx, &job, arg, cmd, &reason) :
                    ff_turbodiff_prompt_job(c->ctx, &job, arg, &reason);
    if (ret >= 0 && (!job.clean || !*job.clean)) {
        ff_turbodiff_free_job(&job);
        ff_turbodiff_refuse(c->ctx, &reason, "%s: no prompt: expected %s", cmd, is_line ? "KEY=VALUE | PROMPT" : "one");
        ret = AVERROR(EINVAL);
    }
    if (ret < 0)
        return answer(res, res_len, "%s", reason.text), ret;
    if ((why = ff_turbodiff_check_transition(c, &job.in))) {
        ff_turbodiff_free_job(&job);
        return answer(res, res_len, "%s: in: %s", cmd, why), AVERROR(EINVAL);
    }
    if (!strcmp(cmd, "prompt_now"))
        drop_unseen(c);
    unused = job.negative ? ff_turbodiff_unused(c->ctx->priv) : "";
    ret = enqueue(c, &job, res, res_len);
    return ret < 0 || !*unused ? ret : add_unused("negative", unused, res, res_len);
}

static int command_value(TurboDiffChannel *c, const char *cmd, const char *arg, char *res, int res_len)
{
    const TurboDiffContext *s = c->ctx->priv;
    const char *want, *unused = "";
    TurboDiffReason reason = { 0 };
    double high, low;
    uint64_t seed;
    char *end, *negative;
    int min, max, ret;
    long n;

    if (!strcmp(cmd, "seed")) {
        if (ff_turbodiff_parse_seed(arg, &seed))
            return answer(res, res_len, "seed '%.40s': expected 0 to %"PRIu64, arg, UINT64_MAX), AVERROR(EINVAL);
        c->seed = seed - (uint64_t)c->number;    /* the next clip has this one itself */
    } else if (!strcmp(cmd, "steps")) {
        n = strtol(arg, &end, 10);
        want = ff_turbodiff_steps(s, &min, &max);
        if (end == arg || *end || n < min || n > max)
            return answer(res, res_len, "steps '%.40s': expected %s", arg, want), AVERROR(ERANGE);
        c->steps = n;
    } else if (!strcmp(cmd, "guidance")) {
        if (ff_turbodiff_parse_guidance(arg, &high, &low) < 0)
            return answer(res, res_len, "guidance '%.40s': expected 1 to 100, or two of them: HIGH|LOW", arg),
                   AVERROR(ERANGE);
        if (low && c->transformers < 2)
            return answer(res, res_len, "guidance '%.40s': expected one number, as the model has one transformer", arg),
                   AVERROR(EINVAL);
        unused = ff_turbodiff_unused(s);
        c->guidance     = high;
        c->guidance_low = low;
    } else {
        if ((ret = ff_turbodiff_check_text(c->ctx, arg, &reason)) < 0)
            return answer(res, res_len, "negative_prompt: %s", reason.text), ret;
        if (!(negative = av_strdup(arg)))
            return AVERROR(ENOMEM);
        av_free(c->negative);
        c->negative = negative;
        unused = ff_turbodiff_unused(s);
    }
    answer(res, res_len, "clip=%"PRId64, c->number);
    return *unused ? add_unused(cmd, unused, res, res_len) : 0;
}

static int command_next(TurboDiffChannel *c, const char *cmd, const char *arg, char *res, int res_len)
{
    TurboDiffClip *clip = c->clips;
    int cut = !strcmp(arg, "cut");

    if (*arg && !cut)
        return answer(res, res_len, "next '%.40s': expected nothing, or cut", arg), AVERROR(EINVAL);
    if (!clip || !clip->played)
        return answer(res, res_len, "next: no clip is on air yet"), AVERROR(EAGAIN);
    clip->plays = 0;
    if (clip == c->making) {
        clip->dropped = 1;
        ff_turbodiff_cancel(c);
    }
    c->cut = cut;
    if (cut)
        clip->pos = INT_MAX;                     /* ended, whether its frames are there or not */
    else
        c->next_when_ready = 1;
    return answer(res, res_len, "clip=%"PRId64" ready=%d", clip->number + 1, ff_turbodiff_is_ready(c, clip->next));
}

static int command_programme(TurboDiffChannel *c, const char *cmd, const char *arg, char *res, int res_len)
{
    TurboDiffReason why = { 0 };
    TurboDiffProgramme p;
    int ret = ff_turbodiff_open_programme(c->ctx, &p, "programme", arg, &why), pipe = p.fd >= 0;

    if (pipe && !ff_turbodiff_peek_job(c->ctx, &p) && ff_turbodiff_programme_ended(&p)) {
        ff_turbodiff_refuse(c->ctx, &why, "programme '%s' ended without a clip, expected a prompt in each line", arg);
        ret = AVERROR_INVALIDDATA;
    }
    if (ret >= 0) {
        if (c->o->name)
            p.name = c->o->name;
        FFSWAP(TurboDiffProgramme, c->programme, p);
        if (pipe)
            answer(res, res_len, "a pipe: its lines are taken as they come");
        else
            answer(res, res_len, "lines=%d", c->programme.nb_jobs);
    } else {
        answer(res, res_len, "%s", why.text);
    }
    ff_turbodiff_close_programme(&p);
    return ret;
}

static int command_status(TurboDiffChannel *c, const char *cmd, const char *arg, char *res, int res_len)
{
    const TurboDiffClip *clip = c->clips && c->clips->played ? c->clips : NULL;
    int ready = 0;

    for (const TurboDiffClip *next = clip ? clip->next : c->clips; next; next = next->next)
        ready += next->done;
    return answer(res, res_len, "state=%s clip=%"PRId64" frame=%d ready=%d building=%"PRId64" done=%d/%d queue=%d "
                  "frames=%"PRId64" held=%"PRId64" late=%"PRId64" restarts=%"PRId64,
                  c->paused || c->held ? "hold" : clip ? "play" : "wait", clip ? clip->number : -1,
                  clip ? FFMIN(clip->pos, clip->nb_frames) : 0, ready, c->making ? c->making->number : -1,
                  c->making ? c->making->nb_made : 0, c->making ? c->making->nb_frames : 0, c->nb_queue, c->n_out,
                  c->n_held, c->n_late, c->n_restarts);
}

static int command_simple(TurboDiffChannel *c, const char *cmd, const char *arg, char *res, int res_len)
{
    const TurboDiffContext *s = c->ctx->priv;
    TurboDiffClip *clip = c->clips && c->clips->played ? c->clips : NULL;
    char *end;
    long n;

    if (!strcmp(cmd, "repeat")) {
        n = strtol(arg, &end, 10);
        if (end == arg || *end || n < 0 || n > 1000000)
            return answer(res, res_len, "repeat '%.40s': expected 0 to 1000000", arg), AVERROR(ERANGE);
        if (!clip)
            return answer(res, res_len, "repeat: no clip is on air yet"), AVERROR(EAGAIN);
        clip->plays = n;
        return answer(res, res_len, "clip=%"PRId64" left=%ld", clip->number, n);
    }
    if (!strcmp(cmd, "clear")) {
        n = c->nb_queue;
        while (c->nb_queue)
            ff_turbodiff_free_job(&c->queue[--c->nb_queue]);
        return answer(res, res_len, "dropped=%ld", n);
    }
    if (!strcmp(cmd, "stop")) {
        c->stopping = 1;
        drop_unseen(c);
        pthread_cond_broadcast(&c->wake);
        return answer(res, res_len, "at=%.2f", (c->first_pts + c->n_out + (clip ? clip->nb_frames - FFMIN(clip->pos, clip->nb_frames)
                                                                 : 0)) / av_q2d(s->frame_rate));
    }
    if (c->o->pace == PACE_OFF)                  /* without a clock a picture would be held as fast as it can be */
        return answer(res, res_len, "%s: expected pace=live", cmd), AVERROR(EINVAL);
    c->paused = !strcmp(cmd, "hold");
    return answer(res, res_len, "state=%s", c->paused ? "hold" : "play");
}

/* under the lock; @return 0, 1 without an effect, or < 0 refused */
static int obey(TurboDiffChannel *c, const char *cmd, const char *arg, char *res, int res_len)
{
    static const struct {
        const char *name;
        int (*run)(TurboDiffChannel *c, const char *cmd, const char *arg, char *res, int res_len);
        int from;                                /* where another process makes the clips, too */
        int alone;                               /* without an argument */
    } commands[] = {
        { "prompt",          command_clip,      0 },
        { "prompt_now",      command_clip,      0 },
        { "enqueue",         command_clip,      0 },
        { "next",            command_next,      0 },
        { "repeat",          command_simple,    0 },
        { "hold",            command_simple,    1, 1 },
        { "resume",          command_simple,    1, 1 },
        { "seed",            command_value,     0 },
        { "negative_prompt", command_value,     0 },
        { "steps",           command_value,     0 },
        { "guidance",        command_value,     0 },
        { "programme",       command_programme, 0 },
        { "clear",           command_simple,    0, 1 },
        { "status",          command_status,    1, 1 },
        { "stop",            command_simple,    1, 1 },
    };
    size_t len;

    for (int i = 0; i < FF_ARRAY_ELEMS(commands); i++)
        if (!strcmp(cmd, commands[i].name) && (commands[i].from || !c->o->from)) {
            if (*arg && commands[i].alone)
                return answer(res, res_len, "%s '%.40s': expected no argument", cmd, arg), AVERROR(EINVAL);
            return commands[i].run(c, cmd, arg, res, res_len);
        }
    if (c->o->from) {
        answer(res, res_len, "from: clips are made by another process, expected hold, resume, status or stop");
        return AVERROR(ENOSYS);
    }
    answer(res, res_len, "'%.40s': expected one of", cmd);
    for (int i = 0; i < FF_ARRAY_ELEMS(commands); i++) {
        len = strlen(res);
        answer(res + len, res_len - len, "%s %s", i ? "," : "", commands[i].name);
    }
    return AVERROR(ENOSYS);
}

/* a graph asks again, without the flag, after a fast command that nobody knows: the log has it once */
static int is_asked_again(int err, int flags)
{
    return err == AVERROR(ENOSYS) && (flags & AVFILTER_CMD_FLAG_FAST);
}

int ff_turbodiff_command(TurboDiffChannel *c, const char *cmd, const char *arg, char *res, int res_len, int flags)
{
    char said[1024] = "";
    int ret;

    if (!arg)
        arg = "";
    pthread_mutex_lock(&c->lock);
    ret = obey(c, cmd, arg, said, sizeof(said));
    pthread_mutex_unlock(&c->lock);
    if (ret < 0 && !*said)
        answer(said, sizeof(said), "%s: %s", cmd, av_err2str(ret));
    for (char *p = said; *p; p++)                /* one line, whatever it quotes */
        if ((unsigned char)*p < ' ')
            *p = ' ';
    if (ret < 0 && !is_asked_again(ret, flags))
        av_log(c->ctx, AV_LOG_WARNING, "%s\n", said);
    else if (ret >= 0)
        av_log(c->ctx, ret ? AV_LOG_WARNING : strcmp(cmd, "status") ? AV_LOG_INFO : AV_LOG_VERBOSE, "%s%s%s: %s\n", cmd,
               *arg ? " " : "", arg, said);
    answer(res, res_len, "%s", said);
    return FFMIN(ret, 0);
}

int ff_turbodiff_no_commands(AVFilterContext *ctx, char *res, int res_len, int flags, const char *want)
{
    if (!is_asked_again(AVERROR(ENOSYS), flags))
        av_log(ctx, AV_LOG_WARNING, "commands: expected %s\n", want);
    answer(res, res_len, "commands: expected %s", want);
    return AVERROR(ENOSYS);
}
