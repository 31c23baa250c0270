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
 * programmes: the text of a clip a line
 */

#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libavutil/avstring.h"
#include "libavutil/error.h"
#include "libavutil/file_open.h"
#include "libavutil/log.h"
#include "libavutil/macros.h"
#include "libavutil/mathematics.h"
#include "libavutil/mem.h"
#include "libavutil/parseutils.h"
#include "filters.h"
#include "turbodiff_common.h"
#include "turbodiff_programme.h"

/* bytes of a file, and of a line that comes through a pipe: what the library takes for a prompt, and its options */
#define MAX_FILE (16 << 20)
#define MAX_LINE (1 << 17)

/* lines that are looked at before somebody may ask for an end */
#define MAX_LINES 1000

/* bytes of a name, which is in the metadata of each frame */
#define MAX_ID 200
#define MAX_REPEAT 1000000

static const char *const keys[] = { "seed", "frames", "d", "steps", "negative", "repeat", "id", "in" };

void ff_turbodiff_free_job(TurboDiffJob *job)
{
    av_freep(&job->prompt);
    av_freep(&job->clean);
    av_freep(&job->negative);
    av_freep(&job->id);
    memset(job, 0, sizeof(*job));
}

int ff_turbodiff_check_text(AVFilterContext *ctx, const char *text, TurboDiffReason *why)
{
    char *clean = NULL;
    const char *rest;
    int ret = ff_turbodiff_clean(ctx, text, &clean, why);

    if (av_strstart(why->text, "prompt: ", &rest))       /* the library calls all of them so */
        memmove(why->text, rest, strlen(rest) + 1);
    av_free(clean);
    return FFMIN(ret, 0);
}

int ff_turbodiff_prompt_job(AVFilterContext *ctx, TurboDiffJob *job, const char *prompt, TurboDiffReason *why)
{
    int ret = ff_turbodiff_clean(ctx, prompt, &job->clean, why);

    if (ret >= 0 && !(job->prompt = av_strdup(prompt)))
        ret = AVERROR(ENOMEM);
    if (ret < 0)
        ff_turbodiff_free_job(job);
    return FFMIN(ret, 0);
}

int ff_turbodiff_set_job(AVFilterContext *ctx, const TurboDiffJob *job, const TDParams *own, int64_t nb_frames,
                         uint64_t seed)
{
    TurboDiffContext *s = ctx->priv;

    s->params = *own;
    s->params.prompt = job->prompt;
    if (job->negative)
        s->params.negative_prompt = job->negative;
    if (job->steps)
        s->params.n_steps = job->steps;
    s->seed         = job->has_seed ? job->seed : seed;
    s->seed_unknown = 0;
    s->nb_frames    = job->frames ? job->frames : nb_frames;
    s->clip_frames  = (s->nb_frames + 2) / 4 * 4 + 1;
    av_freep(&s->clean_prompt);
    s->clean_prompt = av_strdup(job->clean);
    return s->clean_prompt ? 0 : AVERROR(ENOMEM);
}

static int parse_count(const char *value, int min, int max, int *dst)
{
    char *end;
    long long n;

    errno = 0;
    n = strtoll(value, &end, 10);
    if (end == value || *end || errno || n < min || n > max)
        return AVERROR(EINVAL);
    *dst = n;
    return 0;
}

static int set_key(AVFilterContext *ctx, TurboDiffJob *job, const char *key, char *value, const char *where, TurboDiffReason *why)
{
    TurboDiffContext *s = ctx->priv;
    const char *want = NULL;
    int ret = 0, min, max;

    if (!strcmp(key, "seed")) {
        ret = ff_turbodiff_parse_seed(value, &job->seed);
        job->has_seed = ret == 0;
        want = "0 to 18446744073709551615, or -1 for a random one";
        if (ret == 1) {
            job->seed = ff_turbodiff_draw_seed(ctx);
            job->has_seed = 1;
        }
    } else if (!strcmp(key, "frames")) {
        ret = parse_count(value, 1, TD_MAX_FRAMES, &job->frames);
        want = "1 to 509";
    } else if (!strcmp(key, "d")) {
        int64_t us, frames = 0;

        ret = av_parse_time(&us, value, 1);
        if (ret >= 0)
            frames = av_rescale_q_rnd(us, AV_TIME_BASE_Q, av_inv_q(s->frame_rate), AV_ROUND_UP);
        if (frames < 1 || frames > TD_MAX_FRAMES)
            ret = AVERROR(EINVAL);
        job->frames = frames;
        want = "a duration of 1 to 509 frames";
    } else if (!strcmp(key, "steps")) {
        want = ff_turbodiff_steps(s, &min, &max);
        ret = parse_count(value, min, max, &job->steps);
    } else if (!strcmp(key, "repeat")) {
        ret = parse_count(value, 0, MAX_REPEAT, &job->repeat);
        want = "0 to 1000000 times more";
    } else if (!strcmp(key, "in")) {
        ret = ff_turbodiff_parse_transition(value, &job->in);
        want = TRANSITION_WANT;
    } else {
        char **dst = !strcmp(key, "id") ? &job->id : &job->negative;
        TurboDiffReason reason = { 0 };

        if (dst == &job->id && strlen(value) > MAX_ID) {
            ret = AVERROR(EINVAL);
            want = "at most 200 bytes";
        } else if (dst == &job->negative && (ret = ff_turbodiff_check_text(ctx, value, &reason)) < 0) {
            ff_turbodiff_refuse(ctx, why, "%s: negative: %s", where, reason.text);
            return ret;
        } else {
            av_freep(dst);
            if (!(*dst = av_strdup(value)))
                return AVERROR(ENOMEM);
        }
    }
    if (ret < 0)
        ff_turbodiff_refuse(ctx, why, "%s: %s '%.40s': expected %s", where, key, value, want);
    return FFMIN(ret, 0);
}

/* whether text begins with a word and an equals sign, and has a bar after it */
static int has_options(const char *text)
{
    const char *p = text + strspn(text, "abcdefghijklmnopqrstuvwxyz_");

    return p > text && *p == '=' && strchr(p, '|');
}

/* a value, up to a bare colon or bar, in place; @return what follows it, the delimiter in *end */
static char *cut_value(char *p, char *end)
{
    char *to = p;

    for (; *p && *p != ':' && *p != '|'; p++) {
        if (*p == '\\' && p[1])
            p++;
        *to++ = *p;
    }
    *end = *p;
    if (*p)
        p++;
    while (*end == '|' && to[-1] == ' ')         /* between a value and its bar */
        to--;
    *to = 0;
    return p;
}

int ff_turbodiff_parse_job(AVFilterContext *ctx, TurboDiffJob *job, const char *line, const char *where, TurboDiffReason *why)
{
    TurboDiffReason reason = { 0 };
    char *text, *p, delimiter = ':';
    unsigned seen = 0;                           /* by key */
    int ret = 0;

    memset(job, 0, sizeof(*job));
    line += strspn(line, " \t\r");
    if (!*line || *line == '#')
        return 0;
    if (!(text = p = av_strdup(line)))
        return AVERROR(ENOMEM);
    for (size_t len = strlen(p); len && strchr(" \t\r", p[len - 1]); len--)
        p[len - 1] = 0;
    if (has_options(p))
        while (delimiter == ':') {
            char *key = p, *value = strchr(p, '=');
            int n = 0;

            if (!value || strcspn(key, "=:|") != value - key) {
                ff_turbodiff_refuse(ctx, why, "%s: '%.40s': expected KEY=VALUE:KEY=VALUE | PROMPT", where, key);
                ret = AVERROR(EINVAL);
                goto fail;
            }
            *value++ = 0;
            p = cut_value(value, &delimiter);
            while (n < FF_ARRAY_ELEMS(keys) && strcmp(keys[n], key))
                n++;
            if (n == FF_ARRAY_ELEMS(keys)) {
                ff_turbodiff_refuse(ctx, why, "%s: '%.40s': expected one of seed, frames, d, steps, negative, repeat, id, in",
                                    where, key);
                ret = AVERROR(EINVAL);
                goto fail;
            }
            if (seen >> n & 1) {
                ff_turbodiff_refuse(ctx, why, "%s: %s is there twice: expected it once", where, key);
                ret = AVERROR(EINVAL);
                goto fail;
            }
            seen |= 1u << n;
            if (job->frames && (!strcmp(key, "frames") || !strcmp(key, "d"))) {
                ff_turbodiff_refuse(ctx, why, "%s: both frames and d: expected one of them", where);
                ret = AVERROR(EINVAL);
                goto fail;
            }
            if ((ret = set_key(ctx, job, key, value, where, why)) < 0)
                goto fail;
            if (!delimiter) {
                ff_turbodiff_refuse(ctx, why, "%s: no prompt: expected KEY=VALUE | PROMPT", where);
                ret = AVERROR(EINVAL);
                goto fail;
            }
        }
    p += strspn(p, " \t");
    if (!*p) {
        ff_turbodiff_refuse(ctx, why, "%s: the prompt is empty, expected KEY=VALUE | PROMPT", where);
        ret = AVERROR(EINVAL);
        goto fail;
    }
    if ((ret = ff_turbodiff_prompt_job(ctx, job, p, &reason)) < 0) {
        ff_turbodiff_refuse(ctx, why, "%s: %s", where, *reason.text ? reason.text : av_err2str(ret));
        goto fail;
    }
    av_free(text);
    return 1;

fail:
    ff_turbodiff_free_job(job);
    av_free(text);
    return ret;
}

static void free_jobs(TurboDiffJob **jobs, int *nb_jobs)
{
    for (int i = 0; i < *nb_jobs; i++)
        ff_turbodiff_free_job(&(*jobs)[i]);
    av_freep(jobs);
    *nb_jobs = 0;
}

/* once a programme */
static void warn_unused(AVFilterContext *ctx, TurboDiffProgramme *p, const TurboDiffJob *job, const char *where)
{
    const char *unused = ff_turbodiff_unused(ctx->priv);

    if (!job->negative || !*unused || p->is_warned)
        return;
    av_log(ctx, AV_LOG_WARNING, "%s: negative %s\n", where, unused);
    p->is_warned = 1;
}

/* all lines; each error is logged, and one is enough to fail */
static int parse_text(AVFilterContext *ctx, TurboDiffProgramme *p, char *text, TurboDiffReason *why)
{
    int number = 1, error = 0;

    for (char *line = text, *next; line; line = next, number++) {
        char where[64];
        TurboDiffJob job;
        int ret;

        next = strchr(line, '\n');
        if (next)
            *next++ = 0;
        snprintf(where, sizeof(where), "%.40s:%d", av_basename(p->file), number);
        ret = ff_turbodiff_parse_job(ctx, &job, line, where, why);
        job.line = number;
        if (ret > 0)
            warn_unused(ctx, p, &job, where);
        if (ret > 0 && !av_dynarray2_add((void **)&p->jobs, &p->nb_jobs, sizeof(job), (void *)&job)) {
            ff_turbodiff_free_job(&job);
            ret = AVERROR(ENOMEM);
        }
        if (ret < 0)
            error = ret;
        if (ret == AVERROR(ENOMEM))
            break;
    }
    if (!error && !p->nb_jobs) {
        ff_turbodiff_refuse(ctx, why, "%s '%s' has no clip, expected a prompt in each line", p->name, p->file);
        error = AVERROR_INVALIDDATA;
    }
    if (error)
        free_jobs(&p->jobs, &p->nb_jobs);
    return error;
}

static int read_file(AVFilterContext *ctx, TurboDiffProgramme *p, TurboDiffReason *why)
{
    int64_t size = p->as_read.st_size, len = 0;
    char *text, *kept = NULL;
    int ret = 0;

    if (size > MAX_FILE) {
        ff_turbodiff_refuse(ctx, why, "%s '%s' has more than %d bytes", p->name, p->file, MAX_FILE);
        return AVERROR_INVALIDDATA;
    }
    if (!(text = av_malloc(size + 1)))
        return AVERROR(ENOMEM);
    while (len < size) {
        ssize_t n = read(p->fd, text + len, size - len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            ret = n < 0 ? AVERROR(errno) : 0;
            break;
        }
        len += n;
    }
    text[len] = 0;
    if (ret < 0) {
        ff_turbodiff_refuse(ctx, why, "%s '%s' cannot be read: %s", p->name, p->file, av_err2str(ret));
    } else if (memchr(text, 0, len)) {
        ff_turbodiff_refuse(ctx, why, "%s '%s' is not text: it has a NUL byte", p->name, p->file);
        ret = AVERROR_INVALIDDATA;
    } else if (!(kept = av_strdup(text + (strncmp(text, "\xef\xbb\xbf", 3) ? 0 : 3)))) {
        ret = AVERROR(ENOMEM);
    } else if ((ret = parse_text(ctx, p, text + (len - strlen(kept)), why)) >= 0) {
        ret = ff_turbodiff_keep_text(p->file, kept);
    }
    av_free(kept);
    av_free(text);
    return ret;
}

int ff_turbodiff_start_programme(AVFilterContext *ctx, TurboDiffProgramme *p, const char *name, const char *file)
{
    char *kept = ff_turbodiff_kept_text(file);
    int ret = ff_turbodiff_open_programme(ctx, p, name, file, NULL);

    p->again = !!kept;
    if (ret < 0 && kept && p->file && p->fd < 0 && (ret = parse_text(ctx, p, kept, NULL)) >= 0) {
        memset(&p->as_read, 0, sizeof(p->as_read));      /* to be tried again */
        av_log(ctx, AV_LOG_WARNING, "%s '%s': its %d clips before stay\n", name, file, p->nb_jobs);
    }
    av_free(kept);
    return ret;
}

int ff_turbodiff_open_programme(AVFilterContext *ctx, TurboDiffProgramme *p, const char *name, const char *file,
                                TurboDiffReason *why)
{
    int ret = 0;

    memset(p, 0, sizeof(*p));
    p->fd   = -1;
    p->name = name;
    if (!(p->file = av_strdup(file)))
        return AVERROR(ENOMEM);
    p->fd = avpriv_open(file, O_RDONLY | O_NONBLOCK);
    if (p->fd < 0 || fstat(p->fd, &p->as_read) < 0)
        ret = AVERROR(errno);
    else if (S_ISDIR(p->as_read.st_mode))
        ret = AVERROR(EISDIR);
    if (ret < 0) {
        ff_turbodiff_refuse(ctx, why, "%s '%s' cannot be read: %s, expected a file or a pipe with a prompt in each line", name,
                            file, av_err2str(ret));
        if (p->fd >= 0)
            close(p->fd);
        p->fd = -1;
    } else if (S_ISREG(p->as_read.st_mode)) {
        ret = read_file(ctx, p, why);
        close(p->fd);
        p->fd = -1;
    } else if (!(p->text = av_malloc(MAX_LINE + 1))) {
        ret = AVERROR(ENOMEM);
    }
    return ret;
}

/* whether it is the same file, and was not written to */
static int is_same(const struct stat *a, const struct stat *b)
{
    return a->st_ino == b->st_ino && a->st_size == b->st_size && a->st_mtime == b->st_mtime;
}

int ff_turbodiff_rewind_programme(AVFilterContext *ctx, TurboDiffProgramme *p, pthread_mutex_t *lock)
{
    TurboDiffProgramme again = { .fd = -1 };
    struct stat before = p->as_read, refused = p->as_refused, now;
    const char *name = p->name;
    char *file = av_strdup(p->file);
    int is_refused = p->is_refused, changed, stays, ret = 0;

    p->is_rewound = 1;
    if (lock)                                    /* a disk may be slow, and frames go on */
        pthread_mutex_unlock(lock);
    memset(&now, 0, sizeof(now));
    if (file && stat(file, &now) < 0)
        memset(&now, 0, sizeof(now));
    changed = file && !is_same(&now, &before) && !(is_refused && is_same(&now, &refused));
    if (changed)
        ret = ff_turbodiff_open_programme(ctx, &again, name, file, NULL);
    if (changed && ret >= 0 && again.fd >= 0)
        av_log(ctx, AV_LOG_WARNING, "%s '%s' is a pipe now, expected a file, as it was\n", name, file);
    if (lock)
        pthread_mutex_lock(lock);
    stays = p->is_rewound;
    if (stays) {
        p->is_rewound = p->next = 0;
        if (changed && ret >= 0 && again.fd < 0) {
            av_log(ctx, AV_LOG_INFO, "%s '%s' has changed: %d clips\n", name, file, again.nb_jobs);
            FFSWAP(TurboDiffProgramme, *p, again);
        } else if (changed) {
            p->as_refused = now;
            p->is_refused = 1;
            av_log(ctx, AV_LOG_WARNING, "%s '%s': its %d clips before stay\n", name, file, p->nb_jobs);
        }
    }
    ff_turbodiff_close_programme(&again);
    av_free(file);
    return stays;
}

static int copy_job(TurboDiffJob *dst, const TurboDiffJob *src)
{
    *dst = *src;
    dst->prompt   = av_strdup(src->prompt);
    dst->clean    = av_strdup(src->clean);
    dst->negative = av_strdup(src->negative);
    dst->id       = av_strdup(src->id);
    if (!dst->prompt || !dst->clean || !dst->negative != !src->negative || !dst->id != !src->id) {
        ff_turbodiff_free_job(dst);
        return AVERROR(ENOMEM);
    }
    return 0;
}

/* the first line that is there, without its end; NULL if there is none yet, or none in MAX_LINE bytes, so that a pipe that
 * never ends a line keeps nobody */
static char *next_line(AVFilterContext *ctx, TurboDiffProgramme *p)
{
    int64_t seen = 0;

    for (;;) {
        char *end = memchr(p->text, '\n', p->len), *line;
        ssize_t n = 0;

        if (end) {
            int len = end - p->text, skip = p->skip;

            p->line++;
            p->skip = 0;
            if (!skip && memchr(p->text, 0, len)) {
                av_log(ctx, AV_LOG_ERROR, "%s:%d: a line with a NUL byte is left out\n", av_basename(p->file), p->line);
                skip = 1;
            }
            line = skip ? NULL : av_strndup(p->text, len);
            p->len -= len + 1;
            memmove(p->text, end + 1, p->len);
            seen += len + 1;
            if (skip && seen < MAX_LINE)
                continue;
            return line;
        }
        if (p->len == MAX_LINE) {
            if (!p->skip)
                av_log(ctx, AV_LOG_ERROR, "%s:%d: a line of more than %d bytes is left out\n", av_basename(p->file),
                       p->line + 1, MAX_LINE);
            p->skip = 1;
            p->len = 0;
        }
        if (seen >= MAX_LINE)
            return NULL;
        n = read(p->fd, p->text + p->len, MAX_LINE - p->len);
        p->at_end = n == 0 && S_ISCHR(p->as_read.st_mode);
        if (n == 0 && p->len)                    /* the last line may lack its end */
            p->text[p->len++] = '\n';
        else if (n <= 0)
            return NULL;
        else
            p->len += n;
        seen += p->skip ? n : 0;
    }
}

int ff_turbodiff_next_job(AVFilterContext *ctx, TurboDiffProgramme *p, TurboDiffJob *job)
{
    char *line;

    if (p->fd < 0) {
        int ret;

        if (p->next >= p->nb_jobs)
            return 0;
        ret = copy_job(job, &p->jobs[p->next]);
        p->next++;
        return ret < 0 ? ret : 1;
    }
    if (p->ahead.prompt) {
        *job = p->ahead;
        memset(&p->ahead, 0, sizeof(p->ahead));
        return 1;
    }
    for (int i = 0; i < MAX_LINES && (line = next_line(ctx, p)); i++) {
        char where[64];
        int ret;

        snprintf(where, sizeof(where), "%.40s:%d", av_basename(p->file), p->line);
        ret = strlen(line) ? ff_turbodiff_parse_job(ctx, job, line, where, NULL) : 0;
        av_free(line);
        if (ret > 0)
            warn_unused(ctx, p, job, where);
        if (ret > 0 || ret == AVERROR(ENOMEM))
            return ret;
    }
    return 0;
}

const TurboDiffJob *ff_turbodiff_peek_job(AVFilterContext *ctx, TurboDiffProgramme *p)
{
    if (p->fd < 0)
        return p->next < p->nb_jobs ? &p->jobs[p->next] : NULL;
    return p->ahead.prompt || ff_turbodiff_next_job(ctx, p, &p->ahead) > 0 ? &p->ahead : NULL;
}

int ff_turbodiff_programme_ended(const TurboDiffProgramme *p)
{
    struct pollfd poll_fd = { p->fd, POLLIN };

    if (p->fd < 0)
        return p->next >= p->nb_jobs;
    if (p->len || p->ahead.prompt)
        return 0;
    return p->at_end || (poll(&poll_fd, 1, 0) > 0 && (poll_fd.revents & POLLHUP) && !(poll_fd.revents & POLLIN));
}

void ff_turbodiff_close_programme(TurboDiffProgramme *p)
{
    free_jobs(&p->jobs, &p->nb_jobs);
    ff_turbodiff_free_job(&p->ahead);
    if (p->file && p->fd >= 0)
        close(p->fd);
    p->fd = -1;
    av_freep(&p->text);
    av_freep(&p->file);
}
