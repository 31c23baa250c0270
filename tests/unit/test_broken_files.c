/* SPDX-License-Identifier: BSD-2-Clause
 * Every tensor of every weight file, damaged in every way a file can hold it: missing, empty, of another shape, of an
 * integer type, with a NaN; and tensors too many. What the engine needs must be refused with one line that names the
 * file, at td_open() or, where weights are only seen by computing with them, before a frame is returned. What it does
 * not use must not matter. */
#include <errno.h>
#include "files/checkpoint.h"
#include "small_model.h"

enum Damage { NONE, MISSING, EMPTY, SHAPE, INTEGER, INT8, NOT_FINITE, N_DAMAGES };

static const char *const damage_names[] = {
    "intact", "missing", "empty", "of another shape", "of type I32", "of type I8", "with NaN"
};

static size_t put_header(char *dst, const char *name, const char *dtype, int n_dims, const int64_t *shape, size_t at,
                         size_t bytes, int first)
{
    char *p = dst;

    p += sprintf(p, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[", first ? "{" : ",", name, dtype);
    for (int i = 0; i < n_dims; i++)
        p += sprintf(p, "%s%lld", i ? "," : "", (long long)shape[i]);
    p += sprintf(p, "],\"data_offsets\":[%zu,%zu]}", at, at + bytes);
    return (size_t)(p - dst);
}

static void put_nan(uint8_t *data, const TDEntry *e, size_t bytes)
{
    int is_table = !strcmp(e->name, "token_embedding.weight") || strstr(e->name, "pos_embedding") != NULL;
    size_t size = td_dtype_size(e->dtype);

    for (size_t i = 0; i < (is_table ? bytes : size); i += size) {       /* any row of a table may be the one in use */
        data[i + size - 1] = 0x7f;
        data[i + size - 2] = 0xc0;
    }
}

/* src with entry k damaged, and a zero f32 vector of n_extra values named extra, as a safetensors file */
static int write_damaged(const char *path, const TDCheckpoint *src, int k, enum Damage damage, const char *extra,
                         int64_t n_extra)
{
    static const char *const dtypes[TD_N_DTYPES] = { [TD_F32] = "F32", [TD_BF16] = "BF16", [TD_I8] = "I8" };
    int n = td_checkpoint_count(src), ok;
    char *header = malloc((size_t)n * 300 + 64);
    size_t length = 0, at = 0;
    uint8_t *data;
    uint64_t le;
    FILE *f = fopen(path, "wb");

    for (int i = 0; i < n; i++)                  /* a row or a type more takes at most 4 times as much, and then some */
        at += td_checkpoint_entry(src, i)->bytes * 4 + 1024;
    data = calloc(at + (size_t)n_extra * 4, 1);
    if (!CHECK(header && data && f))
        exit(1);
    at = 0;
    for (int i = 0; i < n; i++) {
        const TDEntry *e = td_checkpoint_entry(src, i);
        enum Damage now = i == k ? damage : NONE;
        int64_t shape[TD_MAX_DIMS];
        size_t bytes = td_dtype_size(e->dtype);
        const char *dtype = dtypes[e->dtype];

        if (now == MISSING)
            continue;
        memcpy(shape, e->shape, sizeof(shape));
        shape[0] = now == EMPTY ? 0 : now == SHAPE ? shape[0] + 1 : shape[0];
        if (now == INTEGER || now == INT8) {
            dtype = now == INT8 ? "I8" : "I32";
            bytes = now == INT8 ? 1 : 4;
        }
        for (int d = 0; d < e->n_dims; d++)
            bytes *= (size_t)shape[d];
        if (now == NONE || now == NOT_FINITE)
            memcpy(data + at, e->data, bytes);
        if (now == NOT_FINITE)
            put_nan(data + at, e, bytes);
        length += put_header(header + length, e->name, dtype, e->n_dims, shape, at, bytes, length == 0);
        at += bytes;
    }
    if (extra) {
        length += put_header(header + length, extra, "F32", 1, &n_extra, at, (size_t)n_extra * 4, 0);
        at += (size_t)n_extra * 4;
    }
    header[length++] = '}';
    while (length % 8)
        header[length++] = ' ';
    le = length;
    ok = fwrite(&le, 8, 1, f) == 1 && fwrite(header, length, 1, f) == 1 && fwrite(data, at, 1, f) == 1;
    ok = fclose(f) == 0 && ok;
    free(header);
    free(data);
    return CHECK(ok);
}

typedef struct File {
    const char *title, *file;
    size_t setting;                              /* where in TDSettings its path goes */
    enum TDQuant quant;
    enum TDAttention attention;
    const char *unused[3];
} File;

#define AT(field) offsetof(TDSettings, field)
#define BF16 "TurboWan2.1-T2V-1.3B-480P.safetensors"
#define INT8_FILE "TurboWan2.1-T2V-1.3B-480P-quant.safetensors"

static const File files[] = {
    { "damaged tensors: text encoder", "models_t5_umt5-xxl-enc-bf16.safetensors", AT(text_encoder), TD_QUANT_NONE,
      TD_ATTN_DENSE, { NULL } },
    { "damaged tensors: transformer, dense", BF16, AT(dit), TD_QUANT_NONE, TD_ATTN_DENSE, { ".proj_l." } },
    { "NaN: transformer, sla", BF16, AT(dit), TD_QUANT_NONE, TD_ATTN_SLA, { NULL } },
    { "NaN: transformer, sagesla, int8 at load", BF16, AT(dit), TD_QUANT_INT8, TD_ATTN_SAGESLA, { NULL } },
    { "damaged tensors: int8 transformer", INT8_FILE, AT(dit), TD_QUANT_AUTO, TD_ATTN_AUTO, { NULL } },
    { "damaged tensors: VAE", "Wan2.1_VAE.safetensors", AT(vae), TD_QUANT_NONE, TD_ATTN_DENSE, { "encoder.",
                                                                                                 "conv1." } },
};

static int starts_or_has(const char *name, const char *part)
{
    return *part == '.' ? strstr(name, part) != NULL : !strncmp(name, part, strlen(part));
}

/* one damaged tensor. @return 0 if the outcome was wrong */
static int check_one(const File *f, const char *path, const TDEntry *e, enum Damage damage)
{
    int fine = damage == NONE, ret;
    char model[256];
    TDSettings s;
    TDParams p;
    TDContext *c = NULL;
    Seen seen;

    for (int i = 0; f->unused[i]; i++)           /* proj_l is checked where dense attention does not use it */
        fine |= starts_or_has(e->name, f->unused[i]) &&
                (*f->unused[i] != '.' || (damage == NOT_FINITE && strstr(e->name, ".weight")));
    if (damage == SHAPE && !strcmp(e->name, "token_embedding.weight"))
        fine = 1;                                /* one more row is one that no id uses */
    if (damage == INT8 && e->dtype == TD_I8)
        fine = 1;
    if (damage == NOT_FINITE && e->dtype == TD_I8)
        return 1;
    small_settings(&s, &seen, small_path(model, "model"));
    small_params(&p);
    memcpy((char *)&s + f->setting, &path, sizeof(path));
    s.quant = f->quant;
    s.attention = f->attention;
    s.n_threads = 1;
    ret = td_open(&c, &s);
    if (ret >= 0 && (damage == NONE || damage == NOT_FINITE))
        ret = td_start(c, &p);
    if (ret >= 0 && (damage == NONE || damage == NOT_FINITE))
        ret = read_clip(c, NULL);
    td_close(&c);
    if (fine ? ret >= 0 && !seen.n_errors
             : (ret == TD_ERR(EBADMSG) ||
                ret == TD_ERR(ENOTSUP)) && seen.n_errors == 1 && !seen.n_bad && strstr(seen.error, path))
        return 1;
    printf("  %s %s: code %d, %d error lines: %s\n", e->name, damage_names[damage], ret, seen.n_errors, seen.error);
    return CHECK(!"refused with one line that names the file");
}

static void check_file(const File *f)
{
    char source[256], name[200], path[256];
    TDLog log = { .out = { NULL, NULL, 0 } };
    TDCheckpoint *src = NULL;
    int n_wrong = 0;

    snprintf(name, sizeof(name), "model/%s", f->file);
    small_path(path, "damaged.safetensors");
    test_begin(f->title);
    if (!CHECK_INT(td_checkpoint_open(&src, small_path(source, name), &log), 0))
        return;
    for (int damage = NONE; damage < N_DAMAGES; damage++) {
        if (!strncmp(f->title, "NaN", 3) && damage != NOT_FINITE)
            continue;
        for (int k = 0; k < (damage == NONE ? 1 : td_checkpoint_count(src)) && n_wrong < 20; k++)
            if (write_damaged(path, src, k, damage, NULL, 0))
                n_wrong += !check_one(f, path, td_checkpoint_entry(src, k), damage);
    }
    td_checkpoint_close(&src);
}

/* tensors that would mean another model: refused, not left out */
static void test_extra(void)
{
    static const struct { int file; const char *name; int n; const char *words; } extras[] = {
        { 0, "blocks.0.attn.k.bias", 64, "blocks.0.attn.k.bias: this model has no bias there" },
        { 0, "blocks.1.norm1.weight", 64, "blocks.1.attn.q.weight is missing" },
        { 1, "blocks.1.norm3.weight", 128, "blocks.1.modulation is missing" },
        { 1, "blocks.0.cross_attn.k_img.weight", 128, "Wan2.1 I2V (with CLIP branch), not supported; want Wan 2.1 te" },
        { 1, "vace_patch_embedding.weight", 128, "Wan VACE, not supported" },
        { 5, "decoder.upsamples.15.to_qkv.weight", 3, "is of no known layer; the first 18" },
        { 5, "decoder.middle.3.residual.0.gamma", 16, "is of no known layer; the first 18" },
    };

    for (size_t i = 0; i < sizeof(extras) / sizeof(*extras); i++) {
        const File *f = &files[extras[i].file];
        char source[256], name[200], path[256], model[256];
        const char *given = small_path(path, "damaged.safetensors");
        TDLog log = { .out = { NULL, NULL, 0 } };
        TDCheckpoint *src = NULL;
        TDContext *c = NULL;
        TDSettings s;
        Seen seen;
        int ret;

        test_begin(extras[i].name);
        snprintf(name, sizeof(name), "model/%s", f->file);
        if (!CHECK_INT(td_checkpoint_open(&src, small_path(source, name), &log), 0))
            return;
        write_damaged(path, src, -1, NONE, extras[i].name, extras[i].n);
        td_checkpoint_close(&src);
        small_settings(&s, &seen, small_path(model, "model"));
        memcpy((char *)&s + f->setting, &given, sizeof(given));
        ret = td_open(&c, &s);
        check_error(&seen, ret, TD_ERR(strstr(extras[i].words, "not supp") ? ENOTSUP : EBADMSG), extras[i].words);
        CHECK(strstr(seen.error, path) != NULL);
        td_close(&c);
    }
}

int main(void)
{
    test_begin("model");
    if (small_model_make("model", "") == 0)
        for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++)
            check_file(&files[i]);
    test_extra();
    small_model_remove();
    return test_end();
}
