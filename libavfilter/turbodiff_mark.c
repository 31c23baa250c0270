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
 * what frames say of themselves: metadata, which filters see, and a mark in the
 * coded video, which receivers see
 */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "libavutil/bprint.h"
#include "libavutil/dict.h"
#include "libavutil/error.h"
#include "libavutil/frame.h"
#include "libavutil/macros.h"
#include "libavutil/mathematics.h"
#include "filters.h"
#include "turbodiff_common.h"

/* fd1259d1-1acc-44ed-acb7-280712089af1, in front of each mark */
static const uint8_t mark_uuid[16] = {
    0xfd, 0x12, 0x59, 0xd1, 0x1a, 0xcc, 0x44, 0xed, 0xac, 0xb7, 0x28, 0x07, 0x12, 0x08, 0x9a, 0xf1,
};

#define PREFIX "lavfi.turbodiff."
#define SOURCE_TYPES "http://cv.iptc.org/newscodes/digitalsourcetype/"

int ff_turbodiff_set_metadata(AVFilterContext *ctx)
{
    TurboDiffContext *s = ctx->priv;
    char seed[24];
    TDInfo info;
    int ret;

    ret = td_info(s->td, &info);
    if (ret < 0)
        return ff_turbodiff_error(ret);
    snprintf(seed, sizeof(seed), "%"PRIu64, info.seed);
    av_dict_free(&s->metadata);
    if ((ret = av_dict_set(&s->metadata, "lavfi.turbodiff.model", info.model, 0))        < 0 ||
        (ret = av_dict_set(&s->metadata, "lavfi.turbodiff.seed", seed, 0))               < 0 ||
        (ret = av_dict_set_int(&s->metadata, "lavfi.turbodiff.steps", info.n_steps, 0))  < 0 ||
        (ret = av_dict_set(&s->metadata, "lavfi.turbodiff.prompt", s->clean_prompt, 0))  < 0)
        return ret;
    /* the IPTC term for media made by a trained model */
    return av_dict_set(&s->metadata, "lavfi.turbodiff.digital_source_type", "trainedAlgorithmicMedia", 0);
}

int ff_turbodiff_set_times(AVFilterContext *ctx, AVDictionary **metadata)
{
    TurboDiffContext *s = ctx->priv;
    TDInfo info;
    int ret;

    ret = td_info(s->td, &info);
    if (ret < 0)
        return ff_turbodiff_error(ret);
    {
        const struct {
            const char *key;
            double seconds;
        } times[] = {
            { "lavfi.turbodiff.load_seconds",        info.stage_seconds[TD_STAGE_LOAD]    },
            { "lavfi.turbodiff.text_seconds",        info.stage_seconds[TD_STAGE_TEXT]    },
            { "lavfi.turbodiff.image_seconds",       info.stage_seconds[TD_STAGE_IMAGE]   },
            { "lavfi.turbodiff.denoise_seconds",     info.stage_seconds[TD_STAGE_DENOISE] },
            { "lavfi.turbodiff.decode_seconds",      info.stage_seconds[TD_STAGE_DECODE]  },
            { "lavfi.turbodiff.copy_seconds",        info.copy_seconds                    },
            { "lavfi.turbodiff.caller_seconds",      info.caller_seconds                  },
            { "lavfi.turbodiff.first_frame_seconds", info.first_frame_seconds             },
            { "lavfi.turbodiff.wall_seconds",        info.wall_seconds                    },
        };

        for (int i = 0; i < FF_ARRAY_ELEMS(times); i++) {
            char text[32];

            snprintf(text, sizeof(text), "%.6f", times[i].seconds);
            if ((ret = av_dict_set(metadata, times[i].key, text, 0)) < 0)
                return ret;
        }
    }
    return av_dict_set_int(metadata, "lavfi.turbodiff.peak_bytes", info.peak_bytes, 0);
}

/* a member of a JSON object, as a string, where there is a value */
static void add_member(AVBPrint *bp, const char *name, const char *prefix, const char *value)
{
    if (!value)
        return;
    av_bprintf(bp, "%s\"%s\":\"%s", bp->len > 1 ? "," : "", name, prefix);
    for (const uint8_t *p = (const uint8_t *)value; *p; p++) {
        if (*p < 0x20 || *p == 0x7f)
            av_bprintf(bp, "\\u%04x", *p);
        else if (*p == '"' || *p == '\\')
            av_bprintf(bp, "\\%c", *p);
        else
            av_bprint_chars(bp, *p, 1);
    }
    av_bprint_chars(bp, '"', 1);
}

static int add_mark(AVFrame *frame)
{
    static const char *const names[] = { "model", "seed", "clip", "id" };
    const AVDictionaryEntry *type = av_dict_get(frame->metadata, PREFIX "digital_source_type", NULL, 0);
    AVFrameSideData *side_data;
    AVBPrint bp;
    int ret = 0;

    av_bprint_init(&bp, 0, AV_BPRINT_SIZE_UNLIMITED);
    av_bprint_chars(&bp, '{', 1);
    add_member(&bp, "digitalSourceType", SOURCE_TYPES, type->value);
    add_member(&bp, "generator", "turbodiff ", td_version());
    for (int i = 0; i < FF_ARRAY_ELEMS(names); i++) {
        const AVDictionaryEntry *entry;
        char key[32];

        snprintf(key, sizeof(key), PREFIX "%s", names[i]);
        entry = av_dict_get(frame->metadata, key, NULL, 0);
        add_member(&bp, names[i], "", entry ? entry->value : NULL);
    }
    av_bprint_chars(&bp, '}', 1);
    if (!av_bprint_is_complete(&bp) ||
        !(side_data = av_frame_new_side_data(frame, AV_FRAME_DATA_SEI_UNREGISTERED, sizeof(mark_uuid) + bp.len))) {
        ret = AVERROR(ENOMEM);
    } else {
        memcpy(side_data->data, mark_uuid, sizeof(mark_uuid));
        memcpy(side_data->data + sizeof(mark_uuid), bp.str, bp.len);
    }
    av_bprint_finalize(&bp, NULL);
    return ret;
}

/* whether a frame is generated, and the first such one, or the first one since a second of the output's time began */
static int is_due(AVFilterLink *outlink, const AVFrame *frame)
{
    TurboDiffContext *s = outlink->src->priv;
    int64_t t = av_rescale_q(frame->pts, outlink->time_base, AV_TIME_BASE_Q);

    if (!s->mark || !av_dict_get(frame->metadata, PREFIX "digital_source_type", NULL, 0))
        return 0;
    if (!s->is_marked || t < s->next_mark - AV_TIME_BASE) {
        s->is_marked = 1;
        s->next_mark = t;
    }
    if (t < s->next_mark)
        return 0;
    s->next_mark += ((t - s->next_mark) / AV_TIME_BASE + 1) * AV_TIME_BASE;
    return 1;
}

int ff_turbodiff_output(AVFilterLink *outlink, AVFrame *frame)
{
    int ret = is_due(outlink, frame) ? add_mark(frame) : 0;

    if (ret < 0) {
        av_frame_free(&frame);
        return ret;
    }
    return ff_filter_frame(outlink, frame);
}
