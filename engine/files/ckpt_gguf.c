/* SPDX-License-Identifier: BSD-2-Clause
 * GGUF, versions 2 and 3, little-endian: counts, key-value pairs, tensors with their offsets, then aligned data.
 * 1. A count costs no memory: what it counts has bytes in the file, and is read one by one.
 * 2. Of the pairs those are used that say how tensors lie, and the vocabulary, whose arrays become tensors beside the
 *    others: `tokenizer.ggml.tokens` as bytes, each text behind its length of 8 bytes. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "files/checkpoint_priv.h"

#define MAX_ALIGNMENT (1 << 20)
#define MAX_TENSORS (1 << 16)
#define MAX_NESTING 4                            /* arrays in arrays */

enum { U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64, N_TYPES };

static const uint8_t type_size[N_TYPES] = { 1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8 };

static const struct { uint32_t id; enum TDDtype dtype; } tensor_types[] = {
    { 0, TD_F32 }, { 1, TD_F16 }, { 2, TD_Q4_0 }, { 3, TD_Q4_1 }, { 6, TD_Q5_0 }, { 7, TD_Q5_1 }, { 8, TD_Q8_0 },
    { 10, TD_Q2_K }, { 11, TD_Q3_K }, { 12, TD_Q4_K }, { 13, TD_Q5_K }, { 14, TD_Q6_K }, { 20, TD_IQ4_NL },
    { 23, TD_IQ4_XS }, { 24, TD_I8 }, { 25, TD_I16 }, { 26, TD_I32 }, { 27, TD_I64 }, { 28, TD_F64 }, { 30, TD_BF16 },
};

typedef struct Text {
    const uint8_t *p;
    size_t len;
} Text;

/* the shape that a tensor had before its writer made another of it, to fit blocks */
typedef struct Shape {
    Text name;
    const uint8_t *dims;                         /* i32 */
    int n_dims;
} Shape;

typedef struct Gguf {
    TDCheckpoint *ckpt;
    const char *label;
    TDLog *log;
    const uint8_t *p, *end, *begin;
    uint32_t alignment;
    Shape *shapes;
    size_t n_shapes, cap_shapes;
} Gguf;

#define SHAPE_KEY "comfy.gguf.orig_shape."

static int truncated(const Gguf *g, const char *what)
{
    return td_error(g->log, EBADMSG, "%s: %s at byte %td goes past the end of the file (truncated?)", g->label, what,
                    g->p - g->begin);
}

/* n bytes, which are then behind p. @return NULL past the end */
static const uint8_t *take(Gguf *g, uint64_t n)
{
    const uint8_t *p = g->p;

    if (n > (uint64_t)(g->end - p))
        return NULL;
    g->p += n;
    return p;
}

static int take_u32(Gguf *g, uint32_t *v, const char *what)
{
    const uint8_t *p = take(g, 4);

    *v = p ? td_rl32(p) : 0;
    return p ? 0 : truncated(g, what);
}

static int take_u64(Gguf *g, uint64_t *v, const char *what)
{
    const uint8_t *p = take(g, 8);

    *v = p ? td_rl64(p) : 0;
    return p ? 0 : truncated(g, what);
}

static int take_text(Gguf *g, Text *t, const char *what)
{
    uint64_t n;
    int ret = take_u64(g, &n, what);

    if (ret < 0)
        return ret;
    *t = (Text){ take(g, n), (size_t)n };
    return t->p ? 0 : truncated(g, what);
}

/* pass over values of a type */
static int skip(Gguf *g, uint32_t type, uint64_t n, int depth)
{
    uint64_t bytes, inner_n;
    uint32_t inner;
    Text text;
    int ret = 0;

    if (type >= N_TYPES)
        return td_error(g->log, EBADMSG, "%s: a value of type %u at byte %td, want 0 to %d", g->label, type,
                        g->p - g->begin, N_TYPES - 1);
    if (type_size[type])
        return __builtin_mul_overflow(n, type_size[type], &bytes) || !take(g, bytes) ? truncated(g, "an array") : 0;
    if (type == ARRAY && depth == MAX_NESTING)
        return td_error(g->log, EBADMSG, "%s: arrays nested more than %d deep at byte %td", g->label, MAX_NESTING,
                        g->p - g->begin);
    for (uint64_t i = 0; i < n && ret >= 0; i++) {
        if (type == STRING) {
            ret = take_text(g, &text, "a string");
            continue;
        }
        if ((ret = take_u32(g, &inner, "an array")) >= 0 && (ret = take_u64(g, &inner_n, "an array")) >= 0)
            ret = skip(g, inner, inner_n, depth + 1);
    }
    return ret;
}

static int is(Text t, const char *s)
{
    return t.len == strlen(s) && !memcmp(t.p, s, t.len);
}

static int starts(Text t, const char *s)
{
    return t.len >= strlen(s) && !memcmp(t.p, s, strlen(s));
}

/* an array of the vocabulary as a tensor */
static int add_array(Gguf *g, Text key, uint32_t type, uint64_t n, const uint8_t *data, size_t bytes)
{
    TDEntry e = { .dtype = type == F32 ? TD_F32 : TD_U8, .n_dims = 1, .data = data,
                  .bytes = bytes, .aside = 1 };

    e.shape[0] = (int64_t)(type == STRING ? bytes : n);
    td_ckpt_set_contiguous(&e);
    return td_ckpt_add(g->ckpt, g->label, key.p, key.len, &e, g->log);
}

static int add_shape(Gguf *g, Text key, uint64_t n, const uint8_t *dims)
{
    size_t skipped = sizeof(SHAPE_KEY) - 1;

    if (n < 1 || n > TD_MAX_DIMS)
        return td_error(g->log, EBADMSG, "%s: a %s of %llu dimensions, want 1 to %d", g->label, SHAPE_KEY,
                        (unsigned long long)n, TD_MAX_DIMS);
    if (td_ckpt_grow(&g->shapes, &g->cap_shapes, g->n_shapes + 1, sizeof(*g->shapes)) < 0)
        return td_error(g->log, ENOMEM, "%s: out of memory", g->label);
    g->shapes[g->n_shapes++] = (Shape){ { key.p + skipped, key.len - skipped }, dims, (int)n };
    return 0;
}

static int parse_pair(Gguf *g)
{
    static const struct { const char *key; uint32_t type; } arrays[] = {
        { "tokenizer.ggml.tokens", STRING }, { "tokenizer.ggml.scores", F32 },
    };
    char q[TD_QUOTE_MAX];
    const uint8_t *at;
    uint32_t type, inner = N_TYPES;
    uint64_t n = 1;
    Text key;
    int ret;

    if ((ret = take_text(g, &key, "a key")) < 0 || (ret = take_u32(g, &type, "a key's type")) < 0)
        return ret;
    if (type == ARRAY && ((ret = take_u32(g, &inner, "an array")) < 0 || (ret = take_u64(g, &n, "an array")) < 0))
        return ret;
    at = g->p;
    if ((ret = skip(g, type == ARRAY ? inner : type, n, type == ARRAY)) < 0)
        return ret;
    for (size_t i = 0; i < sizeof(arrays) / sizeof(*arrays); i++)
        if (is(key, arrays[i].key))
            return inner == arrays[i].type
                       ? add_array(g, key, inner, n, at, (size_t)(g->p - at))
                       : td_error(g->log, EBADMSG, "%s: %s is of type %u, want an array of type %u", g->label,
                                  arrays[i].key, type == ARRAY ? inner : type, arrays[i].type);
    if (starts(key, SHAPE_KEY) && inner == I32)
        return add_shape(g, key, n, at);
    if (is(key, "general.alignment")) {
        g->alignment = type == U32 ? td_rl32(at) : 0;
        if (g->alignment < 1 || g->alignment > MAX_ALIGNMENT || g->alignment & (g->alignment - 1))
            return td_error(g->log, EBADMSG, "%s: %s is %u (of type %u), want a power of 2 up to %d", g->label,
                            td_ckpt_quote(q, key.p, key.len), g->alignment, type, MAX_ALIGNMENT);
    }
    return 0;
}

/* a tensor as the file lists it; its bytes are found later */
typedef struct Info {
    Text name;
    TDEntry e;
    uint64_t offset;
} Info;

static int compare_texts(Text a, Text b)
{
    int d = memcmp(a.p, b.p, a.len < b.len ? a.len : b.len);

    return d ? d : a.len < b.len ? -1 : a.len > b.len;
}

static int compare_shapes(const void *a, const void *b)
{
    return compare_texts(((const Shape *)a)->name, ((const Shape *)b)->name);
}

/* where the file tells another shape of as many values, that */
static void set_shape(const Gguf *g, Info *t)
{
    const Shape key = { .name = t->name };
    const Shape *s = g->n_shapes ? bsearch(&key, g->shapes, g->n_shapes, sizeof(*s), compare_shapes) : NULL;
    int64_t n = 1, dims[TD_MAX_DIMS] = { 0 };

    if (!s)
        return;
    for (int i = 0; i < s->n_dims; i++) {
        dims[i] = (int32_t)td_rl32(s->dims + 4 * i);
        if (dims[i] < 1 || __builtin_mul_overflow(n, dims[i], &n))
            return;
    }
    if (n != td_entry_count(&t->e) || dims[s->n_dims - 1] % td_dtype_block(t->e.dtype))
        return;
    t->e.n_dims = s->n_dims;
    memcpy(t->e.shape, dims, sizeof(dims));
    td_ckpt_set_contiguous(&t->e);
}

static int parse_info(Gguf *g, Info *t)
{
    char q[TD_QUOTE_MAX];
    uint32_t n_dims, type;
    uint64_t dim;
    size_t n = 1;
    int ret;

    if ((ret = take_text(g, &t->name, "a tensor's name")) < 0)
        return ret;
    td_ckpt_quote(q, t->name.p, t->name.len);
    if ((ret = take_u32(g, &n_dims, "a tensor")) < 0)
        return ret;
    if (n_dims > TD_MAX_DIMS)
        return td_error(g->log, ENOTSUP, "%s: %s: %u dimensions, want at most %d", g->label, q, n_dims, TD_MAX_DIMS);
    t->e = (TDEntry){ .dtype = TD_N_DTYPES, .n_dims = (int)n_dims };
    for (int i = (int)n_dims - 1; i >= 0; i--) {     /* the innermost comes first */
        if ((ret = take_u64(g, &dim, "a tensor")) < 0)
            return ret;
        t->e.shape[i] = dim > PTRDIFF_MAX ? PTRDIFF_MAX : (int64_t)dim;
    }
    for (int i = 0; i < t->e.n_dims; i++)
        if (td_mul_size(&n, n, (size_t)t->e.shape[i]) < 0 || n > PTRDIFF_MAX / 8)
            return td_error(g->log, EBADMSG, "%s: %s: shape product overflows", g->label, q);
    if ((ret = take_u32(g, &type, "a tensor")) < 0 || (ret = take_u64(g, &t->offset, "a tensor")) < 0)
        return ret;
    for (size_t i = 0; i < sizeof(tensor_types) / sizeof(*tensor_types); i++)
        if (tensor_types[i].id == type)
            t->e.dtype = tensor_types[i].dtype;
    if (t->e.dtype == TD_N_DTYPES)
        return td_error(g->log, ENOTSUP, "%s: %s: type %u of GGUF, want F32, F16, BF16, Q4_0 to Q8_0, Q2_K to Q6_K, "
                        "IQ4_NL or IQ4_XS", g->label, q, type);
    td_ckpt_set_contiguous(&t->e);
    dim = n_dims ? (uint64_t)t->e.shape[n_dims - 1] : 1;
    if (dim % (uint64_t)td_dtype_block(t->e.dtype))
        return td_error(g->log, EBADMSG, "%s: %s: rows of %llu values, want a multiple of %d for %s", g->label, q,
                        (unsigned long long)dim, td_dtype_block(t->e.dtype), td_dtype_name(t->e.dtype));
    t->e.bytes = td_dtype_bytes(t->e.dtype, (int64_t)n);
    set_shape(g, t);
    return 0;
}

static int add_info(Gguf *g, Info *t, const uint8_t *data)
{
    uint64_t size = (uint64_t)(g->end - data);
    char q[TD_QUOTE_MAX];

    td_ckpt_quote(q, t->name.p, t->name.len);
    if (t->offset % g->alignment)
        return td_error(g->log, EBADMSG, "%s: %s: at byte %llu of the data, want a multiple of %u", g->label, q,
                        (unsigned long long)t->offset, g->alignment);
    if (t->offset > size || t->e.bytes > size - t->offset)
        return td_error(g->log, EBADMSG, "%s: %s: %zu bytes from byte %llu of a data section of %llu (truncated?)",
                        g->label, q, t->e.bytes, (unsigned long long)t->offset, (unsigned long long)size);
    t->e.data = data + t->offset;
    return td_ckpt_add(g->ckpt, g->label, t->name.p, t->name.len, &t->e, g->log);
}

/* Writers that know 4 dimensions at most join the first two of the 5 of this one. */
static void split_patches(TDCheckpoint *ckpt)
{
    TDEntry *w = NULL, *bias = NULL;

    for (int i = 0; i < ckpt->n_entries; i++) {
        w = strcmp(ckpt->entries[i].name, "patch_embedding.weight") ? w : &ckpt->entries[i];
        bias = strcmp(ckpt->entries[i].name, "patch_embedding.bias") ? bias : &ckpt->entries[i];
    }
    if (!w || !bias || bias->n_dims != 1 || bias->shape[0] < 1 || w->n_dims < 3 || w->n_dims > 4 ||
        td_dtype_block(w->dtype) > 1 || w->shape[0] == bias->shape[0] || w->shape[0] % bias->shape[0])
        return;
    memmove(w->shape + 2, w->shape + 1, (size_t)(w->n_dims - 1) * sizeof(*w->shape));
    w->shape[1] = w->shape[0] / bias->shape[0];
    w->shape[0] = bias->shape[0];
    w->n_dims++;
    td_ckpt_set_contiguous(w);
}

int td_ckpt_gguf_parse(TDCheckpoint *ckpt, const char *label, TDMapping map, TDLog *log)
{
    Gguf g = { .ckpt = ckpt, .label = label, .log = log, .p = map.data + 4, .begin = map.data,
               .end = map.data + map.size, .alignment = 32 };
    size_t cap = 0, n = 0, data;
    uint64_t n_tensors, n_pairs;
    uint32_t version;
    Info *infos = NULL;
    int ret;

    if ((ret = take_u32(&g, &version, "the version")) < 0)
        return ret;
    if (version != 2 && version != 3)
        return td_error(log, ENOTSUP, "%s: GGUF of version %u, want 2 or 3", label, version);
    if ((ret = take_u64(&g, &n_tensors, "the header")) < 0 || (ret = take_u64(&g, &n_pairs, "the header")) < 0)
        return ret;
    for (uint64_t i = 0; i < n_pairs && ret >= 0; i++)
        ret = parse_pair(&g);
    if (g.n_shapes)
        qsort(g.shapes, g.n_shapes, sizeof(*g.shapes), compare_shapes);
    for (uint64_t i = 0; i < n_tensors && ret >= 0; i++) {
        if (i == MAX_TENSORS)
            ret = td_error(log, EBADMSG, "%s: %llu tensors, want at most %d", label, (unsigned long long)n_tensors,
                           MAX_TENSORS);
        else if (td_ckpt_grow(&infos, &cap, n + 1, sizeof(*infos)) < 0)
            ret = td_error(log, ENOMEM, "%s: out of memory", label);
        else
            ret = parse_info(&g, &infos[n++]);
    }
    if (ret < 0)
        goto end;
    data = ((size_t)(g.p - g.begin) + g.alignment - 1) / g.alignment * g.alignment;
    if (n && data > map.size)
        ret = truncated(&g, "the data section");
    for (size_t i = 0; i < n && ret >= 0; i++)
        ret = add_info(&g, &infos[i], map.data + data);
    if (ret >= 0)
        split_patches(ckpt);
end:
    free(infos);
    free(g.shapes);
    return ret;
}
