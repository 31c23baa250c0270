/* SPDX-License-Identifier: BSD-2-Clause
 * .safetensors: u64 header length, JSON header {name: {dtype, shape, data_offsets}}, tensor bytes; and the
 * .safetensors.index.json of a sharded set {weight_map: {name: file}}.
 * 1. The tensors cover the data section without overlap or gap, as the format demands.
 * 2. A shard is a plain file name beside its index. */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include "checkpoint_priv.h"

#define MAX_HEADER (16 << 20)                    /* bytes of JSON; official models need less than 1 MB */

static const struct { const char *name; enum TDDtype dtype; } dtype_names[] = {
    { "F32", TD_F32 }, { "BF16", TD_BF16 }, { "F16", TD_F16 }, { "F64", TD_F64 }, { "I8", TD_I8 }, { "U8", TD_U8 },
    { "I16", TD_I16 }, { "I32", TD_I32 }, { "I64", TD_I64 }, { "BOOL", TD_BOOL },
};

typedef struct Range {
    uint64_t begin, end;
} Range;

/* data begins with '{', so what it gives is an object */
static int load_json(json_t **root, const char *label, const void *data, size_t size, TDLog *log)
{
    json_error_t err;
    char q[TD_QUOTE_MAX];

    err.text[0] = 0;
    *root = json_loadb(data, size, JSON_REJECT_DUPLICATES, &err);
    if (!*root && (!err.text[0] || json_error_code(&err) == json_error_out_of_memory))
        return td_error(log, ENOMEM, "%s: out of memory reading its JSON", label);
    if (!*root)
        return td_error(log, EBADMSG, "%s: JSON line %d: %s", label, err.line,
                        td_ckpt_quote(q, err.text, strlen(err.text)));
    return 0;
}

static int parse_shape(TDEntry *e, const char *label, const char *name, const json_t *shape, size_t *bytes, TDLog *log)
{
    size_t n = td_dtype_size(e->dtype);

    if (!json_is_array(shape))
        return td_error(log, EBADMSG, "%s: %s: no shape, want a list", label, name);
    if (json_array_size(shape) > TD_MAX_DIMS)
        return td_error(log, ENOTSUP, "%s: %s: %zu dimensions, want at most %d", label, name, json_array_size(shape),
                        TD_MAX_DIMS);
    e->n_dims = (int)json_array_size(shape);
    for (int i = 0; i < e->n_dims; i++) {
        const json_t *v = json_array_get(shape, (size_t)i);

        e->shape[i] = json_integer_value(v);
        if (!json_is_integer(v) || e->shape[i] < 0)
            return td_error(log, EBADMSG, "%s: %s: dimension %d is not a size", label, name, i);
        if (td_mul_size(&n, n, (size_t)e->shape[i]) < 0 || n > PTRDIFF_MAX)
            return td_error(log, EBADMSG, "%s: %s: shape product overflows", label, name);
    }
    td_ckpt_set_contiguous(e);
    *bytes = n;
    return 0;
}

static int parse_tensor(TDCheckpoint *ckpt, const char *label, const char *raw_name, const json_t *t, TDMapping data,
                        Range *range, TDLog *log)
{
    const char *dtype = json_string_value(json_object_get(t, "dtype"));
    const json_t *offsets = json_object_get(t, "data_offsets");
    const json_t *o0 = json_array_get(offsets, 0), *o1 = json_array_get(offsets, 1);
    char name[TD_QUOTE_MAX], q[TD_QUOTE_MAX];
    TDEntry e = { .dtype = TD_N_DTYPES };
    size_t bytes;
    int ret;

    td_ckpt_quote(name, raw_name, strlen(raw_name));
    if (!dtype)
        return td_error(log, EBADMSG, "%s: %s: no dtype, want a string", label, name);
    for (size_t i = 0; i < sizeof(dtype_names) / sizeof(*dtype_names); i++)
        if (!strcmp(dtype, dtype_names[i].name))
            e.dtype = dtype_names[i].dtype;
    if (e.dtype == TD_N_DTYPES)
        return td_error(log, ENOTSUP, "%s: %s: dtype %s, want F32, BF16, F16, F64, BOOL, U8 or I8 to I64", label, name,
                        td_ckpt_quote(q, dtype, strlen(dtype)));
    if ((ret = parse_shape(&e, label, name, json_object_get(t, "shape"), &bytes, log)) < 0)
        return ret;
    if (json_array_size(offsets) != 2 || !json_is_integer(o0) || !json_is_integer(o1) ||
        json_integer_value(o0) < 0 || json_integer_value(o1) < json_integer_value(o0))
        return td_error(log, EBADMSG, "%s: %s: data_offsets are not [begin, end]", label, name);
    *range = (Range){ (uint64_t)json_integer_value(o0), (uint64_t)json_integer_value(o1) };
    if (range->end > data.size)
        return td_error(log, EBADMSG, "%s: %s: ends at byte %llu of a data section of %zu (truncated?)", label, name,
                        (unsigned long long)range->end, data.size);
    if (range->end - range->begin != bytes)
        return td_error(log, EBADMSG, "%s: %s: %llu bytes, want %zu for its shape and dtype", label, name,
                        (unsigned long long)(range->end - range->begin), bytes);
    e.data  = data.data + range->begin;
    e.bytes = bytes;
    return td_ckpt_add(ckpt, label, raw_name, strlen(raw_name), &e, log);
}

static int compare_ranges(const void *a, const void *b)
{
    const Range *x = a, *y = b;

    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return x->end < y->end ? -1 : x->end > y->end;
}

/* seen: NULL, or gets raw tensor name -> file */
static int parse_file(TDCheckpoint *ckpt, const char *label, TDMapping map, json_t *seen, const char *file, TDLog *log)
{
    uint64_t header_size = map.size >= 8 ? td_rl64(map.data) : 0, pos = 0;
    Range *ranges = NULL;
    json_t *root = NULL, *value;
    size_t n = 0, n_keys;
    TDMapping data;
    const char *key;
    int ret;

    if (map.size < 8 || header_size > map.size - 8)
        return td_error(log, EBADMSG, "%s: header of %llu bytes in a file of %zu (truncated?)", label,
                        (unsigned long long)header_size, map.size);
    if (header_size > MAX_HEADER)
        return td_error(log, EBADMSG, "%s: header of %llu bytes, want at most %d", label,
                        (unsigned long long)header_size, MAX_HEADER);
    if ((ret = load_json(&root, label, map.data + 8, (size_t)header_size, log)) < 0)
        return ret;
    data = (TDMapping){ map.data + 8 + header_size, map.size - 8 - (size_t)header_size };
    n_keys = json_object_size(root);
    ranges = malloc((n_keys + 1) * sizeof(*ranges));
    if (!ranges) {
        ret = td_error(log, ENOMEM, "%s: out of memory", label);
        goto end;
    }
    json_object_foreach(root, key, value) {
        if (!strcmp(key, "__metadata__"))
            continue;
        if ((ret = parse_tensor(ckpt, label, key, value, data, &ranges[n++], log)) < 0)
            goto end;
        if (seen && json_object_set_new(seen, key, json_string(file)) < 0) {
            ret = td_error(log, ENOMEM, "%s: out of memory", label);
            goto end;
        }
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
    json_decref(root);
    return ret;
}

int td_ckpt_safetensors_parse(TDCheckpoint *ckpt, const char *label, TDMapping map, TDLog *log)
{
    return parse_file(ckpt, label, map, NULL, NULL, log);
}

static int shard_name_ok(const char *s)
{
    size_t n = strlen(s);

    for (size_t i = 0; i < n; i++)
        if ((uint8_t)s[i] < 0x20 || (uint8_t)s[i] >= 0x7f || s[i] == '/')
            return 0;
    return n > 0 && n < 256 && s[0] != '.';
}

static int open_shard(TDCheckpoint *ckpt, const char *label, const char *file, json_t *seen, TDLog *log)
{
    const char *slash = strrchr(label, '/');
    size_t dir = slash ? (size_t)(slash - label) + 1 : 0;
    char *path = malloc(dir + strlen(file) + 1);
    TDMapping map;
    int ret;

    if (!path)
        return td_error(log, ENOMEM, "%s: out of memory", label);
    memcpy(path, label, dir);
    strcpy(path + dir, file);
    if ((ret = td_ckpt_map(ckpt, path, &map, log)) >= 0)
        ret = parse_file(ckpt, path, map, seen, file, log);
    free(path);
    return ret;
}

int td_ckpt_index_parse(TDCheckpoint *ckpt, const char *label, TDMapping map, TDLog *log)
{
    json_t *root = NULL, *shards = NULL, *seen = NULL, *weight_map, *value;
    char q[TD_QUOTE_MAX], q2[TD_QUOTE_MAX];
    const char *key;
    int ret;

    if (map.size > MAX_HEADER)
        return td_error(log, EBADMSG, "%s: index of %zu bytes, want at most %d", label, map.size, MAX_HEADER);
    if ((ret = load_json(&root, label, map.data, map.size, log)) < 0)
        return ret;
    weight_map = json_object_get(root, "weight_map");
    if (!json_is_object(weight_map)) {
        ret = td_error(log, EBADMSG, "%s: no weight_map in it, want a .safetensors.index.json", label);
        goto end;
    }
    if (!(shards = json_object()) || !(seen = json_object())) {
        ret = td_error(log, ENOMEM, "%s: out of memory", label);
        goto end;
    }
    json_object_foreach(weight_map, key, value) {
        const char *file = json_string_value(value);

        if (!file || !shard_name_ok(file)) {
            td_ckpt_quote(q, key, strlen(key));
            td_ckpt_quote(q2, file, file ? strlen(file) : 0);
            ret = td_error(log, EBADMSG, "%s: tensor '%s' is in shard '%s', want a file name in the same directory",
                           label, q, q2);
            goto end;
        }
        if (json_object_get(shards, file))
            continue;
        if ((ret = open_shard(ckpt, label, file, seen, log)) < 0)
            goto end;
        if (json_object_set_new(shards, file, json_true()) < 0) {
            ret = td_error(log, ENOMEM, "%s: out of memory", label);
            goto end;
        }
    }
    json_object_foreach(weight_map, key, value) {
        const char *file = json_string_value(json_object_get(seen, key));

        if (!file || strcmp(file, json_string_value(value))) {
            ret = td_error(log, EBADMSG, "%s: tensor '%s' is not in shard '%s'", label,
                           td_ckpt_quote(q, key, strlen(key)), json_string_value(value));
            goto end;
        }
    }
end:
    json_decref(seen);
    json_decref(shards);
    json_decref(root);
    return ret;
}
