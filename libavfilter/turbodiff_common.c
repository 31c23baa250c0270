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

#include "config.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libavutil/avstring.h"
#include "libavutil/bprint.h"
#include "libavutil/error.h"
#include "libavutil/eval.h"
#include "libavutil/file_open.h"
#include "libavutil/hwcontext.h"
#include "libavutil/log.h"
#include "libavutil/macros.h"
#include "libavutil/mathematics.h"
#include "libavutil/mem.h"
#include "libavutil/opt.h"
#include "libavutil/parseutils.h"
#include "libavutil/pixdesc.h"
#include "libavutil/random_seed.h"
#include "libavutil/time.h"
#include "filters.h"
#include "turbodiff_common.h"
#include "turbodiff_reader.h"
#include "video.h"
#if CONFIG_CUDA
#include "libavutil/hwcontext_cuda_internal.h"
#endif

/* seconds between two reports of progress */
#define PROGRESS_PERIOD 5

static const struct {
    enum AVPixelFormat pix_fmt;
    enum TDPixFmt td;
} pixel_formats[] = {
    /* the first one is the default where any format will do */
    { AV_PIX_FMT_YUV420P,   TD_PIX_YUV420P   },
    { AV_PIX_FMT_YUV444P,   TD_PIX_YUV444P   },
    { AV_PIX_FMT_YUV420P10, TD_PIX_YUV420P10 },
    { AV_PIX_FMT_YUV444P10, TD_PIX_YUV444P10 },
    { AV_PIX_FMT_NV12,      TD_PIX_NV12      },
    { AV_PIX_FMT_P010,      TD_PIX_P010      },
    { AV_PIX_FMT_RGB24,     TD_PIX_RGB24     },
    { AV_PIX_FMT_GBRP,      TD_PIX_GBRP      },
};

/* of those, what CUDA frames may hold */
static const enum AVPixelFormat cuda_formats[] = {
    AV_PIX_FMT_NV12, AV_PIX_FMT_YUV420P, AV_PIX_FMT_YUV444P, AV_PIX_FMT_P010,
};

/* the official sizes; portrait ones are transposed */
static const struct {
    const char *size, *aspect;
    int w, h;
} sizes[] = {
    { "480p", "16:9",  832, 480 },
    { "480p", "4:3",   640, 480 },
    { "480p", "1:1",   640, 640 },
    { "480p", "9:16",  480, 832 },
    { "480p", "3:4",   480, 640 },
    { "720p", "16:9", 1280, 720 },
    { "720p", "4:3",   960, 720 },
    { "720p", "1:1",   960, 960 },
    { "720p", "9:16",  720, 1280 },
    { "720p", "3:4",   720, 960 },
};

int ff_turbodiff_error(int err)
{
    switch (err) {
    case TD_ERR(ECANCELED): return AVERROR_EXIT;
    case TD_ERR(EBADMSG):   return AVERROR_INVALIDDATA;
    default:                return AVERROR(-err);
    }
}

static void log_line(void *cookie, int level, const char *line)
{
    static const int levels[] = {
        [TD_LOG_ERROR]   = AV_LOG_ERROR,
        [TD_LOG_WARNING] = AV_LOG_WARNING,
        [TD_LOG_INFO]    = AV_LOG_INFO,
        [TD_LOG_VERBOSE] = AV_LOG_VERBOSE,
        [TD_LOG_DEBUG]   = AV_LOG_DEBUG,
    };

    av_log(cookie, levels[level], "%s\n", line);
}

static int log_level(void)
{
    int level = av_log_get_level();

    return level >= AV_LOG_DEBUG   ? TD_LOG_DEBUG   :
           level >= AV_LOG_VERBOSE ? TD_LOG_VERBOSE :
           level >= AV_LOG_INFO    ? TD_LOG_INFO    :
           level >= AV_LOG_WARNING ? TD_LOG_WARNING : TD_LOG_ERROR;
}

static void report_progress(void *cookie, const TDProgress *p)
{
    static const char *const names[] = {
        [TD_STAGE_LOAD]    = "loading the model",
        [TD_STAGE_TEXT]    = "encoding the prompt",
        [TD_STAGE_IMAGE]   = "encoding the image",
        [TD_STAGE_DENOISE] = "denoising",
        [TD_STAGE_DECODE]  = "decoding frames",
    };
    AVFilterContext *ctx = cookie;
    TurboDiffContext *s = ctx->priv;
    int64_t now = av_gettime_relative();

    if (p->stage != s->progress_stage) {
        s->progress_stage = p->stage;
        s->progress_time  = now;
    }
    if (now - s->progress_time < PROGRESS_PERIOD * INT64_C(1000000) || p->total <= 0)
        return;
    s->progress_time = now;
    av_log(ctx, AV_LOG_INFO, "%s: %d%%, %.0f s\n", names[p->stage],
           (int)(100LL * p->done / p->total), p->seconds);
}

int ff_turbodiff_interrupted(AVFilterContext *ctx)
{
    const TurboDiffContext *s = ctx->priv;

    if (s->is_threaded)
        return s->interrupt.callback && s->interrupt.callback(s->interrupt.opaque);
    return ff_filter_interrupted(ctx);
}

int ff_turbodiff_is_overdue(const TurboDiffContext *s)
{
    return s->deadline && av_gettime_relative() > s->deadline;
}

static int is_interrupted(void *cookie)
{
    const AVFilterContext *ctx = cookie;

    return ff_turbodiff_interrupted(cookie) || ff_turbodiff_is_overdue(ctx->priv);
}

static int check_hw_format(AVFilterContext *ctx)
{
    TurboDiffContext *s = ctx->priv;
    const char *name = av_get_pix_fmt_name(s->hw_format);

    for (int i = 0; i < FF_ARRAY_ELEMS(cuda_formats); i++)
        if (cuda_formats[i] == s->hw_format)
            return 0;
    av_log(ctx, AV_LOG_ERROR, "hw_format %s: expected nv12, yuv420p, yuv444p or p010\n", name ? name : "none");
    return AVERROR(EINVAL);
}

/* FFmpeg's parser takes of a number its lowest 32 bits: whether these are all. A name has no second number */
static int is_whole_size(const char *size, int w, int h)
{
    char *end;
    long width = strtol(size, &end, 10), height = *end ? strtol(end + 1, NULL, 10) : 0;

    return !height || (width == w && height == h);
}

static int parse_size(AVFilterContext *ctx)
{
    TurboDiffContext *s = ctx->priv;
    const char *aspect = s->aspect ? s->aspect : "16:9";
    int named = 0;

    if (!s->size)
        return 0;
    for (int i = 0; i < FF_ARRAY_ELEMS(sizes); i++) {
        char slash[8];

        if (strcmp(s->size, sizes[i].size))
            continue;
        named = 1;
        av_strlcpy(slash, sizes[i].aspect, sizeof(slash));
        *strchr(slash, ':') = '/';
        if (!strcmp(aspect, sizes[i].aspect) || !strcmp(aspect, slash)) {
            s->w = sizes[i].w;
            s->h = sizes[i].h;
            return 0;
        }
    }
    if (named) {
        av_log(ctx, AV_LOG_ERROR, "aspect '%s': expected 16:9, 9:16, 4:3, 3:4 or 1:1\n", aspect);
        return AVERROR(EINVAL);
    }
    if (av_parse_video_size(&s->w, &s->h, s->size) < 0 ||
        s->w < 16 || s->w > 2048 || s->h < 16 || s->h > 2048 || !is_whole_size(s->size, s->w, s->h)) {
        av_log(ctx, AV_LOG_ERROR, "size '%s': expected 480p, 720p, WxH or a name such as hd1080, "
               "with sides from 16 to 2048\n", s->size);
        return AVERROR(EINVAL);
    }
    if (s->aspect) {
        av_log(ctx, AV_LOG_ERROR, "aspect '%s': works with a named size only, not with '%s'\n", s->aspect, s->size);
        return AVERROR(EINVAL);
    }
    return 0;
}

static int count_frames(AVFilterContext *ctx)
{
    TurboDiffContext *s = ctx->priv;

    s->nb_frames = s->frames;
    if (s->duration != TD_NO_DURATION) {
        double most = floor(100 * TD_MAX_FRAMES / av_q2d(s->frame_rate)) / 100;

        if (s->frames) {
            av_log(ctx, AV_LOG_ERROR, "Both frames and duration: expected one of them\n");
            return AVERROR(EINVAL);
        }
        s->nb_frames = av_rescale_q_rnd(s->duration, AV_TIME_BASE_Q, av_inv_q(s->frame_rate), AV_ROUND_UP);
        if (s->nb_frames < 1 || s->nb_frames > TD_MAX_FRAMES) {
            av_log(ctx, AV_LOG_ERROR, "duration %g s: expected at least 1 frame and at most %d, %g s at %g fps\n",
                   (double)s->duration / AV_TIME_BASE, TD_MAX_FRAMES, most, av_q2d(s->frame_rate));
            return AVERROR(EINVAL);
        }
    } else if (s->frames && s->frames % 4 != 1) {
        av_log(ctx, AV_LOG_ERROR, "frames %d: expected 4k+1 (1, 5, 9, ..., 81, ...), such as %d\n",
               s->frames, FFMAX(s->frames - 1, 0) / 4 * 4 + 1);
        return AVERROR(EINVAL);
    }
    return 0;
}

/* FFmpeg reads numbers as double, which has 53 bits */
int ff_turbodiff_parse_seed(const char *text, uint64_t *seed)
{
    int ok = text && *text;

    *seed = 0;
    if (ok && !strcmp(text, "-1"))
        return 1;
    for (; ok && *text; text++) {
        unsigned digit = *text - '0';

        ok = digit <= 9 && *seed <= (UINT64_MAX - digit) / 10;
        *seed = 10 * *seed + digit;
    }
    return ok ? 0 : AVERROR(EINVAL);
}

uint64_t ff_turbodiff_draw_seed(AVFilterContext *ctx)
{
    uint64_t seed = av_get_random_seed();

    av_log(ctx, AV_LOG_INFO, "seed=%"PRIu64"\n", seed);
    return seed;
}

const char *ff_turbodiff_steps(const TurboDiffContext *s, int *min, int *max)
{
    const char *p = s->params.timesteps;

    *min = 1;
    *max = s->params.sampler == TD_SAMPLER_RCM ? 4 : 1000;
    if (!p)
        return *max == 4 ? "1 to 4 with sampler rcm" : "1 to 1000";
    while ((p = strchr(p, '|')))
        ++*min, p++;
    *max = *min;
    return "as many as timesteps has";
}

const char *ff_turbodiff_unused(const TurboDiffContext *s)
{
    return s->params.sampler == TD_SAMPLER_RCM ? "has no effect with sampler rcm" : "";
}

static int parse_seed(AVFilterContext *ctx)
{
    TurboDiffContext *s = ctx->priv;
    int ret = ff_turbodiff_parse_seed(s->seed_text, &s->seed);

    s->seed_unknown = ret == 1;
    if (ret < 0)
        av_log(ctx, AV_LOG_ERROR, "seed '%s': expected 0 to %"PRIu64", or -1 for a random one\n",
               s->seed_text ? s->seed_text : "", UINT64_MAX);
    return FFMIN(ret, 0);
}

int ff_turbodiff_parse_guidance(const char *text, double *high, double *low)
{
    double *values[] = { high, low };

    *low = 0;
    for (int i = 0; text && i < FF_ARRAY_ELEMS(values); i++) {
        char *end;

        *values[i] = av_strtod(text, &end);
        if (end == text || !(*values[i] >= 1 && *values[i] <= 100))
            break;
        if (!*end)
            return 0;
        if (*end != '|')
            break;
        text = end + 1;
    }
    return AVERROR(EINVAL);
}

static int parse_guidance(AVFilterContext *ctx)
{
    TurboDiffContext *s = ctx->priv;
    int ret = ff_turbodiff_parse_guidance(s->guidance_text, &s->params.guidance, &s->params.guidance_low);

    if (ret < 0)
        av_log(ctx, AV_LOG_ERROR, "guidance '%s': expected 1 to 100, or two of them: HIGH|LOW\n",
               s->guidance_text ? s->guidance_text : "");
    return ret;
}

/* an empty text is a prompt, and nothing else; what is expected is in the help: "set ..." */
static int check_empty(AVFilterContext *ctx)
{
    const AVOption *o = NULL;

    while ((o = av_opt_next(ctx->priv, o))) {
        const char *text = o->type == AV_OPT_TYPE_STRING ? *(char **)((uint8_t *)ctx->priv + o->offset) : NULL;

        if (!text || *text || !strcmp(o->name, "prompt") || !strcmp(o->name, "negative_prompt"))
            continue;
        av_log(ctx, AV_LOG_ERROR, "%s is empty: expected %s\n", o->name, o->help + strlen("set "));
        return AVERROR(EINVAL);
    }
    return 0;
}

/* a leading ~/ is the home directory: no shell looks into a filter string */
static int expand_home(const char **path)
{
    const char *home = getenv("HOME");
    char *whole;

    if (!*path || strncmp(*path, "~/", 2) || !home)
        return 0;
    if (!(whole = av_asprintf("%s%s", home, *path + 1)))
        return AVERROR(ENOMEM);
    av_free((char *)*path);
    *path = whole;
    return 0;
}

/* the same of each of a list's files, joined with | */
static int expand_home_list(const char **list)
{
    const char *home = getenv("HOME"), *p = *list;
    AVBPrint bp;

    if (!p || !home || (strncmp(p, "~/", 2) && !strstr(p, "|~/")))
        return 0;
    av_bprint_init(&bp, 0, AV_BPRINT_SIZE_UNLIMITED);
    for (; *p; p++) {
        if (!strncmp(p, "~/", 2) && (p == *list || p[-1] == '|'))
            av_bprintf(&bp, "%s", home);
        else
            av_bprint_chars(&bp, *p, 1);
    }
    av_free((char *)*list);
    *list = NULL;
    return av_bprint_finalize(&bp, (char **)list);
}

av_cold int ff_turbodiff_init(AVFilterContext *ctx, const char *named_size)
{
    TurboDiffContext *s = ctx->priv;
    const char **paths[] = { &s->settings.model, &s->settings.dit, &s->settings.dit_low, &s->settings.text_encoder,
                             &s->settings.vae, &s->settings.tokenizer };
    const char *want;
    int min, max, ret = 0;

    for (int i = 0; i < FF_ARRAY_ELEMS(paths) && ret >= 0; i++)
        ret = expand_home(paths[i]);
    if (ret < 0 ||
        (ret = expand_home_list(&s->params.lora)) < 0 ||
        (ret = expand_home_list(&s->params.lora_low)) < 0)
        return ret;

    if (s->aspect && !s->size && !(s->size = av_strdup(named_size)))
        return AVERROR(ENOMEM);
    if ((ret = parse_seed(ctx)) < 0 ||
        (ret = parse_guidance(ctx)) < 0 ||
        (ret = check_empty(ctx)) < 0 ||
        (ret = ff_turbodiff_check_prompt(ctx)) < 0 ||
        (ret = parse_size(ctx))  < 0 ||
        (ret = count_frames(ctx)) < 0 ||
        (ret = check_hw_format(ctx)) < 0 ||
        (ret = ff_turbodiff_check_stats(ctx)) < 0)
        return ret;

    want = ff_turbodiff_steps(s, &min, &max);
    if (s->params.n_steps > max && !s->params.timesteps) {       /* beside those the library says more */
        av_log(ctx, AV_LOG_ERROR, "steps %d: expected %s\n", s->params.n_steps, want);
        return AVERROR(EINVAL);
    }
    return 0;
}

/* one of the graph, and a backend that can use it */
static int has_cuda_device(const AVFilterContext *ctx)
{
    const TurboDiffContext *s = ctx->priv;

    return CONFIG_CUDA && s->settings.backend != TD_BACKEND_CPU && ctx->hw_device_ctx &&
           ((AVHWDeviceContext *)ctx->hw_device_ctx->data)->type == AV_HWDEVICE_TYPE_CUDA;
}

int ff_turbodiff_query_formats(const AVFilterContext *ctx,
                               AVFilterFormatsConfig **cfg_in,
                               AVFilterFormatsConfig **cfg_out)
{
    static const int color_spaces[] = { AVCOL_SPC_BT709, -1 };
    static const int color_ranges[] = { AVCOL_RANGE_MPEG, -1 };
    AVFilterFormats *formats = NULL;
    int ret;

    for (int i = 0; i < FF_ARRAY_ELEMS(pixel_formats); i++)
        if ((ret = ff_add_format(&formats, pixel_formats[i].pix_fmt)) < 0)
            return ret;
    /* last: whatever takes software frames, too, gets those */
    if (has_cuda_device(ctx) && (ret = ff_add_format(&formats, AV_PIX_FMT_CUDA)) < 0)
        return ret;
    if ((ret = ff_formats_ref(formats, &cfg_out[0]->formats)) < 0 ||
        (ret = ff_formats_ref(ff_make_format_list(color_spaces), &cfg_out[0]->color_spaces)) < 0)
        return ret;
    return ff_formats_ref(ff_make_format_list(color_ranges), &cfg_out[0]->color_ranges);
}

int ff_turbodiff_makes(enum AVPixelFormat format)
{
    for (int i = 0; i < FF_ARRAY_ELEMS(pixel_formats); i++)
        if (pixel_formats[i].pix_fmt == format)
            return 1;
    return 0;
}

int ff_turbodiff_adapt(AVFilterContext *ctx, int w, int h)
{
    TurboDiffContext *s = ctx->priv;

    if (s->adaptive && td_adaptive_size(&s->w, &s->h, w, h) < 0) {
        av_log(ctx, AV_LOG_ERROR, "adaptive: no size of about %dx%d pixels has the shape %dx%d, "
               "expected sides of at most 2048\n", s->w, s->h, w, h);
        return AVERROR(EINVAL);
    }
    return 0;
}

static void keep_reason(void *cookie, int level, const char *line)
{
    TurboDiffReason *why = cookie;

    if (!*why->text)
        av_strlcpy(why->text, line, sizeof(why->text));
}

int ff_turbodiff_clean(AVFilterContext *ctx, const char *prompt, char **clean, TurboDiffReason *why)
{
    TDLogger logger = { why ? (void *)why : ctx, why ? keep_reason : log_line, TD_LOG_ERROR };
    int len = td_clean_prompt(NULL, 0, prompt, &logger);

    if (len >= 0) {
        if (!(*clean = av_malloc(len + 1)))
            return AVERROR(ENOMEM);
        len = td_clean_prompt(*clean, len + 1, prompt, &logger);
        if (len < 0)
            av_freep(clean);
    }
    return len < 0 ? ff_turbodiff_error(len) : len;
}

int ff_turbodiff_load_jpeg(AVFilterContext *ctx, TDImage *image, const char *path)
{
    TDLogger logger = { ctx, log_line, TD_LOG_ERROR };
    int ret = td_image_load_jpeg(image, path, &logger);

    return ret < 0 ? ff_turbodiff_error(ret) : 0;
}

/* a model makes poor pictures of an area that it was not trained for */
static void warn_size(AVFilterContext *ctx)
{
    TurboDiffContext *s = ctx->priv;
    TDInfo info;
    int64_t area = (int64_t)s->w * s->h, own;

    if (td_info(s->td, &info) < 0)
        return;
    own = (int64_t)info.default_width * info.default_height;
    if (area > 2 * own || 2 * area < own)
        av_log(ctx, AV_LOG_WARNING, "%dx%d is far from the area of %dx%d that the model is made for: pictures may be "
               "poor\n", s->w, s->h, info.default_width, info.default_height);
}

int ff_turbodiff_config(AVFilterLink *outlink)
{
    AVFilterContext *ctx = outlink->src;
    TurboDiffContext *s = ctx->priv;
    FilterLink *l = ff_filter_link(outlink);
    AVHWFramesContext *frames;
    int ret;

    warn_size(ctx);
    if (s->format != AV_PIX_FMT_CUDA) {
        if (s->hw_format != AV_PIX_FMT_NV12)
            av_log(ctx, AV_LOG_WARNING, "hw_format has no effect where no CUDA frames are made\n");
        return 0;
    }
    av_buffer_unref(&l->hw_frames_ctx);
    l->hw_frames_ctx = av_hwframe_ctx_alloc(ctx->hw_device_ctx);
    if (!l->hw_frames_ctx)
        return AVERROR(ENOMEM);
    frames = (AVHWFramesContext *)l->hw_frames_ctx->data;
    frames->format    = AV_PIX_FMT_CUDA;
    frames->sw_format = s->hw_format;
    frames->width     = outlink->w;
    frames->height    = outlink->h;
    ret = av_hwframe_ctx_init(l->hw_frames_ctx);
    if (ret >= 0) {
        av_buffer_unref(&s->hw_frames);
        if (!(s->hw_frames = av_buffer_ref(l->hw_frames_ctx)))
            return AVERROR(ENOMEM);
    }
    if (ret < 0)
        av_log(ctx, AV_LOG_ERROR, "CUDA frames of %dx%d cannot be made: %s\n", outlink->w, outlink->h, av_err2str(ret));
    return ret;
}

/* options that are set and change nothing; not told by init(), which the ffmpeg tool calls twice for each graph */
static void warn_unused(AVFilterContext *ctx)
{
    TurboDiffContext *s = ctx->priv;
    int rcm = s->params.sampler == TD_SAMPLER_RCM;
    int alone = s->params.guidance == 1 && (!s->params.guidance_low || s->params.guidance_low == 1);
    TDInfo info;
    int known = td_info(s->td, &info) >= 0, dense = known && info.attention == TD_ATTN_DENSE;
    const struct { const char *name; int unused; } options[] = {
        { "negative_prompt has no effect with sampler rcm", rcm && s->params.negative_prompt },
        { "guidance has no effect with sampler rcm",        rcm && (s->params.guidance != TD_GUIDANCE || s->params.guidance_low) },
        { "negative_prompt has no effect with guidance 1",  !rcm && alone && s->params.negative_prompt },
        { "shift has no effect with sampler rcm",           rcm && s->params.shift },
        { "sigma_max has no effect with sampler unipc",     !rcm && s->params.sigma_max },
        { "ode has no effect with sampler unipc",           !rcm && s->params.ode },
        { "boundary has no effect with one transformer",    known && info.transformers == 1 && s->params.boundary },
        { "topk has no effect with dense attention",        dense && s->params.sla_topk },
        { "sla_block has no effect with dense attention",   dense && s->settings.sla_block },
    };

    for (int i = 0; i < FF_ARRAY_ELEMS(options); i++)
        if (options[i].unused)
            av_log(ctx, AV_LOG_WARNING, "%s\n", options[i].name);
}

void ff_turbodiff_set_defaults(TurboDiffContext *s, int w, int h, int frames)
{
    if (!s->size) {
        s->w = w;
        s->h = h;
    }
    if (!s->nb_frames)
        s->nb_frames = frames;
    s->clip_frames = (s->nb_frames + 2) / 4 * 4 + 1;
}

static int ask_defaults(TurboDiffContext *s)
{
    TDInfo info;
    int ret = td_info(s->td, &info);

    if (ret < 0)
        return ff_turbodiff_error(ret);
    ff_turbodiff_set_defaults(s, info.default_width, info.default_height, info.default_frames);
    return 0;
}

av_cold int ff_turbodiff_open(AVFilterContext *ctx)
{
    TurboDiffContext *s = ctx->priv;
    TDSettings settings;
    TDParams clip;
    int ret;

    if (s->td)
        return ask_defaults(s);
    if ((ret = ff_turbodiff_load_prompt(ctx)) < 0)
        return ret;
    settings                 = s->settings;
    settings.struct_size     = sizeof(settings);
    settings.n_threads       = ctx->nb_threads;
    settings.logger.cookie   = ctx;
    settings.logger.callback = log_line;
    settings.logger.level    = log_level();
    settings.progress        = report_progress;
    settings.interrupt       = is_interrupted;
    settings.cookie          = ctx;
    settings.device          = -1;
    settings.clip            = &clip;
    clip                     = s->params;
    clip.struct_size         = sizeof(clip);
    clip.width               = s->w;
    clip.height              = s->h;
    clip.n_frames            = s->nb_frames ? (s->nb_frames + 2) / 4 * 4 + 1 : 0;
#if CONFIG_CUDA
    if (s->format == AV_PIX_FMT_CUDA) {
        AVCUDADeviceContext *cuda = ((AVHWDeviceContext *)ctx->hw_device_ctx->data)->hwctx;

        settings.backend      = TD_BACKEND_CUDA;
        settings.cuda_context = cuda->cuda_ctx;
        settings.cuda_stream  = cuda->stream;
    }
#endif
    s->progress_stage        = -1;

    ret = td_open(&s->td, &settings);
    if (ret < 0)
        return ff_turbodiff_error(ret);
    warn_unused(ctx);
    return ask_defaults(s);
}

int ff_turbodiff_start(AVFilterContext *ctx, const TDImage *image, int64_t clip)
{
    TurboDiffContext *s = ctx->priv;
    TDParams params;
    int ret;

    /* of a clip that is cut short: its thread, its line, and the frame that it was to fill */
    ff_turbodiff_close_reader(ctx);
    ff_turbodiff_write_stats(ctx);
    av_frame_free(&s->frame);
    if (s->seed_unknown) {
        s->seed = ff_turbodiff_draw_seed(ctx);
        s->seed_unknown = 0;
    }
    params             = s->params;
    params.struct_size = sizeof(params);
    params.width       = s->w;
    params.height      = s->h;
    params.n_frames    = s->clip_frames;
    params.seed        = s->seed + (uint64_t)clip;
    params.image       = image;
    params.nonblocking = 1;

    ret = td_start(s->td, &params);
    if (ret < 0)
        return ff_turbodiff_error(ret);
    s->pts = 0;
    ff_turbodiff_start_stats(ctx);
    return ff_turbodiff_set_metadata(ctx);
}

enum AVPixelFormat ff_turbodiff_pixels(const TurboDiffContext *s)
{
    return s->format == AV_PIX_FMT_CUDA ? s->hw_format : s->format;
}

void ff_turbodiff_set_props(AVFilterContext *ctx, AVFrame *frame, AVRational sample_aspect_ratio)
{
    const AVPixFmtDescriptor *desc = av_pix_fmt_desc_get(ff_turbodiff_pixels(ctx->priv));
    int is_rgb = desc->flags & AV_PIX_FMT_FLAG_RGB;

    frame->flags              |= AV_FRAME_FLAG_KEY;
    frame->pict_type           = AV_PICTURE_TYPE_I;
    frame->sample_aspect_ratio = sample_aspect_ratio;
    frame->duration            = 1;
    frame->color_primaries     = AVCOL_PRI_BT709;
    frame->color_trc           = is_rgb ? AVCOL_TRC_IEC61966_2_1 : AVCOL_TRC_BT709;
    frame->colorspace          = is_rgb ? AVCOL_SPC_RGB : AVCOL_SPC_BT709;
    frame->color_range         = is_rgb ? AVCOL_RANGE_JPEG : AVCOL_RANGE_MPEG;
    frame->chroma_location     = desc->log2_chroma_w ? AVCHROMA_LOC_LEFT : AVCHROMA_LOC_UNSPECIFIED;
}

/* s->frame: from the output link's pool, if it is to go there as it is and the link is sure to be there */
static int get_buffer(AVFilterContext *ctx)
{
    TurboDiffContext *s = ctx->priv;
    AVFilterLink *outlink = s->is_threaded ? NULL : ctx->outputs[0];
    AVRational sample_aspect_ratio = outlink ? outlink->sample_aspect_ratio : (AVRational){ 1, 1 };
    AVFrame *frame;
    int ret;

    if (outlink && s->format == outlink->format && s->w == outlink->w && s->h == outlink->h) {
        frame = s->frame = ff_get_video_buffer(outlink, s->w, s->h);
        if (!frame)
            return AVERROR(ENOMEM);
    } else {
        frame = s->frame = av_frame_alloc();
        if (!frame)
            return AVERROR(ENOMEM);
        frame->format = s->format;
        frame->width  = s->w;
        frame->height = s->h;
        ret = s->format == AV_PIX_FMT_CUDA ? av_hwframe_get_buffer(s->hw_frames, frame, 0) : av_frame_get_buffer(frame, 0);
        if (ret < 0)
            return ret;
    }
    ff_turbodiff_set_props(ctx, frame, sample_aspect_ratio);
    return av_dict_copy(&frame->metadata, s->metadata, 0);
}

int ff_turbodiff_read(AVFilterContext *ctx, AVFrame **out)
{
    TurboDiffContext *s = ctx->priv;
    TDFrame td = { 0 };
    int ret;

    if (!s->td || s->pts >= s->nb_frames)
        return 0;
    if (ff_turbodiff_interrupted(ctx))
        return AVERROR_EXIT;
    if (!s->frame && (ret = get_buffer(ctx)) < 0)
        return ret;

    for (int i = 0; i < FF_ARRAY_ELEMS(pixel_formats); i++)
        if (pixel_formats[i].pix_fmt == ff_turbodiff_pixels(s))
            td.format = pixel_formats[i].td;
    td.memory = s->format == AV_PIX_FMT_CUDA ? TD_MEMORY_CUDA : TD_MEMORY_HOST;
    for (int i = 0; i < FF_ARRAY_ELEMS(td.data); i++) {
        td.data[i]   = s->frame->data[i];
        td.stride[i] = s->frame->linesize[i];
    }
    ret = td_read_frame(s->td, &td);
    if (ret < 0)
        return ff_turbodiff_error(ret);
    if (ret > 0) {
        s->frame->pts = s->pts++;
        if (s->pts == s->nb_frames) {
            int err = ff_turbodiff_set_times(ctx, &s->frame->metadata);

            if (err < 0)
                return err;
            ff_turbodiff_write_stats(ctx);
        }
        *out = s->frame;
        s->frame = NULL;
    }
    return ret;
}

int ff_turbodiff_fail(AVFilterContext *ctx, int err)
{
    TurboDiffContext *s = ctx->priv;

    if (!s->error) {
        s->error = err;
        ff_turbodiff_close(ctx);
    }
    ff_filter_set_ready(ctx, 100);
    return s->error;
}

av_cold void ff_turbodiff_close(AVFilterContext *ctx)
{
    TurboDiffContext *s = ctx->priv;

    ff_turbodiff_close_reader(ctx);
    if (s->td)
        ff_turbodiff_write_stats(ctx);
    td_close(&s->td);
    ff_turbodiff_close_stats(ctx);
    av_frame_free(&s->frame);
    av_dict_free(&s->metadata);
    av_buffer_unref(&s->hw_frames);
    av_freep(&s->clean_prompt);
}
