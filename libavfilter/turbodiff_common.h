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

#ifndef AVFILTER_TURBODIFF_COMMON_H
#define AVFILTER_TURBODIFF_COMMON_H

/**
 * @file
 * What the filters on top of libturbodiff share: options, opening, logging,
 * reading frames.
 */

#include <turbodiff.h>

#include "libavutil/attributes.h"
#include "libavutil/dict.h"
#include "libavutil/frame.h"
#include "libavutil/opt.h"
#include "libavutil/rational.h"
#include "avfilter.h"
#include "formats.h"

/**
 * First member of the private context of each filter.
 */
typedef struct TurboDiffContext {
    const AVClass *class;

    /* options */
    TDSettings settings;        ///< what is no option is 0 in both
    TDParams params;
    char *textfile;
    char *image;
    char *size;
    char *aspect;
    int adaptive;
    int frames;
    int64_t duration;
    AVRational frame_rate;
    char *seed_text;
    char *guidance_text;
    char *stats;
    int hw_format;              ///< enum AVPixelFormat
    int mark;

    /* state */
    int has_programme;          ///< prompts come from elsewhere: set before ff_turbodiff_init()
    uint64_t seed;              ///< of the first clip
    int seed_unknown;           ///< it is yet to be drawn
    char *clean_prompt;         ///< the prompt as the model sees it, NULL if not yet loaded
    int w, h;                   ///< of the frames that are made
    int unfit_w, unfit_h;       ///< with a channel: shape of its input that adaptive has no size for; 0: it has
    enum AVPixelFormat format;  ///< of the frames that are made
    TDContext *td;
    int is_threaded;            ///< another thread makes the clips: graph and links may leave the filter while it does
    AVFilterInterruptCB interrupt;   ///< of the graph, for that thread
    int64_t deadline;           ///< when that thread's clip is given up; 0: never
    AVBufferRef *hw_frames;     ///< where CUDA frames come from
    struct TurboDiffReader *reader;  ///< works on the clip; NULL: activate() does itself
    AVFrame *frame;             ///< frame to be filled next, NULL if none
    AVDictionary *metadata;     ///< of every frame
    int clip_frames;            ///< frames to be made
    int64_t nb_frames;          ///< frames to be output
    int64_t pts;                ///< of the next frame
    int progress_stage;         ///< last stage that progress was reported for
    int64_t progress_time;      ///< when that was
    int is_marked;              ///< a frame of the output has been
    int64_t next_mark;          ///< when the next one is due, in microseconds of the output
    int stats_fd;               ///< of the file of statistics, where it is open
    int stats_state;            ///< whether it is
    int stats_due;              ///< the clip has not had its line yet
    int error;                  ///< of the failure that ended the work, 0 if none
} TurboDiffContext;

/* of options that a command may change; a filter with commands defines it before */
#ifndef TD_RUNTIME
#define TD_RUNTIME 0
#endif

#define TD_OFFSET(x) offsetof(TurboDiffContext, x)
#define TD_FLAGS (AV_OPT_FLAG_VIDEO_PARAM | AV_OPT_FLAG_FILTERING_PARAM)

/* default of unipc */
#define TD_GUIDANCE 5

/* of a clip */
#define TD_MAX_FRAMES 509

/* a second less than none: help shows it as -1 */
#define TD_NO_DURATION (-AV_TIME_BASE)

#define TD_CONST(name, help, value, unit_name) \
    { name, help, 0, AV_OPT_TYPE_CONST, { .i64 = value }, 0, 0, TD_FLAGS, .unit = unit_name }

#define TURBODIFF_OPTIONS \
    { "prompt",          "set the text to make a video of", TD_OFFSET(params.prompt), AV_OPT_TYPE_STRING, { .str = NULL }, 0, 0, TD_FLAGS }, \
    { "textfile",        "set a file to read the prompt from", TD_OFFSET(textfile), AV_OPT_TYPE_STRING, { .str = NULL }, 0, 0, TD_FLAGS }, \
    { "model",           "set the directory with the model's files (text to video: the demo model if no file is set)", TD_OFFSET(settings.model), AV_OPT_TYPE_STRING, { .str = NULL }, 0, 0, TD_FLAGS }, \
    { "dit",             "set the transformer file (default: from model)", TD_OFFSET(settings.dit), AV_OPT_TYPE_STRING, { .str = NULL }, 0, 0, TD_FLAGS }, \
    { "dit_low",         "set the low-noise transformer file of a model that has two, dit being the other (default: from model)", TD_OFFSET(settings.dit_low), AV_OPT_TYPE_STRING, { .str = NULL }, 0, 0, TD_FLAGS }, \
    { "vae",             "set the VAE file (default: from model)", TD_OFFSET(settings.vae), AV_OPT_TYPE_STRING, { .str = NULL }, 0, 0, TD_FLAGS }, \
    { "lora",            "set LoRA files of the transformer, with strengths: FILE[*STRENGTH], joined with |", TD_OFFSET(params.lora), AV_OPT_TYPE_STRING, { .str = NULL }, 0, 0, TD_FLAGS }, \
    { "lora_low",        "set LoRA files of the low-noise transformer of a model that has two, as lora", TD_OFFSET(params.lora_low), AV_OPT_TYPE_STRING, { .str = NULL }, 0, 0, TD_FLAGS }, \
    { "text_encoder",    "set the umT5 encoder file (default: from model)", TD_OFFSET(settings.text_encoder), AV_OPT_TYPE_STRING, { .str = NULL }, 0, 0, TD_FLAGS }, \
    { "tokenizer",       "set the tokenizer file (default: from model)", TD_OFFSET(settings.tokenizer), AV_OPT_TYPE_STRING, { .str = NULL }, 0, 0, TD_FLAGS }, \
    { "size",            "set the video size: 480p, 720p, or WxH up to 2048x2048 (default: as the model says)", TD_OFFSET(size), AV_OPT_TYPE_STRING, { .str = NULL }, 0, 0, TD_FLAGS }, \
    { "s",               "set the video size: 480p, 720p, or WxH up to 2048x2048 (default: as the model says)", TD_OFFSET(size), AV_OPT_TYPE_STRING, { .str = NULL }, 0, 0, TD_FLAGS }, \
    { "aspect",          "set the aspect ratio of a named size: 16:9, 9:16, 4:3, 3:4, 1:1 (or 16/9 ...)", TD_OFFSET(aspect), AV_OPT_TYPE_STRING, { .str = NULL }, 0, 0, TD_FLAGS }, \
    { "adaptive",        "take the shape from the image, and the area from the size", TD_OFFSET(adaptive), AV_OPT_TYPE_BOOL, { .i64 = 0 }, 0, 1, TD_FLAGS }, \
    { "frames",          "set the number of frames, 4k+1 up to 509 (0: from duration, else as the model says)", TD_OFFSET(frames), AV_OPT_TYPE_INT, { .i64 = 0 }, 0, TD_MAX_FRAMES, TD_FLAGS }, \
    { "duration",        "set the duration instead of the number of frames, up to 31.8 s at 16 fps (-1: not set)", TD_OFFSET(duration), AV_OPT_TYPE_DURATION, { .i64 = TD_NO_DURATION }, TD_NO_DURATION, INT64_MAX, TD_FLAGS }, \
    { "d",               "set the duration instead of the number of frames, up to 31.8 s at 16 fps (-1: not set)", TD_OFFSET(duration), AV_OPT_TYPE_DURATION, { .i64 = TD_NO_DURATION }, TD_NO_DURATION, INT64_MAX, TD_FLAGS }, \
    { "rate",            "set the frame rate of the output", TD_OFFSET(frame_rate), AV_OPT_TYPE_VIDEO_RATE, { .str = "16" }, 0, INT_MAX, TD_FLAGS }, \
    { "r",               "set the frame rate of the output", TD_OFFSET(frame_rate), AV_OPT_TYPE_VIDEO_RATE, { .str = "16" }, 0, INT_MAX, TD_FLAGS }, \
    { "seed",            "set the seed of the noise, 0 to 18446744073709551615 (-1: random, logged)", TD_OFFSET(seed_text), AV_OPT_TYPE_STRING, { .str = "-1" }, 0, 0, TD_FLAGS | TD_RUNTIME }, \
    { "steps",           "set the number of denoising steps, 1 to 4 with rcm, 1 to 1000 with unipc (0: 4 or 50)", TD_OFFSET(params.n_steps), AV_OPT_TYPE_INT, { .i64 = 0 }, 0, 1000, TD_FLAGS | TD_RUNTIME }, \
    { "sampler",         "set the sampler", TD_OFFSET(params.sampler), AV_OPT_TYPE_INT, { .i64 = TD_SAMPLER_RCM }, TD_SAMPLER_RCM, TD_SAMPLER_UNIPC, TD_FLAGS, .unit = "sampler" }, \
        TD_CONST("rcm",       "few steps, for distilled models",      TD_SAMPLER_RCM,        "sampler"), \
        TD_CONST("unipc",     "many steps, for undistilled models",   TD_SAMPLER_UNIPC,      "sampler"), \
    { "sigma_max",       "set the initial sigma of rcm (0: default of the model)", TD_OFFSET(params.sigma_max), AV_OPT_TYPE_DOUBLE, { .dbl = 0 }, 0, 1e6, TD_FLAGS }, \
    { "boundary",        "set the timestep below which the low-noise transformer of two is used (0: default of the model)", TD_OFFSET(params.boundary), AV_OPT_TYPE_DOUBLE, { .dbl = 0 }, 0, 1, TD_FLAGS }, \
    { "timesteps",       "set the times of the steps of rcm, 1 to 1000 that fall from at most 1: 1|0.9375|0.8333|0.625 (default: as sigma_max says)", TD_OFFSET(params.timesteps), AV_OPT_TYPE_STRING, { .str = NULL }, 0, 0, TD_FLAGS }, \
    { "ode",             "make the steps of rcm deterministic", TD_OFFSET(params.ode), AV_OPT_TYPE_BOOL, { .i64 = 0 }, 0, 1, TD_FLAGS }, \
    { "negative_prompt", "set the text to keep away from with unipc (default: the official one)", TD_OFFSET(params.negative_prompt), AV_OPT_TYPE_STRING, { .str = NULL }, 0, 0, TD_FLAGS | TD_RUNTIME }, \
    { "guidance",        "set the guidance scale of unipc, 1 to 100 (1: no guidance), or HIGH|LOW: one for each of two transformers", TD_OFFSET(guidance_text), AV_OPT_TYPE_STRING, { .str = "5" }, 0, 0, TD_FLAGS | TD_RUNTIME }, \
    { "shift",           "set the timestep shift of unipc, 0.01 to 100 (0: default of the model)", TD_OFFSET(params.shift), AV_OPT_TYPE_DOUBLE, { .dbl = 0 }, 0, 100, TD_FLAGS }, \
    { "noise",           "set whose random generator a seed reproduces", TD_OFFSET(params.noise), AV_OPT_TYPE_INT, { .i64 = TD_NOISE_AUTO }, TD_NOISE_AUTO, TD_NOISE_CPU, TD_FLAGS, .unit = "noise" }, \
        TD_CONST("auto",      "that of the GPU in use, else h100",    TD_NOISE_AUTO,         "noise"), \
        TD_CONST("h100",      NULL,                                   TD_NOISE_H100,         "noise"), \
        TD_CONST("rtx5090",   NULL,                                   TD_NOISE_RTX5090,      "noise"), \
        TD_CONST("rtx4090",   NULL,                                   TD_NOISE_RTX4090,      "noise"), \
        TD_CONST("a100",      NULL,                                   TD_NOISE_A100,         "noise"), \
        TD_CONST("cpu",       NULL,                                   TD_NOISE_CPU,          "noise"), \
    { "attention",       "set the kind of self-attention", TD_OFFSET(settings.attention), AV_OPT_TYPE_INT, { .i64 = TD_ATTN_AUTO }, TD_ATTN_AUTO, TD_ATTN_SAGESLA, TD_FLAGS, .unit = "attention" }, \
        TD_CONST("auto",      "as the model was trained",             TD_ATTN_AUTO,          "attention"), \
        TD_CONST("dense",     "each token attends to all",            TD_ATTN_DENSE,         "attention"), \
        TD_CONST("sla",       "sparse-linear",                        TD_ATTN_SLA,           "attention"), \
        TD_CONST("sagesla",   "sparse-linear, quantised",             TD_ATTN_SAGESLA,       "attention"), \
    { "topk",            "set the fraction of key blocks that sparse attention keeps (0: default of the model)", TD_OFFSET(params.sla_topk), AV_OPT_TYPE_DOUBLE, { .dbl = 0 }, 0, 1, TD_FLAGS }, \
    { "sla_block",       "set the block shape of sparse attention, queries x keys", TD_OFFSET(settings.sla_block), AV_OPT_TYPE_INT, { .i64 = TD_SLA_BLOCK_AUTO }, TD_SLA_BLOCK_AUTO, TD_SLA_BLOCK_64X128, TD_FLAGS, .unit = "sla_block" }, \
        TD_CONST("auto",      "default of the model",                 TD_SLA_BLOCK_AUTO,     "sla_block"), \
        TD_CONST("128x64",    NULL,                                   TD_SLA_BLOCK_128X64,   "sla_block"), \
        TD_CONST("64x128",    NULL,                                   TD_SLA_BLOCK_64X128,   "sla_block"), \
    { "quant",           "set the precision of the transformer's weights", TD_OFFSET(settings.quant), AV_OPT_TYPE_INT, { .i64 = TD_QUANT_AUTO }, TD_QUANT_AUTO, TD_QUANT_INT8, TD_FLAGS, .unit = "quant" }, \
        TD_CONST("auto",      "as the file is, or 8 bits",            TD_QUANT_AUTO,         "quant"), \
        TD_CONST("none",      "bfloat16",                             TD_QUANT_NONE,         "quant"), \
        TD_CONST("int8",      "8-bit integers",                       TD_QUANT_INT8,         "quant"), \
    { "vae_dtype",       "set the arithmetic of the VAE's convolutions", TD_OFFSET(settings.vae_dtype), AV_OPT_TYPE_INT, { .i64 = TD_VAE_DTYPE_AUTO }, TD_VAE_DTYPE_AUTO, TD_VAE_DTYPE_BF16, TD_FLAGS, .unit = "vae_dtype" }, \
        TD_CONST("auto",      "float16 where that is faster",         TD_VAE_DTYPE_AUTO,     "vae_dtype"), \
        TD_CONST("bf16",      "bfloat16",                             TD_VAE_DTYPE_BF16,     "vae_dtype"), \
    { "norm",            "set the arithmetic of the norm layers", TD_OFFSET(settings.norm), AV_OPT_TYPE_INT, { .i64 = TD_NORM_OFFICIAL }, TD_NORM_OFFICIAL, TD_NORM_EXACT, TD_FLAGS, .unit = "norm" }, \
        TD_CONST("official",  "as the official fast kernels",         TD_NORM_OFFICIAL,      "norm"), \
        TD_CONST("exact",     "as defined",                           TD_NORM_EXACT,         "norm"), \
    { "backend",         "set the device to run on", TD_OFFSET(settings.backend), AV_OPT_TYPE_INT, { .i64 = TD_BACKEND_AUTO }, TD_BACKEND_AUTO, TD_BACKEND_CUDA, TD_FLAGS, .unit = "backend" }, \
        TD_CONST("auto",      "cuda if usable, else cpu",             TD_BACKEND_AUTO,       "backend"), \
        TD_CONST("cpu",       NULL,                                   TD_BACKEND_CPU,        "backend"), \
        TD_CONST("cuda",      NULL,                                   TD_BACKEND_CUDA,       "backend"), \
    { "device",          "set the GPU: its number, UUID or PCI bus id (auto: that of the frames, else a free one)", TD_OFFSET(settings.card), AV_OPT_TYPE_STRING, { .str = "auto" }, 0, 0, TD_FLAGS }, \
    { "residency",       "set which weights stay in device memory", TD_OFFSET(settings.residency), AV_OPT_TYPE_INT, { .i64 = TD_RESIDENT_AUTO }, TD_RESIDENT_AUTO, TD_RESIDENT_STAGE, TD_FLAGS, .unit = "residency" }, \
        TD_CONST("auto",      "as many as fit in free memory",        TD_RESIDENT_AUTO,      "residency"), \
        TD_CONST("all",       "those of all stages",                  TD_RESIDENT_ALL,       "residency"), \
        TD_CONST("stage",     "those of the stage at work",           TD_RESIDENT_STAGE,     "residency"), \
    { "max_bytes",       "set a limit on the memory of weights and clip, such as 6Gi (0: what is free)", TD_OFFSET(settings.max_bytes), AV_OPT_TYPE_UINT64, { .i64 = 0 }, 0, INT64_MAX, TD_FLAGS }, \
    { "stats",           "set a file to append times and memory of each clip to, as lines of JSON", TD_OFFSET(stats), AV_OPT_TYPE_STRING, { .str = NULL }, 0, 0, TD_FLAGS }, \
    { "mark",            "mark the coded video as generated, in user data that encoders write with udu_sei=1", TD_OFFSET(mark), AV_OPT_TYPE_BOOL, { .i64 = 1 }, 0, 1, TD_FLAGS }, \
    { "hw_format",       "set the pixel format inside CUDA frames: nv12, yuv420p, yuv444p or p010", TD_OFFSET(hw_format), AV_OPT_TYPE_PIXEL_FMT, { .i64 = AV_PIX_FMT_NV12 }, AV_PIX_FMT_NONE, INT_MAX, TD_FLAGS }

/**
 * An error of libturbodiff as one of FFmpeg.
 */
int ff_turbodiff_error(int err);

/**
 * Check the options that need no model, and derive size and number of frames
 * as far as they say.
 *
 * @param named_size where the option aspect is set, but not size
 */
int ff_turbodiff_init(AVFilterContext *ctx, const char *named_size);

/**
 * Whether the work is to end. To be called by any thread.
 */
int ff_turbodiff_interrupted(AVFilterContext *ctx);

/**
 * Whether the clip at work has had its time.
 */
int ff_turbodiff_is_overdue(const TurboDiffContext *s);

/**
 * Read a seed.
 *
 * @return 0 a seed, 1 "-1": one is to be drawn, < 0 neither
 */
int ff_turbodiff_parse_seed(const char *text, uint64_t *seed);

/**
 * Draw a seed and log it.
 */
uint64_t ff_turbodiff_draw_seed(AVFilterContext *ctx);

/**
 * Read a guidance scale, or HIGH|LOW; low is 0 where there is one.
 *
 * @return 0, or < 0: it is none
 */
int ff_turbodiff_parse_guidance(const char *text, double *high, double *low);

/**
 * Say how many steps a clip may have.
 *
 * @return the same in words
 */
const char *ff_turbodiff_steps(const TurboDiffContext *s, int *min, int *max);

/**
 * What has no effect on clips as the options are, guidance or a negative prompt;
 * "" if that has one.
 */
const char *ff_turbodiff_unused(const TurboDiffContext *s);

/**
 * Why something is refused, for the one who asked for it.
 */
typedef struct TurboDiffReason {
    char text[512];             ///< a line, "" if there is none yet
} TurboDiffReason;

/**
 * Log an error; where there is a reason that is not set yet, that is set instead.
 */
void ff_turbodiff_refuse(AVFilterContext *ctx, TurboDiffReason *why, const char *format, ...) av_printf_format(3, 4);

/**
 * Offer the pixel formats of libturbodiff: BT.709 limited range YUV, or RGB;
 * with a CUDA device, CUDA frames, too, where nothing else will do.
 */
int ff_turbodiff_query_formats(const AVFilterContext *ctx,
                               AVFilterFormatsConfig **cfg_in,
                               AVFilterFormatsConfig **cfg_out);

/**
 * With the option adaptive, change s->w and s->h to the shape w x h; where there
 * is no such size, that is an error.
 */
int ff_turbodiff_adapt(AVFilterContext *ctx, int w, int h);

/**
 * Check the options prompt and textfile.
 */
int ff_turbodiff_check_prompt(AVFilterContext *ctx);

/**
 * Read the prompt unless it is there. Not while the filter is initialised: the
 * ffmpeg tool does that twice for each filtergraph, and a pipe is read once.
 *
 * @return >= 0, AVERROR_EXIT interrupted, other < 0 error that has been logged
 */
int ff_turbodiff_load_prompt(AVFilterContext *ctx);

/**
 * Remember the text of a file that is free of errors, for as long as the
 * process lives: ffmpeg builds a graph anew where its input changes, and what
 * was on air is to go on.
 */
int ff_turbodiff_keep_text(const char *file, const char *text);

/**
 * The text that was remembered of a file, in a string of its own, or NULL.
 */
char *ff_turbodiff_kept_text(const char *file);

/**
 * The prompt as the model sees it, in a string of its own.
 *
 * @param why see ff_turbodiff_refuse()
 * @return its length, or < 0 an error that has been logged
 */
int ff_turbodiff_clean(AVFilterContext *ctx, const char *prompt, char **clean, TurboDiffReason *why);

/**
 * Check that a file which is written is none that another option of the filter names.
 *
 * @param name of the option that names it
 */
int ff_turbodiff_check_output(AVFilterContext *ctx, const char *name, const char *file);

/**
 * Check the option stats.
 */
int ff_turbodiff_check_stats(AVFilterContext *ctx);

/**
 * A clip begins: open the file of statistics unless it is open.
 */
void ff_turbodiff_start_stats(AVFilterContext *ctx);

/**
 * Write the line of the clip, when its last frame is there or it ends early,
 * unless it has been written.
 */
void ff_turbodiff_write_stats(AVFilterContext *ctx);

void ff_turbodiff_close_stats(AVFilterContext *ctx);

/**
 * Read a JPEG file. To be freed with td_image_free().
 */
int ff_turbodiff_load_jpeg(AVFilterContext *ctx, TDImage *image, const char *path);

/**
 * What the options leave open is as the model says.
 */
void ff_turbodiff_set_defaults(TurboDiffContext *s, int w, int h, int frames);

/**
 * Load the model unless it is there, to make frames of s->format. What size
 * and number of frames the options leave open is set as the model says.
 */
int ff_turbodiff_open(AVFilterContext *ctx);

/**
 * Make ready for frames of s->w, s->h and s->format, where the output link's
 * size is set.
 */
int ff_turbodiff_config(AVFilterLink *outlink);

/**
 * Start a clip with frames of s->w, s->h and s->format.
 *
 * @param image first frame, or NULL; used during the call only
 * @param clip  added to the seed, modulo 2^64
 */
int ff_turbodiff_start(AVFilterContext *ctx, const TDImage *image, int64_t clip);

/**
 * Whether software frames of this format can be made, in BT.709 limited range
 * or RGB.
 */
int ff_turbodiff_makes(enum AVPixelFormat format);

/**
 * The format of the pixels of s->format, wherever they are.
 */
enum AVPixelFormat ff_turbodiff_pixels(const TurboDiffContext *s);

/**
 * Set what all frames of the output are alike in.
 */
void ff_turbodiff_set_props(AVFilterContext *ctx, AVFrame *frame, AVRational sample_aspect_ratio);

/**
 * Work on the clip until a frame is there or a bounded piece of work is done.
 *
 * @param out the frame if 1 is returned, owned by the caller; its pts is its
 *            number in the clip
 * @return 1 a frame, 0 end of the clip, AVERROR(EAGAIN) call again,
 *         AVERROR_EXIT interrupted, other < 0 error that has been logged
 */
int ff_turbodiff_read(AVFilterContext *ctx, AVFrame **out);

/**
 * Set s->metadata, that of each frame of the clip that was started.
 */
int ff_turbodiff_set_metadata(AVFilterContext *ctx);

/**
 * Add to metadata how long the clip took, which its last frame knows.
 */
int ff_turbodiff_set_times(AVFilterContext *ctx, AVDictionary **metadata);

/**
 * Send a frame, which has its time, to where the output link leads. With the
 * option mark the first one that is generated and one of every second after it
 * carry what says so. To be called by activate().
 */
int ff_turbodiff_output(AVFilterLink *outlink, AVFrame *frame);

/**
 * End the work for good because of an error; activate() returns what this
 * returns, now and whenever it is called again: whoever runs the graph may drop
 * the error of a frame and ask for another one, as libavformat does while it
 * probes, and must not find a plain end then.
 *
 * @return the error of the first call
 */
int ff_turbodiff_fail(AVFilterContext *ctx, int err);

/**
 * Stop the clip and free the model. Safe to call again.
 */
void ff_turbodiff_close(AVFilterContext *ctx);

#endif /* AVFILTER_TURBODIFF_COMMON_H */
