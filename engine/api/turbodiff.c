/* SPDX-License-Identifier: BSD-2-Clause
 * The public API: argument checks, stage clock, and the state of a context.
 *
 *   IDLE --td_start--> CLIP --td_read_frame: text, image, denoise, decode pieces; frames--> CLIP | IDLE (returns 0)
 *   CLIP --error or ECANCELED--> IDLE (weights kept, td_start allowed)          any --EIO--> DEAD (only td_close)
 *
 * Invariants
 *  1. clip is non-NULL exactly in state CLIP.
 *  2. `busy` is held by td_start and td_read_frame; a second thread gets EBUSY. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include "clip/clip.h"
#include "api/params.h"
#include "model/device.h"
#include "picture/image.h"
#include "base/pixfmt.h"
#include "api/stats.h"

#define DEFAULT_FRAMES   81
#define DEFAULT_BOUNDARY 0.9                     /* between the two experts of Wan 2.2 */
#define DEFAULT_TOPK     0.1

#define XSTR(x) #x
#define STR(x) XSTR(x)

struct TDContext {
    TDLog log;
    TDSettings settings;                         /* its strings are not valid after td_open() */
    TDCancel cancel;
    atomic_flag busy;
    int dead;
    TDDev *dev;
    TDModel *model;
    TDClip *clip;
    TDInfo info, last;                           /* last: of the clip that ended last */
    double started, stage_began;                 /* of the clip, of its current stage */
    double open_seconds;                         /* of td_open(), until the first clip counts them */
    int stage, nonblocking, ended;               /* ended: all has been said about this clip */
    char noise_name[32];
};

/* the official negative prompt (Wan shared configuration), used when guidance needs one and none is given */
static const char official_negative[] =
    "色调艳丽，过曝，静态，细节模糊不清，字幕，风格，作品，画作，画面，静止，整体发灰，最差质量，低质量，JPEG压缩残留，丑陋的，残缺的，"
    "多余的手指，画得不好的手部，画得不好的脸部，畸形的，毁容的，形态畸形的肢体，手指融合，静止不动的画面，杂乱的背景，三条腿，背景人很多，倒着走";

const char *td_version(void)
{
    return STR(TD_API_MAJOR) "." STR(TD_API_MINOR) "." STR(TD_API_PATCH);
}

unsigned td_version_api(void)
{
    return TD_API_MAJOR << 16 | TD_API_MINOR << 8 | TD_API_PATCH;
}

const char *td_strerror(int err)
{
    switch (-err) {
    case 0:         return "success";
    case EINVAL:    return "invalid argument";
    case ENOENT:    return "file not found";
    case EACCES:    return "file cannot be read";
    case EBADMSG:   return "malformed file";
    case ENOTSUP:   return "unsupported model, dtype or device";
    case ENOMEM:    return "out of memory";
    case ECANCELED: return "canceled";
    case EAGAIN:    return "more work to do, call again";
    case EBUSY:     return "context in use by another thread";
    case EIO:       return "device fault";
    default:        return "unknown error";
    }
}

/* ---- open ---- */

static const char *enum_error(const TDSettings *s)
{
    return (unsigned)s->backend > TD_BACKEND_CUDA         ? "backend"
           : (unsigned)s->attention > TD_ATTN_SAGESLA     ? "attention"
           : (unsigned)s->quant > TD_QUANT_INT8           ? "quant"
           : (unsigned)s->norm > TD_NORM_EXACT            ? "norm"
           : (unsigned)s->sla_block > TD_SLA_BLOCK_64X128 ? "sla_block"
           : (unsigned)s->residency > TD_RESIDENT_STAGE   ? "residency"
                                                          : NULL;
}

static double default_sigma(const TDContext *c)
{
    return c->info.needs_image ? 200.0 : 80.0;
}

/* topk: 0 is the model's own */
static TDAttnConfig attn_config(const TDContext *c, double topk)
{
    const TDModelConf *own = &c->model->conf;
    enum TDSlaBlock block = c->settings.sla_block ? c->settings.sla_block : own->sla_block;
    TDAttnConfig a = { .kind = c->info.attention, .bq = 128, .bk = 64 };

    a.topk = topk != 0.0 ? topk : own->topk != 0.0 ? own->topk : DEFAULT_TOPK;
    if (block == TD_SLA_BLOCK_64X128) {
        a.bq = 64;
        a.bk = 128;
    }
    return a;
}

/* Load what is to stay from now on: all, or with `auto` all if a clip of the default size fits beside it. */
static int load(TDContext *c)
{
    TDModel *m = c->model;
    TDClipConfig cfg = { .width = c->info.default_width, .height = c->info.default_height,
                         .n_frames = c->info.default_frames };
    char shared[256] = "", rate[64] = "";
    int ret;

    cfg.n_steps = TD_RCM_MAX_STEPS;
    cfg.sigma_max = default_sigma(c);
    cfg.boundary = DEFAULT_BOUNDARY;
    cfg.attn = attn_config(c, 0.0);
    if (m->residency == TD_RESIDENT_AUTO && (ret = td_clip_fits(m, &cfg, &m->plan, &c->log)) < 0 &&
        ret != TD_ERR(ENOMEM))
        goto fail;
    if (m->residency == TD_RESIDENT_ALL)
        TRY(td_model_plan(m, NULL, 0, 0, &m->plan, &c->log));
    if (m->residency == TD_RESIDENT_ALL || (m->residency == TD_RESIDENT_AUTO && !m->plan.by_stage))
        TRY(td_model_load_all(m, shared, sizeof(shared)));
    c->open_seconds = td_now() - c->started;
    if (m->loaded_bytes && !c->dev->caps.maps_files)
        snprintf(rate, sizeof(rate), " at %.1f GB/s", (double)m->loaded_bytes * 1e-9 / m->load_seconds);
    td_log(&c->log, TD_LOG_INFO, "load: %s, %s, on %s (%s), %.2f GB%s%s, %.2f s%s%s", m->name,
           m->dit->int8 ? "int8" : "bf16", c->dev->ops->name, c->dev->name, (double)c->info.weight_bytes * 1e-9, rate,
           m->plan.by_stage ? " by stage" : "", c->open_seconds, *shared ? "; shares the weights of " : "", shared);
    ret = 0;
fail:
    return ret;
}

int td_open(TDContext **out, const TDSettings *s)
{
    TDContext *c;
    const TDModelConf *conf;
    const char *bad;
    TDGpu gpu;
    int attached = 0, ret;

    if (!out)
        return TD_ERR(EINVAL);
    *out = NULL;
    if (!s || s->struct_size < TD_SETTINGS_0_1)  /* not even a logger */
        return TD_ERR(EINVAL);
    c = calloc(1, sizeof(*c));
    *out = c;
    if (!c)
        return td_error(&(TDLog){ .out = s->logger }, ENOMEM, "open: out of memory");
    c->started = td_now();
    c->log.out = s->logger;
    atomic_flag_clear(&c->busy);
    TRY(td_take_settings(&c->settings, s, &c->log));
    s = &c->settings;
    c->cancel.interrupt = s->interrupt;
    c->cancel.cookie = s->cookie;
    if ((bad = enum_error(s))) {
        ret = td_error(&c->log, EINVAL, "%s: value outside its enum", bad);
        goto fail;
    }
    if (s->device < -1) {
        ret = td_error(&c->log, EINVAL, "device: %d, want -1 or more", s->device);
        goto fail;
    }
    if (s->backend == TD_BACKEND_CPU && (s->cuda_context || s->cuda_stream)) {
        ret = td_error(&c->log, EINVAL, "cuda_context or cuda_stream: with backend cpu, want auto or cuda");
        goto fail;
    }
    gpu = (TDGpu){ s->device, s->cuda_context, s->cuda_stream, NULL };
    TRY(td_device_open(&c->dev, s->backend, &gpu, s->n_threads, &c->cancel, &c->log));
    TRY(c->dev->ops->attach(c->dev));
    attached = 1;
    TRY(td_model_open(&c->model, s, c->dev, &c->log));
    TRY(td_cancel_check(&c->cancel));
    c->info.model = c->model->name;
    c->info.backend = c->dev->ops->name;
    c->info.device_name = c->dev->name;
    c->info.noise = "";
    c->info.needs_image = c->model->encoder != NULL;
    conf = &c->model->conf;
    c->info.default_width = conf->width ? conf->width : c->info.needs_image ? 1280 : 832;
    c->info.default_height = conf->height ? conf->height : c->info.needs_image ? 720 : 480;
    c->info.default_frames = conf->n_frames ? conf->n_frames : DEFAULT_FRAMES;
    c->info.fps_num = 16;
    c->info.fps_den = 1;
    c->info.attention = td_device_attention(c->dev, s->attention, c->model->dit->has_sla, &c->log);
    c->info.quant = c->model->dit->int8 ? TD_QUANT_INT8 : TD_QUANT_NONE;
    c->info.weight_bytes = td_model_bytes(c->model);
    TRY(load(c));
    c->info.stage_seconds[TD_STAGE_LOAD] = c->open_seconds;
    c->dev->ops->detach(c->dev);
    return 0;
fail:
    if (attached)
        c->dev->ops->detach(c->dev);
    td_close(out);
    return ret;
}

/* the numbers so far; what is no stage's and no copy's is the caller's */
static void tell_time(const TDContext *c, TDInfo *info)
{
    double known = info->copy_seconds;

    for (int i = 0; i < TD_N_STAGES; i++)
        known += info->stage_seconds[i];
    info->wall_seconds = td_now() - c->started + c->open_seconds;
    info->caller_seconds = info->wall_seconds > known ? info->wall_seconds - known : 0;
    info->wall_seconds = known + info->caller_seconds;
    info->peak_bytes = c->model->peak_bytes;
    info->frames_out = (int)c->clip->next_frame;
}

/* the one line about a clip, when its last frame is out or it ends early */
static void summarise(TDContext *c)
{
    char of[32] = "", image[32] = "", used[48] = "";
    TDInfo *n = &c->info;

    if (!c->clip || c->ended)
        return;
    c->ended = 1;
    tell_time(c, n);
    c->open_seconds = 0;
    c->last = *n;
    if (n->frames_out < n->clip_frames)
        snprintf(of, sizeof(of), "%d of ", n->frames_out);
    if (n->needs_image)
        snprintf(image, sizeof(image), "image %.2f, ", n->stage_seconds[TD_STAGE_IMAGE]);
    if (n->device_used_bytes)
        snprintf(used, sizeof(used), " (%.2f in use)", (double)n->device_used_bytes / (1 << 30));
    td_log(&c->log, TD_LOG_INFO,
           "clip: %s%d frames %dx%d, %d steps: load %.2f, text %.2f, %sdenoise %.2f, decode %.2f, copy %.2f, "
           "caller %.2f, first frame %.2f, wall %.2f s, %s memory %.2f GiB%s",
           of, n->clip_frames, n->clip_width, n->clip_height, n->n_steps, n->stage_seconds[TD_STAGE_LOAD],
           n->stage_seconds[TD_STAGE_TEXT], image, n->stage_seconds[TD_STAGE_DENOISE],
           n->stage_seconds[TD_STAGE_DECODE],
           n->copy_seconds, n->caller_seconds, n->first_frame_seconds, n->wall_seconds,
           c->dev->caps.memory, (double)n->peak_bytes / (1 << 30), used);
}

static void end_clip(TDContext *c)
{
    summarise(c);
    td_clip_close(&c->clip);
    c->info.noise = "";
    c->info.topk = 0;
    c->info.clip_width = c->info.clip_height = c->info.clip_frames = c->info.n_steps = 0;
    c->info.seed = 0;
}

void td_close(TDContext **out)
{
    TDContext *c;
    int attached;

    if (!out || !*out)
        return;
    c = *out;
    attached = c->dev && c->dev->ops->attach(c->dev) >= 0;
    end_clip(c);
    td_model_close(&c->model);
    if (attached)
        c->dev->ops->detach(c->dev);
    if (c->dev)
        c->dev->ops->close(&c->dev);
    free(c);
    *out = NULL;
}

/* ---- start ---- */

static int check_range(TDContext *c, const char *what, double v, double low, double high)
{
    return v >= low && v <= high ? 0 : td_error(&c->log, EINVAL, "%s: %g, want %g to %g", what, v, low, high);
}

static int check_image(TDContext *c, const TDImage *image)
{
    if (!image && c->info.needs_image)
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

static int configure(TDContext *c, TDClipConfig *g, const TDParams *p)
{
    int rcm = p->sampler == TD_SAMPLER_RCM, ret;

    if ((unsigned)p->sampler > TD_SAMPLER_UNIPC || (unsigned)p->noise > TD_NOISE_CPU)
        return td_error(&c->log, EINVAL, "sampler or noise: value outside its enum");
    if (!p->prompt)
        return td_error(&c->log, EINVAL, "no prompt");
    *g = (TDClipConfig){ .width = p->width ? p->width : c->info.default_width,
                         .height = p->height ? p->height : c->info.default_height,
                         .n_frames = p->n_frames ? p->n_frames : c->info.default_frames,
                         .n_steps = p->n_steps ? p->n_steps
                                    : rcm      ? 4
                                               : 50,
                         .ode = p->ode,
                         .sampler = p->sampler,
                         .seed = p->seed,
                         .noise = p->noise,
                         .sigma_max = p->sigma_max != 0.0 ? p->sigma_max : default_sigma(c),
                         .boundary = p->boundary != 0.0 ? p->boundary : DEFAULT_BOUNDARY,
                         .guidance = p->guidance,
                         .shift = p->shift };
    if (!td_valid_side(g->width) || !td_valid_side(g->height))
        return td_error(&c->log, EINVAL, "size: %dx%d, want sides from 16 to 2048", g->width, g->height);
    if (!td_valid_frames(g->n_frames))
        return td_error(&c->log, EINVAL, "frames: %d, want 4k+1 from 1 to 509 (such as %d)", g->n_frames,
                        g->n_frames < 1 ? 1 : g->n_frames > 509 ? 509 : (g->n_frames + 1) / 4 * 4 + 1);
    TRY(check_range(c, "steps", g->n_steps, 1, rcm ? TD_RCM_MAX_STEPS : 1000));
    TRY(check_range(c, "sigma_max", g->sigma_max, 0.01, 1e6));
    TRY(check_range(c, "boundary", g->boundary, 0, 1));
    TRY(check_image(c, p->image));
    TRY(check_range(c, "guidance", g->guidance, 0, 100));
    TRY(check_range(c, "shift", g->shift, 0.01, 100));
    g->attn = attn_config(c, p->sla_topk);
    if (!td_valid_topk(g->attn.topk))
        return td_error(&c->log, EINVAL, "topk: %g, want more than 0, up to 1, or 0 for the model's own", p->sla_topk);
    return 0;
fail:
    return ret;
}

static int start(TDContext *c, const TDParams *given)
{
    const char *prompts[TD_MAX_PROMPTS] = { NULL };
    TDParams own, *p = &own;
    TDClipConfig g;
    int ret;

    end_clip(c);
    atomic_store(&c->cancel.flag, 0);
    TRY(td_take_params(p, given, &c->log));
    prompts[0] = p->prompt;
    TRY(configure(c, &g, p));
    if (g.sampler == TD_SAMPLER_UNIPC && g.guidance != 1.0)
        prompts[1] = p->negative_prompt ? p->negative_prompt : official_negative;
    for (int i = 0; i < TD_MAX_PROMPTS && prompts[i] && c->model->conf.knows_words; i++)
        if (prompts[i] != official_negative)
            TRY(td_prompt_check_words(c->model->tokenizer, prompts[i], c->model->path[TD_FILE_TOKENIZER], &c->log));
    c->started = c->stage_began = td_now();
    c->stage = TD_STAGE_TEXT;
    c->ended = 1;                                /* as long as there is nothing to tell */
    c->model->peak_bytes = 0;
    td_model_account(c->model, 0);
    TRY(td_clip_open(&c->clip, c->model, &g, prompts, p->image, &c->log));
    c->nonblocking = p->nonblocking;
    c->info.noise = td_noise_name(c->noise_name, g.noise, c->dev->caps.noise_blocks);
    c->info.clip_width = g.width;
    c->info.clip_height = g.height;
    c->info.clip_frames = g.n_frames;
    c->info.n_steps = g.n_steps;
    c->info.seed = g.seed;
    c->info.topk = g.attn.kind == TD_ATTN_DENSE ? 1.0 : g.attn.topk;
    c->info.workspace_bytes = c->model->plan.clip;
    c->info.predicted_bytes = c->model->plan.weights + c->model->plan.clip;
    c->info.others_bytes = c->model->plan.others;
    c->info.first_frame_seconds = c->info.copy_seconds = c->info.caller_seconds = c->info.wall_seconds = 0;
    c->info.peak_bytes = c->info.device_used_bytes = 0;
    c->info.frames_out = 0;
    c->info.text_cached = c->clip->cached[0];
    for (int i = 0; i < TD_N_STAGES; i++)
        c->info.stage_seconds[i] = 0;
    c->info.stage_seconds[TD_STAGE_LOAD] = c->open_seconds;
    c->info.stage_seconds[TD_STAGE_TEXT] = td_now() - c->started;
    c->ended = 0;
    td_log(&c->log, TD_LOG_VERBOSE, "clip: %dx%d, %d frames, %d steps, seed %llu, noise %s, %.2f GB of working memory",
           g.width, g.height, g.n_frames, g.n_steps, (unsigned long long)g.seed, c->info.noise,
           (double)c->info.workspace_bytes * 1e-9);
fail:
    return ret;
}

/* ---- read ---- */

/* account the time of a piece to the stage it was spent in; log a stage when it is left */
static void clock_stage(TDContext *c, double spent, int stage_after)
{
    static const char *const names[TD_N_STAGES] = { "load", "text", "image", "denoise", "decode" };
    const TDClip *clip = c->clip;
    uint64_t available, total;

    c->info.stage_seconds[c->stage] += spent;
    if (c->stage == stage_after && clip->phase != TD_CLIP_DONE)
        return;
    if (!c->dev->caps.maps_files && c->dev->ops->memory(c->dev, &available, &total) >= 0 &&
        total - available > c->info.device_used_bytes)
        c->info.device_used_bytes = total - available;
    if (c->stage == TD_STAGE_TEXT)
        td_log(&c->log, TD_LOG_INFO, "%s: %s%d tokens, %.2f s", names[c->stage], clip->cached[0] ? "cached, " : "",
               clip->n_ids[0], c->info.stage_seconds[c->stage]);
    else if (c->stage == TD_STAGE_IMAGE)
        td_log(&c->log, TD_LOG_INFO, "%s: %d latent frames, %.2f s", names[c->stage],
               (int)clip->condition.encode.next, c->info.stage_seconds[c->stage]);
    else if (c->stage == TD_STAGE_DENOISE)
        td_log(&c->log, TD_LOG_INFO, "%s: %d steps, %.2f s", names[c->stage], clip->cfg.n_steps,
               c->info.stage_seconds[c->stage]);
    else
        td_log(&c->log, TD_LOG_INFO, "%s: %d frames of %dx%d, %.2f s", names[c->stage], (int)clip->next_frame,
               clip->cfg.width, clip->cfg.height, c->info.stage_seconds[c->stage]);
    c->stage = stage_after;
    c->stage_began = td_now();
}

/* of the caller's planes */
static int check_frame(TDContext *c, const TDFrame *f)
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

static int read_frame(TDContext *c, TDFrame *f)
{
    TDProgress p;
    int ret;

    while (c->clip->phase != TD_CLIP_DONE) {
        double began = td_now(), loading = c->model->load_seconds, made, spent;

        TRY(td_cancel_check(&c->cancel));
        TRY(td_clip_advance(c->clip, f));
        made = td_now();
        loading = c->model->load_seconds - loading;
        c->info.stage_seconds[TD_STAGE_LOAD] += loading;
        spent = made - began - loading;
        if (ret > 0) {
            ret = td_clip_frame(c->clip, f);
            if (ret == TD_ERR(EINVAL))           /* not the memory it is said to be: the clip goes on with another */
                return ret;
            TRY(ret);
            c->info.copy_seconds += td_now() - made;
            ret = 1;
        }
        td_clip_progress(c->clip, &p);
        clock_stage(c, spent, (int)p.stage);
        if (c->settings.progress) {
            p.seconds = td_now() - c->stage_began;
            c->settings.progress(c->settings.cookie, &p);
        }
        if (ret > 0) {
            if (f->index == 0)
                c->info.first_frame_seconds = td_now() - c->started;
            if (c->clip->phase == TD_CLIP_DONE)
                summarise(c);
            return 1;
        }
        if (c->nonblocking)
            return TD_ERR(EAGAIN);
    }
    end_clip(c);
    return 0;
fail:
    if (ret == TD_ERR(ECANCELED))
        td_log(&c->log, TD_LOG_VERBOSE, "clip: canceled");
    c->dead = ret == TD_ERR(EIO);
    end_clip(c);
    return ret;
}

/* ---- entries: one thread at a time ---- */

static int enter(TDContext *c)
{
    if (atomic_flag_test_and_set(&c->busy))
        return TD_ERR(EBUSY);
    if (c->dead || c->dev->ops->attach(c->dev) < 0) {
        atomic_flag_clear(&c->busy);
        return TD_ERR(EIO);
    }
    c->log.last_error[0] = 0;
    return 0;
}

static int leave(TDContext *c, int ret)
{
    c->dev->ops->detach(c->dev);
    atomic_flag_clear(&c->busy);
    return ret;
}

int td_start(TDContext *c, const TDParams *p)
{
    int ret;

    if (!c)
        return TD_ERR(EINVAL);
    if ((ret = enter(c)) < 0)
        return ret;
    ret = start(c, p);
    if (ret < 0)
        end_clip(c);
    return leave(c, ret);
}

int td_read_frame(TDContext *c, TDFrame *f)
{
    int ret;

    if (!c)
        return TD_ERR(EINVAL);
    if ((ret = enter(c)) < 0)
        return ret;
    if (!c->clip)
        ret = td_error(&c->log, EINVAL, "no clip: td_start() comes first");
    else if (c->clip->phase == TD_CLIP_DONE || (ret = check_frame(c, f)) >= 0)
        ret = read_frame(c, f);
    return leave(c, ret);
}

int td_get_info(const TDContext *c, TDInfo *out, size_t struct_size)
{
    TDInfo info;

    if (!c || !out)
        return TD_ERR(EINVAL);
    info = c->info;
    if (c->clip && !c->ended)
        tell_time(c, &info);
    return td_give_struct(out, struct_size, &info, sizeof(info), TD_INFO_0_1);
}

int (td_info)(const TDContext *c, TDInfo *out)
{
    return td_get_info(c, out, TD_INFO_0_1);
}

int td_stats_json(const TDContext *c, char *dst, size_t size)
{
    TDInfo info;

    if (!c || !dst)
        return TD_ERR(EINVAL);
    info = c->last;
    if (c->clip && !c->ended)
        td_info(c, &info);
    return info.model ? td_stats_write(&info, dst, size) : TD_ERR(EINVAL);
}

void td_cancel(TDContext *c)
{
    if (c)
        atomic_store(&c->cancel.flag, 1);
}

const char *td_last_error(const TDContext *c)
{
    return c ? c->log.last_error : "";
}
