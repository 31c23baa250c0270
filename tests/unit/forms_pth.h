/* SPDX-License-Identifier: BSD-2-Clause
 * A form as torch.save writes it: a pickle of names, types and shapes, and a stored zip entry for each tensor's bytes.
 * Types of 8-bit floats are untyped storages with the type beside the shape, as torch has them. */
#ifndef FORMS_PTH_H
#define FORMS_PTH_H

#include "forms.h"

typedef struct FormBytes {
    uint8_t *p;
    size_t n, cap;
} FormBytes;

static inline void form_put(FormBytes *b, const void *p, size_t n)
{
    if (b->n + n > b->cap)
        b->p = realloc(b->p, b->cap = 2 * (b->n + n));
    memcpy(b->p + b->n, p, n);
    b->n += n;
}

static inline void form_put_le(FormBytes *b, uint64_t v, int n)
{
    for (int i = 0; i < n; i++, v >>= 8)
        form_put(b, &(uint8_t){ (uint8_t)v }, 1);
}

/* opcodes and globals, as they are */
static inline void form_ops(FormBytes *b, const char *s)
{
    form_put(b, s, strlen(s));
}

static inline void form_pickle_text(FormBytes *b, const char *s)
{
    form_ops(b, "X");
    form_put_le(b, strlen(s), 4);
    form_ops(b, s);
}

static inline void form_pickle_ints(FormBytes *b, const int64_t *v, int n)
{
    form_ops(b, "(");
    for (int i = 0; i < n; i++) {
        form_ops(b, "J");
        form_put_le(b, (uint64_t)v[i], 4);
    }
    form_ops(b, "t");
}

static inline void form_pickle_tensor(FormBytes *b, const FormTensor *t, int key)
{
    static const char *const storages[TD_N_DTYPES] = {
        [TD_F32] = "Float", [TD_BF16] = "BFloat16", [TD_F16] = "Half", [TD_I8] = "Char", [TD_U8] = "Byte",
    };
    int untyped = t->dtype == TD_F8_E4M3 || t->dtype == TD_F8_E5M2;
    int64_t stride[TD_MAX_DIMS], n = 1, count = td_shape_count(t->shape, t->n_dims);
    char text[100];

    for (int d = t->n_dims - 1; d >= 0; n *= t->shape[d--])
        stride[d] = n;
    snprintf(text, sizeof(text), "ctorch._utils\n_rebuild_tensor_v%d\n((", untyped ? 3 : 2);
    form_ops(b, text);
    form_pickle_text(b, "storage");
    snprintf(text, sizeof(text), "ctorch\n%sStorage\n", untyped ? "" : storages[t->dtype]);
    form_ops(b, untyped ? "ctorch.storage\nUntypedStorage\n" : text);
    snprintf(text, sizeof(text), "%d", key);
    form_pickle_text(b, text);
    form_pickle_text(b, "cpu");
    form_ops(b, "J");
    form_put_le(b, (uint64_t)count, 4);
    form_ops(b, "tQK");
    form_put_le(b, 0, 1);                        /* the tensor's place in its storage */
    form_pickle_ints(b, t->shape, t->n_dims);
    form_pickle_ints(b, stride, t->n_dims);
    form_ops(b, "\x89" "ccollections\nOrderedDict\n)R");
    snprintf(text, sizeof(text), "ctorch\nfloat8_%s\n", t->dtype == TD_F8_E4M3 ? "e4m3fn" : "e5m2");
    form_ops(b, untyped ? text : "");
    form_ops(b, "tR");
}

/* an entry of the archive `root`, its data at a multiple of 64, and its record for the directory */
static inline void form_zip_entry(FormBytes *zip, FormBytes *directory, const char *root, const char *entry,
                                  const void *data, size_t n)
{
    char name[400];
    size_t start = zip->n, length = (size_t)snprintf(name, sizeof(name), "%.200s/%.100s", root, entry);
    size_t pad = -(start + 30 + length + 4) % 64;

    form_ops(zip, "PK\3\4");
    form_put_le(zip, 0, 14);                     /* stored; sizes are in the directory */
    form_put_le(zip, n, 4);
    form_put_le(zip, n, 4);
    form_put_le(zip, length, 2);
    form_put_le(zip, 4 + pad, 2);
    form_ops(zip, name);
    form_ops(zip, "FB");
    form_put_le(zip, pad, 2);
    while (pad--)
        form_ops(zip, "Z");
    form_put(zip, data, n);
    form_ops(directory, "PK\1\2");
    form_put_le(directory, 0, 16);
    form_put_le(directory, n, 4);
    form_put_le(directory, n, 4);
    form_put_le(directory, length, 2);
    form_put_le(directory, 0, 12);
    form_put_le(directory, start, 4);
    form_ops(directory, name);
}

/* root: the name that the archive's entries are under */
static inline int form_write_pth(const Form *f, const char *path, const char *root)
{
    FormBytes pickle = { 0 }, zip = { 0 }, directory = { 0 };
    FILE *file = fopen(path, "wb");
    char entry[32];
    size_t start;
    int ok;

    form_ops(&pickle, "\x80\2}(");
    for (int i = 0; i < f->n; i++) {
        form_pickle_text(&pickle, f->t[i].name);
        form_pickle_tensor(&pickle, &f->t[i], i);
    }
    form_ops(&pickle, "u.");
    form_zip_entry(&zip, &directory, root, "data.pkl", pickle.p, pickle.n);
    form_zip_entry(&zip, &directory, root, "byteorder", "little", 6);
    for (int i = 0; i < f->n; i++) {
        snprintf(entry, sizeof(entry), "data/%d", i);
        form_zip_entry(&zip, &directory, root, entry, f->t[i].data, f->t[i].bytes);
    }
    form_zip_entry(&zip, &directory, root, "version", "3\n", 2);
    start = zip.n;
    form_put(&zip, directory.p, directory.n);
    form_ops(&zip, "PK\5\6");
    form_put_le(&zip, 0, 4);
    form_put_le(&zip, (uint64_t)f->n + 3, 2);
    form_put_le(&zip, (uint64_t)f->n + 3, 2);
    form_put_le(&zip, directory.n, 4);
    form_put_le(&zip, start, 4);
    form_put_le(&zip, 0, 2);
    ok = file && fwrite(zip.p, 1, zip.n, file) == zip.n;
    ok = file && fclose(file) == 0 && ok;
    free(pickle.p);
    free(zip.p);
    free(directory.p);
    return CHECK(ok) ? 0 : -1;
}

#endif /* FORMS_PTH_H */
