/* SPDX-License-Identifier: BSD-2-Clause
 * Opens a weight file: maps it, finds its format from its first bytes, lets the format's reader add the tensors, then
 * sorts their names.
 * 1. Mappings live until td_checkpoint_close(); entries point into them.
 * 2. Names are unique after stripping (ckpt_common.c). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "files/checkpoint_priv.h"

int td_checkpoint_check(const TDCheckpoint *ckpt, TDLog *log)
{
    int ret = 0;

    for (int i = 0; i < ckpt->n_files && ret >= 0; i++)
        ret = td_map_check(&ckpt->files[i], log);
    return ret;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp((*(const TDEntry *const *)a)->name, (*(const TDEntry *const *)b)->name);
}

static void sort_names(TDCheckpoint *ckpt)
{
    int n = 0;

    for (int i = 0; i < ckpt->n_entries; i++) {
        if (ckpt->entries[i].n_dims == TD_CKPT_DROPPED)
            free((char *)ckpt->entries[i].name);
        else
            ckpt->entries[n++] = ckpt->entries[i];
    }
    ckpt->n_entries = n;
    for (int i = 0; i < n; i++)
        ckpt->by_name[i] = &ckpt->entries[i];
    qsort(ckpt->by_name, (size_t)n, sizeof(*ckpt->by_name), compare_names);
}

static int same_name(const TDCheckpoint *ckpt, int i)
{
    return i > 0 && i < ckpt->n_entries && !strcmp(ckpt->by_name[i - 1]->name, ckpt->by_name[i]->name);
}

/* Where weights stand beside their averages, these are what was trained for use: the others leave. */
static void drop_trained_twins(TDCheckpoint *ckpt, TDLog *log)
{
    int dropped = 0;

    for (int i = 1; i < ckpt->n_entries; i++) {
        const TDEntry *a = ckpt->by_name[i - 1], *b = ckpt->by_name[i];
        TDEntry *leaves = &ckpt->entries[(a->ema ? b : a) - ckpt->entries];

        if (same_name(ckpt, i) && !same_name(ckpt, i - 1) && !same_name(ckpt, i + 1) && a->ema != b->ema) {
            leaves->n_dims = TD_CKPT_DROPPED;
            dropped++;
        }
    }
    if (!dropped)
        return;
    sort_names(ckpt);
    td_log(log, TD_LOG_VERBOSE, "%s: %d tensors are in it twice, as trained and averaged (EMA): the averaged ones are "
           "used", ckpt->path, dropped);
}

static int index_names(TDCheckpoint *ckpt, TDLog *log)
{
    char q[TD_QUOTE_MAX];
    int ret;

    if (!ckpt->n_entries)
        return td_error(log, EBADMSG, "%s: no tensors in it", ckpt->path);
    ckpt->by_name = malloc((size_t)ckpt->n_entries * sizeof(*ckpt->by_name));
    if (!ckpt->by_name)
        return td_error(log, ENOMEM, "%s: out of memory", ckpt->path);
    sort_names(ckpt);
    if ((ret = td_ckpt_rename(ckpt, log)) < 0)
        return ret;
    sort_names(ckpt);
    if ((ret = td_ckpt_rename_blocks(ckpt, log)) < 0)
        return ret;
    sort_names(ckpt);
    drop_trained_twins(ckpt, log);
    for (int i = 1; i < ckpt->n_entries; i++)
        if (same_name(ckpt, i))
            return td_error(log, EBADMSG, "%s: tensor '%s' occurs twice%s%s%s", ckpt->path,
                            td_ckpt_quote(q, ckpt->by_name[i]->name, strlen(ckpt->by_name[i]->name)),
                            ckpt->naming ? " when " : "", ckpt->naming ? ckpt->naming : "",
                            ckpt->naming ? " names are made the official ones" : "");
    return 0;
}

static int starts_with(TDMapping m, const char *s)
{
    return m.size >= strlen(s) && !memcmp(m.data, s, strlen(s));
}

static int add_tensors(TDCheckpoint *ckpt, TDMapping m, TDLog *log)
{
    if (starts_with(m, "PK\3\4"))
        return td_ckpt_pth_parse(ckpt, ckpt->path, m, log);
    if (td_ckpt_is_legacy_pth(m))
        return td_ckpt_pth_legacy_parse(ckpt, ckpt->path, m, log);
    if (td_ckpt_is_safetensors(m))
        return td_ckpt_safetensors_parse(ckpt, ckpt->path, m, log);
    if (td_ckpt_is_index(m))
        return td_ckpt_index_parse(ckpt, ckpt->path, m, log);
    if (starts_with(m, "GGUF"))
        return td_ckpt_gguf_parse(ckpt, ckpt->path, m, log);
    return td_ckpt_not_weights(ckpt->path, m, ".pth (50 4b 03 04), .safetensors or .gguf", log);
}

int td_ckpt_parse(TDCheckpoint *ckpt, TDMapping map, TDLog *log)
{
    int ret = add_tensors(ckpt, map, log);

    ret = ret < 0 ? ret : index_names(ckpt, log);
    return ret < 0 ? ret : td_ckpt_set_scales(ckpt, log);
}

int td_checkpoint_open(TDCheckpoint **ckpt, const char *path, TDLog *log)
{
    TDCheckpoint *c = calloc(1, sizeof(*c));
    TDMapping map;
    int ret;

    *ckpt = NULL;
    if (!c || !(c->path = malloc(strlen(path) + 1))) {
        free(c);
        return td_error(log, ENOMEM, "%s: out of memory", path);
    }
    strcpy(c->path, path);
    if ((ret = td_ckpt_map(c, path, &map, log)) < 0 ||
        (ret = td_ckpt_parse(c, map, log)) < 0 ||
        (ret = td_checkpoint_check(c, log)) < 0) {
        td_checkpoint_close(&c);
        return ret;
    }
    *ckpt = c;
    return 0;
}

void td_checkpoint_close(TDCheckpoint **ckpt)
{
    TDCheckpoint *c = *ckpt;

    if (!c)
        return;
    for (int i = 0; i < c->n_entries; i++)
        free((char *)c->entries[i].name);
    for (int i = 0; i < c->n_files; i++)
        td_map_close(&c->files[i]);
    for (int i = 0; i < c->n_owned; i++)
        free(c->owned[i]);
    free(c->owned);
    free(c->lora_metadata);
    free(c->by_name);
    free(c->entries);
    free(c->files);
    free(c->path);
    free(c);
    *ckpt = NULL;
}

const TDEntry *td_checkpoint_entry(const TDCheckpoint *ckpt, int index)
{
    return index >= 0 && index < ckpt->n_entries ? &ckpt->entries[index] : NULL;
}

void td_checkpoint_use(const TDCheckpoint *ckpt, const TDEntry *e)
{
    if (!e->used)
        ckpt->entries[e - ckpt->entries].used = 1;
}

int td_checkpoint_count(const TDCheckpoint *ckpt)
{
    return ckpt->n_entries;
}

int td_checkpoint_same(const TDCheckpoint *a, const TDCheckpoint *b)
{
    if (a->n_files != b->n_files || !a->n_files)
        return 0;
    for (int i = 0; i < a->n_files; i++)
        if (!td_map_same(&a->files[i], &b->files[i]))
            return 0;
    return 1;
}

const char *td_checkpoint_naming(const TDCheckpoint *ckpt)
{
    return ckpt->naming;
}

int td_checkpoint_is_generator(const TDCheckpoint *ckpt)
{
    return ckpt->is_generator;
}

const char *td_checkpoint_lora_metadata(const TDCheckpoint *ckpt)
{
    return ckpt->lora_metadata;
}

const char *td_checkpoint_path(const TDCheckpoint *ckpt)
{
    return ckpt->path;
}
