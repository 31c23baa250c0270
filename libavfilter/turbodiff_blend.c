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
 * two frames mixed in linear light
 */

#include <math.h>
#include <stdint.h>

#include "libavutil/common.h"
#include "libavutil/error.h"
#include "libavutil/macros.h"
#include "libavutil/mem.h"
#include "libavutil/pixdesc.h"
#include "libavutil/thread.h"
#include "turbodiff_convert.h"
#include "turbodiff_transition.h"

/* the largest value of a channel, and of its light */
#define MAX_VALUE 4095
#define MAX_LIGHT 65535

static uint16_t light_of[MAX_VALUE + 1];
static float value_of[MAX_LIGHT + 1];
static AVOnce once = AV_ONCE_INIT;

static void make_tables(void)
{
    for (int i = 0; i <= MAX_VALUE; i++) {
        double v = (double)i / MAX_VALUE;

        light_of[i] = lrint(MAX_LIGHT * (v <= 0.04045 ? v / 12.92 : pow((v + 0.055) / 1.055, 2.4)));
    }
    for (int i = 0; i <= MAX_LIGHT; i++) {
        double l = (double)i / MAX_LIGHT;

        value_of[i] = l <= 0.0031308 ? 12.92 * l : 1.055 * pow(l, 1 / 2.4) - 0.055;
    }
}

/* one component of a pixel */
static inline int get(const AVFrame *f, const AVComponentDescriptor *c, int x, int y)
{
    const uint8_t *p = f->data[c->plane] + y * f->linesize[c->plane] + x * c->step + c->offset;

    return (c->depth > 8 ? *(const uint16_t *)p : *p) >> c->shift;
}

static inline void put(AVFrame *f, const AVComponentDescriptor *c, int x, int y, float v)
{
    uint8_t *p = f->data[c->plane] + y * f->linesize[c->plane] + x * c->step + c->offset;
    int n = av_clip((int)(v + 0.5f), 0, (1 << c->depth) - 1);

    if (c->depth > 8)
        *(uint16_t *)p = n << c->shift;
    else
        *p = n << c->shift;
}

/* R, G and B of a row, each 0 to MAX_VALUE */
static void read_row(const AVFrame *f, const AVPixFmtDescriptor *desc, int y, uint16_t *rgb)
{
    const AVComponentDescriptor *c = desc->comp;
    float scale = 1 << (c[0].depth - 8), luma = MAX_VALUE / (219 * scale), chroma = MAX_VALUE / (224 * scale);
    int max = (1 << c[0].depth) - 1, sx = desc->log2_chroma_w, sy = desc->log2_chroma_h;

    for (int x = 0; x < f->width; x++, rgb += 3) {
        float v, cb, cr;

        if (desc->flags & AV_PIX_FMT_FLAG_RGB) {
            for (int i = 0; i < 3; i++)
                rgb[i] = (get(f, &c[i], x, y) * MAX_VALUE + max / 2) / max;
            continue;
        }
        v  = (get(f, &c[0], x, y) - 16 * scale) * luma;
        cb = (get(f, &c[1], x >> sx, y >> sy) - 128 * scale) * chroma;
        cr = (get(f, &c[2], x >> sx, y >> sy) - 128 * scale) * chroma;
        rgb[0] = av_clip(lrintf(v + 1.5748f * cr), 0, MAX_VALUE);
        rgb[1] = av_clip(lrintf(v - 0.1873243f * cb - 0.4681243f * cr), 0, MAX_VALUE);
        rgb[2] = av_clip(lrintf(v + 1.8556f * cb), 0, MAX_VALUE);
    }
}

/* rows of values 0..1 from y on, as many as share their chroma */
static void write_rows(AVFrame *f, const AVPixFmtDescriptor *desc, int y, int n, const float *rgb)
{
    const AVComponentDescriptor *c = desc->comp;
    float scale = 1 << (c[0].depth - 8);
    int max = (1 << c[0].depth) - 1, w = f->width, sx = 1 << desc->log2_chroma_w;

    for (int i = 0; i < n; i++)
        for (int x = 0; x < w; x++) {
            const float *p = rgb + 3 * (i * w + x);

            if (desc->flags & AV_PIX_FMT_FLAG_RGB)
                for (int k = 0; k < 3; k++)
                    put(f, &c[k], x, y + i, max * p[k]);
            else
                put(f, &c[0], x, y + i, scale * (16 + 219 * (0.2126f * p[0] + 0.7152f * p[1] + 0.0722f * p[2])));
        }
    for (int x = 0; !(desc->flags & AV_PIX_FMT_FLAG_RGB) && x < w; x += sx) {
        float cb = 0, cr = 0;
        int count = 0;

        /* the mean of what one sample was spread to: a picture that stands is not blurred */
        for (int i = 0; i < n; i++)
            for (int k = x; k < FFMIN(x + sx, w); k++, count++) {
                const float *p = rgb + 3 * (i * w + k);
                float v = 0.2126f * p[0] + 0.7152f * p[1] + 0.0722f * p[2];

                cb += p[2] - v;
                cr += p[0] - v;
            }
        put(f, &c[1], x >> desc->log2_chroma_w, y >> desc->log2_chroma_h, scale * (128 + 224 / 1.8556f * cb / count));
        put(f, &c[2], x >> desc->log2_chroma_w, y >> desc->log2_chroma_h, scale * (128 + 224 / 1.5748f * cr / count));
    }
}

static int mix(AVFrame **frame, const AVFrame *under, int num, int den)
{
    const AVFrame *over = *frame;
    const AVPixFmtDescriptor *desc = av_pix_fmt_desc_get(over->format);
    int w = over->width, h = over->height, rows = 1 << desc->log2_chroma_h, ret;
    uint16_t *a = av_malloc_array(w, 3 * sizeof(*a)), *b = av_malloc_array(w, 3 * sizeof(*b));
    float *mixed = av_malloc_array(w, 3 * rows * sizeof(*mixed));
    AVFrame *out = av_frame_alloc();

    ff_thread_once(&once, make_tables);
    if (!a || !b || !mixed || !out) {
        ret = AVERROR(ENOMEM);
        goto fail;
    }
    out->format = over->format;
    out->width  = w;
    out->height = h;
    if ((ret = av_frame_get_buffer(out, 0)) < 0 || (ret = av_frame_copy_props(out, over)) < 0)
        goto fail;
    for (int y = 0; y < h; y += rows) {
        int n = FFMIN(rows, h - y);

        for (int i = 0; i < n; i++) {
            read_row(under, desc, y + i, a);
            read_row(over, desc, y + i, b);
            for (int x = 0; x < 3 * w; x++)
                mixed[3 * w * i + x] = value_of[((den - num) * light_of[a[x]] + num * light_of[b[x]] + den / 2) / den];
        }
        write_rows(out, desc, y, n, mixed);
    }
    av_frame_free(frame);
    *frame = out;
    out = NULL;
fail:
    av_frame_free(&out);
    av_free(a);
    av_free(b);
    av_free(mixed);
    return ret;
}

int ff_turbodiff_blend(AVFilterContext *ctx, AVFrame **frame, const AVFrame *under, int num, int den)
{
    AVFrame *over = NULL, *below = NULL;
    int ret;

    if (!(*frame)->hw_frames_ctx)
        return mix(frame, under, num, den);
    if ((ret = ff_turbodiff_download(ctx, &over, *frame)) >= 0 &&
        (ret = ff_turbodiff_download(ctx, &below, under)) >= 0 &&
        (ret = mix(&over, below, num, den)) >= 0 &&
        (ret = ff_turbodiff_upload(ctx, &over, *frame)) >= 0)
        FFSWAP(AVFrame *, *frame, over);
    av_frame_free(&over);
    av_frame_free(&below);
    return ret;
}
