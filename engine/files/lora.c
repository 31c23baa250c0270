/* SPDX-License-Identifier: BSD-2-Clause
 * The list of LoRA files that an option names, and how each is laid onto a model: its tensors are sorted by the model's
 * modules, and those of one module are one piece of work (lora_module.c).
 * 1. What is wrong in a file of strength 0 is told as that of any other, but nothing is changed. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/number.h"
#include "base/try.h"
#include "files/lora_priv.h"

#define MAX_STRENGTH 1e6

static int no_memory(const char *option, TDLog *log)
{
    return td_error(log, ENOMEM, "%s: out of memory", option);
}

int td_lora_add(TDLora *lora, TDCheckpoint *file, float strength, TDLog *log)
{
    TDLoraFile *grown = realloc(lora->files, ((size_t)lora->n_files + 1) * sizeof(*grown));

    if (!grown) {
        td_checkpoint_close(&file);
        return no_memory("lora", log);
    }
    lora->files = grown;
    lora->files[lora->n_files++] = (TDLoraFile){ file, strength };
    return 0;
}

/* one FILE[*STRENGTH], len bytes at s */
static int add_item(TDLora *lora, const char *s, size_t len, int number, const char *option, TDLog *log)
{
    const char *star = memrchr(s, '*', len), *end = s + len;
    double strength = 1;
    TDCheckpoint *file;
    char *path;
    int ret;

    if (star && (td_number(&strength, star + 1, end) != end || fabs(strength) > MAX_STRENGTH))
        return td_error(log, EINVAL, "%s: strength '%.*s' of file %d, want a number such as 0.8, up to %g, after "
                        "the star", option, (int)(end - star - 1 < 40 ? end - star - 1 : 40), star + 1, number,
                        MAX_STRENGTH);
    len = star ? (size_t)(star - s) : len;
    if (!len)
        return td_error(log, EINVAL, "%s: file %d has no name, want FILE or FILE*STRENGTH, several joined with |",
                        option, number);
    if (!(path = malloc(len + 1)))
        return no_memory(option, log);
    memcpy(path, s, len);
    path[len] = 0;
    ret = td_checkpoint_open(&file, path, log);
    free(path);
    return ret < 0 ? ret : td_lora_add(lora, file, (float)strength, log);
}

int td_lora_open(TDLora **out, const char *text, const char *option, TDLog *log)
{
    TDLora *lora = calloc(1, sizeof(*lora));
    int ret = lora ? 0 : no_memory(option, log);

    for (int i = 1; ret >= 0; i++) {
        size_t len = strcspn(text, "|");

        ret = add_item(lora, text, len, i, option, log);
        if (!text[len])
            break;
        text += len + 1;
    }
    *out = lora;
    if (ret < 0)
        td_lora_free(out);
    return ret;
}

void td_lora_free(TDLora **out)
{
    TDLora *lora = *out;

    if (!lora)
        return;
    for (int i = 0; i < lora->n_files; i++)
        td_checkpoint_close(&lora->files[i].file);
    for (int i = 0; i < lora->n_owned; i++)
        free(lora->owned[i]);
    free(lora->owned);
    free(lora->files);
    free(lora->sides);
    free(lora);
    *out = NULL;
}

int td_lora_check(const TDLora *lora, TDLog *log)
{
    int ret = 0;

    for (int i = 0; lora && i < lora->n_files && ret >= 0; i++)
        ret = td_checkpoint_check(lora->files[i].file, log);
    return ret;
}

/* the next file from i on that has an effect */
static int skip(const TDLora *lora, int i)
{
    while (lora && i < lora->n_files && lora->files[i].strength == 0)
        i++;
    return i;
}

int td_lora_same(const TDLora *a, const TDLora *b)
{
    int i = skip(a, 0), j = skip(b, 0), n = a ? a->n_files : 0, m = b ? b->n_files : 0;

    while (i < n && j < m) {
        if (a->files[i].strength != b->files[j].strength || !td_checkpoint_same(a->files[i].file, b->files[j].file))
            return 0;
        i = skip(a, i + 1);
        j = skip(b, j + 1);
    }
    return i == n && j == m;
}

int td_lora_is(const TDCheckpoint *file)
{
    const TDEntry *e;

    for (int i = 0; (e = td_checkpoint_entry(file, i)); i++)
        if (td_lora_is_name(e->name) && !strstr(e->name, ".alpha"))
            return 1;
    return 0;
}

/* ---- laid onto a model ---- */

static int compare_keys(const void *a, const void *b)
{
    const TDLoraKey *x = a, *y = b;

    return x->module != y->module ? x->module - y->module : (int)x->role - (int)y->role;
}

/* those of the other of two transformers leave. @return how many stay */
static int keep_expert(TDLoraKey *keys, int n, int low)
{
    int any_low = 0, left = 0;

    for (int i = 0; i < n; i++)
        any_low |= keys[i].low;
    for (int i = 0; i < n; i++)
        if (keys[i].low == (low && any_low))
            keys[left++] = keys[i];
    return left;
}

static int apply_file(TDLoraJob *job)
{
    const TDCheckpoint *file = job->f->file;
    int count = td_checkpoint_count(file), n = 0, ret = 0;
    TDLoraKey *keys = calloc((size_t)count + 1, sizeof(*keys));

    if (!keys)
        return no_memory(td_checkpoint_path(file), job->log);
    for (int i = 0; i < count; i++)
        if (!td_checkpoint_entry(file, i)->aside)      /* as scales of an fp8 tensor are */
            td_lora_key(&keys[n++], job->names, td_checkpoint_entry(file, i));
    n = keep_expert(keys, n, job->low);
    qsort(keys, (size_t)n, sizeof(*keys), compare_keys);
    for (int i = 0, more; i < n && ret >= 0; i += more) {
        TDLoraModule m = { .name = keys[i].module < 0 ? NULL : job->names->module[keys[i].module] };

        for (more = 0; i + more < n && keys[i + more].module == keys[i].module; more++) {
            const TDLoraKey *k = &keys[i + more];

            if (!m.name || k->role == TD_N_LORA_ROLES) {
                td_lora_misfit(job, k->e);
                continue;
            }
            if (m.of[k->role]) {
                ret = td_error(job->log, EBADMSG, "%s: %s and %s are the same of one module, %s", k->e->file,
                               m.of[k->role]->e->name, k->e->name, m.name);
                goto end;
            }
            m.of[k->role] = k;
        }
        if (m.name)
            ret = td_lora_module(job, &m);
    }
    if (ret >= 0 && !job->n_fit)
        ret = td_error(job->log, EINVAL, "%s: no tensor of it fits %s%s%s%s; want a LoRA of this model",
                       td_checkpoint_path(file), td_checkpoint_path(job->base), job->misfit ? ", such as " : "",
                       job->misfit ? job->misfit->name : "", td_lora_is(file) ? "" : ", and it is no LoRA");
    else if (ret >= 0 && job->n_misfit && job->change)
        td_log(job->log, TD_LOG_WARNING, "%s: %d of its %d tensors fit nothing in %s, such as %s",
               td_checkpoint_path(file), job->n_misfit, n, td_checkpoint_path(job->base), job->misfit->name);
end:
    free(keys);
    return ret;
}

int td_lora_apply(TDLora *lora, TDCheckpoint *base, int change, int low, TDLog *log)
{
    TDLoraNames names;
    int ret;

    TRY(td_lora_names_make(&names, base, log));
    for (int i = 0; i < lora->n_files && ret >= 0; i++) {
        TDLoraScales scales;
        TDLoraJob job = { .lora = lora, .base = base, .f = &lora->files[i], .names = &names, .scales = &scales,
                          .change = change, .low = low, .log = log };

        ret = td_lora_scales_read(&scales, job.f->file, low, log);
        if (ret >= 0)
            ret = apply_file(&job);
        td_lora_scales_free(&scales);
        ret = ret < 0 ? ret : td_checkpoint_check(job.f->file, log);
    }
    td_lora_names_free(&names);
fail:
    return ret;
}
