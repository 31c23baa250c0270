/* SPDX-License-Identifier: BSD-2-Clause
 * The state of a context:
 *
 *   IDLE --td_start--> CLIP --td_read_frame: text, image, denoise, decode pieces; frames--> CLIP | IDLE (returns 0)
 *   CLIP --error or ECANCELED--> IDLE (weights kept, td_start allowed)          any --EIO--> DEAD (only td_close)
 *
 * Invariants
 *  1. clip is non-NULL exactly in state CLIP.
 *  2. `busy` is held by td_start and td_read_frame; a second thread gets EBUSY. */
#include <stdio.h>
#include <stdlib.h>
#include "api/context.h"
#include "api/stats.h"
#include "model/device.h"
#include "text/tokenizer.h"

#define XSTR(x) #x
#define STR(x) XSTR(x)

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

/* LoRAs of a clip, which stay for those after it as long as they have the same */
static int set_loras(TDContext *c, const TDParams *p)
{
    const char *high = p->lora && *p->lora ? p->lora : NULL, *low = p->lora_low && *p->lora_low ? p->lora_low : NULL;
    double began = td_now();
    int changed, ret;

    if (c->model->low && !high != !low && !c->told_lora) {
        c->told_lora = 1;
        td_log(&c->log, TD_LOG_INFO, "%s= is of the %s-noise expert alone; %s= is of the other one", high ? "lora" :
               "lora_low", high ? "high" : "low", high ? "lora_low" : "lora");
    }
    TRY(td_model_set_lora(c->model, TD_FILE_DIT, high));
    changed = ret;
    TRY(td_model_set_lora(c->model, TD_FILE_DIT_LOW, low));
    changed |= ret;
    c->info.weight_bytes = td_model_bytes(c->model);
    if (changed)
        c->open_seconds += td_now() - began;     /* of the clip's load */
fail:
    return ret;
}

/* Load what is to stay from now on: all, or with `auto` all if the first clip fits beside it. */
static int load(TDContext *c)
{
    TDModel *m = c->model;
    TDClipConfig cfg;
    char shared[256] = "", rate[64] = "", number[32] = "";
    const char *how = "";
    int ret;

    TRY(td_first_clip(c, &cfg));
    TRY(set_loras(c, &cfg.p));
    if (m->residency == TD_RESIDENT_AUTO && (ret = td_clip_fits(m, &cfg, &m->plan, &c->log)) < 0 &&
        ret != TD_ERR(ENOMEM))
        goto fail;
    if (m->residency == TD_RESIDENT_ALL)
        TRY(td_model_plan(m, NULL, 0, 0, &m->plan, &c->log));
    if (m->residency == TD_RESIDENT_ALL || (m->residency == TD_RESIDENT_AUTO && !m->plan.by_stage))
        TRY(td_model_load_all(m, shared, sizeof(shared)));
    c->open_seconds = td_now() - c->started;
    if (m->plan.by_stage && m->residency != TD_RESIDENT_AUTO)
        how = " by stage";
    else if (m->plan.by_stage)
        how = m->dit->int8 || c->dev->caps.maps_files
                  ? " by stage, as it does not fit at once"
                  : " by stage, as it does not fit at once (quant=int8 halves the transformer)";
    if (m->loaded_bytes && !c->dev->caps.maps_files)
        snprintf(rate, sizeof(rate), " at %.1f GB/s", (double)m->loaded_bytes * 1e-9 / m->load_seconds);
    if (c->dev->ordinal >= 0)
        snprintf(number, sizeof(number), ", device %d", c->dev->ordinal);
    td_log(&c->log, TD_LOG_INFO, "load: %s, %s, on %s (%s%s%s%s), %.2f GB%s%s, %.2f s%s%s%s%s", m->name,
           m->dit->int8 ? "int8" : "bf16", c->dev->ops->name, c->dev->name, number, *c->why_gpu ? ", " : "", c->why_gpu,
           (double)c->info.weight_bytes * 1e-9, rate, how, c->open_seconds, *m->chosen ? "; " : "", m->chosen,
           *shared ? "; shares the weights of " : "", shared);
    ret = 0;
fail:
    return ret;
}

int td_open(TDContext **out, const TDSettings *s)
{
    TDContext *c;
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
    TRY(td_choose_device(c));
    TRY(c->dev->ops->attach(c->dev));
    attached = 1;
    TRY(td_model_open(&c->model, s, c->dev, &c->log));
    TRY(td_cancel_check(&c->cancel));
    c->info.model = c->model->name;
    c->info.backend = c->dev->ops->name;
    c->info.device_name = c->dev->name;
    c->info.noise = "";
    td_default_info(c);
    c->info.attention = td_device_attention(s->attention, c->model->dit->has_sla, &c->log);
    c->info.quant = c->model->dit->int8 ? TD_QUANT_INT8 : TD_QUANT_NONE;
    TRY(load(c));
    TRY(td_warn_of_cpu(c));
    c->info.stage_seconds[TD_STAGE_LOAD] = c->open_seconds;
    c->dev->ops->detach(c->dev);
    return 0;
fail:
    if (attached)
        c->dev->ops->detach(c->dev);
    td_close(out);
    return ret;
}

static void end_clip(TDContext *c)
{
    td_clock_end(c);
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

static int start(TDContext *c, const TDParams *theirs)
{
    const char *prompts[TD_MAX_PROMPTS] = { NULL };
    TDClipConfig g;
    int ret;

    end_clip(c);
    atomic_store(&c->cancel.flag, 0);
    TRY(td_configure(c, &g, theirs));
    prompts[0] = g.p.prompt;
    if (td_guided(&g.p))
        prompts[1] = g.p.negative_prompt;
    for (int i = 0; i < TD_MAX_PROMPTS && prompts[i] && c->model->conf.knows_words; i++)
        if (i == 0 || theirs->negative_prompt)
            TRY(td_prompt_check_words(c->model->tokenizer, prompts[i], c->model->path[TD_FILE_TOKENIZER], &c->log));
    TRY(set_loras(c, &g.p));
    c->started = c->stage_began = td_now();
    c->stage = TD_STAGE_TEXT;
    c->ended = 1;                                /* as long as there is nothing to tell */
    c->model->peak_bytes = 0;
    td_model_account(c->model, 0);
    TRY(td_clip_open(&c->clip, c->model, &g, prompts, &c->log));
    c->nonblocking = g.p.nonblocking;
    c->info.noise = td_noise_name(c->noise_name, g.p.noise, c->dev->caps.noise_blocks);
    c->info.clip_width = g.p.width;
    c->info.clip_height = g.p.height;
    c->info.clip_frames = g.p.n_frames;
    c->info.n_steps = g.p.n_steps;
    c->info.seed = g.p.seed;
    c->info.topk = g.attn.kind == TD_ATTN_DENSE ? 1.0 : g.attn.topk;
    td_clock_start(c);
    td_log(&c->log, TD_LOG_VERBOSE, "clip: %dx%d, %d frames, %d steps, seed %llu, noise %s, %.2f GB of working memory",
           g.p.width, g.p.height, g.p.n_frames, g.p.n_steps, (unsigned long long)g.p.seed, c->info.noise,
           (double)c->info.workspace_bytes * 1e-9);
fail:
    return ret;
}

/* ---- read ---- */

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
        td_clock_stage(c, spent, (int)p.stage);
        if (c->settings.progress) {
            p.seconds = td_now() - c->stage_began;
            c->settings.progress(c->settings.cookie, &p);
        }
        if (ret > 0) {
            if (f->index == 0)
                c->info.first_frame_seconds = td_now() - c->started;
            if (c->clip->phase == TD_CLIP_DONE)
                td_clock_end(c);
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
    else if (c->clip->phase == TD_CLIP_DONE || (ret = td_check_frame(c, f)) >= 0)
        ret = read_frame(c, f);
    return leave(c, ret);
}

int td_last_picture(TDContext *c, float *rgb)
{
    int ret;

    if (!c || !rgb)
        return TD_ERR(EINVAL);
    if ((ret = enter(c)) < 0)
        return ret;
    ret = c->clip ? td_clip_picture(c->clip, rgb) : TD_ERR(EINVAL);
    if (ret == TD_ERR(EINVAL))
        ret = td_error(&c->log, EINVAL, "no picture: td_read_frame() comes first, and has to have written a frame");
    c->dead = ret == TD_ERR(EIO);
    return leave(c, ret);
}

/* up to topk, which came with 0.2 */
enum { INFO_0_1 = offsetof(TDInfo, topk) };

int td_get_info(const TDContext *c, TDInfo *out, size_t struct_size)
{
    TDInfo info;

    if (!c || !out)
        return TD_ERR(EINVAL);
    info = c->info;
    if (c->clip && !c->ended)
        td_clock_tell(c, &info);
    return td_give_struct(out, struct_size, &info, sizeof(info), INFO_0_1);
}

int (td_info)(const TDContext *c, TDInfo *out)
{
    return td_get_info(c, out, INFO_0_1);
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
