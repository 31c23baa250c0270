/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdio.h>
#include "api/stats.h"
#include "base/options.h"

typedef struct Line { char *dst; size_t size, n; } Line;

static void put(Line *l, char c)
{
    if (l->n + 1 < l->size)
        l->dst[l->n] = c;
    l->n++;
}

static void put_text(Line *l, const char *s)
{
    while (*s)
        put(l, *s++);
}

static void put_key(Line *l, const char *key)
{
    put_text(l, l->n ? ", \"" : "{\"");
    put_text(l, key);
    put_text(l, "\": ");
}

static void put_string(Line *l, const char *key, const char *s)
{
    put_key(l, key);
    put(l, '"');
    for (; *s; s++) {
        if (*s == '"' || *s == '\\')
            put(l, '\\');
        put(l, (unsigned char)*s < 0x20 ? ' ' : *s);
    }
    put(l, '"');
}

static void put_int(Line *l, const char *key, uint64_t v)
{
    char text[32];

    snprintf(text, sizeof(text), "%llu", (unsigned long long)v);
    put_key(l, key);
    put_text(l, text);
}

/* with a point whatever the locale: millionths as an integer, split */
static void put_decimal(Line *l, const char *key, double v)
{
    unsigned long long n = v > 0 ? (unsigned long long)(v * 1e6 + 0.5) : 0;
    char text[48];

    snprintf(text, sizeof(text), "%llu.%06llu", n / 1000000, n % 1000000);
    put_key(l, key);
    put_text(l, text);
}

int td_stats_write(const TDInfo *info, char *dst, size_t size)
{
    Line l = { dst, size, 0 };

    put_string(&l, "model", info->model);
    put_string(&l, "backend", info->backend);
    put_string(&l, "device", info->device_name);
    put_string(&l, "attention", td_attention_words[info->attention]);
    put_decimal(&l, "topk", info->topk);
    put_string(&l, "quant", td_quant_words[info->quant]);
    put_int(&l, "width", (uint64_t)info->clip_width);
    put_int(&l, "height", (uint64_t)info->clip_height);
    put_int(&l, "frames", (uint64_t)info->clip_frames);
    put_int(&l, "frames_out", (uint64_t)info->frames_out);
    put_int(&l, "steps", (uint64_t)info->n_steps);
    put_int(&l, "seed", info->seed);
    put_int(&l, "text_cached", (uint64_t)info->text_cached);
    put_decimal(&l, "load_seconds", info->stage_seconds[TD_STAGE_LOAD]);
    put_decimal(&l, "text_seconds", info->stage_seconds[TD_STAGE_TEXT]);
    put_decimal(&l, "image_seconds", info->stage_seconds[TD_STAGE_IMAGE]);
    put_decimal(&l, "denoise_seconds", info->stage_seconds[TD_STAGE_DENOISE]);
    put_decimal(&l, "decode_seconds", info->stage_seconds[TD_STAGE_DECODE]);
    put_decimal(&l, "copy_seconds", info->copy_seconds);
    put_decimal(&l, "caller_seconds", info->caller_seconds);
    put_decimal(&l, "first_frame_seconds", info->first_frame_seconds);
    put_decimal(&l, "wall_seconds", info->wall_seconds);
    put_int(&l, "weight_bytes", info->weight_bytes);
    put_int(&l, "workspace_bytes", info->workspace_bytes);
    put_int(&l, "predicted_bytes", info->predicted_bytes);
    put_int(&l, "others_bytes", info->others_bytes);
    put_int(&l, "peak_bytes", info->peak_bytes);
    put_int(&l, "device_used_bytes", info->device_used_bytes);
    put(&l, '}');
    if (size)
        dst[l.n < size ? l.n : size - 1] = 0;
    return (int)l.n;
}
