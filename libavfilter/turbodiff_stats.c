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
 * the file of statistics, which never touches the video: where it cannot be
 * written, one line says so and statistics end
 */

#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libavutil/error.h"
#include "libavutil/file_open.h"
#include "libavutil/log.h"
#include "libavutil/opt.h"
#include "turbodiff_common.h"

enum { STATS_CLOSED, STATS_OPEN, STATS_FAILED };

int ff_turbodiff_check_output(AVFilterContext *ctx, const char *name, const char *file)
{
    struct stat own, other;

    if (stat(file, &own) < 0 || !S_ISREG(own.st_mode))
        return 0;
    for (const AVOption *o = NULL; (o = av_opt_next(ctx->priv, o)); ) {
        const char *value = o->type == AV_OPT_TYPE_STRING ? *(char **)((uint8_t *)ctx->priv + o->offset) : NULL;

        if (value && value != file && stat(value, &other) == 0 && own.st_dev == other.st_dev && own.st_ino == other.st_ino) {
            av_log(ctx, AV_LOG_ERROR, "%s '%s': is the file of %s, expected another one to write to\n", name, file, o->name);
            return AVERROR(EINVAL);
        }
    }
    return 0;
}

int ff_turbodiff_check_stats(AVFilterContext *ctx)
{
    TurboDiffContext *s = ctx->priv;

    if (s->stats && !strcmp(s->stats, "-")) {
        av_log(ctx, AV_LOG_ERROR, "stats '-': expected a file, standard output may be a video\n");
        return AVERROR(EINVAL);
    }
    return s->stats ? ff_turbodiff_check_output(ctx, "stats", s->stats) : 0;
}

static void give_up(AVFilterContext *ctx, int err)
{
    TurboDiffContext *s = ctx->priv;

    av_log(ctx, AV_LOG_WARNING, "stats '%s' cannot be written: %s; the video goes on without\n", s->stats,
           av_err2str(err));
    ff_turbodiff_close_stats(ctx);
    s->stats_state = STATS_FAILED;
}

void ff_turbodiff_start_stats(AVFilterContext *ctx)
{
    TurboDiffContext *s = ctx->priv;

    if (s->stats && s->stats_state == STATS_CLOSED) {
        /* not blocked by a FIFO that nobody reads */
        s->stats_fd = avpriv_open(s->stats, O_WRONLY | O_CREAT | O_APPEND | O_NONBLOCK, 0666);
        if (s->stats_fd < 0)
            give_up(ctx, AVERROR(errno));
        else
            s->stats_state = STATS_OPEN;
    }
    s->stats_due = s->stats_state == STATS_OPEN;
}

void ff_turbodiff_write_stats(AVFilterContext *ctx)
{
    TurboDiffContext *s = ctx->priv;
    char line[2048];
    ssize_t written;
    int len;

    if (!s->stats_due)
        return;
    s->stats_due = 0;
    len = td_stats_json(s->td, line, sizeof(line));
    if (len < 0 || len > sizeof(line) - 2) {
        give_up(ctx, AVERROR_BUG);
        return;
    }
    line[len++] = '\n';
    /* a single write of a file opened for appending: lines of several filters and programs do not mix */
    written = write(s->stats_fd, line, len);
    if (written != len)
        give_up(ctx, written < 0 ? AVERROR(errno) : AVERROR(ENOSPC));
}

void ff_turbodiff_close_stats(AVFilterContext *ctx)
{
    TurboDiffContext *s = ctx->priv;

    if (s->stats_state == STATS_OPEN)
        close(s->stats_fd);
    s->stats_state = STATS_CLOSED;
}
