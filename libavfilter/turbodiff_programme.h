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

#ifndef AVFILTER_TURBODIFF_PROGRAMME_H
#define AVFILTER_TURBODIFF_PROGRAMME_H

/**
 * @file
 * A programme: a text of one clip a line, from a file or from a pipe.
 *
 *     # comment
 *     a lighthouse in a storm
 *     seed=7:d=5:id=surf | a cat surfing, "slowly": at sunset
 *
 * Options come before a bar, so that a prompt needs no escaping. A bar or a
 * colon inside of a value is written with a backslash before it.
 */

#include <stdint.h>
#include <sys/stat.h>

#include "libavutil/thread.h"
#include "avfilter.h"
#include "turbodiff_transition.h"

struct TDParams;
struct TurboDiffReason;

/**
 * A clip to be made. What a line leaves open, the options of the filter say.
 */
typedef struct TurboDiffJob {
    char *prompt;
    char *clean;                ///< the prompt as the model sees it
    char *negative;             ///< NULL: not set
    char *id;                   ///< NULL: none
    uint64_t seed;
    int has_seed;
    int frames;                 ///< 0: not set
    int steps;                  ///< 0: not set
    int repeat;                 ///< how many times more it is played
    TurboDiffTransition in;     ///< from the clip before
    int line;                   ///< of a file, from 1
} TurboDiffJob;

typedef struct TurboDiffProgramme {
    char *file;
    const char *name;           ///< of the option that it is from, for the log
    int again;                  ///< this process has read the file before: its graph is built anew
    TurboDiffJob *jobs;         ///< of a file: all of its clips
    int nb_jobs;
    int next;                   ///< the job that is next
    struct stat as_read;        ///< the file, when it was read
    struct stat as_refused;     ///< as it is now, if that has been said; zeros where there is none
    int is_refused;
    int fd;                     ///< of a pipe, else -1
    int at_end;                 ///< a device has no more to say
    char *text;                 ///< of a pipe: what has been read and is no line yet
    int len;
    int line;                   ///< of a pipe: lines so far
    int skip;                   ///< of a pipe: what comes up to the end of the line is left out
    TurboDiffJob ahead;         ///< of a pipe: one that was looked at, if it has a prompt
    int is_warned;              ///< of what has no effect
    int is_rewound;             ///< its file is being looked at; one that takes its place is not
} TurboDiffProgramme;

/**
 * Read the line of a clip.
 *
 * @param where what an error is said of, such as FILE:7
 * @param why   see ff_turbodiff_refuse()
 * @return 1 a clip, to be freed with ff_turbodiff_free_job(); 0 a comment or an
 *         empty line, < 0 an error that has been logged
 */
int ff_turbodiff_parse_job(AVFilterContext *ctx, TurboDiffJob *job, const char *line, const char *where,
                           struct TurboDiffReason *why);

/**
 * Whether the model takes this text.
 *
 * @param why what it says if not
 */
int ff_turbodiff_check_text(AVFilterContext *ctx, const char *text, struct TurboDiffReason *why);

/**
 * Set the prompt of a job; after an error the job is empty.
 */
int ff_turbodiff_prompt_job(AVFilterContext *ctx, TurboDiffJob *job, const char *prompt, struct TurboDiffReason *why);

void ff_turbodiff_free_job(TurboDiffJob *job);

/**
 * Set in the filter's context what a clip is made by. Its strings stay the
 * job's and those of own.
 *
 * @param own what the job leaves open; not the context's own parameters
 */
int ff_turbodiff_set_job(AVFilterContext *ctx, const TurboDiffJob *job, const struct TDParams *own, int64_t nb_frames,
                         uint64_t seed);

/**
 * Read a file and check all of it, or open a pipe. To be closed in any case.
 *
 * @param name of the option, for the log; a string that stays
 * @param why  see ff_turbodiff_refuse()
 */
int ff_turbodiff_open_programme(AVFilterContext *ctx, TurboDiffProgramme *p, const char *name, const char *file,
                                struct TurboDiffReason *why);

/**
 * The same where the graph is configured. A file that this process has read
 * before, and that is faulty now, is taken as it was then, with a warning.
 */
int ff_turbodiff_start_programme(AVFilterContext *ctx, TurboDiffProgramme *p, const char *name, const char *file);

/**
 * Read the file again if it is another one or was written to, and begin anew.
 * If that fails, the clips stay as they are, and a warning says so. Not for a
 * pipe.
 *
 * @param lock of what *p is part of; held by the caller, and left while the file
 *             is looked at; NULL: there is no other thread
 * @return 0 another thread has put another programme at *p meanwhile, which stays
 *         as it is; else 1
 */
int ff_turbodiff_rewind_programme(AVFilterContext *ctx, TurboDiffProgramme *p, pthread_mutex_t *lock);

/**
 * The next clip. Does not wait; lines of a pipe with an error are skipped.
 *
 * @return 1 a clip, 0 there is none now (a file: none any more), < 0 an error
 */
int ff_turbodiff_next_job(AVFilterContext *ctx, TurboDiffProgramme *p, TurboDiffJob *job);

/**
 * The clip that ff_turbodiff_next_job() would give, which stays the
 * programme's; NULL if there is none now.
 */
const TurboDiffJob *ff_turbodiff_peek_job(AVFilterContext *ctx, TurboDiffProgramme *p);

/**
 * Whether no clip will come any more: the file's are all taken, or the pipe's
 * writers have gone.
 */
int ff_turbodiff_programme_ended(const TurboDiffProgramme *p);

void ff_turbodiff_close_programme(TurboDiffProgramme *p);

#endif /* AVFILTER_TURBODIFF_PROGRAMME_H */
