/* SPDX-License-Identifier: BSD-2-Clause */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include "model/install.h"
#include "model/model.h"
#include "model/vocabulary.h"

/* the named views are net[] by another name */
_Static_assert(offsetof(TDModel, low) == offsetof(TDModel, net[TD_FILE_DIT_LOW]) &&
               offsetof(TDModel, text) == offsetof(TDModel, net[TD_FILE_TEXT]) &&
               offsetof(TDModel, vae) == offsetof(TDModel, net[TD_FILE_VAE]) &&
               offsetof(TDModel, encoder) == offsetof(TDModel, net[TD_FILE_ENCODER]), "TDModel.net");

static void name_variant(TDModel *m)
{
    const TDDit *d = m->dit;
    const char *task = d->in_dim == 16 ? "T2V" : "I2V";

    if (d->dim == 1536 && d->n_blocks == 30)
        snprintf(m->name, sizeof(m->name), "Wan2.1-%s-1.3B", task);
    else if (d->dim == 5120 && d->n_blocks == 40)
        snprintf(m->name, sizeof(m->name), m->low ? "Wan2.2-%s-A14B" : "Wan2.1-%s-14B", task);
    else
        snprintf(m->name, sizeof(m->name), "Wan-%s-dim%lld-blocks%lld", task, (long long)d->dim,
                 (long long)d->n_blocks);
}

static int open_part(TDModel *m, enum TDFile file, const TDSettings *s)
{
    static const enum TDPartKind kinds[] = {
        [TD_FILE_DIT] = TD_PART_DIT, [TD_FILE_DIT_LOW] = TD_PART_DIT,     [TD_FILE_TEXT] = TD_PART_TEXT,
        [TD_FILE_VAE] = TD_PART_VAE, [TD_FILE_ENCODER] = TD_PART_ENCODER,
    };
    TDPartKey key = { .kind = kinds[file] };
    int ret;

    if (key.kind == TD_PART_DIT) {
        key.quant = s->quant;
        key.norm = s->norm;
    } else if (key.kind != TD_PART_TEXT) {
        key.vae_dtype = s->vae_dtype;
    }
    TRY(td_part_open(&m->part[file], &key, m->path[file], m->dev));
    TRY(td_part_view(m->part[file], &m->net[file], m->dev));
fail:
    return ret;
}

/* the parts that an image-to-video model, or one of two experts, has beside the others */
static int open_more(TDModel *m, const TDSettings *s)
{
    const TDDit *d = m->dit, *low;
    int i2v = d->in_dim == TD_I2V_CHANNELS, ret = 0;

    if (d->in_dim != 16 && !i2v)
        return td_error(m->log, ENOTSUP, "%s: %lld input channels, want 16 (text to video) or %d (image to video)",
                        m->path[TD_FILE_DIT], (long long)d->in_dim, TD_I2V_CHANNELS);
    TRY(td_model_check_experts(m->path, s, d->in_dim, m->log));
    if (ret) {
        TRY(open_part(m, TD_FILE_DIT_LOW, s));
        low = m->low;
        if (low->dim != d->dim || low->ffn != d->ffn || low->n_blocks != d->n_blocks || low->in_dim != d->in_dim ||
            low->text_dim != d->text_dim)
            return td_error(m->log, EINVAL,
                            "%s has %lld blocks of width %lld and %lld input channels, %s has %lld of %lld and %lld; "
                            "want two experts of one model", m->path[TD_FILE_DIT_LOW], (long long)low->n_blocks,
                            (long long)low->dim, (long long)low->in_dim, m->path[TD_FILE_DIT], (long long)d->n_blocks,
                            (long long)d->dim, (long long)d->in_dim);
    }
    if (i2v) {
        if (!(m->path[TD_FILE_ENCODER] = strdup(m->path[TD_FILE_VAE])))
            return td_error(m->log, ENOMEM, "model: out of memory");
        TRY(open_part(m, TD_FILE_ENCODER, s));
    }
fail:
    return ret;
}

/* that of the text encoder's file, for want of a tokenizer's */
static int open_vocabulary(TDModel *m, const TDSettings *s)
{
    const TDCheckpoint *file = m->part[TD_FILE_TEXT]->file;

    if (!td_vocabulary_is_in(file))
        return td_model_no_tokenizer(s, m->log);
    if (!(m->path[TD_FILE_TOKENIZER] = strdup(m->path[TD_FILE_TEXT])))
        return td_error(m->log, ENOMEM, "model: out of memory");
    return td_vocabulary_open(&m->tokenizer, file, m->log);
}

int td_model_unnamed(const TDSettings *s)
{
    return !s->model && !s->dit && !s->dit_low && !s->text_encoder && !s->tokenizer && !s->vae;
}

int td_model_open(TDModel **out, const TDSettings *given, TDDev *dev, TDLog *log)
{
    TDModel *m = calloc(1, sizeof(*m));
    char own[4096], demo[4096];
    TDSettings with_demo = *given;
    const TDSettings *s = &with_demo;
    int ret;

    *out = m;
    if (!m)
        return td_error(log, ENOMEM, "model: out of memory");
    m->log = log;
    m->dev = dev;
    m->residency = s->residency;
    m->stream.file = TD_N_FILES;
    m->plan.by_stage = s->residency == TD_RESIDENT_STAGE;
    m->max_bytes = s->max_bytes;
    if (td_model_unnamed(s)) {
        TRY(td_default_model(demo, sizeof(demo), td_own_dir(own, sizeof(own)) < 0 ? NULL : own, s->image_to_video,
                             log));
        with_demo.model = demo;
        td_log(log, TD_LOG_INFO, "no model given: using the small demo model in %s; model= is for a directory with "
               "the files of another one", demo);
    }
    TRY(td_model_find_files(m->path, m->chosen, s, log));
    if (s->model)
        TRY(td_model_conf_read(&m->conf, s->model, log));
    if (m->path[TD_FILE_TOKENIZER])
        TRY(td_tokenizer_open(&m->tokenizer, m->path[TD_FILE_TOKENIZER], log));
    TRY(open_part(m, TD_FILE_DIT, s));
    TRY(open_part(m, TD_FILE_TEXT, s));
    if (!m->tokenizer)
        TRY(open_vocabulary(m, s));
    TRY(open_part(m, TD_FILE_VAE, s));
    if (s->model)
        TRY(td_model_index_read(&m->boundary, s->model, log));
    if (s->model)
        TRY(td_model_scheduler_read(&m->shift, s->model, log));
    TRY(open_more(m, s));
    if (m->text->dim != m->dit->text_dim) {
        ret =
            td_error(log, EINVAL,
                     "%s gives embeddings of %lld values, %s wants %lld; the files belong to different models",
                     m->path[TD_FILE_TEXT], (long long)m->text->dim, m->path[TD_FILE_DIT], (long long)m->dit->text_dim);
        goto fail;
    }
    if (td_tokenizer_n_ids(m->tokenizer) > m->text->n_rows) {
        ret = td_error(log, EINVAL, "%s has %d ids, %s embeds %lld; the files belong to different models",
                       m->path[TD_FILE_TOKENIZER], td_tokenizer_n_ids(m->tokenizer), m->path[TD_FILE_TEXT],
                       (long long)m->text->n_rows);
        goto fail;
    }
    name_variant(m);
    return 0;
fail:
    td_model_close(out);
    return ret;
}

static void release(TDModel *m, enum TDFile file)
{
    if (m->held[file])
        td_part_release(m->part[file], m->dev);
    m->held[file] = 0;
}

static void drop_side(TDModel *m, int low)
{
    enum TDFile file = low ? TD_FILE_DIT_LOW : TD_FILE_DIT;

    if (m->net[file].dit)
        td_dit_drop_sides(m->net[file].dit);
    if (m->lora[low].weights.n_bufs) {
        td_model_account(m, -(int64_t)m->lora[low].bytes);
        td_weights_free(m->dev, &m->lora[low].weights);
    }
    td_lora_free(&m->lora[low].side);
    m->lora[low].bytes = 0;
}

/* What LoRAs bring beside the int8 weights of a part. *side: NULL if that is nothing. */
static int open_side(TDModel *m, TDLora **side, const TDPart *p, enum TDFile file, const char *lora)
{
    int low = file == TD_FILE_DIT_LOW, ret;

    *side = NULL;
    if (!lora || !m->net[file].dit->codes)
        return 0;
    TRY(td_lora_open(side, lora, low ? "lora_low" : "lora", m->log));
    TRY(td_lora_apply(*side, p->file, 0, low, m->log));
    if (!(*side)->n_sides)
        td_lora_free(side);
    return 0;
fail:
    td_lora_free(side);
    return ret;
}

int td_model_set_lora(TDModel *m, enum TDFile file, const char *lora)
{
    int low = file == TD_FILE_DIT_LOW, ret = 0;
    char *own = m->lora[low].text, *text = NULL;
    TDWeights size = { .measure = 1 };
    TDLora *side = NULL;
    TDPart *p = NULL;
    TDPartKey key;

    lora = lora && *lora ? lora : NULL;
    if (!m->part[file] || (lora ? own && !strcmp(lora, own) : !own))
        return 0;
    if (lora && !(text = strdup(lora)))
        return td_error(m->log, ENOMEM, "lora: out of memory");
    key = m->part[file]->key;
    key.lora = lora;
    key.low = low;
    TRY(td_part_open(&p, &key, m->path[file], m->dev));
    TRY(open_side(m, &side, p, file, lora));
    td_model_prefetch_end(m);
    drop_side(m, low);
    if (p != m->part[file])
        release(m, file);
    TRY(td_part_view(p, &m->net[file], m->dev));
    td_part_close(&m->part[file]);
    m->part[file] = p;
    free(own);
    m->lora[low].text = text;
    m->lora[low].side = side;
    if (side && (ret = td_dit_bind_sides(m->net[file].dit, &size, side)) < 0) {
        td_model_set_lora(m, file, NULL);        /* so that the next clip does not take it for done */
        return ret;
    }
    m->lora[low].bytes = size.bytes;
    return 1;
fail:
    td_part_close(&p);
    td_lora_free(&side);
    free(text);
    return ret;
}

int td_model_load_sides(TDModel *m)
{
    int ret = 0;

    for (int low = 0; low < 2; low++) {
        TDWeights *w = &m->lora[low].weights;
        uint64_t bytes = m->lora[low].bytes;
        double began = td_now();

        if (!m->lora[low].side || w->n_bufs)
            continue;
        td_model_make_room(m, bytes);
        TRY(td_weights_init(m->dev, w, bytes));
        td_model_account(m, (int64_t)bytes);
        ret = td_dit_bind_sides(m->net[low ? TD_FILE_DIT_LOW : TD_FILE_DIT].dit, w, m->lora[low].side);
        td_pack_end(m->dev);
        ret = ret < 0 ? ret : m->dev->ops->sync(m->dev);
        ret = ret < 0 ? ret : td_lora_check(m->lora[low].side, m->log);
        if (ret < 0) {
            td_model_account(m, -(int64_t)bytes);
            td_weights_free(m->dev, w);
            goto fail;
        }
        m->load_seconds += td_now() - began;
        m->loaded_bytes += bytes;
        td_log(m->log, TD_LOG_INFO, "load: LoRA of %d linears beside %s, %.3f GB, %.2f s", m->lora[low].side->n_sides,
               m->path[low ? TD_FILE_DIT_LOW : TD_FILE_DIT], (double)bytes * 1e-9, td_now() - began);
    }
fail:
    return ret;
}

void td_model_close(TDModel **out)
{
    TDModel *m = *out;

    if (!m)
        return;
    td_model_prefetch_end(m);
    td_model_stream_end(m);
    for (int i = 0; i < 2; i++)
        drop_side(m, i);
    for (int f = 0; f < TD_N_PARTS; f++) {
        release(m, f);
        if (m->part[f])
            td_part_view_free(m->part[f], &m->net[f]);
        td_part_close(&m->part[f]);
    }
    td_prompt_clear(&m->prompts);
    td_tokenizer_free(&m->tokenizer);
    for (int i = 0; i < 2; i++)
        free(m->lora[i].text);
    for (int f = 0; f < TD_N_FILES; f++)
        free(m->path[f]);
    free(m);
    *out = NULL;
}

/* ---- what fits ---- */

/* of a part while it is held; what is mapped counts where the backend computes from it */
static uint64_t cost(const TDModel *m, enum TDFile file)
{
    const TDPart *p = m->part[file];

    return p ? p->bytes + p->scratch + (m->dev->caps.maps_files ? p->mapped : 0) : 0;
}

/* of a part that comes block by block, two of them at a time; 0 where it cannot, or would take no less */
static uint64_t cost_streamed(const TDModel *m, enum TDFile file)
{
    const TDPart *p = m->part[file];
    uint64_t n = p ? (uint64_t)p->n_blocks : 0, mapped = n && m->dev->caps.maps_files ? p->mapped : 0;

    return n < 3 ? 0 : p->rest + 2 * p->block + p->scratch + mapped / n * 2;
}

/* as the plan has it */
static uint64_t cost_planned(const TDModel *m, enum TDFile file)
{
    return m->plan.by_stage && m->plan.streamed[file] ? cost_streamed(m, file) : cost(m, file);
}

void td_model_costs(const TDModel *m, TDPartCost costs[TD_N_PARTS])
{
    for (int f = 0; f < TD_N_PARTS; f++)
        costs[f] = (TDPartCost){ cost(m, f), cost_streamed(m, f) };
}

uint64_t td_model_bytes(const TDModel *m)
{
    uint64_t bytes = 0;

    for (int f = 0; f < TD_N_PARTS; f++)
        bytes += m->part[f] ? cost(m, f) - m->part[f]->scratch : 0;
    return bytes + m->lora[0].bytes + m->lora[1].bytes;
}

static int is_loaded(const TDModel *m, enum TDFile file)
{
    return m->part[file] && td_part_loaded(m->part[file]);
}

/* what weights and clip may take in all. The page cache gives way: mapped weights need no free memory. */
static int find_limit(const TDModel *m, TDPlan *plan)
{
    uint64_t available, total, ours = m->clip_bytes;
    int ret = m->dev->ops->memory(m->dev, &available, &total);

    if (ret < 0)
        return ret;
    for (int f = 0; f < TD_N_PARTS; f++)
        ours += is_loaded(m, f) ? m->part[f]->bytes : 0;
    plan->others = !m->dev->caps.maps_files && total - available > ours ? total - available - ours : 0;
    available -= available < m->dev->caps.reserve ? available : m->dev->caps.reserve;
    for (int f = 0; f < TD_N_PARTS; f++) {
        if (is_loaded(m, f))
            available += m->part[f]->bytes + m->part[f]->scratch;
        if (m->part[f] && m->dev->caps.maps_files)
            available += m->part[f]->mapped;
    }
    available += m->clip_bytes;
    plan->limited = m->max_bytes && m->max_bytes < available;
    plan->limit = plan->limited ? m->max_bytes : available;
    return 0;
}

int td_model_plan(const TDModel *m, const TDStep *steps, int n, uint64_t fixed, TDPlan *plan, TDLog *log)
{
    TDPartCost costs[TD_N_PARTS];
    int ret = find_limit(m, plan);

    if (ret < 0)
        return ret;
    fixed += m->lora[0].bytes + m->lora[1].bytes;
    td_model_costs(m, costs);
    td_plan_residency(plan, m->residency, costs, m->held, steps, n, fixed);
    if (plan->weights + plan->clip <= plan->limit)
        return 0;
    return td_error(log, ENOMEM, "%s: weights %llu + clip %llu bytes%s are %llu more than the %s %llu%s",
                    n ? "clip" : "model", (unsigned long long)plan->weights, (unsigned long long)plan->clip,
                    plan->by_stage ? " in the largest stage" : "",
                    (unsigned long long)(plan->weights + plan->clip - plan->limit), plan->limited ? "limit of" : "free",
                    (unsigned long long)plan->limit,
                    plan->limited || !plan->by_stage ? "" : plan->weights > plan->limit
                    ? "; end what else uses the memory" : "; want a smaller size or fewer frames");
}

/* ---- what is there ---- */

void td_model_account(TDModel *m, int64_t bytes)
{
    uint64_t sum;

    m->clip_bytes += (uint64_t)bytes;
    sum = m->clip_bytes;
    for (int f = 0; f < TD_N_PARTS; f++)
        sum += m->held[f] || (f == TD_FILE_DIT_LOW && m->prefetch) ? cost(m, f) - m->part[f]->scratch
               : m->stream.file == (enum TDFile)f                  ? cost_streamed(m, f) - m->part[f]->scratch
                                                                   : 0;
    m->peak_bytes = sum > m->peak_bytes ? sum : m->peak_bytes;
}

/* whether a part (TD_N_FILES: none) and bytes of a clip could be allocated now */
static int fits(TDModel *m, enum TDFile file, uint64_t bytes)
{
    uint64_t available, total, sum = m->clip_bytes + bytes;

    for (int f = 0; f < TD_N_PARTS; f++)
        sum += f == (int)file ? cost_planned(m, f) : m->held[f] ? cost(m, f) : 0;
    if (m->max_bytes && sum > m->max_bytes)
        return 0;
    if (file != TD_N_FILES && m->plan.by_stage && m->plan.streamed[file])
        bytes += cost_streamed(m, file);
    else if (file != TD_N_FILES && !m->held[file] && !td_part_loaded(m->part[file]))
        bytes += m->part[file]->bytes + m->part[file]->scratch;
    return m->dev->ops->memory(m->dev, &available, &total) < 0 || bytes + m->dev->caps.reserve <= available;
}

static void make_room(TDModel *m, enum TDFile file, uint64_t bytes)
{
    for (int i = 0; i < TD_N_PARTS && m->plan.by_stage; i++)
        if (td_leave_order[i] != file && m->held[td_leave_order[i]] &&
            (m->residency == TD_RESIDENT_STAGE || !fits(m, file, bytes)))
            release(m, td_leave_order[i]);
}

void td_model_make_room(TDModel *m, uint64_t bytes)
{
    make_room(m, TD_N_FILES, bytes);
}

/* @return 1 if the weights had to be loaded, 0 if they were there */
static int hold(TDModel *m, enum TDFile file)
{
    double began = td_now(), seconds;
    const TDPart *p = m->part[file];
    int ret = td_part_hold(m->part[file], &m->net[file], m->dev);

    if (ret < 0)
        return ret;
    m->held[file] = 1;
    td_model_account(m, 0);
    seconds = td_now() - began;
    m->load_seconds += seconds;
    if (ret > 0) {
        m->loaded_bytes += p->bytes;
        td_log(m->log, p->lora ? TD_LOG_INFO : TD_LOG_VERBOSE, "load: %s%s, %.2f GB at %.1f GB/s, %.2f s",
               m->path[file], p->lora ? " with LoRA" : "", (double)p->bytes * 1e-9,
               (double)p->bytes * 1e-9 / (seconds > 0 ? seconds : 1e-9), seconds);
    }
    return ret;
}

int td_model_load_all(TDModel *m, char *shared, size_t size)
{
    size_t at = 0;
    int ret = 0;

    *shared = 0;
    for (int f = 0; f < TD_N_PARTS; f++) {
        if (m->held[f] || !m->part[f])
            continue;
        TRY(hold(m, f));
        if (ret == 0 && at < size) {
            const char *slash = strrchr(m->path[f], '/');

            at += (size_t)snprintf(shared + at, size - at, "%s%s", at ? ", " : "", slash ? slash + 1 : m->path[f]);
        }
    }
    return 0;
fail:
    return ret;
}

void td_model_prefetch(TDModel *m)
{
    if (!m->plan.may_prefetch || m->prefetch || m->held[TD_FILE_DIT_LOW] || !fits(m, TD_FILE_DIT_LOW, 0))
        return;
    m->prefetch = td_prefetch_start(m->part[TD_FILE_DIT_LOW], m->dev);
    td_model_account(m, 0);
}

void td_model_prefetch_end(TDModel *m)
{
    if (td_prefetch_end(&m->prefetch, m->dev))
        m->loaded_bytes += m->part[TD_FILE_DIT_LOW]->bytes;
}

/* weights that come beside the work: wait for the rest of them, and hold them from here on */
static int take_prefetched(TDModel *m)
{
    double began = td_now(), seconds;
    int ret = td_prefetch_wait(m->prefetch, m->dev->cancel);

    seconds = td_now() - began;
    m->load_seconds += seconds;
    if (ret >= 0 && td_part_loaded(m->part[TD_FILE_DIT_LOW])) {
        ret = hold(m, TD_FILE_DIT_LOW);
        td_log(m->log, TD_LOG_VERBOSE, "load: %s, %.2f GB beside the other expert's work, waited for %.3f s",
               m->path[TD_FILE_DIT_LOW], (double)m->part[TD_FILE_DIT_LOW]->bytes * 1e-9, seconds);
    }
    td_model_prefetch_end(m);
    return ret;
}

void td_model_stream_end(TDModel *m)
{
    if (m->stream.file == TD_N_FILES)
        return;
    td_pack_end(m->dev);
    td_weights_free(m->dev, &m->stream.rest);
    for (int i = 0; i < 2; i++)
        td_weights_free(m->dev, &m->stream.block[i]);
    m->stream.file = TD_N_FILES;
}

int td_model_block(TDModel *m, enum TDFile file, int i, int keys)
{
    const TDPart *p = m->part[file];
    TDWeights *w = &m->stream.rest;
    double began = td_now();
    int ret;

    if (m->stream.file != file)
        return 0;
    if (i >= 0)
        w = &m->stream.block[m->stream.turn ^= 1];
    td_weights_rewind(w);                        /* the device is done with the last but one */
    TRY(keys ? td_dit_bind_keys(m->net[file].dit, w, p->file, i)
             : p->kind->bind_block(&m->net[file], w, p->file, i));
    TRY(m->dev->ops->sync(m->dev));              /* and now with the last one */
    m->loaded_bytes += w->bytes;
    if (file == TD_FILE_TEXT)                    /* a transformer's blocks come beside its work */
        m->load_seconds += td_now() - began;
fail:
    return ret;
}

/* memory for a part that comes block by block, and what lies outside of the blocks */
static int stream_begin(TDModel *m, enum TDFile file)
{
    const TDPart *p = m->part[file];
    int ret;

    if (!m->told[file])
        td_log(m->log, TD_LOG_INFO, "memory: %s does not fit and comes block by block: %.2f GB %s", m->path[file],
               (double)(m->dev->caps.maps_files ? p->mapped : p->bytes) * 1e-9,
               file == TD_FILE_TEXT ? "for each new prompt" : "in each step");
    m->told[file] = 1;
    m->stream.file = file;
    TRY(td_weights_init(m->dev, &m->stream.rest, p->rest));
    for (int i = 0; i < 2; i++)
        TRY(td_weights_init(m->dev, &m->stream.block[i], p->block));
    td_model_account(m, 0);
    TRY(td_model_block(m, file, -1, 0));
    return 0;
fail:
    td_model_stream_end(m);
    return ret;
}

int td_model_require(TDModel *m, enum TDFile file, uint64_t work)
{
    int ret;

    td_model_stream_end(m);
    if (file == TD_FILE_DIT_LOW && m->prefetch && (ret = take_prefetched(m)) < 0)
        return ret;
    if (m->plan.by_stage && m->plan.streamed[file])
        release(m, file);
    make_room(m, file, work);
    if (m->plan.by_stage && m->plan.streamed[file])
        return stream_begin(m, file);
    if (m->held[file])
        return 0;
    ret = hold(m, file);
    return ret < 0 ? ret : 0;
}

int td_model_check_file(const TDModel *m, enum TDFile file)
{
    int ret;

    /* rows of the table of tokens are read from the file on every device */
    if (!m->part[file] || (!m->dev->caps.maps_files && file != TD_FILE_TEXT && m->stream.file != file))
        return 0;
    if ((ret = td_checkpoint_check(m->part[file]->file, m->log)) < 0)
        return ret;
    return td_lora_check(m->part[file]->lora, m->log);
}
