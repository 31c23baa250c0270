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
 * what a monitor wants to know of a channel
 */

#include "config.h"

#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "libavutil/avstring.h"
#include "libavutil/bprint.h"
#include "libavutil/error.h"
#include "libavutil/log.h"
#include "libavutil/macros.h"
#include "libavutil/mem.h"
#include "libavutil/thread.h"
#include "libavutil/time.h"
#include "turbodiff_channel_priv.h"
#include "turbodiff_common.h"
#include "turbodiff_metrics.h"
#include "turbodiff_writer.h"

#define PERIOD 1000000

static AVMutex claims_lock = AV_MUTEX_INITIALIZER;
static TurboDiffChannel *claims;

static const char *const held_kinds[TURBODIFF_N_HELD] = { "hold", "repeat", "pingpong", "slate", "black" };

int ff_turbodiff_check_metrics(AVFilterContext *ctx, const char *file)
{
    if (file && (!*file || !strcmp(file, "-"))) {
        av_log(ctx, AV_LOG_ERROR, "metrics '%s': expected a file, which is written anew each second\n", file);
        return AVERROR(EINVAL);
    }
    return file ? ff_turbodiff_check_output(ctx, "metrics", file) : 0;
}

/* in the same folder, by the same name: the file itself is another one each second */
static int is_same_file(const char *a, const char *b)
{
    const char *paths[] = { a, b };
    struct stat folder[2];

    if (strcmp(av_basename(a), av_basename(b)))
        return 0;
    for (int i = 0; i < 2; i++) {
        char *path = av_strdup(paths[i]);
        int ret = path ? stat(av_dirname(path), &folder[i]) : -1;

        av_free(path);
        if (ret < 0)
            return !strcmp(a, b);
    }
    return folder[0].st_dev == folder[1].st_dev && folder[0].st_ino == folder[1].st_ino;
}

int ff_turbodiff_claim_metrics(TurboDiffChannel *c)
{
    TurboDiffChannel *other;

    if (!c->o->metrics)
        return 0;
    ff_mutex_lock(&claims_lock);
    for (other = claims; other && !is_same_file(other->o->metrics, c->o->metrics); other = other->metrics.next)
        ;
    if (other) {
        av_log(c->ctx, AV_LOG_ERROR, "metrics '%s': %s writes it already, expected a file of its own\n", c->o->metrics,
               other->ctx->name);
    } else {
        c->metrics.next = claims;
        claims = c;
    }
    ff_mutex_unlock(&claims_lock);
    return other ? AVERROR(EBUSY) : ff_turbodiff_open_writer(c->ctx, &c->metrics.writer, "metrics", c->o->metrics);
}

void ff_turbodiff_release_metrics(TurboDiffChannel *c)
{
    ff_turbodiff_close_writer(&c->metrics.writer);       /* before another may write there */
    ff_mutex_lock(&claims_lock);
    for (TurboDiffChannel **at = &claims; *at; at = &(*at)->metrics.next)
        if (*at == c) {
            *at = c->metrics.next;
            break;
        }
    ff_mutex_unlock(&claims_lock);
}

void ff_turbodiff_count_clip(TurboDiffChannel *c, int err, int64_t us, int frames)
{
    const TurboDiffContext *s = c->ctx->priv;
    TurboDiffMetrics *m = &c->metrics;
    TDInfo info;
    int known = err >= 0 && td_info(s->td, &info) >= 0;

    pthread_mutex_lock(&c->lock);
    m->n_made      += err >= 0;
    m->n_cancelled += err == AVERROR(ECANCELED);
    m->n_failed    += err < 0 && err != AVERROR(ECANCELED);
    if (err >= 0) {
        m->clip_seconds += us / 1e6;
        m->rate = us > 0 ? frames / av_q2d(s->frame_rate) / (us / 1e6) : 0;
    }
    if (known) {
        memcpy(m->stage_seconds, info.stage_seconds, sizeof(m->stage_seconds));
        m->peak_bytes = FFMAX(m->peak_bytes, info.peak_bytes);
    }
    pthread_mutex_unlock(&c->lock);
}

void ff_turbodiff_count_frame(TurboDiffChannel *c, const char *state)
{
    pthread_mutex_lock(&c->lock);
    c->metrics.state      = state;
    c->metrics.last_frame = av_gettime();
    for (int i = 0; i < FF_ARRAY_ELEMS(held_kinds); i++)
        c->metrics.n_held[i] += !strcmp(state, held_kinds[i]);
    pthread_mutex_unlock(&c->lock);
}

/* ---- the file ---- */

/* a metric's head */
static void add_head(AVBPrint *bp, const char *name, const char *type, const char *help)
{
    av_bprintf(bp, "# HELP turbodiff_%s %s\n# TYPE turbodiff_%s %s\n", name, help, name, type);
}

/* a sample; key is a label's name, or NULL */
static void add_sample(AVBPrint *bp, const TurboDiffChannel *c, const char *name, const char *key, const char *value,
                       double number)
{
    av_bprintf(bp, "turbodiff_%s{channel=\"", name);
    for (const char *p = c->ctx->name; *p; p++) {
        if (*p == '"' || *p == '\\')
            av_bprint_chars(bp, '\\', 1);
        av_bprintf(bp, *p == '\n' ? "\\n" : "%c", *p);
    }
    av_bprint_chars(bp, '"', 1);
    if (key)
        av_bprintf(bp, ",%s=\"%s\"", key, value);
    av_bprintf(bp, "} %.17g\n", number);
}

static void add_single(AVBPrint *bp, const TurboDiffChannel *c, const char *name, const char *type, const char *help,
                       double number)
{
    add_head(bp, name, type, help);
    add_sample(bp, c, name, NULL, NULL, number);
}

/* under the lock */
static void add_states(AVBPrint *bp, const TurboDiffChannel *c, int end)
{
    static const char *const states[] = { "wait", "play", "hold", "repeat", "pingpong", "slate", "black", "end" };
    const char *state = end ? "end" : c->metrics.state ? c->metrics.state : "wait";

    add_head(bp, "state", "gauge", "1 for what is on air.");
    for (int i = 0; i < FF_ARRAY_ELEMS(states); i++)
        add_sample(bp, c, "state", "state", states[i], !strcmp(state, states[i]));
}

/* under the lock */
static void add_clips(AVBPrint *bp, const TurboDiffChannel *c)
{
    static const struct {
        const char *name;
        enum TDStage stage;
    } stages[] = {
        { "load", TD_STAGE_LOAD }, { "text", TD_STAGE_TEXT }, { "image", TD_STAGE_IMAGE },
        { "denoise", TD_STAGE_DENOISE }, { "decode", TD_STAGE_DECODE },
    };
    const TurboDiffMetrics *m = &c->metrics;
    int ready = 0;

    for (const TurboDiffClip *clip = c->clips; clip; clip = clip->next)
        ready += clip->done && !clip->played;
    add_head(bp, "clips_total", "counter", "Clips that have ended.");
    add_sample(bp, c, "clips_total", "result", "made", m->n_made);
    add_sample(bp, c, "clips_total", "result", "failed", m->n_failed);
    add_sample(bp, c, "clips_total", "result", "cancelled", m->n_cancelled);
    add_head(bp, "clip_seconds", "summary", "How long making took, of the clips that were made.");
    add_sample(bp, c, "clip_seconds_sum", NULL, NULL, m->clip_seconds);
    add_sample(bp, c, "clip_seconds_count", NULL, NULL, m->n_made);
    add_head(bp, "stage_seconds", "gauge", "How long each stage of the last clip took.");
    for (int i = 0; i < FF_ARRAY_ELEMS(stages); i++)
        add_sample(bp, c, "stage_seconds", "stage", stages[i].name, m->stage_seconds[stages[i].stage]);
    add_single(bp, c, "rate_vs_realtime", "gauge", "How long the last clip lasts by how long it took.", m->rate);
    add_single(bp, c, "ready_clips", "gauge", "Clips that are made and not yet on air.", ready);
    add_single(bp, c, "queued_clips", "gauge", "Clips that commands have queued.", c->nb_queue);
    add_single(bp, c, "restarts_total", "counter", "Times that the model was loaded anew.", c->n_restarts);
    add_single(bp, c, "device_bytes", "gauge", "Most memory that weights and clips took on the device.", m->peak_bytes);
}

static void add_frames(AVBPrint *bp, const TurboDiffChannel *c)
{
    const TurboDiffMetrics *m = &c->metrics;

    add_single(bp, c, "frames_total", "counter", "Frames that were sent.", c->n_out);
    add_head(bp, "held_frames_total", "counter", "Frames that were sent in place of new ones.");
    for (int i = 0; i < FF_ARRAY_ELEMS(held_kinds); i++)
        add_sample(bp, c, "held_frames_total", "kind", held_kinds[i], m->n_held[i]);
    add_single(bp, c, "late_events_total", "counter", "Times that a clip was not there in time.", c->n_late);
    add_single(bp, c, "late_frames", "gauge", "Frames since the clip that is missing now was due.", c->held);
    add_single(bp, c, "last_frame_timestamp_seconds", "gauge", "When the last frame was sent.", m->last_frame / 1e6);
}

void ff_turbodiff_write_metrics(TurboDiffChannel *c, int end)
{
    TurboDiffMetrics *m = &c->metrics;
    int64_t now = av_gettime_relative();
    char *text;
    size_t len;
    AVBPrint bp;

    if (!m->writer || (!end && now < m->next_write))
        return;
    m->next_write = now + PERIOD;
    av_bprint_init(&bp, 4096, AV_BPRINT_SIZE_UNLIMITED);
    pthread_mutex_lock(&c->lock);
    add_states(&bp, c, end);
    add_frames(&bp, c);
    add_clips(&bp, c);
    pthread_mutex_unlock(&c->lock);
    len = bp.len;
    if (!av_bprint_is_complete(&bp) || av_bprint_finalize(&bp, &text) < 0)
        av_bprint_finalize(&bp, NULL);           /* no memory: the next time will do */
    else
        ff_turbodiff_write_text(m->writer, text, len);
}
