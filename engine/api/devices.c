/* SPDX-License-Identifier: BSD-2-Clause
 * Which device a context gets. A GPU that the caller names is an order. Else the GPUs are compared by what model and
 * clip take there (model/choose.h), which is known before anything is opened on one; the CPU is what is left where no
 * GPU can be had, and says so. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "api/context.h"
#include "clip/estimate.h"
#include "model/device.h"

/* what can be done where no GPU has room */
static const char advice[] = "; end what else uses it, or make a smaller or shorter clip";

typedef struct Choice {
    TDGpuList list;
    TDCandidate c[TD_MAX_GPUS];
    TDNeed need[2];                              /* of GPUs with e4m3, and without: v takes more there */
    int measured[2];
    int all_loras;                               /* are looked at, also where they tell nothing */
    int error;                                   /* of the last that could not be opened; else ENOTSUP */
    char why[440];                               /* of td_choose(): room for the advice is left */
} Choice;

static int choose(Choice *h, const TDSettings *s)
{
    return td_choose(h->c, h->list.n, s->residency, s->max_bytes, h->why, sizeof(h->why) - sizeof(advice));
}

/* all but errors: who tries to open a device says himself what became of it */
static void pass_on(void *cookie, int level, const char *line)
{
    const TDLogger *out = cookie;

    if (level != TD_LOG_ERROR && out->callback)
        out->callback(out->cookie, level, line);
}

static TDLog without_errors(TDContext *c)
{
    return (TDLog){ .out = { &c->log.out, pass_on, c->log.out.level } };
}

static void set_fault(TDCandidate *c, const TDLog *log)
{
    snprintf(c->gpu.fault, sizeof(c->gpu.fault), "%.239s", log->last_error);
}

/* ---- what is needed ---- */

static int kind(const TDGpuInfo *gpu)
{
    return gpu->sm < 89;
}

/* what of the model this process has where */
static void find_shared(Choice *h, const TDModel *m)
{
    for (int i = 0; i < h->list.n; i++) {
        h->c[i].shares = 0;
        h->c[i].loaded = 0;
        for (int f = 0; f < TD_N_PARTS; f++)
            if (m->part[f] && td_part_on(m->part[f], i, &h->c[i].loaded) && f == TD_FILE_DIT)
                h->c[i].shares = 1;
    }
}

/* merged into its weights it takes no more memory, and reading it once more is for which of several GPUs has them */
static int lora_tells(const Choice *h, const TDModel *m)
{
    return h->all_loras || h->list.n > 1 || m->dit->codes || (m->low && m->low->codes);
}

/* The model and the clip on look->dev, which goes. Of the model errors alone are told: it is opened again.
 * @return 0 or a logged error */
static int look_at(TDContext *look, TDContext *c, Choice *h, TDNeed *need)
{
    TDClipConfig cfg;
    int ret;

    look->dev->log = &look->log;
    look->dev->cancel = &c->cancel;
    TRY(td_model_open(&look->model, &c->settings, look->dev, &look->log));
    look->info.model = look->model->name;
    td_default_info(look);
    look->info.attention = td_device_attention(c->settings.attention, look->model->dit->has_sla, &look->log);
    TRY(td_first_clip(look, &cfg));
    if (lora_tells(h, look->model)) {
        TRY(td_model_set_lora(look->model, TD_FILE_DIT, cfg.p.lora));
        TRY(td_model_set_lora(look->model, TD_FILE_DIT_LOW, cfg.p.lora_low));
    }
    TRY(td_clip_need(look->model, &cfg, need, &look->log));
    need->fixed += look->model->lora[0].bytes + look->model->lora[1].bytes;
    find_shared(h, look->model);
fail:
    memcpy(c->log.last_error, look->log.last_error, sizeof(c->log.last_error));
    td_model_close(&look->model);
    look->dev->ops->close(&look->dev);
    return ret;
}

/* for GPUs like this one; nothing is opened on it. gpu -1: on the CPU, for what is wrong with the model or the clip.
 * @return 0, 1 where the GPU has a fault, or a logged error */
static int measure(TDContext *c, Choice *h, int gpu)
{
    TDContext *look = calloc(1, sizeof(*look));
    TDLog quiet = without_errors(c);
    TDNeed none;
    TDOps ops;
    int ret;

    if (!look)
        return td_error(&c->log, ENOMEM, "open: out of memory");
    look->settings = c->settings;
    look->log.out = c->log.out;
    look->log.out.level = TD_LOG_ERROR;
    if (gpu < 0) {
        ret = td_device_open(&look->dev, TD_BACKEND_CPU, NULL, 1, &c->cancel, &c->log);
        ret = ret < 0 ? ret : look_at(look, c, h, &none);
    } else if (td_device_look(&look->dev, &ops, gpu, &quiet) < 0) {
        set_fault(&h->c[gpu], &quiet);
        ret = 1;
    } else {
        ret = look_at(look, c, h, &h->need[kind(&h->list.gpu[gpu])]);
    }
    free(look);
    return ret;
}

/* @return 0, or a logged error of the model or the clip */
static int measure_all(TDContext *c, Choice *h)
{
    int ret = 0;

    for (int i = 0; i < h->list.n; i++) {
        int k = kind(&h->list.gpu[i]);

        ret = 0;
        h->c[i].gpu = h->list.gpu[i];
        if (*h->c[i].gpu.fault)
            continue;
        if (!h->measured[k])
            TRY(measure(c, h, i));
        if (ret > 0)
            continue;
        h->measured[k] = 1;
        h->c[i].need = &h->need[k];
    }
    ret = 0;
fail:
    return ret;
}

/* ---- opening ---- */

/* what is wrong goes to quiet alone */
static int open_gpu(TDContext *c, int ordinal, TDLog *quiet)
{
    const TDSettings *s = &c->settings;
    TDGpu gpu = { .ordinal = ordinal, .context = s->cuda_context, .stream = s->cuda_stream };
    int ret = td_device_open(&c->dev, TD_BACKEND_CUDA, &gpu, 0, &c->cancel, quiet);

    if (ret >= 0)
        c->dev->log = &c->log;
    return ret;
}

/* where nothing could tell what is free, the context can. @return 1 if another GPU is to be taken then */
static int look_again(TDContext *c, Choice *h, int i)
{
    const TDSettings *s = &c->settings;
    uint64_t available, total;
    int ret = 0;

    if (!h->c[i].gpu.guessed || c->dev->ops->attach(c->dev) < 0)
        return 0;
    h->c[i].gpu.guessed = 0;
    if (c->dev->ops->memory(c->dev, &available, &total) >= 0) {
        h->c[i].gpu.available = available;
        h->c[i].gpu.opened = 1;
        ret = choose(h, s) != i;
    }
    c->dev->ops->detach(c->dev);
    if (ret)
        c->dev->ops->close(&c->dev);
    return ret;
}

/* the usable GPU with the most memory, free or in all. @return -1: none */
static int largest(const Choice *h, int in_all)
{
    int best = -1;

    for (int i = 0; i < h->list.n; i++) {
        const TDGpuInfo *a = &h->c[i].gpu, *b = best < 0 ? NULL : &h->c[best].gpu;

        if (!*a->fault && (!b || (in_all ? a->total > b->total : a->available > b->available)))
            best = i;
    }
    return best;
}

/* whether the clip had room on a GPU if nothing else used it */
static int fits_when_empty(const TDSettings *s, const Choice *h)
{
    TDPlan plan;

    for (int i = 0; i < h->list.n; i++)
        if (!*h->c[i].gpu.fault &&
            td_fit(&h->c[i], h->c[i].gpu.total, s->residency, s->max_bytes, &plan) != TD_FIT_NONE)
            return 1;
    return 0;
}

/* one after the other, as long as opening fails. A clip that no GPU has room for is td_start()'s to refuse, where a GPU
 * is an order or nothing could be done about it. @return 0; 1 with h->why where none is to be used */
static int open_chosen(TDContext *c, Choice *h, int order)
{
    const TDSettings *s = &c->settings;
    TDLog quiet = without_errors(c);
    int i, ret;

    for (;;) {
        i = choose(h, s);
        if (i < 0 && (order || !fits_when_empty(s, h)) && (i = largest(h, !order)) >= 0)
            h->why[0] = 0;
        if (i < 0)
            return 1;
        ret = open_gpu(c, i, &quiet);
        if (ret >= 0 && !look_again(c, h, i))
            break;
        if (ret < 0) {
            h->error = -ret;
            set_fault(&h->c[i], &quiet);
        }
    }
    if (i > 0)
        snprintf(c->why_gpu, sizeof(c->why_gpu), "%s", h->why);
    return 0;
}

static int names_one(const TDSettings *s)
{
    return s->device >= 0 || !td_gpu_any(s->card);
}

/* "backend=cuda" or "device=...", whichever asks for a GPU; NULL: neither does */
static const char *name_order(const TDSettings *s, char *text, size_t size)
{
    if (s->device >= 0)
        snprintf(text, size, "device=%d", s->device);
    else if (names_one(s))
        snprintf(text, size, "device=%.60s", s->card);
    else
        snprintf(text, size, "backend=cuda");
    return names_one(s) || s->backend == TD_BACKEND_CUDA ? text : NULL;
}

/* @return 0, or a logged error: a GPU is asked for, and there is none */
static int check_order(TDContext *c, const TDGpuList *list, const char *order)
{
    return order && !list->n ? td_error(&c->log, ENOTSUP, "%s: %s", order, list->why) : 0;
}

/* @return the GPU that the settings name, or a logged error */
static int find_named(TDContext *c, const TDGpuList *list)
{
    const TDSettings *s = &c->settings;
    char number[16];

    snprintf(number, sizeof(number), "%d", s->device);
    return td_gpu_by_name(list->gpu, list->n, s->device >= 0 ? number : s->card, &c->log);
}

/* @return 0 or a logged error */
static int open_named(TDContext *c, const TDGpuList *list, const char *order)
{
    TDLog quiet = without_errors(c);
    int i, ret;

    if ((i = find_named(c, list)) < 0)
        return i;
    if (*list->gpu[i].fault)
        return td_error(&c->log, ENOTSUP, "%s: %s cannot be used (%s)", order, list->gpu[i].name, list->gpu[i].fault);
    ret = open_gpu(c, i, &quiet);
    return ret < 0 ? td_error(&c->log, -ret, "%s: %s", order, quiet.last_error) : 0;
}

/* @return 0; 1 with h->why where none is to be used, or a logged error */
static int open_any(TDContext *c, Choice *h, const char *order)
{
    TDLog quiet = without_errors(c);
    int ret;

    snprintf(h->why, sizeof(h->why), "%.439s", h->list.why);
    if (!h->list.n)
        return 1;
    if (c->settings.cuda_context) {
        ret = open_gpu(c, -1, &quiet);
        snprintf(h->why, sizeof(h->why), "%.439s", quiet.last_error);
        if (ret < 0 && order)
            return td_error(&c->log, -ret, "%s", quiet.last_error);
        return ret < 0;
    }
    TRY(measure_all(c, h));
    TRY(open_chosen(c, h, order != NULL));
    if (ret > 0 && largest(h, 0) >= 0) {
        size_t at = strlen(h->why);

        snprintf(h->why + at, sizeof(h->why) - at, "%s", advice);
    }
    if (ret > 0 && order)
        return td_error(&c->log, h->error, "%s: %s", order, h->why);
fail:
    return ret;
}

int td_choose_device(TDContext *c)
{
    const TDSettings *s = &c->settings;
    const char *order;
    char text[80];
    Choice *h;
    int ret;

    if (s->backend == TD_BACKEND_CPU)
        return td_device_open(&c->dev, TD_BACKEND_CPU, NULL, s->n_threads, &c->cancel, &c->log);
    h = calloc(1, sizeof(*h));
    if (!h)
        return td_error(&c->log, ENOMEM, "open: out of memory");
    h->error = ENOTSUP;
    td_gpu_list(&h->list);
    order = name_order(s, text, sizeof(text));
    TRY(check_order(c, &h->list, order));
    TRY(names_one(s) ? open_named(c, &h->list, order) : open_any(c, h, order));
    if (ret > 0) {                               /* no GPU, and nobody has ordered one */
        if (h->list.no_driver)
            td_log(&c->log, TD_LOG_INFO, "%s: the CPU makes the clip", h->why);
        else
            snprintf(c->why_cpu, sizeof(c->why_cpu), "%s", h->why);
        ret = td_device_open(&c->dev, TD_BACKEND_CPU, NULL, s->n_threads, &c->cancel, &c->log);
    }
fail:
    free(h);
    return ret;
}

int td_warn_of_cpu(TDContext *c)
{
    static const struct { double seconds; const char *name; } units[] = { { 1, "s" }, { 60, "min" }, { 3600, "h" } };
    TDClipConfig cfg;
    double seconds;
    int u = 0, ret;

    if (!*c->why_cpu)
        return 0;
    TRY(td_first_clip(c, &cfg));
    TRY(td_clip_seconds(c->model, &cfg, &seconds));
    while (u < 2 && seconds >= 2 * units[u + 1].seconds)
        u++;
    td_log(&c->log, TD_LOG_WARNING, "the CPU makes the clip, which takes about %.0f %s: %s",
           seconds < 1 ? 1 : seconds / units[u].seconds, units[u].name, c->why_cpu);
fail:
    return ret;
}

/* ---- the list ---- */

/* bytes at the moment with the highest sum */
static uint64_t most_bytes(const TDCandidate *c, enum TDResidency residency)
{
    TDPlan plan;

    td_fit(c, UINT64_MAX / 2, residency, 0, &plan);
    return plan.weights + plan.clip;
}

static void describe(TDDeviceInfo *d, const TDSettings *s, const TDCandidate *c, int i)
{
    TDPlan plan;

    *d = (TDDeviceInfo){ .number = i, .name = c->gpu.name, .uuid = c->gpu.uuid, .pci = c->gpu.pci,
                         .driver = c->gpu.driver, .fault = *c->gpu.fault ? c->gpu.fault : NULL,
                         .capability = c->gpu.sm, .multiprocessors = c->gpu.n_sm, .clock_khz = c->gpu.clock,
                         .free_bytes = c->gpu.available, .total_bytes = c->gpu.total };
    if (!c->need)
        return;
    d->fit = td_fit(c, c->gpu.available, s->residency, s->max_bytes, &plan);
    d->all_bytes = most_bytes(c, TD_RESIDENT_ALL);
    d->stage_bytes = most_bytes(c, TD_RESIDENT_STAGE);
}

int td_list_devices(const TDSettings *theirs, void (*tell)(void *cookie, const TDDeviceInfo *d, size_t struct_size),
                    void *cookie)
{
    int chosen = -1, only = -1, ret;
    char text[80];
    TDContext *c;
    Choice *h = NULL;

    if (!theirs || theirs->struct_size < TD_SETTINGS_0_1 || !tell)
        return TD_ERR(EINVAL);
    c = calloc(1, sizeof(*c));
    h = calloc(1, sizeof(*h));
    if (!c || !h) {
        ret = td_error(&(TDLog){ .out = theirs->logger }, ENOMEM, "devices: out of memory");
        goto fail;
    }
    c->log.out = theirs->logger;
    TRY(td_take_settings(&c->settings, theirs, &c->log));
    if (c->settings.backend == TD_BACKEND_CPU) {
        ret = td_error(&c->log, EINVAL, "devices: backend cpu has no GPU, want auto or cuda");
        goto fail;
    }
    td_gpu_list(&h->list);
    TRY(check_order(c, &h->list, name_order(&c->settings, text, sizeof(text))));
    if (names_one(&c->settings))
        TRY(only = find_named(c, &h->list));
    for (int i = 0; i < h->list.n; i++)
        h->c[i].gpu = h->list.gpu[i];
    if (!td_model_unnamed(&c->settings)) {
        h->all_loras = 1;
        TRY(measure_all(c, h));
        if (!h->measured[0] && !h->measured[1])
            TRY(measure(c, h, -1));
        chosen = choose(h, &c->settings);
    }
    if (!h->list.n)
        td_log(&c->log, TD_LOG_INFO, "no GPU: %s", h->list.why);
    ret = 0;
    for (int i = 0; i < h->list.n; i++) {
        TDDeviceInfo d;

        if (only >= 0 && i != only)
            continue;
        describe(&d, &c->settings, &h->c[i], i);
        d.chosen = i == chosen;
        tell(cookie, &d, sizeof(d));
        ret++;
    }
fail:
    free(h);
    free(c);
    return ret;
}
