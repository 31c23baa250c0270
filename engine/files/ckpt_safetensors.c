/* SPDX-License-Identifier: BSD-2-Clause
 * .safetensors: u64 header length, JSON header {name: {dtype, shape, data_offsets}}, tensor bytes; and the
 * .safetensors.index.json of a sharded set {weight_map: {name: file}}.
 * 1. The tensors cover the data section without overlap or gap, as the format demands.
 * 2. A shard is a plain file name beside its index, and no index. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "files/checkpoint_priv.h"
#include "files/json.h"

#define MAX_HEADER (16 << 20)                    /* bytes of JSON; official models need less than 1 MB */

static const struct { const char *name; enum TDDtype dtype; } dtype_names[] = {
    { "F32", TD_F32 }, { "BF16", TD_BF16 }, { "F16", TD_F16 }, { "F64", TD_F64 }, { "I8", TD_I8 }, { "U8", TD_U8 },
    { "I16", TD_I16 }, { "I32", TD_I32 }, { "I64", TD_I64 }, { "BOOL", TD_BOOL },
    { "F8_E4M3", TD_F8_E4M3 }, { "F8_E5M2", TD_F8_E5M2 }, { "F8_E8M0", TD_F8_E8M0 },
};

typedef struct Range {
    uint64_t begin, end;
} Range;

/* a name of a tensor or a file, and how long it really is */
typedef struct Name {
    char text[TD_CKPT_MAX_NAME + 1];
    size_t len;
} Name;

static void get_name(Name *name, TDJson string)
{
    ptrdiff_t n = td_json_string(string, name->text, sizeof(name->text));

    name->len = n < 0 ? 0 : (size_t)n;
}

static int parse_shape(TDEntry *e, const char *label, const char *name, TDJson t, size_t *bytes, TDLog *log)
{
    size_t n = td_dtype_size(e->dtype), dims = 0;
    TDJson shape, v;
    TDJsonWalk w;

    if (!td_json_get(t, "shape", &shape) || *shape.p != '[')
        return td_error(log, EBADMSG, "%s: %s: no shape, want a list", label, name);
    for (w = td_json_walk(shape); td_json_next(&w, NULL, &v); dims++)
        ;
    if (dims > TD_MAX_DIMS)
        return td_error(log, ENOTSUP, "%s: %s: %zu dimensions, want at most %d", label, name, dims, TD_MAX_DIMS);
    e->n_dims = (int)dims;
    w = td_json_walk(shape);
    for (int i = 0; td_json_next(&w, NULL, &v); i++) {
        if (td_json_integer(v, &e->shape[i]) < 0 || e->shape[i] < 0)
            return td_error(log, EBADMSG, "%s: %s: dimension %d is not a size", label, name, i);
        if (td_mul_size(&n, n, (size_t)e->shape[i]) < 0 || n > PTRDIFF_MAX)
            return td_error(log, EBADMSG, "%s: %s: shape product overflows", label, name);
    }
    td_ckpt_set_contiguous(e);
    *bytes = n;
    return 0;
}

/* @return 0, or -1 if it is no [begin, end] */
static int get_range(Range *range, TDJson t)
{
    int64_t at[2] = { -1, -1 };
    TDJson offsets, v;
    TDJsonWalk w;
    int n = 0;

    if (!td_json_get(t, "data_offsets", &offsets) || *offsets.p != '[')
        return -1;
    for (w = td_json_walk(offsets); td_json_next(&w, NULL, &v); n++)
        if (n > 1 || td_json_integer(v, &at[n]) < 0)
            return -1;
    *range = (Range){ (uint64_t)at[0], (uint64_t)at[1] };
    return n != 2 || at[0] < 0 || at[1] < at[0] ? -1 : 0;
}

static int parse_tensor(TDCheckpoint *ckpt, const char *label, const Name *raw, TDJson t, TDMapping data, Range *range,
                        TDLog *log)
{
    char name[TD_QUOTE_MAX], q[TD_QUOTE_MAX], dtype[TD_QUOTE_MAX];
    TDEntry e = { .dtype = TD_N_DTYPES };
    ptrdiff_t dtype_len = -1;
    size_t bytes;
    TDJson v;
    int ret;

    td_ckpt_quote(name, raw->text, raw->len);
    if (td_json_get(t, "dtype", &v))
        dtype_len = td_json_string(v, dtype, sizeof(dtype));
    if (dtype_len < 0)
        return td_error(log, EBADMSG, "%s: %s: no dtype, want a string", label, name);
    for (size_t i = 0; i < sizeof(dtype_names) / sizeof(*dtype_names); i++)
        if (!strcmp(dtype, dtype_names[i].name))
            e.dtype = dtype_names[i].dtype;
    if (e.dtype == TD_N_DTYPES)
        return td_error(log, ENOTSUP, "%s: %s: dtype %s, want F32, BF16, F16, F64, F8_E4M3, F8_E5M2, F8_E8M0, BOOL, U8 "
                        "or I8 to I64", label, name, td_ckpt_quote(q, dtype, strlen(dtype)));
    if ((ret = parse_shape(&e, label, name, t, &bytes, log)) < 0)
        return ret;
    if (get_range(range, t) < 0)
        return td_error(log, EBADMSG, "%s: %s: data_offsets are not [begin, end]", label, name);
    if (range->end > data.size)
        return td_error(log, EBADMSG, "%s: %s: ends at byte %llu of a data section of %zu (truncated?)", label, name,
                        (unsigned long long)range->end, data.size);
    if (range->end - range->begin != bytes)
        return td_error(log, EBADMSG, "%s: %s: %llu bytes, want %zu for its shape and dtype", label, name,
                        (unsigned long long)(range->end - range->begin), bytes);
    e.data  = data.data + range->begin;
    e.bytes = bytes;
    return td_ckpt_add(ckpt, label, raw->text, raw->len, &e, log);
}

static int compare_ranges(const void *a, const void *b)
{
    const Range *x = a, *y = b;

    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return x->end < y->end ? -1 : x->end > y->end;
}

/* ---- the index of a sharded set ---- */

/* One tensor of an index. Its texts are in Index.text. */
typedef struct Item {
    const char *key, *file;
    size_t shard, in;                            /* first item of the same file; that of the file it was found in */
} Item;

#define NOWHERE SIZE_MAX

typedef struct Index {
    Item *items;                                 /* in the order of the file */
    Item **by_key, **by_file;                    /* sorted */
    size_t n;
    char *text;
} Index;

static int compare_keys(const void *a, const void *b)
{
    return strcmp((*(Item *const *)a)->key, (*(Item *const *)b)->key);
}

static int compare_files(const void *a, const void *b)
{
    const Item *x = *(Item *const *)a, *y = *(Item *const *)b;
    int d = strcmp(x->file, y->file);

    return d ? d : x < y ? -1 : x > y;
}

static int find_key(const void *key, const void *item)
{
    return strcmp(key, (*(Item *const *)item)->key);
}

static void index_free(Index *ix)
{
    free(ix->items);
    free(ix->by_key);
    free(ix->by_file);
    free(ix->text);
}

/* a tensor of this name is in the shard of item number `shard` */
static void index_place(Index *ix, const char *name, size_t shard)
{
    Item **found = bsearch(name, ix->by_key, ix->n, sizeof(*ix->by_key), find_key);

    if (found)
        (*found)->in = shard;
}

/* ---- one file ---- */

/* bytes in front of an index: an editor's byte order mark */
static size_t mark(TDMapping m)
{
    return m.size > 3 && !memcmp(m.data, "\xef\xbb\xbf", 3) ? 3 : 0;
}

int td_ckpt_is_index(TDMapping m)
{
    return m.size > mark(m) && m.data[mark(m)] == '{' && !td_ckpt_is_safetensors(m);
}

/* An index that has a second brace there begins with text, which would be a header of 2^56 bytes and more. */
int td_ckpt_is_safetensors(TDMapping m)
{
    return m.size > 8 && m.data[8] == '{' && (m.data[0] != '{' || !m.data[7]);
}

/* what a LoRA's writer says of it, a text; of several shards the first one's */
static int keep_lora_metadata(TDCheckpoint *ckpt, const char *label, TDJson metadata, TDLog *log)
{
    TDJson text;
    char none[1];
    ptrdiff_t n;

    if (*metadata.p != '{' && *metadata.p != 'n')
        return td_error(log, EBADMSG, "%s: __metadata__ is no object", label);
    if (ckpt->lora_metadata || !td_json_get(metadata, "lora_adapter_metadata", &text))
        return 0;
    if ((n = td_json_string(text, none, sizeof(none))) < 0)
        return td_error(log, EBADMSG, "%s: __metadata__: lora_adapter_metadata is no text", label);
    ckpt->lora_metadata = malloc((size_t)n + 1);
    if (!ckpt->lora_metadata)
        return td_error(log, ENOMEM, "%s: out of memory", label);
    td_json_string(text, ckpt->lora_metadata, (size_t)n + 1);
    return 0;
}

/* ix: NULL, or the index that this file is shard `shard` of */
static int parse_file(TDCheckpoint *ckpt, const char *label, TDMapping map, Index *ix, size_t shard, TDLog *log)
{
    uint64_t header_size = map.size >= 8 ? td_rl64(map.data) : 0, pos = 0;
    Range *ranges = NULL;
    size_t n = 0, n_keys = 0;
    TDJson root, key, value;
    TDMapping data;
    TDJsonWalk w;
    Name name;
    int ret;

    if (map.size < 8 || header_size > map.size - 8)
        return td_error(log, EBADMSG, "%s: header of %llu bytes in a file of %zu (truncated?)", label,
                        (unsigned long long)header_size, map.size);
    if (header_size > MAX_HEADER)
        return td_error(log, EBADMSG, "%s: header of %llu bytes, want at most %d", label,
                        (unsigned long long)header_size, MAX_HEADER);
    if ((ret = td_json_check(&root, label, map.data + 8, (size_t)header_size, log)) < 0)
        return ret;
    data = (TDMapping){ map.data + 8 + header_size, map.size - 8 - (size_t)header_size };
    for (w = td_json_walk(root); td_json_next(&w, NULL, &value);)
        n_keys++;
    ranges = malloc((n_keys + 1) * sizeof(*ranges));
    if (!ranges) {
        ret = td_error(log, ENOMEM, "%s: out of memory", label);
        goto end;
    }
    for (w = td_json_walk(root); td_json_next(&w, &key, &value);) {
        get_name(&name, key);
        if (!strcmp(name.text, "__metadata__")) {
            if ((ret = td_ckpt_quant_metadata(ckpt, label, value, log)) < 0 ||
                (ret = keep_lora_metadata(ckpt, label, value, log)) < 0)
                goto end;
            continue;
        }
        if ((ret = parse_tensor(ckpt, label, &name, value, data, &ranges[n++], log)) < 0)
            goto end;
        if (ix)
            index_place(ix, name.text, shard);
    }
    qsort(ranges, n, sizeof(*ranges), compare_ranges);
    for (size_t i = 0; i < n; i++) {
        if (ranges[i].begin != pos) {
            ret = td_error(log, EBADMSG, "%s: a tensor begins at data byte %llu, want %llu: tensors %s", label,
                           (unsigned long long)ranges[i].begin, (unsigned long long)pos,
                           ranges[i].begin < pos ? "overlap" : "leave a gap");
            goto end;
        }
        pos = ranges[i].end;
    }
    if (pos != data.size)
        ret = td_error(log, EBADMSG, "%s: tensors cover %llu bytes of a data section of %zu", label,
                       (unsigned long long)pos, data.size);
end:
    free(ranges);
    return ret;
}

int td_ckpt_safetensors_parse(TDCheckpoint *ckpt, const char *label, TDMapping map, TDLog *log)
{
    return parse_file(ckpt, label, map, NULL, 0, log);
}

/* ---- all files of an index ---- */

static int shard_name_ok(const Name *name)
{
    for (const char *s = name->text; *s; s++)
        if ((uint8_t)*s < 0x20 || (uint8_t)*s >= 0x7f || *s == '/')
            return 0;
    return name->len > 0 && name->len < 256 && name->text[0] != '.';
}

static int open_shard(TDCheckpoint *ckpt, const char *label, Index *ix, size_t shard, TDLog *log)
{
    const char *slash = strrchr(label, '/'), *file = ix->items[shard].file;
    size_t dir = slash ? (size_t)(slash - label) + 1 : 0;
    char *path = malloc(dir + strlen(file) + 1);
    TDMapping map;
    int ret;

    if (!path)
        return td_error(log, ENOMEM, "%s: out of memory", label);
    memcpy(path, label, dir);
    strcpy(path + dir, file);
    if ((ret = td_ckpt_map(ckpt, path, &map, log)) < 0)
        goto end;
    if (td_ckpt_is_index(map))
        ret = td_error(log, EBADMSG, "%s: is an index itself, want a .safetensors file, as a shard of an index is one",
                       path);
    else if (!td_ckpt_is_safetensors(map))
        ret = td_ckpt_not_weights(path, map, ".safetensors", log);
    else
        ret = parse_file(ckpt, path, map, ix, shard, log);
end:
    free(path);
    return ret;
}

/* size: bytes of the whole file, which its names do not need more of */
static int index_fill(Index *ix, const char *label, TDJson weight_map, size_t size, TDLog *log)
{
    char q[TD_QUOTE_MAX], q2[TD_QUOTE_MAX], *text;
    TDJson key, value;
    TDJsonWalk w;
    Name name;

    for (w = td_json_walk(weight_map); td_json_next(&w, NULL, &value);)
        ix->n++;
    ix->items = malloc((ix->n + 1) * sizeof(*ix->items));
    ix->by_key = malloc((ix->n + 1) * sizeof(*ix->by_key));
    ix->by_file = malloc((ix->n + 1) * sizeof(*ix->by_file));
    ix->text = text = malloc(size);
    if (!ix->items || !ix->by_key || !ix->by_file || !text)
        return td_error(log, ENOMEM, "%s: out of memory", label);
    w = td_json_walk(weight_map);
    for (size_t i = 0; td_json_next(&w, &key, &value); i++) {
        Item *item = ix->by_key[i] = ix->by_file[i] = &ix->items[i];

        *item = (Item){ .key = text, .in = NOWHERE };
        text += td_json_string(key, text, size - (size_t)(text - ix->text)) + 1;
        get_name(&name, value);
        if (!shard_name_ok(&name))
            return td_error(log, EBADMSG, "%s: tensor '%s' is in shard '%s', want a file name in the same directory",
                            label, td_ckpt_quote(q, item->key, strlen(item->key)),
                            td_ckpt_quote(q2, name.text, name.len));
        item->file = memcpy(text, name.text, name.len + 1);
        text += name.len + 1;
    }
    qsort(ix->by_key, ix->n, sizeof(*ix->by_key), compare_keys);
    qsort(ix->by_file, ix->n, sizeof(*ix->by_file), compare_files);
    for (size_t i = 0; i < ix->n; i++)
        ix->by_file[i]->shard = i && !strcmp(ix->by_file[i - 1]->file, ix->by_file[i]->file)
                                    ? ix->by_file[i - 1]->shard
                                    : (size_t)(ix->by_file[i] - ix->items);
    return 0;
}

int td_ckpt_index_parse(TDCheckpoint *ckpt, const char *label, TDMapping map, TDLog *log)
{
    TDJson root, weight_map;
    char q[TD_QUOTE_MAX];
    Index ix = { 0 };
    int ret;

    map = (TDMapping){ map.data + mark(map), map.size - mark(map) };
    if (map.size > MAX_HEADER)
        return td_error(log, EBADMSG, "%s: index of %zu bytes, want at most %d", label, map.size, MAX_HEADER);
    if ((ret = td_json_check(&root, label, map.data, map.size, log)) < 0)
        return ret;
    if (!td_json_get(root, "weight_map", &weight_map) || *weight_map.p != '{')
        return td_error(log, EBADMSG, "%s: no weight_map in it, want a .safetensors.index.json", label);
    ret = index_fill(&ix, label, weight_map, map.size, log);
    for (size_t i = 0; i < ix.n && ret >= 0; i++)
        if (ix.items[i].shard == i)
            ret = open_shard(ckpt, label, &ix, i, log);
    for (size_t i = 0; i < ix.n && ret >= 0; i++)
        if (ix.items[i].in != ix.items[i].shard)
            ret = td_error(log, EBADMSG, "%s: tensor '%s' is not in shard '%s'", label,
                           td_ckpt_quote(q, ix.items[i].key, strlen(ix.items[i].key)), ix.items[i].file);
    index_free(&ix);
    return ret;
}
