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
 * the prompt: from an option or from a file, which may be a pipe
 */

#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libavutil/error.h"
#include "libavutil/file_open.h"
#include "libavutil/log.h"
#include "libavutil/macros.h"
#include "libavutil/mem.h"
#include "libavutil/thread.h"
#include "filters.h"
#include "turbodiff_common.h"

/* bytes of a textfile, many times what a prompt may have */
#define MAX_FILE (1 << 20)

/* milliseconds between two looks at the interrupt callback while a pipe is silent */
#define POLL_PERIOD 50

static AVMutex kept_lock = AV_MUTEX_INITIALIZER;
static struct {
    char *file, *text;
} *kept;
static int nb_kept;

int ff_turbodiff_keep_text(const char *file, const char *text)
{
    char *copy = av_strdup(text), *name = av_strdup(file);
    int i, ret = 0;

    ff_mutex_lock(&kept_lock);
    for (i = 0; i < nb_kept && name && strcmp(kept[i].file, name); i++)
        ;
    if (!copy || !name || (i == nb_kept && av_reallocp_array(&kept, i + 1, sizeof(*kept)) < 0)) {
        nb_kept = kept ? nb_kept : 0;
        ret = AVERROR(ENOMEM);
    } else if (i == nb_kept) {
        kept[nb_kept].file   = name;
        kept[nb_kept++].text = copy;
        name = copy = NULL;
    } else {
        FFSWAP(char *, kept[i].text, copy);
    }
    ff_mutex_unlock(&kept_lock);
    av_free(name);
    av_free(copy);
    return ret;
}

char *ff_turbodiff_kept_text(const char *file)
{
    char *text = NULL;

    ff_mutex_lock(&kept_lock);
    for (int i = 0; i < nb_kept && !text; i++)
        if (!strcmp(kept[i].file, file))
            text = av_strdup(kept[i].text);
    ff_mutex_unlock(&kept_lock);
    return text;
}

/* read to the end, waiting for the other end of a pipe; @return bytes, at most max */
static int read_all(AVFilterContext *ctx, int fd, char *text, int max)
{
    struct pollfd p = { fd, POLLIN };
    int len = 0;

    while (len < max) {
        ssize_t n;

        if (ff_filter_interrupted(ctx))
            return AVERROR_EXIT;
        /* a FIFO that nobody has opened for writing yet would read as ended */
        if (poll(&p, 1, POLL_PERIOD) <= 0)
            continue;
        n = read(fd, text + len, max - len);
        if (!n)
            break;
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return AVERROR(errno);
        len += FFMAX(n, 0);
    }
    return len;
}

static int is_changed(const struct stat *a, const struct stat *b)
{
    return a->st_size != b->st_size || a->st_mtime != b->st_mtime;
}

static int read_textfile(AVFilterContext *ctx, char *text)
{
    TurboDiffContext *s = ctx->priv;
    struct stat before, after;
    int fd, ret;

    fd = avpriv_open(s->textfile, O_RDONLY | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &before) < 0) {
        ret = AVERROR(errno);
        goto unreadable;
    }
    if (S_ISDIR(before.st_mode)) {
        ret = AVERROR(EISDIR);
        goto unreadable;
    }
    ret = read_all(ctx, fd, text, MAX_FILE + 1);
    if (ret == AVERROR_EXIT)
        goto end;
    if (ret < 0)
        goto unreadable;
    text[ret] = 0;
    if (ret > MAX_FILE) {
        av_log(ctx, AV_LOG_ERROR, "textfile '%s' has more than %d bytes, expected a prompt\n", s->textfile, MAX_FILE);
        ret = AVERROR_INVALIDDATA;
    } else if (memchr(text, 0, ret)) {
        av_log(ctx, AV_LOG_ERROR, "textfile '%s' is not text: it has a NUL byte\n", s->textfile);
        ret = AVERROR_INVALIDDATA;
    } else if (S_ISREG(before.st_mode) && fstat(fd, &after) >= 0 && is_changed(&before, &after)) {
        av_log(ctx, AV_LOG_ERROR, "textfile '%s' changed while it was read\n", s->textfile);
        ret = AVERROR_INVALIDDATA;
    }
    goto end;

unreadable:
    av_log(ctx, AV_LOG_ERROR, "textfile '%s' cannot be read: %s\n", s->textfile, av_err2str(ret));
end:
    if (fd >= 0)
        close(fd);
    return ret;
}

int ff_turbodiff_check_prompt(AVFilterContext *ctx)
{
    TurboDiffContext *s = ctx->priv;

    if (s->has_programme && !s->params.prompt && !s->textfile)
        return 0;
    if (!s->params.prompt == !s->textfile) {
        av_log(ctx, AV_LOG_ERROR, "%s: expected one of the options prompt and textfile%s\n",
               s->params.prompt ? "Both a prompt and a textfile" : "No prompt",
               s->params.prompt ? "" : s->settings.image_to_video ? ", or prompts" : ", or programme");
        return AVERROR(EINVAL);
    }
    return 0;
}

int ff_turbodiff_load_prompt(AVFilterContext *ctx)
{
    TurboDiffContext *s = ctx->priv;
    int ret = 0;

    if (s->clean_prompt)
        return 0;
    if (!s->params.prompt) {
        /* a filter that has an input may be made anew where that changes */
        char *kept = ctx->nb_inputs ? ff_turbodiff_kept_text(s->textfile) : NULL, *text = av_malloc(MAX_FILE + 2);
        struct stat st;

        if (!text)
            ret = AVERROR(ENOMEM);
        else if (kept && !stat(s->textfile, &st) && S_ISFIFO(st.st_mode))
            FFSWAP(char *, text, kept);              /* a pipe is read once */
        else if ((ret = read_textfile(ctx, text)) >= 0 && (ret = ff_turbodiff_clean(ctx, text, &s->clean_prompt, NULL)) >= 0)
            ret = FFMIN(ff_turbodiff_keep_text(s->textfile, text), 0);
        if (ret < 0 && ret != AVERROR_EXIT && kept) {
            av_log(ctx, AV_LOG_WARNING, "textfile '%s': the prompt before stays\n", s->textfile);
            FFSWAP(char *, text, kept);
            ret = 0;
        }
        s->params.prompt = ret < 0 ? NULL : av_strdup(text);
        av_free(kept);
        av_free(text);
        if (!s->params.prompt)
            return ret < 0 ? ret : AVERROR(ENOMEM);
    }
    ret = s->clean_prompt ? strlen(s->clean_prompt) : ff_turbodiff_clean(ctx, s->params.prompt, &s->clean_prompt, NULL);
    if (!ret)
        av_log(ctx, AV_LOG_WARNING, "The prompt is empty: nothing says what the video is to show\n");
    return ret;
}
