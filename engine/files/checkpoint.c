/* SPDX-License-Identifier: BSD-2-Clause
 * Opens a weight file: maps it, finds its format from its first bytes, lets the format's reader add the tensors, then
 * sorts their names. Holds what all formats share: mapping, name stripping, lookup, conversion to f32.
 * 1. Mappings live until td_checkpoint_close(); entries point into them.
 * 2. Names are unique after stripping and hold printable characters only. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "files/checkpoint_priv.h"

#define MAX_ENTRIES (1 << 20)
#define MAX_NAMES ((size_t)64 << 20)             /* bytes of all names: a pickle can repeat a long one */
#define MAX_DIM ((int64_t)1 << 40)               /* elements in a row: readers may multiply it by a few */

const char *td_ckpt_quote(char dst[TD_QUOTE_MAX], const void *s, size_t len)
{
    const uint8_t *p = s;
    size_t n = len < TD_QUOTE_MAX - 1 ? len : TD_QUOTE_MAX - 1;

    for (size_t i = 0; i < n; i++)
        dst[i] = p[i] >= 0x20 && p[i] < 0x7f ? (char)p[i] : '?';
    if (n < len)
        memcpy(dst + n - 3, "...", 3);
    dst[n] = 0;
    return dst;
}

int td_ckpt_grow(void *array_ptr, size_t *cap, size_t need, size_t item_size)
{
    size_t n = *cap ? *cap : 64, bytes;
    void *old, *p;

    if (need <= *cap)
        return 0;
    while (n < need)
        if (__builtin_mul_overflow(n, 2, &n))
            return -1;
    if (td_mul_size(&bytes, n, item_size) < 0)
        return -1;
    memcpy(&old, array_ptr, sizeof(old));
    p = realloc(old, bytes);
    if (!p)
        return -1;
    memcpy(array_ptr, &p, sizeof(p));
    *cap = n;
    return 0;
}

void td_ckpt_set_contiguous(TDEntry *e)
{
    int64_t step = 1;

    for (int i = TD_MAX_DIMS - 1; i >= 0; i--) {
        if (i >= e->n_dims)
            e->shape[i] = 1;
        e->stride[i] = step;
        if (__builtin_mul_overflow(step, e->shape[i], &step))
            step = 0;                            /* another size is 0: no stride is ever used */
    }
}

int td_ckpt_map(TDCheckpoint *ckpt, const char *path, TDMapping *map, TDLog *log)
{
    TDMappedFile *files = realloc(ckpt->files, ((size_t)ckpt->n_files + 1) * sizeof(*files));
    int ret;

    if (!files)
        return td_error(log, ENOMEM, "%s: out of memory", path);
    ckpt->files = files;
    ret = td_map_file(&files[ckpt->n_files], path, log);
    if (ret >= 0)
        *map = files[ckpt->n_files++].map;
    return ret;
}

int td_checkpoint_check(const TDCheckpoint *ckpt, TDLog *log)
{
    int ret = 0;

    for (int i = 0; i < ckpt->n_files && ret >= 0; i++)
        ret = td_map_check(&ckpt->files[i], log);
    return ret;
}

/* Wrappers that training and repacking tools put around the official names. */
static const struct {
    const char *text;
    int ema;                                     /* of averaged weights */
} prefixes[] = {
    { "model.diffusion_model.", 0 }, { "diffusion_model.", 0 }, { "net.", 0 }, { "module.", 0 }, { "model.", 0 },
    { "_orig_mod.", 0 }, { "ema.", 1 }, { "ema_model.", 1 }, { "model_ema.", 1 }, { "net_ema.", 1 },
    { "generator.", 0 }, { "generator_ema.", 1 },
};

/* put between the parts of a name */
static const char *const infixes[] = { "_checkpoint_wrapped_module.", "_fsdp_wrapped_module.", "_orig_mod." };

/* @return whether the name says that it is an average */
static int strip_name(char *name)
{
    const char *from = name;
    char *to = name;
    int ema = 0;

    for (size_t i = 0; i < sizeof(prefixes) / sizeof(*prefixes); i++) {
        size_t n = strlen(prefixes[i].text);

        if (!strncmp(from, prefixes[i].text, n)) {
            from += n;
            ema |= prefixes[i].ema;
            i = (size_t)-1;                      /* start over */
        }
    }
    while (*from) {
        size_t skip = 0;

        for (size_t i = 0; i < sizeof(infixes) / sizeof(*infixes) && !skip && (to == name || to[-1] == '.'); i++)
            skip = strncmp(from, infixes[i], strlen(infixes[i])) ? 0 : strlen(infixes[i]);
        from += skip;
        if (!skip)
            *to++ = *from++;
    }
    *to = 0;
    return ema;
}

int td_ckpt_add(TDCheckpoint *ckpt, const char *label, const void *name, size_t name_len, const TDEntry *e, TDLog *log)
{
    const uint8_t *p = name;
    char q[TD_QUOTE_MAX], *copy;
    size_t cap = (size_t)ckpt->cap_entries;
    int ema;

    if (name_len > TD_CKPT_MAX_NAME)
        return td_error(log, EBADMSG, "%s: tensor name '%s' has %zu bytes, want at most %d", label,
                        td_ckpt_quote(q, name, name_len), name_len, TD_CKPT_MAX_NAME);
    for (size_t i = 0; i < name_len; i++)
        if (p[i] < 0x20 || p[i] >= 0x7f)
            return td_error(log, EBADMSG, "%s: tensor name '%s' holds byte 0x%02x, want printable ASCII", label,
                            td_ckpt_quote(q, name, name_len), p[i]);
    for (int i = 0; i < e->n_dims; i++)
        if (e->shape[i] > MAX_DIM)
            return td_error(log, EBADMSG, "%s: %s: dimension %d is %lld, want at most %lld", label,
                            td_ckpt_quote(q, name, name_len), i, (long long)e->shape[i], (long long)MAX_DIM);
    if (ckpt->n_entries >= MAX_ENTRIES)
        return td_error(log, EBADMSG, "%s: more than %d tensors", label, MAX_ENTRIES);
    ckpt->name_bytes += name_len + 1;
    if (ckpt->name_bytes > MAX_NAMES)
        return td_error(log, EBADMSG, "%s: tensor names of more than %zu bytes in all", label, MAX_NAMES);
    copy = malloc(name_len + 1);
    if (!copy || td_ckpt_grow(&ckpt->entries, &cap, (size_t)ckpt->n_entries + 1, sizeof(*e)) < 0) {
        free(copy);
        return td_error(log, ENOMEM, "%s: out of memory", label);
    }
    ckpt->cap_entries = (int)cap;
    memcpy(copy, name, name_len);
    copy[name_len] = 0;
    ema = strip_name(copy);
    if (!copy[0]) {
        free(copy);
        return td_error(log, EBADMSG, "%s: tensor name '%s' is empty without its prefix", label,
                        td_ckpt_quote(q, name, name_len));
    }
    ckpt->entries[ckpt->n_entries] = *e;
    ckpt->entries[ckpt->n_entries].ema = ema;
    ckpt->entries[ckpt->n_entries].file = ckpt->path;
    ckpt->entries[ckpt->n_entries++].name = copy;
    return 0;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp((*(const TDEntry *const *)a)->name, (*(const TDEntry *const *)b)->name);
}

static void sort_names(TDCheckpoint *ckpt)
{
    for (int i = 0; i < ckpt->n_entries; i++)
        ckpt->by_name[i] = &ckpt->entries[i];
    qsort(ckpt->by_name, (size_t)ckpt->n_entries, sizeof(*ckpt->by_name), compare_names);
}

static int same_name(const TDCheckpoint *ckpt, int i)
{
    return i > 0 && i < ckpt->n_entries && !strcmp(ckpt->by_name[i - 1]->name, ckpt->by_name[i]->name);
}

/* Where weights stand beside their averages, these are what was trained for use: the others leave. */
static void drop_trained_twins(TDCheckpoint *ckpt, TDLog *log)
{
    int n = 0, dropped = 0;

    for (int i = 1; i < ckpt->n_entries; i++) {
        const TDEntry *a = ckpt->by_name[i - 1], *b = ckpt->by_name[i];
        TDEntry *leaves = &ckpt->entries[(a->ema ? b : a) - ckpt->entries];

        if (same_name(ckpt, i) && !same_name(ckpt, i - 1) && !same_name(ckpt, i + 1) && a->ema != b->ema) {
            leaves->n_dims = -1;
            dropped++;
        }
    }
    if (!dropped)
        return;
    for (int i = 0; i < ckpt->n_entries; i++) {
        if (ckpt->entries[i].n_dims < 0)
            free((char *)ckpt->entries[i].name);
        else
            ckpt->entries[n++] = ckpt->entries[i];
    }
    ckpt->n_entries = n;
    sort_names(ckpt);
    td_log(log, TD_LOG_VERBOSE, "%s: %d tensors are in it twice, as trained and averaged (EMA): the averaged ones are "
           "used", ckpt->path, dropped);
}

static int index_names(TDCheckpoint *ckpt, TDLog *log)
{
    char q[TD_QUOTE_MAX];

    if (!ckpt->n_entries)
        return td_error(log, EBADMSG, "%s: no tensors in it", ckpt->path);
    ckpt->by_name = malloc((size_t)ckpt->n_entries * sizeof(*ckpt->by_name));
    if (!ckpt->by_name)
        return td_error(log, ENOMEM, "%s: out of memory", ckpt->path);
    sort_names(ckpt);
    drop_trained_twins(ckpt, log);
    for (int i = 1; i < ckpt->n_entries; i++)
        if (same_name(ckpt, i))
            return td_error(log, EBADMSG, "%s: tensor '%s' occurs twice", ckpt->path,
                            td_ckpt_quote(q, ckpt->by_name[i]->name, strlen(ckpt->by_name[i]->name)));
    return 0;
}

static int starts_with(TDMapping m, const char *s)
{
    return m.size >= strlen(s) && !memcmp(m.data, s, strlen(s));
}

static int add_tensors(TDCheckpoint *ckpt, TDMapping m, TDLog *log)
{
    uint8_t head[8] = { 0 };

    if (starts_with(m, "PK\3\4"))
        return td_ckpt_pth_parse(ckpt, ckpt->path, m, log);
    if (td_ckpt_is_legacy_pth(m))
        return td_ckpt_pth_legacy_parse(ckpt, ckpt->path, m, log);
    if (m.size > 8 && m.data[8] == '{')
        return td_ckpt_safetensors_parse(ckpt, ckpt->path, m, log);
    if (starts_with(m, "\xef\xbb\xbf{"))        /* an editor's byte order mark */
        m = (TDMapping){ m.data + 3, m.size - 3 };
    if (m.data[0] == '{')
        return td_ckpt_index_parse(ckpt, ckpt->path, m, log);
    if (starts_with(m, "GGUF"))
        return td_error(log, ENOTSUP, "%s: is a GGUF file, want .pth or .safetensors", ckpt->path);
    if (starts_with(m, "version https://git-lfs"))
        return td_error(log, EBADMSG, "%s: is a Git LFS pointer, want the weight file it stands for", ckpt->path);
    memcpy(head, m.data, m.size < 8 ? m.size : 8);
    return td_error(log, EBADMSG, "%s: starts with %02x %02x %02x %02x, want a .pth (50 4b 03 04) or .safetensors file",
                    ckpt->path, head[0], head[1], head[2], head[3]);
}

int td_ckpt_parse(TDCheckpoint *ckpt, TDMapping map, TDLog *log)
{
    int ret = add_tensors(ckpt, map, log);

    return ret < 0 ? ret : index_names(ckpt, log);
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
    free(c->by_name);
    free(c->entries);
    free(c->files);
    free(c->path);
    free(c);
    *ckpt = NULL;
}

static int compare_key(const void *key, const void *entry)
{
    return strcmp(key, (*(const TDEntry *const *)entry)->name);
}

const TDEntry *td_checkpoint_find(const TDCheckpoint *ckpt, const char *name)
{
    const TDEntry **e = bsearch(name, ckpt->by_name, (size_t)ckpt->n_entries, sizeof(*ckpt->by_name), compare_key);

    return e ? *e : NULL;
}

const TDEntry *td_checkpoint_entry(const TDCheckpoint *ckpt, int index)
{
    return index >= 0 && index < ckpt->n_entries ? &ckpt->entries[index] : NULL;
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

const char *td_checkpoint_path(const TDCheckpoint *ckpt)
{
    return ckpt->path;
}
