/* SPDX-License-Identifier: BSD-2-Clause
 * .pth: finds the state dict in torch.save's pickle and points its tensors at their storages, in the zip container or
 * in the legacy one (a run of pickles, then the storages one after the other).
 * 1. A tensor is a view: offset and strides count, several tensors may share a storage.
 * 2. No tensor reaches outside its storage or has more elements than it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "files/ckpt_pickle.h"
#include "files/ckpt_zip.h"

#define MAX_PICKLE (256u << 20)                  /* bytes; the largest official one has less than 1 MB */

#define MAX_LEVELS 4                             /* of dicts around the state dict */

/* The first pickle of a legacy file: a magic integer and STOP, after PROTO (protocol 2) or PROTO and FRAME (4) */
static const uint8_t legacy_magic[] = { 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, '.' };
#define LEGACY_PROTOCOL 1001

/* Bytes of a storage, by its key. */
typedef struct Blob {
    const uint8_t *key;
    uint32_t key_len;
    uint64_t numel, bytes;                       /* as the pickle says */
    const uint8_t *data;                         /* NULL: not in the file */
    size_t size;
} Blob;

typedef struct BlobTable {
    Blob *blobs;                                 /* sorted by key */
    size_t n;
} BlobTable;

static int compare_blobs(const void *a, const void *b)
{
    const Blob *x = a, *y = b;
    uint32_t n = x->key_len < y->key_len ? x->key_len : y->key_len;
    int c = n ? memcmp(x->key, y->key, n) : 0;

    return c ? c : x->key_len < y->key_len ? -1 : x->key_len > y->key_len;
}

static Blob *find_blob(const BlobTable *t, const uint8_t *key, uint32_t key_len)
{
    Blob want = { .key = key, .key_len = key_len };

    return t->n ? bsearch(&want, t->blobs, t->n, sizeof(*t->blobs), compare_blobs) : NULL;
}

/* One blob a storage key; storages of one key must agree. */
static int collect_blobs(BlobTable *t, const TDPickle *p)
{
    char q[TD_QUOTE_MAX];
    size_t n = 0;

    if (!(t->blobs = malloc((p->n_storages + 1) * sizeof(*t->blobs))))
        return td_error(p->log, ENOMEM, "%s: out of memory", p->label);
    for (size_t i = 0; i < p->n_storages; i++) {
        const TDPickleStorage *s = &p->storages[i];
        Blob *b = &t->blobs[i];

        if (s->key_len > TD_CKPT_MAX_NAME)
            return td_error(p->log, EBADMSG, "%s: storage key '%s' has %u bytes, want at most %d", p->label,
                            td_ckpt_quote(q, s->key, s->key_len), s->key_len, TD_CKPT_MAX_NAME);
        *b = (Blob){ .key = s->key, .key_len = s->key_len, .numel = s->numel };
        if (__builtin_mul_overflow(s->numel, s->dtype == TD_N_DTYPES ? 1 : td_dtype_size(s->dtype), &b->bytes))
            return td_error(p->log, EBADMSG, "%s: storage '%s' of %llu elements overflows", p->label,
                            td_ckpt_quote(q, s->key, s->key_len), (unsigned long long)s->numel);
    }
    qsort(t->blobs, p->n_storages, sizeof(*t->blobs), compare_blobs);
    for (size_t i = 0; i < p->n_storages; i++) {
        Blob *b = &t->blobs[i];

        if (!n || compare_blobs(&t->blobs[n - 1], b))
            t->blobs[n++] = *b;
        else if (t->blobs[n - 1].bytes != b->bytes)
            return td_error(p->log, EBADMSG, "%s: storage '%s' has %llu and %llu bytes", p->label,
                            td_ckpt_quote(q, b->key, b->key_len), (unsigned long long)t->blobs[n - 1].bytes,
                            (unsigned long long)b->bytes);
    }
    t->n = n;
    return 0;
}

static int add_tensor(TDCheckpoint *ckpt, const TDPickle *p, const BlobTable *blobs, const TDPickleNode *name,
                      const TDPickleTensor *t)
{
    const TDPickleStorage *s = &p->storages[t->storage];
    const Blob *b = find_blob(blobs, s->key, s->key_len);
    TDEntry e = { .dtype = t->dtype, .n_dims = t->n_dims };
    size_t item = td_dtype_size(t->dtype);
    int64_t count = 1, last = 0, step;
    char q[TD_QUOTE_MAX], q2[TD_QUOTE_MAX], shape[TD_SHAPE_TEXT];
    uint64_t numel;

    td_ckpt_quote(q, name->str, name->count);
    if (!b || !b->data)
        return td_error(p->log, EBADMSG, "%s: %s: its storage '%s' is not in the file", p->label, q,
                        td_ckpt_quote(q2, s->key, s->key_len));
    if (b->size != b->bytes)
        return td_error(p->log, EBADMSG, "%s: %s: its storage '%s' has %zu bytes, want %llu", p->label, q,
                        td_ckpt_quote(q2, s->key, s->key_len), b->size, (unsigned long long)b->bytes);
    numel = b->size / item;
    for (int i = 0; i < TD_MAX_DIMS; i++) {
        e.shape[i]  = t->shape[i];
        e.stride[i] = t->stride[i];
        if (__builtin_mul_overflow(count, t->shape[i], &count))
            goto outside;
    }
    for (int i = 0; i < TD_MAX_DIMS && count; i++)
        if (t->shape[i] > 1 && (__builtin_mul_overflow(t->shape[i] - 1, t->stride[i], &step) ||
                                __builtin_add_overflow(last, step, &last)))
            goto outside;
    e.data = b->data;
    if (count) {                                 /* an empty view may have any offset */
        if ((uint64_t)t->offset > numel || (uint64_t)count > numel || (uint64_t)last >= numel - (uint64_t)t->offset)
            goto outside;
        e.data += (size_t)t->offset * item;
        e.bytes = ((size_t)last + 1) * item;
    }
    return td_ckpt_add(ckpt, p->label, name->str, name->count, &e, p->log);
outside:
    return td_error(p->log, EBADMSG, "%s: %s: %s at offset %lld is not inside its storage of %llu elements", p->label,
                    q, td_shape_text(shape, t->shape, t->n_dims), (long long)t->offset, (unsigned long long)numel);
}

static int holds_tensors(const TDPickle *p, uint32_t dict)
{
    for (uint32_t cell = p->nodes[dict].first; cell != TD_PK_NIL; cell = p->cells[cell].next)
        if (p->nodes[p->cells[cell].value].kind == TD_PK_TENSOR)
            return 1;
    return 0;
}

/* The state dict may be some levels down. Averaged weights come first: they are what was trained for use. A dict
 * without tensors is taken where there is no other, for what is said about it. */
static uint32_t unwrap(TDCheckpoint *ckpt, const TDPickle *p, uint32_t root)
{
    static const char *const keys[] = { "generator_ema", "ema_state_dict", "state_dict_ema", "model_ema", "ema_model",
                                        "ema", "params_ema", "state_dict", "model", "module", "generator", "params" };
    int found = 1;

    for (int level = 0; level < MAX_LEVELS && found; level++) {
        uint32_t in = root, empty = TD_PK_NIL;

        found = 0;
        for (size_t i = 0; i < sizeof(keys) / sizeof(*keys) && !found; i++) {
            uint32_t v = td_pickle_get(p, in, keys[i]);

            if (v == TD_PK_NIL || p->nodes[v].kind != TD_PK_DICT)
                continue;
            found = holds_tensors(p, v);
            ckpt->in_generator |= found && !strncmp(keys[i], "generator", 9);
            if (found)
                root = v;
            else if (empty == TD_PK_NIL)
                empty = v;
        }
        if (!found && empty != TD_PK_NIL && !holds_tensors(p, in)) {
            root = empty;
            found = 1;
        }
    }
    return root;
}

/* What is no tensor leaves: counters, names and settings that training stored beside the weights. */
static int add_state_dict(TDCheckpoint *ckpt, const TDPickle *p, const BlobTable *blobs, uint32_t root)
{
    const TDPickleNode *other = NULL;            /* the key of the first of these */
    int n_others = 0, n_tensors = 0, ret;
    char q[TD_QUOTE_MAX];
    const char *kind = "";

    if (p->nodes[root].kind != TD_PK_DICT)
        return td_error(p->log, EBADMSG, "%s: holds a %s, want a state dict", p->label,
                        td_pickle_kind_name(p->nodes[root].kind));
    root = unwrap(ckpt, p, root);
    for (uint32_t cell = p->nodes[root].first; cell != TD_PK_NIL; cell = p->cells[cell].next) {
        const TDPickleNode *k = &p->nodes[p->cells[cell].key], *v = &p->nodes[p->cells[cell].value];

        if (k->kind != TD_PK_STR)
            return td_error(p->log, EBADMSG, "%s: a key of the state dict is a %s, want a str", p->label,
                            td_pickle_kind_name(k->kind));
        if (v->kind != TD_PK_TENSOR) {
            other = n_others++ ? other : k;
            kind = other == k ? td_pickle_kind_name(v->kind) : kind;
            continue;
        }
        if ((ret = add_tensor(ckpt, p, blobs, k, &p->tensors[v->i])) < 0)
            return ret;
        n_tensors++;
    }
    if (other && !n_tensors)
        return td_error(p->log, EBADMSG, "%s: %s: is a %s, want a tensor", p->label,
                        td_ckpt_quote(q, other->str, other->count), kind);
    if (other)
        td_log(p->log, TD_LOG_VERBOSE, "%s: %d values that are no tensors are left out, the first is %s (%s)", p->label,
               n_others, td_ckpt_quote(q, other->str, other->count), kind);
    return 0;
}

static int check_byteorder(const TDZip *zip, const char *label, TDLog *log)
{
    const TDZipEntry *e = td_zip_find(zip, "byteorder", NULL, 0);
    char q[TD_QUOTE_MAX];

    if (e && (e->size != 6 || memcmp(e->data, "little", 6)))
        return td_error(log, ENOTSUP, "%s: byte order '%s', want little", label, td_ckpt_quote(q, e->data, e->size));
    return 0;
}

int td_ckpt_pth_parse(TDCheckpoint *ckpt, const char *label, TDMapping map, TDLog *log)
{
    TDPickle p = { .label = label, .log = log };
    BlobTable blobs = { 0 };
    const TDZipEntry *pkl;
    uint32_t root;
    TDZip zip;
    int ret;

    if ((ret = td_zip_open(&zip, label, map, log)) < 0)
        return ret;
    if ((ret = check_byteorder(&zip, label, log)) < 0)
        goto end;
    pkl = td_zip_find(&zip, "data.pkl", NULL, 0);
    if (!pkl || pkl->size > MAX_PICKLE) {
        ret = td_error(log, EBADMSG, "%s: %s, want a file written by torch.save", label,
                       pkl ? "data.pkl is too large" : "no data.pkl in the zip archive");
        goto end;
    }
    p.data = pkl->data;
    p.size = pkl->size;
    if ((ret = td_pickle_load(&p, &root)) < 0 ||
        (ret = collect_blobs(&blobs, &p)) < 0)
        goto end;
    for (size_t i = 0; i < blobs.n; i++) {
        const TDZipEntry *e = td_zip_find(&zip, "data/", blobs.blobs[i].key, blobs.blobs[i].key_len);
        if (e) {
            blobs.blobs[i].data = e->data;
            blobs.blobs[i].size = e->size;
        }
    }
    ret = add_state_dict(ckpt, &p, &blobs, root);
end:
    free(blobs.blobs);
    td_pickle_free(&p);
    td_zip_close(&zip);
    return ret;
}

/* @return bytes of the first pickle, 0 if this is not a legacy file */
static size_t legacy_start(TDMapping map)
{
    static const size_t skip[] = { 2, 11 };

    for (int i = 0; i < 2; i++)
        if (map.size > skip[i] + sizeof(legacy_magic) && map.data[0] == 0x80 &&
            !memcmp(map.data + skip[i], legacy_magic, sizeof(legacy_magic)))
            return skip[i] + sizeof(legacy_magic);
    return 0;
}

int td_ckpt_is_legacy_pth(TDMapping map)
{
    return legacy_start(map) > 0;
}

/* int64 number of elements, then the elements, for each key in the order of the list */
static int read_legacy_storages(BlobTable *blobs, const TDPickle *p, uint32_t keys)
{
    size_t pos = p->pos;
    char q[TD_QUOTE_MAX];

    if (p->nodes[keys].kind != TD_PK_LIST)
        return td_error(p->log, EBADMSG, "%s: no list of storage keys", p->label);
    for (uint32_t cell = p->nodes[keys].first; cell != TD_PK_NIL; cell = p->cells[cell].next) {
        const TDPickleNode *k = &p->nodes[p->cells[cell].value];
        Blob *b = k->kind == TD_PK_STR ? find_blob(blobs, k->str, k->count) : NULL;

        if (!b || b->data)
            return td_error(p->log, EBADMSG, "%s: list of storage keys names '%s' %s", p->label,
                            b ? td_ckpt_quote(q, k->str, k->count) : "?", b ? "twice" : "that no tensor uses");
        if (p->size - pos < 8 || b->bytes > p->size - pos - 8)
            return td_error(p->log, EBADMSG, "%s: storage '%s' of %llu bytes at byte %zu: truncated", p->label,
                            td_ckpt_quote(q, k->str, k->count), (unsigned long long)b->bytes, pos);
        if (td_rl64(p->data + pos) != b->numel)
            return td_error(p->log, EBADMSG, "%s: storage '%s' has %llu elements, want %llu", p->label,
                            td_ckpt_quote(q, k->str, k->count), (unsigned long long)td_rl64(p->data + pos),
                            (unsigned long long)b->numel);
        b->data = p->data + pos + 8;
        b->size = (size_t)b->bytes;
        pos += 8 + b->size;
    }
    return 0;
}

int td_ckpt_pth_legacy_parse(TDCheckpoint *ckpt, const char *label, TDMapping map, TDLog *log)
{
    TDPickle p = { .label = label, .log = log, .data = map.data, .pos = legacy_start(map) };
    BlobTable blobs = { 0 };
    uint32_t protocol, info, root, keys, little;
    int ret;

    p.cut = map.size > MAX_PICKLE;
    p.size = p.cut ? MAX_PICKLE : map.size;
    if ((ret = td_pickle_load(&p, &protocol)) < 0 ||
        (ret = td_pickle_load(&p, &info)) < 0 ||
        (ret = td_pickle_load(&p, &root)) < 0 ||
        (ret = td_pickle_load(&p, &keys)) < 0)
        goto end;
    if (p.nodes[protocol].kind != TD_PK_INT || p.nodes[protocol].i != LEGACY_PROTOCOL ||
        p.nodes[info].kind != TD_PK_DICT) {
        ret = td_error(log, ENOTSUP, "%s: not version %d of torch.save's legacy format", label, LEGACY_PROTOCOL);
        goto end;
    }
    little = td_pickle_get(&p, info, "little_endian");
    if (little != TD_PK_NIL && p.nodes[little].kind == TD_PK_BOOL && !p.nodes[little].i) {
        ret = td_error(log, ENOTSUP, "%s: byte order big, want little", label);
        goto end;
    }
    p.size = map.size;                           /* storages follow the pickles */
    if ((ret = collect_blobs(&blobs, &p)) < 0 ||
        (ret = read_legacy_storages(&blobs, &p, keys)) < 0)
        goto end;
    ret = add_state_dict(ckpt, &p, &blobs, root);
end:
    free(blobs.blobs);
    td_pickle_free(&p);
    return ret;
}
