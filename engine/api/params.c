/* SPDX-License-Identifier: BSD-2-Clause
 * What a context and a clip are to be: defaults, and checks of all that a caller hands over. Programs may have been
 * built with another version of turbodiff.h: their structs may be shorter or longer. */
#include <string.h>
#include "api/context.h"
#include "base/options.h"
#include "base/pixfmt.h"
#include "picture/image.h"
#include "text/tokenizer.h"

/* of Wan, where neither the caller nor turbodiff.conf says another */
static const struct {
    int width[2], height[2];                     /* text to video, image to video */
    double sigma_max[2];
    int n_frames, fps, steps[2];                 /* of each sampler */
    double topk, boundary[2];                    /* between the two experts of Wan 2.2 */
    double shift[2];                             /* but two experts of text to video, those */
    const char *negative_prompt;                 /* Wan shared configuration; where guidance needs one */
} wan = {
    { 832, 1280 }, { 480, 720 }, { 80, 200 }, 81, 16,
    { [TD_SAMPLER_RCM] = 4, [TD_SAMPLER_UNIPC] = 50 }, 0.1, { 0.875, 0.9 }, { 5, 12 },
    "色调艳丽，过曝，静态，细节模糊不清，字幕，风格，作品，画作，画面，静止，整体发灰，最差质量，低质量，JPEG压缩残留，丑陋的，残缺的，"
    "多余的手指，画得不好的手部，画得不好的脸部，畸形的，毁容的，形态畸形的肢体，手指融合，静止不动的画面，杂乱的背景，三条腿，背景人很多，倒着走"
};

static const TDSettings default_settings = { .struct_size = sizeof(TDSettings), .device = -1,
                                             .logger = { .level = TD_LOG_INFO } };
static const TDParams default_params = { .struct_size = sizeof(TDParams), .guidance = 5.0 };

/* ---- structs ---- */

/* the smallest a caller's can be: those of 0.1.0 */
enum {
    PARAMS_0_1 = offsetof(TDParams, boundary) + sizeof(double),
    MAX_STRUCT = 4096                            /* more is no size */
};

int td_give_struct(void *out, size_t struct_size, const void *own, size_t size, size_t least)
{
    if (!out || struct_size < least || struct_size > MAX_STRUCT)
        return TD_ERR(EINVAL);
    memset(out, 0, struct_size);
    memcpy(out, own, struct_size < size ? struct_size : size);
    return 0;
}

/* own: with defaults. Both begin with their size. */
static int take_struct(void *own, const void *theirs, size_t least, const char *what, TDLog *log)
{
    size_t size = *(const size_t *)own, n = theirs ? *(const size_t *)theirs : 0;
    const uint8_t *bytes = theirs;

    if (n < least || n > MAX_STRUCT)
        return td_error(log, EINVAL, "%s: %zu bytes, want %zu or more as set by td_default_%s()", what, n, least, what);
    for (size_t i = size; i < n; i++)
        if (bytes[i])
            return td_error(log, EINVAL, "%s: something is set that libturbodiff %d.%d does not know (byte %zu of "
                            "%zu); it takes a newer library, as the program was built with", what, TD_API_MAJOR,
                            TD_API_MINOR, i, n);
    memcpy(own, theirs, n < size ? n : size);
    memcpy(own, &size, sizeof(size));
    return 0;
}

int td_default_settings(TDSettings *s, size_t struct_size)
{
    int ret = td_give_struct(s, struct_size, &default_settings, sizeof(default_settings), TD_SETTINGS_0_1);

    if (ret >= 0)
        s->struct_size = struct_size;
    return ret;
}

int td_default_params(TDParams *p, size_t struct_size)
{
    int ret = td_give_struct(p, struct_size, &default_params, sizeof(default_params), PARAMS_0_1);

    if (ret >= 0)
        p->struct_size = struct_size;
    return ret;
}

/* ---- settings ---- */

int td_take_settings(TDSettings *own, const TDSettings *theirs, TDLog *log)
{
    int ret;

    *own = default_settings;
    TRY(take_struct(own, theirs, TD_SETTINGS_0_1, "settings", log));
    TRY(td_options_check(own, 0, log));
    if (own->device < -1)
        return td_error(log, EINVAL, "device: %d, want -1 or more", own->device);
    TRY(td_gpu_check_name(own->card, log));
    if (own->device >= 0 && !td_gpu_any(own->card))
        return td_error(log, EINVAL, "device: %d and card: %.60s, want one of the two", own->device, own->card);
    if (own->backend == TD_BACKEND_CPU && own->device >= 0)
        return td_error(log, EINVAL, "device: %d with backend cpu, want auto or cuda", own->device);
    if (own->backend == TD_BACKEND_CPU && !td_gpu_any(own->card))
        return td_error(log, EINVAL, "device: %.60s with backend cpu, want auto or cuda", own->card);
    if (own->backend == TD_BACKEND_CPU && (own->cuda_context || own->cuda_stream))
        return td_error(log, EINVAL, "cuda_context or cuda_stream: with backend cpu, want auto or cuda");
fail:
    return ret;
}

void td_default_info(TDContext *c)
{
    const TDModelConf *conf = &c->model->conf;
    int image = c->model->encoder != NULL;

    c->info.needs_image = image;
    c->info.transformers = c->model->low ? 2 : 1;
    c->info.default_width = conf->width ? conf->width : wan.width[image];
    c->info.default_height = conf->height ? conf->height : wan.height[image];
    c->info.default_frames = conf->n_frames ? conf->n_frames : wan.n_frames;
    c->info.fps_num = wan.fps;
    c->info.fps_den = 1;
}

/* ---- a clip ---- */

static int check_image(TDContext *c, const TDImage *image, const float *picture)
{
    if (image && picture)
        return td_error(&c->log, EINVAL, "image and picture: want one of them");
    if (picture && !c->info.needs_image)
        return td_error(&c->log, EINVAL, "picture: %s is a text-to-video model, which takes none", c->info.model);
    if (!image && !picture && c->info.needs_image)
        return td_error(&c->log, EINVAL,
                        "no image: %s is an image-to-video model, which makes a clip from its first frame",
                        c->info.model);
    if (image && !c->info.needs_image)
        return td_error(&c->log, EINVAL, "image: %s is a text-to-video model, which takes none", c->info.model);
    if (image && (image->width < 1 || image->height < 1 ||
                  (int64_t)image->width * image->height > TD_IMAGE_MAX_PIXELS))
        return td_error(&c->log, EINVAL, "image: %dx%d, want at least 1x1 and at most %lld million pixels",
                        image->width, image->height, (long long)(TD_IMAGE_MAX_PIXELS / 1000000));
    if (image && (!image->data || image->stride < 3 * (ptrdiff_t)image->width))
        return td_error(&c->log, EINVAL,
                        "image: data at %p with a stride of %td, want memory with a stride of at least %td",
                        (void *)image->data, image->stride, 3 * (ptrdiff_t)image->width);
    return 0;
}

/* 0 is the model's own, or Wan's */
static void fill(const TDContext *c, TDClipConfig *g)
{
    const TDModelConf *own = &c->model->conf;
    enum TDSlaBlock block = c->settings.sla_block ? c->settings.sla_block : own->sla_block;
    TDParams *p = &g->p;

    p->width = p->width ? p->width : c->info.default_width;
    p->height = p->height ? p->height : c->info.default_height;
    p->n_frames = p->n_frames ? p->n_frames : c->info.default_frames;
    p->n_steps = p->n_steps ? p->n_steps : wan.steps[p->sampler];
    p->sigma_max = p->sigma_max != 0.0 ? p->sigma_max : wan.sigma_max[c->info.needs_image];
    if (p->boundary == 0.0)
        p->boundary = c->model->boundary != 0.0 ? c->model->boundary : wan.boundary[c->info.needs_image];
    if (p->shift == 0.0)
        p->shift = own->shift != 0.0        ? own->shift
                   : c->model->shift != 0.0 ? c->model->shift
                                            : wan.shift[c->model->low && !c->info.needs_image];
    p->guidance_low = p->guidance_low != 0.0 ? p->guidance_low : p->guidance;
    p->negative_prompt = p->negative_prompt ? p->negative_prompt : wan.negative_prompt;
    g->attn = (TDAttnConfig){ .kind = c->info.attention, .bq = 128, .bk = 64 };
    g->attn.topk = p->sla_topk != 0.0 ? p->sla_topk : own->topk != 0.0 ? own->topk : wan.topk;
    if (block == TD_SLA_BLOCK_64X128) {
        g->attn.bq = 64;
        g->attn.bk = 128;
    }
}

/* times given by hand are as many as the steps, and leave nothing to sigma_max */
static int take_times(TDContext *c, TDClipConfig *g)
{
    TDParams *p = &g->p;
    int n;

    if (p->sampler == TD_SAMPLER_UNIPC)
        return td_error(&c->log, EINVAL, "timesteps: with sampler unipc, want rcm");
    if (p->sigma_max != 0.0)
        return td_error(&c->log, EINVAL, "timesteps and sigma_max: want one of the two");
    n = td_rcm_times(g->t, p->timesteps, &c->log);
    if (n < 0)
        return n;
    if (p->n_steps && p->n_steps != n)
        return td_error(&c->log, EINVAL, "timesteps: %d of them, but steps=%d, want as many or no steps", n,
                        p->n_steps);
    p->n_steps = n;
    return 0;
}

/* but for the prompt and the image */
static int configure(TDContext *c, TDClipConfig *g, const TDParams *theirs)
{
    TDParams *p = &g->p;
    int most, n, ret;

    *g = (TDClipConfig){ .p = default_params };
    TRY(take_struct(p, theirs, PARAMS_0_1, "params", &c->log));
    if (p->timesteps)
        TRY(take_times(c, g));
    if (p->guidance_low != 0.0 && !c->model->low)
        return td_error(&c->log, EINVAL, "guidance: one for each of two experts, but %s is one transformer, want one "
                        "number", c->info.model);
    if (p->lora_low && *p->lora_low && !c->model->low)
        return td_error(&c->log, EINVAL, "lora_low: %s is one transformer, want lora", c->info.model);
    most = p->sampler == TD_SAMPLER_RCM && !p->timesteps ? TD_RCM_MAX_STEPS : TD_MAX_STEPS;
    if (p->sampler <= TD_SAMPLER_UNIPC)          /* or td_options_check() refuses it */
        fill(c, g);
    TRY(td_options_check(p, 1, &c->log));
    n = p->n_frames;
    if (!td_valid_side(p->width) || !td_valid_side(p->height))
        return td_error(&c->log, EINVAL, "size: %dx%d, want sides from %d to %d", p->width, p->height, TD_MIN_SIDE,
                        TD_MAX_SIDE);
    if (!td_valid_frames(n))
        return td_error(&c->log, EINVAL, "frames: %d, want 4k+1 from 1 to %d (such as %d)", n, TD_MAX_FRAMES,
                        n < 1 ? 1 : n > TD_MAX_FRAMES ? TD_MAX_FRAMES : (n + 1) / 4 * 4 + 1);
    if (p->n_steps < 1 || p->n_steps > most)
        return td_error(&c->log, EINVAL, "steps: %d, want 1 to %d", p->n_steps, most);
    if (!td_valid_topk(g->attn.topk))
        return td_error(&c->log, EINVAL, "topk: %g, want more than 0, up to 1, or 0 for the model's own", p->sla_topk);
    if (p->sampler == TD_SAMPLER_RCM && !p->timesteps)
        td_rcm_schedule(g->t, p->n_steps, p->sigma_max);
fail:
    return ret;
}

int td_first_clip(TDContext *c, TDClipConfig *g)
{
    return configure(c, g, c->settings.clip ? c->settings.clip : &default_params);
}

int td_configure(TDContext *c, TDClipConfig *g, const TDParams *theirs)
{
    int ret;

    TRY(configure(c, g, theirs));
    if (!g->p.prompt)
        return td_error(&c->log, EINVAL, "no prompt");
    TRY(check_image(c, g->p.image, g->p.picture));
fail:
    return ret;
}

/* ---- a frame ---- */

int td_check_frame(TDContext *c, const TDFrame *f)
{
    TDPixLayout l;

    if (!f || (unsigned)f->format >= TD_N_PIX_FMTS)
        return td_error(&c->log, EINVAL, "frame: format %d, want 0 to %d", f ? (int)f->format : -1, TD_N_PIX_FMTS - 1);
    if ((unsigned)f->memory > TD_MEMORY_CUDA || (f->memory == TD_MEMORY_CUDA && !c->dev->context))
        return td_error(&c->log, EINVAL, "frame: memory %d on backend %s, want %s", (int)f->memory, c->dev->ops->name,
                        c->dev->context ? "0 or 1" : "0");
    l = td_pix_layout(f->format);
    for (int i = 0; i < l.n_planes; i++) {
        ptrdiff_t row = (ptrdiff_t)td_pix_row(&l, i, c->info.clip_width) * l.bytes;

        if (!f->data[i] || (f->stride[i] < row && f->stride[i] > -row))
            return td_error(&c->log, EINVAL,
                            "frame: plane %d at %p with a stride of %td, want memory with a stride of at least %td", i,
                            (void *)f->data[i], f->stride[i], row);
        if ((uintptr_t)f->data[i] % l.bytes || f->stride[i] % l.bytes)
            return td_error(&c->log, EINVAL, "frame: plane %d at %p with a stride of %td, want multiples of %d", i,
                            (void *)f->data[i], f->stride[i], l.bytes);
    }
    return 0;
}
