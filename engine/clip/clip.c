/* SPDX-License-Identifier: BSD-2-Clause
 * Invariants
 *  1. Device memory is two blocks: `block` holds what outlives a stage (emb, z, cond, latents), and in `work` the text,
 *     image, denoise and decode stages overlay each other. Nothing is allocated after td_start(), but where weights
 *     come and go by stage: there `work` does, too, and has the size of the stage at hand.
 *  2. td_clip_advance() does one piece: a text block, the text keys and values of one prompt, a transformer block, or
 *     one latent frame of the VAE (two at first, where the device works ahead). Cancelling between or inside pieces
 *     leaves nothing to undo but td_clip_close(). */
#include <math.h>
#include <stdlib.h>
#include "clip/clip.h"

/* what outlives a stage */
static int plan_fixed(TDClip *c, TDArena *a)
{
    int64_t t = (c->cfg.p.n_frames - 1) / 4 + 1;
    int64_t h = td_whole_side(c->cfg.p.height) / 8, w = td_whole_side(c->cfg.p.width) / 8;
    int ret = 0;

    for (int i = 0; i < c->n_prompts; i++)
        TRY(TD_CARVE(a, &c->emb[i], TD_BF16, TD_TEXT_LEN, c->model->dit->text_dim));
    TRY(TD_CARVE(a, &c->z, TD_F64, TD_LATENT_CHANNELS, t, h, w));
    TRY(TD_CARVE(a, &c->latents, TD_F32, TD_LATENT_CHANNELS, t, h, w));
    if (c->model->encoder)
        TRY(td_condition_plan(&c->condition, a, t, h, w));
fail:
    return ret;
}

/* of a model for image to video */
static TDEncoder encoder_of(const TDModel *m)
{
    return (TDEncoder){ m->part[TD_FILE_ENCODER]->kind, &m->net[TD_FILE_ENCODER], m->dev };
}

/* of the stage that computes with this file */
static int plan_work(TDClip *c, TDArena *a, enum TDFile file)
{
    const TDModel *m = c->model;
    int64_t t = (c->cfg.p.n_frames - 1) / 4 + 1;
    int64_t h = td_whole_side(c->cfg.p.height) / 8, w = td_whole_side(c->cfg.p.width) / 8;
    int ret;

    if (file == TD_FILE_TEXT) {
        int n = 0;

        for (int i = 0; i < c->n_prompts; i++)
            n = c->n_ids[i] > n ? c->n_ids[i] : n;
        TRY(td_text_plan(&c->text, m->text, a, n));
    } else if (file == TD_FILE_ENCODER) {
        TDEncoder enc = encoder_of(m);

        TRY(td_condition_plan_work(&c->condition, &enc, a, h, w));
    } else if (file == TD_FILE_DIT || file == TD_FILE_DIT_LOW) {
        const TDDit *dit = m->net[file].dit;
        int64_t n_keys = 0;

        TRY(TD_CARVE(a, &c->noise, TD_F32, TD_LATENT_CHANNELS, t, h, w));
        for (int i = 0; i < c->n_prompts; i++) {
            TRY(td_dit_plan_text(&c->dit_text[i], dit, a, c->n_ids[i]));
            n_keys = c->dit_text[i].k.shape[1] > n_keys ? c->dit_text[i].k.shape[1] : n_keys;
        }
        TRY(td_dit_plan(&c->dit, dit, a, t, h, w, &c->cfg.attn, n_keys));
    } else {
        TRY(m->part[file]->kind->plan(&c->decoder, &m->net[file], a, h, w));
        for (int i = 0; i < c->n_out; i++) {
            TRY(TD_CARVE(a, &c->out[i].rgb, TD_F32, 4, 8 * h, 8 * w, 3));
            c->out[i].turn = i;
            c->out[i].h = c->cfg.p.height;
            c->out[i].w = c->cfg.p.width;
            TRY(c->dev->ops->plan_frames(c->dev, a, &c->out[i]));
        }
    }
fail:
    return ret;
}

/* the transformer for timestep t: of two experts the low-noise one below the boundary */
static enum TDFile expert_for(const TDClip *c, double t)
{
    return c->model->low && t < c->cfg.p.boundary ? TD_FILE_DIT_LOW : TD_FILE_DIT;
}

/* whether the clip computes with this file. UniPC's many steps begin near 1 and end near 0. */
static int goes_through(const TDClip *c, enum TDFile file)
{
    int known = c->n_prompts > 0;

    for (int i = 0; i < c->n_prompts; i++)
        known &= c->cached[i];
    if (file == TD_FILE_TEXT)
        return !known;
    if (file != TD_FILE_DIT && file != TD_FILE_DIT_LOW)
        return 1;
    if (c->cfg.p.sampler == TD_SAMPLER_UNIPC)
        return 1;
    for (int i = 0; i < c->cfg.p.n_steps; i++)
        if (expert_for(c, c->cfg.t[i]) == file)
            return 1;
    return 0;
}

/* measure every stage. steps: those the clip will go through */
static int measure(TDClip *c, TDStep steps[TD_N_PARTS], int *n)
{
    static const enum TDFile order[] = { TD_FILE_TEXT, TD_FILE_ENCODER, TD_FILE_DIT, TD_FILE_DIT_LOW, TD_FILE_VAE };
    TDArena a;
    int ret;

    td_arena_init(&a, NULL, 0, c->log);
    TRY(plan_fixed(c, &a));
    c->fixed_bytes = a.peak;
    *n = 0;
    for (size_t i = 0; i < sizeof(order) / sizeof(*order); i++) {
        if (!c->model->part[order[i]])
            continue;
        td_arena_init(&a, NULL, 0, c->log);
        TRY(plan_work(c, &a, order[i]));
        c->work_bytes[order[i]] = a.peak;
        if (goes_through(c, order[i]))
            steps[(*n)++] = (TDStep){ order[i], a.peak };
    }
fail:
    return ret;
}

static int alloc(TDClip *c, TDBuf *buf, uint64_t bytes, const char *what)
{
    int ret = c->dev->ops->alloc(c->dev, buf, bytes, what);

    if (ret >= 0)
        td_model_account(c->model, (int64_t)bytes);
    return ret;
}

static void release(TDClip *c, TDBuf *buf)
{
    if (!buf->ptr)
        return;
    td_model_account(c->model, -(int64_t)buf->bytes);
    c->dev->ops->free(c->dev, buf);
}

/* measure, compare with what may be used, allocate, carve. By stage, `work` comes with each stage. */
static int reserve(TDClip *c)
{
    TDModel *m = c->model;
    TDStep steps[TD_N_PARTS];
    TDPlan plan;
    uint64_t work = 0;
    int n_steps, ret;
    size_t n;
    TDArena a;

    TRY(measure(c, steps, &n_steps));
    TRY(td_model_plan(m, steps, n_steps, c->fixed_bytes, &plan, c->log));
    m->plan = plan;
    td_log(c->log, TD_LOG_VERBOSE, "memory: %.2f GB at most: weights %.2f + clip %.2f, of %.2f GB %s%s",
           (double)(plan.weights + plan.clip) * 1e-9, (double)plan.weights * 1e-9, (double)plan.clip * 1e-9,
           (double)plan.limit * 1e-9, plan.limited ? "allowed" : "free", plan.by_stage ? "; weights by stage" : "");
    if (plan.others)
        td_log(c->log, TD_LOG_VERBOSE, "memory: the driver and other programs use %.2f GB of the device beside that",
               (double)plan.others * 1e-9);
    for (int i = 0; i < n_steps; i++)
        work = steps[i].bytes > work ? steps[i].bytes : work;
    TRY(td_model_load_sides(m));
    td_model_make_room(m, c->fixed_bytes);
    TRY(alloc(c, &c->block, c->fixed_bytes, "what a clip keeps"));
    td_arena_init(&a, c->block.ptr, c->fixed_bytes, c->log);
    TRY(plan_fixed(c, &a));
    if (!m->plan.by_stage)
        TRY(alloc(c, &c->work, work, "the stages of a clip"));

    n = (size_t)td_tensor_count(&c->z);
    c->host = malloc(2 * n * sizeof(*c->host));
    c->host_z = malloc(n * sizeof(*c->host_z));
    if (c->cfg.p.sampler == TD_SAMPLER_UNIPC)
        c->unipc_mem = malloc(td_unipc_bytes(c->cfg.p.n_steps, n));
    if (!c->host || !c->host_z || (c->cfg.p.sampler == TD_SAMPLER_UNIPC && !c->unipc_mem))
        ret = td_error(c->log, ENOMEM, "clip: out of memory");
    else
        ret = c->dev->ops->reserve_frames(c->dev, c->cfg.p.height, c->cfg.p.width);
fail:
    return ret;
}

/* weights and working memory of the stage that computes with this file */
static int begin_stage(TDClip *c, enum TDFile file)
{
    TDModel *m = c->model;
    TDArena a;
    int ret;

    if (m->plan.by_stage)
        release(c, &c->work);
    TRY(td_model_require(m, file, m->plan.by_stage ? c->work_bytes[file] : 0));
    if (m->plan.by_stage)
        TRY(alloc(c, &c->work, c->work_bytes[file], "a stage of a clip"));
    td_arena_init(&a, c->work.ptr, c->work.bytes, c->log);
    TRY(plan_work(c, &a, file));
fail:
    return ret;
}

int td_clip_need(TDModel *model, const TDClipConfig *cfg, TDNeed *need, TDLog *log)
{
    const TDCaps *caps = &model->dev->caps;
    TDClip c = { .model = model, .dev = model->dev, .log = log, .cfg = *cfg, .n_prompts = 1,
                 .n_ids = { TD_TEXT_LEN, TD_TEXT_LEN } }; /* the longest prompts */
    int ret;

    c.n_out = 1 + caps->ahead;
    if (td_guided(&cfg->p))
        c.n_prompts = TD_MAX_PROMPTS;
    *need = (TDNeed){ .reserve = caps->reserve, .context = caps->context };
    TRY(measure(&c, need->steps, &need->n_steps));
    need->fixed = c.fixed_bytes;
    td_model_costs(model, need->cost);
fail:
    return ret;
}

int td_clip_fits(TDModel *model, const TDClipConfig *cfg, TDPlan *plan, TDLog *log)
{
    TDNeed need;
    int ret;

    TRY(td_clip_need(model, cfg, &need, log));
    TRY(td_model_plan(model, need.steps, need.n_steps, need.fixed, plan, NULL));
fail:
    return ret;
}

int td_clip_open(TDClip **out, TDModel *model, const TDClipConfig *cfg, const char *const prompts[TD_MAX_PROMPTS],
                 TDLog *log)
{
    int w = cfg->p.width, h = cfg->p.height;
    TDClip *c = calloc(1, sizeof(*c));
    int ret = 0;

    *out = c;
    if (!c)
        return td_error(log, ENOMEM, "clip: out of memory");
    c->model = model;
    c->dev = model->dev;
    c->log = log;
    c->cfg = *cfg;
    c->n_out = 1 + model->dev->caps.ahead;
    c->expert = TD_N_FILES;
    for (int i = 0; i < TD_MAX_PROMPTS && prompts[i]; i++) {
        TRY(td_tokenize(model->tokenizer, prompts[i], c->ids[i], TD_TEXT_LEN, log));
        c->n_ids[i] = ret;
        c->cached[i] = td_prompt_find(&model->prompts, c->ids[i], ret) != NULL;
        c->n_prompts++;
    }
    TRY(reserve(c));
    if (cfg->p.image)
        TRY(td_condition_image(&c->condition, cfg->p.image, w, h, td_whole_side(w), td_whole_side(h),
                               encoder_of(model).kind->from_zero, log));
    if (cfg->p.picture)
        TRY(td_condition_picture(&c->condition, cfg->p.picture, w, h, td_whole_side(w), td_whole_side(h),
                                 encoder_of(model).kind->from_zero, log));
    td_rng_init(&c->rng, cfg->p.noise, model->dev->caps.noise_blocks, cfg->p.seed);
    return 0;
fail:
    td_clip_close(out);
    return ret;
}

void td_clip_close(TDClip **out)
{
    TDClip *c = *out;

    if (!c)
        return;
    td_model_prefetch_end(c->model);
    td_model_stream_end(c->model);
    release(c, &c->work);
    release(c, &c->block);
    free(c->host);
    free(c->host_z);
    free(c->unipc_mem);
    td_condition_free(&c->condition);
    free(c);
    *out = NULL;
}

/* ---- text ---- */

/* an embedding that is not finite would only show as a black clip much later */
static int check_and_keep(TDClip *c, int i)
{
    size_t n = (size_t)td_tensor_count(&c->emb[i]);
    uint16_t *emb = malloc(n * sizeof(*emb));
    int ret;

    if (!emb)
        return td_error(c->log, ENOMEM, "text: out of memory");
    ret = c->dev->ops->download(c->dev, emb, &c->emb[i]);
    if (ret >= 0 && !td_bf16_all_finite(emb, n))
        ret = td_error(c->log, EBADMSG, "text: the embedding is not finite; %s holds NaN or infinite weights",
                       c->model->path[TD_FILE_TEXT]);
    if (ret >= 0)
        ret = td_prompt_keep(&c->model->prompts, c->ids[i], c->n_ids[i], emb, c->emb[i].shape[1], c->log);
    free(emb);
    return ret;
}

static int upload_embedding(TDClip *c, int i)
{
    const uint16_t *kept = td_prompt_find(&c->model->prompts, c->ids[i], c->n_ids[i]);
    TDTensor rows = c->emb[i];
    int ret;

    TRY(c->dev->ops->zero(c->dev, &c->emb[i]));
    rows.shape[0] = c->n_ids[i];
    TRY(c->dev->ops->upload(c->dev, &rows, kept));
fail:
    return ret;
}

static int advance_text(TDClip *c)
{
    TDModel *m = c->model;
    int ret;

    if (c->cached[c->prompt]) {
        TRY(upload_embedding(c, c->prompt));
        goto next;
    }
    if (c->block_at == 0) {
        TRY(begin_stage(c, TD_FILE_TEXT));
        TRY(td_text_begin(m->text, &c->text, c->ids[c->prompt], c->n_ids[c->prompt]));
    }
    TRY(td_model_block(m, TD_FILE_TEXT, c->block_at, 0));
    TRY(td_text_block(m->text, &c->text, c->block_at));
    if (++c->block_at < m->text->n_blocks)
        return 0;
    TRY(td_text_end(m->text, &c->text, &c->emb[c->prompt]));
    TRY(td_model_check_file(m, TD_FILE_TEXT));   /* before the embedding is kept */
    TRY(check_and_keep(c, c->prompt));
    c->block_at = 0;
next:
    if (++c->prompt == c->n_prompts) {
        c->prompt = 0;
        c->phase = m->encoder ? TD_CLIP_IMAGE : TD_CLIP_ENTER;
    }
fail:
    return ret;
}

/* ---- image ---- */

static int advance_image(TDClip *c)
{
    const TDModel *m = c->model;
    TDEncoder enc = encoder_of(m);
    int ret;

    if (c->condition.pixels) {
        TRY(begin_stage(c, TD_FILE_ENCODER));
        TRY(td_condition_begin(&c->condition, &enc));
    }
    TRY(td_condition_next(&c->condition, &enc, m->path[TD_FILE_VAE]));
    if (ret > 0)
        c->phase = TD_CLIP_ENTER;
    ret = 0;
fail:
    return ret;
}

/* ---- denoise ---- */

/* the initial state */
static int begin_denoise(TDClip *c)
{
    const TDOps *op = c->dev->ops;
    int ret;

    TRY(op->normal(c->dev, &c->noise, &c->rng, c->host));
    if (c->cfg.p.sampler == TD_SAMPLER_RCM) {
        TRY(op->scale_noise(c->dev, &c->z, &c->noise, c->cfg.t[0]));
    } else {
        TRY(op->scale_noise(c->dev, &c->z, &c->noise, 1.0));
        TRY(op->download(c->dev, c->host_z, &c->z));     /* which keeps its history on the host */
    }
fail:
    return ret;
}

/* the timestep of the step at hand */
static double time_of(const TDClip *c)
{
    return c->cfg.p.sampler == TD_SAMPLER_RCM ? c->cfg.t[c->step] : td_unipc_time(&c->unipc);
}

/* Weights and memory of the transformer for the step at hand. What another one made of the prompts is worth nothing to
 * it. */
static int enter_step(TDClip *c)
{
    enum TDFile file;
    int ret = 0;

    if (c->step == 0 && c->cfg.p.sampler == TD_SAMPLER_UNIPC)
        td_unipc_init(&c->unipc, c->unipc_mem, c->cfg.p.n_steps, (size_t)td_tensor_count(&c->z), c->cfg.p.shift);
    file = expert_for(c, time_of(c));
    c->phase = file == c->expert ? TD_CLIP_BLOCKS : TD_CLIP_KEYS;
    if (file == c->expert)
        return 0;
    if (c->step > 0)
        td_log(c->log, TD_LOG_VERBOSE, "denoise: step %d at %.4f, below %g: the low-noise expert", c->step + 1,
               time_of(c), c->cfg.p.boundary);
    TRY(begin_stage(c, file));
    TRY(td_dit_prepare(&c->dit, c->model->net[file].dit));
    c->expert = file;
    if (file == TD_FILE_DIT)
        td_model_prefetch(c->model);
    if (c->step == 0)
        TRY(begin_denoise(c));
fail:
    return ret;
}

static int rcm_update(TDClip *c)
{
    double t = c->cfg.t[c->step], s = c->cfg.t[c->step + 1];
    TDTensor *noise = NULL;
    int ret;

    if (!c->cfg.p.ode) {
        if (s > 0.0)
            TRY(c->dev->ops->normal(c->dev, &c->noise, &c->rng, c->host));
        else                                     /* the last draw is multiplied by 0 */
            TRY(c->dev->ops->zero(c->dev, &c->noise));
        noise = &c->noise;
    }
    TRY(c->dev->ops->rcm_step(c->dev, &c->z, &c->dit.v, noise, t, s));
fail:
    return ret;
}

/* host[0..n) holds the velocity for the prompt, host[n..2n) the one for the negative prompt */
static int unipc_update(TDClip *c)
{
    size_t n = (size_t)td_tensor_count(&c->z);
    int ret;

    if (c->n_prompts > 1)
        td_guide(c->host, c->host + n, n, c->expert == TD_FILE_DIT_LOW ? c->cfg.p.guidance_low : c->cfg.p.guidance);
    td_unipc_step(&c->unipc, c->host_z, c->host);
    TRY(c->dev->ops->upload(c->dev, &c->z, c->host_z));
fail:
    return ret;
}

/* a file's weights may be the reason, or what LoRAs make of those of a transformer */
static int not_finite(TDClip *c, const char *what, enum TDFile file)
{
    const char *lora = c->model->lora[0].text, *low = c->model->lora[1].text;

    return td_error(c->log, EBADMSG, "%s is not finite; %s holds NaN or infinite weights%s%s%s%s", what,
                    c->model->path[file], lora ? ", or too large ones come of lora=" : "", lora ? lora : "",
                    low ? ", or too large ones come of lora_low=" : "", low ? low : "");
}

/* f32 of the state, checked, for the VAE */
static int end_denoise(TDClip *c)
{
    int finite, ret;

    TRY(td_model_check_file(c->model, c->expert));
    TRY(c->dev->ops->round_state(c->dev, &c->latents, &c->z, &finite));
    if (!finite) {
        ret = not_finite(c, "denoise: the latent", c->expert);
        goto fail;
    }
    TRY(begin_stage(c, TD_FILE_VAE));
    TRY(c->model->part[TD_FILE_VAE]->kind->begin(&c->model->net[TD_FILE_VAE], &c->decoder));
    c->phase = TD_CLIP_DECODE;
fail:
    return ret;
}

static int advance_denoise(TDClip *c)
{
    int rcm = c->cfg.p.sampler == TD_SAMPLER_RCM, ret;
    const TDDit *dit;

    if (c->phase == TD_CLIP_ENTER)
        TRY(enter_step(c));
    dit = c->model->net[c->expert].dit;
    if (c->phase == TD_CLIP_KEYS) {
        TRY(td_dit_text_begin(&c->dit_text[c->prompt], dit, &c->dit, &c->emb[c->prompt]));
        for (int i = 0; i < dit->n_blocks; i++) {
            TRY(td_model_block(c->model, c->expert, i, 1));
            TRY(td_dit_text_block(&c->dit_text[c->prompt], dit, &c->dit, i));
        }
        if (++c->prompt == c->n_prompts) {
            c->prompt = 0;
            c->phase = TD_CLIP_BLOCKS;
        }
        return 0;
    }
    if (c->block_at == 0)
        TRY(td_dit_begin(dit, &c->dit, &c->z, c->model->encoder ? &c->condition.cond : NULL, time_of(c)));
    TRY(td_model_block(c->model, c->expert, c->block_at, 0));
    TRY(td_dit_block(dit, &c->dit, &c->dit_text[c->prompt], c->block_at));
    if (++c->block_at < dit->n_blocks)
        return 0;
    c->block_at = 0;
    TRY(td_dit_end(dit, &c->dit));
    if (!rcm)
        TRY(c->dev->ops->download(c->dev, c->host + c->prompt * td_tensor_count(&c->z), &c->dit.v));
    if (++c->prompt < c->n_prompts)
        return 0;
    c->prompt = 0;
    TRY(rcm ? rcm_update(c) : unipc_update(c));
    c->phase = TD_CLIP_ENTER;
    if (++c->step == c->cfg.p.n_steps)
        TRY(end_denoise(c));
    return 0;
fail:
    return ret;
}

/* ---- decode ---- */

/* Where the device works ahead, the next latent frame is under way before the pictures of this one are waited for. */
static int advance_decode(TDClip *c, const TDFrame *f)
{
    const TDOps *op = c->dev->ops;
    const TDPart *vae = c->model->part[TD_FILE_VAE];
    int ret;

    while (c->decoded < c->latents.shape[1] && c->decoded < c->shown + c->n_out) {
        TDFrameSet *set = &c->out[c->decoded % c->n_out];

        c->last = NULL;
        TRY(vae->kind->next(&c->model->net[TD_FILE_VAE], &c->decoder, &c->latents, &set->rgb));
        TRY(op->begin_frames(c->dev, set, f));
        c->decoded++;
    }
    TRY(op->wait_frames(c->dev, &c->out[c->shown % c->n_out]));
    return 1;
fail:
    return ret;
}

int td_clip_frame(TDClip *c, TDFrame *f)
{
    TDFrameSet *set = &c->out[c->shown % c->n_out];
    int finite = 0, ret = td_model_check_file(c->model, TD_FILE_VAE);

    if (ret >= 0)
        ret = c->dev->ops->fetch_frame(c->dev, f, set, c->next_ready, &finite);
    if (ret < 0)
        return ret;
    if (!finite)                                 /* weights that are not finite, or bf16 overflow */
        return not_finite(c, "decode: the picture", TD_FILE_VAE);
    c->last = set;
    c->last_at = c->next_ready;
    if (++c->next_ready == set->rgb.shape[0]) {
        c->next_ready = 0;
        c->shown++;
    }
    f->width = c->cfg.p.width;
    f->height = c->cfg.p.height;
    f->index = c->next_frame++;
    if (c->shown == c->latents.shape[1])
        c->phase = TD_CLIP_DONE;
    return 0;
}

int td_clip_picture(const TDClip *c, float *rgb)
{
    size_t w = (size_t)c->cfg.p.width, h = (size_t)c->cfg.p.height, pitch;
    TDTensor one;
    float *whole;
    int ret;

    if (!c->last)
        return TD_ERR(EINVAL);
    one = c->last->rgb;
    one.shape[0] = 1;
    one.data = (char *)one.data + (size_t)c->last_at * td_tensor_bytes(&one);
    pitch = 3 * (size_t)one.shape[2];
    if (!(whole = malloc(td_tensor_bytes(&one))))
        return td_error(c->log, ENOMEM, "picture: out of memory");
    TRY(c->dev->ops->download(c->dev, whole, &one));
    for (size_t y = 0; y < h; y++)
        for (size_t i = 0; i < 3 * w; i++) {
            float v = (1.0f + whole[y * pitch + i]) * 0.5f;

            rgb[y * 3 * w + i] = v > 0.0f ? v < 1.0f ? v : 1.0f : 0.0f;
        }
fail:
    free(whole);
    return ret;
}

#ifdef TD_CHECK
/* what clip.h says of the phase. @return 0 or a logged EIO */
static int check(const TDClip *c)
{
    int64_t frames = c->latents.shape[1];
    int early = c->step == 0 && c->expert == TD_N_FILES && c->decoded == 0;
    int idle = c->prompt == 0 && c->block_at == 0;
    const TDDit *dit = c->expert == TD_N_FILES ? NULL : c->model->net[c->expert].dit;
    int denoise = c->step < c->cfg.p.n_steps && c->decoded == 0 && !c->condition.pixels;
    int holds[] = {
        [TD_CLIP_TEXT]   = early && c->prompt < c->n_prompts && c->block_at < c->model->text->n_blocks,
        [TD_CLIP_IMAGE]  = early && idle && c->model->encoder && c->condition.encoded < frames,
        [TD_CLIP_ENTER]  = denoise && idle && (c->step == 0) == !dit,
        [TD_CLIP_KEYS]   = denoise && dit && c->work.ptr && c->block_at == 0 && c->prompt < c->n_prompts,
        [TD_CLIP_BLOCKS] = denoise && dit && c->work.ptr && c->block_at < dit->n_blocks && c->prompt < c->n_prompts,
        [TD_CLIP_DECODE] = idle && c->step == c->cfg.p.n_steps && c->work.ptr && c->shown <= c->decoded &&
                           c->decoded <= c->shown + c->n_out && c->decoded <= frames && c->shown < frames,
        [TD_CLIP_DONE]   = c->shown == frames && c->decoded == frames && c->next_frame == c->cfg.p.n_frames,
    };

    return holds[c->phase] ? 0 : td_error(c->log, EIO, "clip: phase %d is not what clip.h says of it", (int)c->phase);
}
#endif

int td_clip_advance(TDClip *c, const TDFrame *f)
{
    enum TDClipPhase phase = c->phase;
    int unread = phase == TD_CLIP_DECODE ||      /* td_clip_frame() looks at the VAE's file */
                 phase == TD_CLIP_DONE || (phase == TD_CLIP_TEXT && c->cached[c->prompt]);
    int ret = phase == TD_CLIP_TEXT     ? advance_text(c)
              : phase == TD_CLIP_IMAGE  ? advance_image(c)
              : phase < TD_CLIP_DECODE  ? advance_denoise(c)
              : phase == TD_CLIP_DECODE ? advance_decode(c, f)
                                        : 0;

#ifdef TD_CHECK
    if (ret >= 0 && check(c) < 0)
        return TD_ERR(EIO);
#endif
    if (ret < 0 || unread)
        return ret;
    return td_model_check_file(c->model, phase == TD_CLIP_TEXT    ? TD_FILE_TEXT
                                         : phase == TD_CLIP_IMAGE ? TD_FILE_ENCODER
                                                                  : c->expert);
}

void td_clip_summary(const TDClip *c, TDClipSummary *s)
{
    *s = (TDClipSummary){ .done = c->phase == TD_CLIP_DONE,
                          .frames_out = (int)c->next_frame,
                          .encoded = (int)c->condition.encoded,
                          .n_tokens = c->n_ids[0],
                          .text_cached = c->cached[0] };
}

void td_clip_progress(const TDClip *c, TDProgress *p)
{
    int64_t text = c->model->text->n_blocks, dit = c->model->dit->n_blocks;

    switch (c->phase) {
    case TD_CLIP_TEXT:
        *p = (TDProgress){ .stage = TD_STAGE_TEXT,
                           .done = (int)(c->prompt * text + c->block_at),
                           .total = (int)(c->n_prompts * text) };
        break;
    case TD_CLIP_IMAGE:
        *p = (TDProgress){ .stage = TD_STAGE_IMAGE,
                           .done = c->condition.pixels ? 0 : (int)c->condition.encoded,
                           .total = (int)c->latents.shape[1] };
        break;
    case TD_CLIP_ENTER:
    case TD_CLIP_KEYS:
    case TD_CLIP_BLOCKS:
        *p = (TDProgress){ .stage = TD_STAGE_DENOISE, .total = (int)(c->cfg.p.n_steps * c->n_prompts * dit) };
        p->done = (int)((c->step * c->n_prompts + (c->phase == TD_CLIP_BLOCKS ? c->prompt : 0)) * dit + c->block_at);
        break;
    default:
        *p = (TDProgress){ .stage = TD_STAGE_DECODE,
                           .done = (int)(c->shown + (c->next_ready > 0)),
                           .total = (int)c->latents.shape[1] };
        break;
    }
}
