/* SPDX-License-Identifier: BSD-2-Clause
 * The .pth writer of tdsynth: the pickle of a state dict and the zip archive around it, as torch.save lays them out.
 * 1. A pickled object that Python would memoise is memoised, with the same numbering.
 * 2. Sizes and offsets that do not fit in 32 bits go to zip64 fields; the zip64 end records are always there. */
#ifndef TDSYNTH_PTH_H
#define TDSYNTH_PTH_H

#include "tdsynth_write.h"

enum Global {
    G_ORDERED_DICT, G_TENSOR, G_PARAMETER, G_BF16, G_F32, G_I8, G_F16, G_STORAGE, G_CPU, G_CUDA, G_VERSION, N_GLOBALS
};

typedef struct Pickler {
    Bytes b;
    int n_memo;
    int memo[N_GLOBALS];             ///< memo number + 1 of the objects that recur; 0 = not written yet
} Pickler;

/* opcodes, one after another */
static void ops(Pickler *p, const char *codes)
{
    put(&p->b, codes, strlen(codes));
}

/* an opcode and its argument of n bytes */
static void op(Pickler *p, char code, uint64_t arg, int n)
{
    put(&p->b, &code, 1);
    put_le(&p->b, arg, n);
}

/* opcodes that leave an object, which is memoised */
static void ops_memo(Pickler *p, const char *codes)
{
    int i = p->n_memo++;

    ops(p, codes);
    op(p, i < 256 ? 'q' : 'r', (uint64_t)i, i < 256 ? 1 : 4);
}

static void pickle_int(Pickler *p, int64_t v)
{
    int n = 1;

    while (n < 8 && v >> (8 * n - 1))
        n++;
    if (v <= INT32_MAX) {
        op(p, v < 256 ? 'K' : v < 65536 ? 'M' : 'J', (uint64_t)v, v < 256 ? 1 : v < 65536 ? 2 : 4);
    } else {
        op(p, '\x8a', (uint64_t)n, 1);
        put_le(&p->b, (uint64_t)v, n);
    }
}

static void pickle_string(Pickler *p, const char *s)
{
    op(p, 'X', strlen(s), 4);
    ops_memo(p, s);
}

/* An object written once and referred to afterwards. */
static void pickle_shared(Pickler *p, enum Global g)
{
    static const char *const text[N_GLOBALS] = {
        "ccollections\nOrderedDict\n", "ctorch._utils\n_rebuild_tensor_v2\n", "ctorch._utils\n_rebuild_parameter\n",
        "ctorch\nBFloat16Storage\n", "ctorch\nFloatStorage\n", "ctorch\nCharStorage\n", "ctorch\nHalfStorage\n",
        "storage", "cpu", "cuda:0", "version",
    };

    if (p->memo[g]) {
        int i = p->memo[g] - 1;

        op(p, i < 256 ? 'h' : 'j', (uint64_t)i, i < 256 ? 1 : 4);
        return;
    }
    p->memo[g] = p->n_memo + 1;
    if (g >= G_STORAGE)
        pickle_string(p, text[g]);
    else
        ops_memo(p, text[g]);
}

static void pickle_ordered_dict(Pickler *p)
{
    pickle_shared(p, G_ORDERED_DICT);
    ops_memo(p, ")R");
}

static void pickle_dims(Pickler *p, const int64_t *v, int n)
{
    static const char *const tuple[] = { "t", "\x85", "\x86", "\x87" };

    ops(p, n > 3 ? "(" : "");
    for (int i = 0; i < n; i++)
        pickle_int(p, v[i]);
    ops_memo(p, tuple[n > 3 ? 0 : n]);
}

static void pickle_tensor(Pickler *p, const Plan *plan, const Spec *s, int64_t storage_count)
{
    int64_t stride[TD_MAX_DIMS];
    char key[16];

    for (int64_t i = s->n_dims - 1, n = 1; i >= 0; n *= s->shape[i--])
        stride[i] = n;
    snprintf(key, sizeof(key), "%d", s->storage);
    if (plan->form == PICKLE_PARAMETERS)
        pickle_shared(p, G_PARAMETER);
    pickle_shared(p, G_TENSOR);
    ops(p, "((");
    pickle_shared(p, G_STORAGE);
    pickle_shared(p, s->dtype == TD_BF16 ? G_BF16 : s->dtype == TD_F16 ? G_F16 : s->dtype == TD_F32 ? G_F32 : G_I8);
    pickle_string(p, key);
    pickle_shared(p, s->on_cpu || plan->form != PICKLE_STATE_DICT ? G_CPU : G_CUDA);
    pickle_int(p, storage_count);
    ops_memo(p, "t");
    ops(p, "Q");
    pickle_int(p, s->offset);
    pickle_dims(p, s->shape, s->n_dims);
    pickle_dims(p, stride, s->n_dims);
    ops(p, "\x89");
    pickle_ordered_dict(p);
    ops_memo(p, "t");
    ops_memo(p, "R");
    if (plan->form == PICKLE_PARAMETERS) {
        ops(p, "\x89");
        pickle_ordered_dict(p);
        ops_memo(p, "\x87");
        ops_memo(p, "R");
    }
}

static void pickle_version(Pickler *p, const char *prefix, int n)
{
    char name[96];

    memcpy(name, prefix, (size_t)n);
    name[n] = 0;
    pickle_string(p, name);
    ops_memo(p, "}");
    pickle_shared(p, G_VERSION);
    pickle_int(p, 1);
    ops(p, "s");
}

/* OrderedDict(module prefix -> {'version': 1}), as the attribute _metadata. */
static void pickle_metadata(Pickler *p, const Plan *plan)
{
    int n_items = 1;

    ops_memo(p, "}");
    pickle_string(p, "_metadata");
    pickle_ordered_dict(p);
    ops(p, "(");
    pickle_version(p, "", 0);
    for (int i = 0; i < plan->n; i++) {
        const char *name = plan->spec[i].name, *prev = i ? plan->spec[i - 1].name : "";

        for (int k = 0; name[k]; k++) {
            if (name[k] != '.' || (!strncmp(name, prev, (size_t)k) && prev[k] == '.'))
                continue;
            if (n_items++ % 1000 == 0)
                ops(p, "u(");
            pickle_version(p, name, k);
        }
    }
    ops(p, "usb");
}

static int64_t storage_count(const Plan *plan, int storage)
{
    int64_t n = 0;

    for (int i = 0; i < plan->n; i++)
        if (plan->spec[i].storage == storage)
            n += spec_count(&plan->spec[i]);
    return n;
}

static void pickle_plan(Pickler *p, const Plan *plan)
{
    ops(p, "\x80\x02");
    pickle_ordered_dict(p);
    for (int i = 0; i < plan->n; i++) {
        if (i % 1000 == 0)
            ops(p, "(");
        pickle_string(p, plan->spec[i].name);
        pickle_tensor(p, plan, &plan->spec[i], storage_count(plan, plan->spec[i].storage));
        if (i % 1000 == 999 || i == plan->n - 1)
            ops(p, "u");
    }
    if (plan->form == PICKLE_STATE_DICT)
        pickle_metadata(p, plan);
    ops(p, ".");
}

/* ---- zip ---- */

#define ZIP32_MAX 0xffffffffu

typedef struct Zip {
    Out o;
    Bytes central;
    const char *root;
    int n_entries;
} Zip;

/* The local header, with its padding field sized so that the data start at a multiple of 64. */
static int zip_begin(Zip *z, const char *name, uint64_t *start)
{
    Bytes h = { 0 };
    size_t name_len = strlen(z->root) + 1 + strlen(name);
    int wide = z->o.pos >= ZIP32_MAX, ret;
    uint64_t data = z->o.pos + 30 + name_len + (wide ? 12 : 0) + 4, pad = (64 - data % 64) % 64;

    *start = z->o.pos;
    put_le(&h, 0x04034b50, 4);
    put_le(&h, 0, 2);
    put_le(&h, 0x0808, 2);           /* sizes follow the data, names are UTF-8 */
    put_le(&h, 0, 2 + 4);            /* stored; time, date */
    put_le(&h, 0, 4);                /* crc */
    put_le(&h, 0, 8);                /* sizes */
    put_le(&h, name_len, 2);
    put_le(&h, (wide ? 12 : 0) + 4 + pad, 2);
    put_text(&h, "%s/%s", z->root, name);
    if (wide) {
        put_le(&h, 1, 2);
        put_le(&h, 8, 2);
        put_le(&h, *start, 8);
    }
    put(&h, "FB", 2);
    put_le(&h, pad, 2);
    while (pad--)
        put(&h, "Z", 1);
    ret = h.failed ? fail("%s: out of memory", z->o.path) : out_write(&z->o, h.p, h.n);
    free(h.p);
    z->o.crc = 0;
    z->o.want_crc = 1;
    return ret;
}

/* The data descriptor after the data, and the entry's record for the central directory. */
static int zip_end(Zip *z, const char *name, uint64_t start, uint64_t size)
{
    Bytes d = { 0 }, *c = &z->central;
    size_t name_len = strlen(z->root) + 1 + strlen(name);
    int wide = start >= ZIP32_MAX || size >= ZIP32_MAX, far = start >= ZIP32_MAX, big = size >= ZIP32_MAX, ret;

    z->o.want_crc = 0;
    put_le(&d, 0x08074b50, 4);
    put_le(&d, z->o.crc, 4);
    put_le(&d, size, wide ? 8 : 4);
    put_le(&d, size, wide ? 8 : 4);
    ret = d.failed ? fail("%s: out of memory", z->o.path) : out_write(&z->o, d.p, d.n);
    free(d.p);

    put_le(c, 0x02014b50, 4);
    put_le(c, 0, 4);                 /* versions */
    put_le(c, 0x0808, 2);
    put_le(c, 0, 2 + 4);
    put_le(c, z->o.crc, 4);
    put_le(c, big ? ZIP32_MAX : size, 4);
    put_le(c, big ? ZIP32_MAX : size, 4);
    put_le(c, name_len, 2);
    put_le(c, wide ? 4 + (big ? 16 : 0) + (far ? 8 : 0) : 0, 2);
    put_le(c, 0, 2 + 2 + 2);         /* comment, disk, internal attributes */
    put_le(c, 0, 4);                 /* external attributes */
    put_le(c, far ? ZIP32_MAX : start, 4);
    put_text(c, "%s/%s", z->root, name);
    if (wide) {
        put_le(c, 1, 2);
        put_le(c, (big ? 16 : 0) + (far ? 8 : 0), 2);
        if (big) {
            put_le(c, size, 8);
            put_le(c, size, 8);
        }
        if (far)
            put_le(c, start, 8);
    }
    z->n_entries++;
    return c->failed ? fail("%s: out of memory", z->o.path) : ret;
}

static int zip_add(Zip *z, const char *name, const void *data, size_t n)
{
    uint64_t start;

    if (zip_begin(z, name, &start) < 0 || out_write(&z->o, data, n) < 0)
        return -1;
    return zip_end(z, name, start, n);
}

static int zip_finish(Zip *z)
{
    uint64_t start = z->o.pos, size = z->central.n;
    Bytes e = { 0 };
    int ret;

    put_le(&e, 0x06064b50, 4);
    put_le(&e, 44, 8);
    put_le(&e, 0x031e, 2);
    put_le(&e, 45, 2);
    put_le(&e, 0, 8);                /* disks */
    put_le(&e, (uint64_t)z->n_entries, 8);
    put_le(&e, (uint64_t)z->n_entries, 8);
    put_le(&e, size, 8);
    put_le(&e, start, 8);
    put_le(&e, 0x07064b50, 4);
    put_le(&e, 0, 4);
    put_le(&e, start + size, 8);
    put_le(&e, 1, 4);
    put_le(&e, 0x06054b50, 4);
    put_le(&e, 0, 4);
    put_le(&e, (uint64_t)z->n_entries, 2);
    put_le(&e, (uint64_t)z->n_entries, 2);
    put_le(&e, size, 4);
    put_le(&e, start >= ZIP32_MAX ? ZIP32_MAX : start, 4);
    put_le(&e, 0, 2);
    ret = e.failed ? fail("%s: out of memory", z->o.path) : out_write(&z->o, z->central.p, z->central.n);
    if (ret >= 0)
        ret = out_write(&z->o, e.p, e.n);
    free(e.p);
    return ret;
}

static int compare_keys(const void *a, const void *b)
{
    char x[16], y[16];

    snprintf(x, sizeof(x), "%d", *(const int *)a);
    snprintf(y, sizeof(y), "%d", *(const int *)b);
    return strcmp(x, y);
}

static int write_storages(Zip *z, const Plan *plan)
{
    int *key = malloc((size_t)plan->n_storages * sizeof(*key)), ret = 0;

    if (!key)
        return fail("%s: out of memory", z->o.path);
    for (int i = 0; i < plan->n_storages; i++)
        key[i] = i;
    qsort(key, (size_t)plan->n_storages, sizeof(*key), compare_keys);
    for (int i = 0; i < plan->n_storages && ret >= 0; i++) {
        char name[32];
        uint64_t start, size = 0;

        snprintf(name, sizeof(name), "data/%d", key[i]);
        ret = zip_begin(z, name, &start);
        for (int k = 0; k < plan->n && ret >= 0; k++)
            if (plan->spec[k].storage == key[i]) {
                ret = write_tensor(&z->o, plan, &plan->spec[k]);
                size += spec_bytes(&plan->spec[k]);
            }
        if (ret >= 0)
            ret = zip_end(z, name, start, size);
    }
    free(key);
    return ret;
}

/** @param root folder name of the archive's entries: the name the official file was saved under */
static int write_pth(const Plan *plan, const char *path, const char *root)
{
    Zip z = { .root = root };
    Pickler p = { 0 };
    char id[41];
    int ret;

    pickle_plan(&p, plan);
    if (p.b.failed)
        ret = fail("%s: out of memory", path);
    else if ((ret = out_open(&z.o, path)) >= 0) {
        snprintf(id, sizeof(id), "%020" PRIu64 "%020" PRIu64, tensor_key(plan, "id"), tensor_key(plan, "id2"));
        if ((ret = zip_add(&z, "data.pkl", p.b.p, p.b.n)) >= 0 &&
            (ret = zip_add(&z, "byteorder", "little", 6)) >= 0 &&
            (ret = write_storages(&z, plan)) >= 0 &&
            (ret = zip_add(&z, "version", "3\n", 2)) >= 0 &&
            (ret = zip_add(&z, ".data/serialization_id", id, 40)) >= 0)
            ret = zip_finish(&z);
        ret = out_close(&z.o, ret);
    }
    free(z.central.p);
    free(p.b.p);
    return ret;
}

#endif /* TDSYNTH_PTH_H */
