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
 * a thread that writes a file
 */

#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libavutil/avstring.h"
#include "libavutil/error.h"
#include "libavutil/file_open.h"
#include "libavutil/log.h"
#include "libavutil/macros.h"
#include "libavutil/mem.h"
#include "libavutil/thread.h"
#include "turbodiff_writer.h"

struct TurboDiffWriter {
    AVFilterContext *ctx;
    const char *option;
    char *file;                 ///< not a link: that one would be replaced
    pthread_t thread;
    int has_thread;

    /* of the thread, or of who hands over where there is none */
    int is_failed;              ///< the last text could not be written

    /* of both threads, under the lock */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    char *text;                 ///< the newest one that is not taken yet; NULL: there is none
    size_t len;
    int quit;
};

/* the text to a file beside it, and that in its place: who reads it sees all of one time */
static int put(const TurboDiffWriter *w, const char *text, size_t len)
{
    char *beside = av_asprintf("%s.tmp", w->file);
    ssize_t written;
    int fd, ret = 0;

    if (!beside)
        return AVERROR(ENOMEM);
    fd = avpriv_open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_NONBLOCK, 0666);
    if (fd < 0) {
        ret = AVERROR(errno);
    } else {
        written = write(fd, text, len);
        if (written != len)
            ret = written < 0 ? AVERROR(errno) : AVERROR(ENOSPC);
        if (close(fd) < 0 && !ret)
            ret = AVERROR(errno);
        if (!ret && rename(beside, w->file) < 0)
            ret = AVERROR(errno);
        if (ret < 0)
            unlink(beside);
    }
    av_free(beside);
    return ret;
}

/* what a file cannot take the place of: a device, a pipe */
static int is_other(const char *file)
{
    struct stat st;

    return !stat(file, &st) && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode);
}

static void write_text(TurboDiffWriter *w, char *text, size_t len)
{
    int other = is_other(w->file), ret = other ? AVERROR(EINVAL) : put(w, text, len);

    if (other && !w->is_failed)
        av_log(w->ctx, AV_LOG_WARNING, "%s '%s' is a device or a pipe, expected a file; the video goes on without\n",
               w->option, w->file);
    else if (ret < 0 && !w->is_failed)
        av_log(w->ctx, AV_LOG_WARNING, "%s '%s' cannot be written: %s; the video goes on without\n", w->option, w->file,
               av_err2str(ret));
    w->is_failed = ret < 0;
    av_free(text);
}

static void *work(void *arg)
{
    TurboDiffWriter *w = arg;

    pthread_mutex_lock(&w->lock);
    for (;;) {
        char *text = w->text;
        size_t len = w->len;

        if (!text && w->quit)                    /* not before the last one is written */
            break;
        if (!text) {
            pthread_cond_wait(&w->wake, &w->lock);
            continue;
        }
        w->text = NULL;
        pthread_mutex_unlock(&w->lock);
        write_text(w, text, len);
        pthread_mutex_lock(&w->lock);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

int ff_turbodiff_open_writer(AVFilterContext *ctx, TurboDiffWriter **dst, const char *option, const char *file)
{
    TurboDiffWriter *w = *dst = av_mallocz(sizeof(*w));
    char *there = realpath(file, NULL);

    if (w)
        w->file = av_strdup(there ? there : file);
    free(there);
    if (!w || !w->file) {
        av_freep(dst);
        return AVERROR(ENOMEM);
    }
    w->ctx    = ctx;
    w->option = option;
    if (pthread_mutex_init(&w->lock, NULL))
        return 0;
    if (!pthread_cond_init(&w->wake, NULL)) {
        w->has_thread = !pthread_create(&w->thread, NULL, work, w);
        if (w->has_thread)
            return 0;
        pthread_cond_destroy(&w->wake);
    }
    pthread_mutex_destroy(&w->lock);
    return 0;
}

void ff_turbodiff_write_text(TurboDiffWriter *w, char *text, size_t len)
{
    if (!w->has_thread) {
        write_text(w, text, len);
        return;
    }
    pthread_mutex_lock(&w->lock);
    FFSWAP(char *, w->text, text);
    w->len = len;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
    av_free(text);
}

void ff_turbodiff_close_writer(TurboDiffWriter **writer)
{
    TurboDiffWriter *w = *writer;

    if (w && w->has_thread) {
        pthread_mutex_lock(&w->lock);
        w->quit = 1;
        pthread_cond_signal(&w->wake);
        pthread_mutex_unlock(&w->lock);
        pthread_join(w->thread, NULL);
        pthread_cond_destroy(&w->wake);
        pthread_mutex_destroy(&w->lock);
    }
    if (w)
        av_freep(&w->file);
    av_freep(writer);
}
