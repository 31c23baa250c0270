/* SPDX-License-Identifier: BSD-2-Clause
 * What all readers of containers stand on: text of a file in a log line, growing arrays, mapped files, tensors put
 * into a checkpoint under the name that is left without wrappers, and found by it.
 * 1. A name holds printable characters only, and is not empty. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/io.h"
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

int td_ckpt_not_weights(const char *label, TDMapping m, const char *want, TDLog *log)
{
    uint8_t head[8] = { 0 };

    if (td_is_lfs_pointer(m.data, m.size))
        return td_error(log, EBADMSG, "%s: is a Git LFS pointer, want the weight file it stands for", label);
    memcpy(head, m.data, m.size < 8 ? m.size : 8);
    return td_error(log, EBADMSG, "%s: starts with %02x %02x %02x %02x, want a %s file", label, head[0], head[1],
                    head[2], head[3], want);
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

/* Wrappers that training and repacking tools put around the official names. */
static const struct {
    const char *text;
    int ema;                                     /* of averaged weights */
} prefixes[] = {
    { "model.diffusion_model.", 0 }, { "diffusion_model.", 0 }, { "net.", 0 }, { "module.", 0 }, { "model.", 0 },
    { "transformer.", 0 },
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

/* a name as the file has it, of a wrapper's only member in a generator */
static int is_generators(const TDCheckpoint *ckpt, const char *name)
{
    const char *rest = strchr(name, '.');

    if (!strncmp(name, "generator.", 10) || !strncmp(name, "generator_ema.", 14))
        name = rest + 1;
    else if (!ckpt->in_generator)
        return 0;
    return !strncmp(name, "model.", 6);
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
    ckpt->is_generator |= is_generators(ckpt, copy);
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
