/* SPDX-License-Identifier: BSD-2-Clause
 * Value generator and file writers of tdsynth. A Plan lists the tensors of one weight file; write_pth() and
 * write_safetensors() stream it to disk, generating the bytes as they go, so memory use does not grow with the model.
 * 1. Element i of a tensor is a pure function of (seed, salt, name, i) made of integer arithmetic and single IEEE
 *    operations: the bytes are the same on every machine, for every thread count and for both containers.
 * 2. A quantised tensor is derived from the bf16 tensor of the same base name, which is regenerated tile by tile.
 * 3. write_pth() reproduces the layout of torch.save: stored entries, 64-byte aligned data, trailing data descriptors,
 *    storage entries in string order of their keys, zip64 end records, protocol 2 pickle. */
#ifndef TDSYNTH_WRITE_H
#define TDSYNTH_WRITE_H

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/tensor.h"

enum Fill {
    FILL_VALUES,                     ///< mean + std * n
    FILL_INT8,                       ///< 128x128 block codes of the bf16 tensor
    FILL_SCALE,                      ///< amax / 128 of each block of it
};

typedef struct Spec {
    char name[96];
    char source[96];                 ///< name that seeds the values: the bf16 tensor of a quantised pair
    enum TDDtype dtype;
    enum Fill fill;
    int bf16_valued;                 ///< values are rounded to bf16, whatever dtype holds them, as those of f16 always
    int n_dims;
    int64_t shape[TD_MAX_DIMS];      ///< of the stored tensor
    int64_t rows, cols;              ///< of the source matrix (quantised pair only)
    float mean, std;
    int on_cpu;                      ///< transformer only: storage location recorded in the pickle, "cpu" or "cuda:0"
    int storage;                     ///< key of its storage
    int64_t offset;                  ///< first element in that storage
} Spec;

enum PickleForm { PICKLE_STATE_DICT, PICKLE_PARAMETERS, PICKLE_PLAIN };

typedef struct Plan {
    Spec *spec;
    int n, cap, n_storages;
    enum PickleForm form;
    uint64_t seed;
    const char *salt;                ///< tells the experts of a pair apart
    int n_threads;
} Plan;

static int fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static int fail(const char *fmt, ...)
{
    va_list ap;

    fputs("tdsynth: ", stderr);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    return -1;
}

/* ---- values ---- */

static uint64_t mix64(uint64_t z)
{
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static uint64_t tensor_key(const Plan *plan, const char *name)
{
    uint64_t h = 0xcbf29ce484222325u;

    for (const char *p = plan->salt; *p; p++)
        h = (h ^ (unsigned char)*p) * 0x100000001b3u;
    for (const char *p = name; *p; p++)
        h = (h ^ (unsigned char)*p) * 0x100000001b3u;
    return mix64(h ^ mix64(plan->seed));
}

/* Elements [begin, begin+n) as f32. The sum of four random bytes is nearly normal: mean 510, variance 65535/3. */
static void values(const Spec *s, uint64_t key, int64_t begin, int64_t n, float *dst)
{
    const float scale = (float)(s->std / 147.8005412708719), mean = s->mean;
    int64_t end = begin + n;

    for (int64_t pair = begin / 2; pair * 2 < end; pair++) {
        uint64_t h = mix64(key + (uint64_t)pair * 0x9e3779b97f4a7c15u);
        uint64_t t = (h & 0x00ff00ff00ff00ffu) + (h >> 8 & 0x00ff00ff00ff00ffu);

        t += t >> 16;
        if (pair * 2 >= begin)
            dst[pair * 2 - begin] = mean + (float)((int)(t & 0x7ff) - 510) * scale;
        if (pair * 2 + 1 < end)
            dst[pair * 2 + 1 - begin] = mean + (float)((int)(t >> 32 & 0x7ff) - 510) * scale;
    }
}

#define BLOCK 128                    /* quantisation block, both ways */
#define UNIT_ELEMS (1 << 20)         /* elements of one unit of work of a plain tensor */

static int64_t spec_count(const Spec *s)
{
    return td_shape_count(s->shape, s->n_dims);
}

static size_t spec_bytes(const Spec *s)
{
    return (size_t)spec_count(s) * td_dtype_size(s->dtype);
}

static int64_t min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* A tensor is generated in units: runs of UNIT_ELEMS elements, or stripes of 128 source rows. */
static int64_t unit_count(const Spec *s)
{
    if (s->fill == FILL_VALUES)
        return (spec_count(s) + UNIT_ELEMS - 1) / UNIT_ELEMS;
    return (s->rows + BLOCK - 1) / BLOCK;
}

static size_t unit_bytes(const Spec *s, int64_t unit)
{
    if (s->fill == FILL_VALUES)
        return (size_t)min64(UNIT_ELEMS, spec_count(s) - unit * UNIT_ELEMS) * td_dtype_size(s->dtype);
    if (s->fill == FILL_INT8)
        return (size_t)(min64(BLOCK, s->rows - unit * BLOCK) * s->cols);
    return (size_t)((s->cols + BLOCK - 1) / BLOCK) * sizeof(float);
}

/* Round to nearest even for |x| < 2^22. */
static float round_even(float x)
{
    float y = x + 12582912.0f;

    return y - 12582912.0f;
}

/* A value of bf16 as f16: exact but below 2^-14, where it is rounded. */
static uint16_t to_f16(float bf16_value)
{
    uint32_t u;
    int32_t e;
    float a, tiny;

    memcpy(&u, &bf16_value, sizeof(u));
    e = (int32_t)(u >> 23 & 255) - 127;
    if (e >= -14)
        return (uint16_t)((u >> 16 & 0x8000) | (uint32_t)(e + 15) << 10 | (u >> 13 & 0x3ff));
    a = bf16_value < 0 ? -bf16_value : bf16_value;
    tiny = round_even(a * 16777216.0f);
    return (uint16_t)((u >> 16 & 0x8000) | (uint32_t)tiny);
}

static void fill_values(const Spec *s, uint64_t key, int64_t unit, uint8_t *dst)
{
    int64_t begin = unit * UNIT_ELEMS, end = begin + min64(UNIT_ELEMS, spec_count(s) - begin);
    float v[2048];

    for (int64_t i = begin; i < end; i += 2048) {
        int64_t n = min64(2048, end - i);

        values(s, key, i, n, v);
        if (s->dtype == TD_BF16) {
            uint16_t *out = (uint16_t *)(void *)dst + (i - begin);

            for (int64_t j = 0; j < n; j++)
                out[j] = td_f32_to_bf16(v[j]);
        } else if (s->dtype == TD_F16) {
            uint16_t *out = (uint16_t *)(void *)dst + (i - begin);

            for (int64_t j = 0; j < n; j++)
                out[j] = to_f16(td_bf16_round(v[j]));
        } else {
            if (s->bf16_valued)
                for (int64_t j = 0; j < n; j++)
                    v[j] = td_bf16_round(v[j]);
            memcpy(dst + (size_t)(i - begin) * sizeof(float), v, (size_t)n * sizeof(float));
        }
    }
}

static void fill_quantised(const Spec *s, uint64_t key, int64_t unit, uint8_t *dst)
{
    int64_t r0 = unit * BLOCK, n_rows = min64(BLOCK, s->rows - r0);
    float tile[BLOCK][BLOCK];

    for (int64_t c0 = 0; c0 < s->cols; c0 += BLOCK) {
        int64_t n_cols = min64(BLOCK, s->cols - c0);
        float amax = 1e-8f, mult, scale;

        for (int64_t r = 0; r < n_rows; r++) {
            values(s, key, (r0 + r) * s->cols + c0, n_cols, tile[r]);
            for (int64_t c = 0; c < n_cols; c++) {
                float v = tile[r][c] = td_bf16_round(tile[r][c]), a = v < 0 ? -v : v;

                if (a > amax)
                    amax = a;
            }
        }
        scale = amax / 128.0f;
        if (s->fill == FILL_SCALE) {
            memcpy(dst + (size_t)(c0 / BLOCK) * sizeof(float), &scale, sizeof(scale));
            continue;
        }
        mult = 128.0f / amax;
        for (int64_t r = 0; r < n_rows; r++)
            for (int64_t c = 0; c < n_cols; c++) {
                float q = round_even(tile[r][c] * mult);

                dst[r * s->cols + c0 + c] = (uint8_t)(int8_t)(q > 127 ? 127 : q < -128 ? -128 : q);
            }
    }
}

/* ---- output file ---- */

typedef struct Out {
    FILE *f;
    const char *path;
    uint64_t pos;
    uint32_t crc;
    int want_crc;
    uint32_t table[8][256];
} Out;

static int out_open(Out *o, const char *path)
{
    memset(o, 0, sizeof(*o));
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;

        for (int k = 0; k < 8; k++)
            c = c & 1 ? 0xedb88320u ^ c >> 1 : c >> 1;
        o->table[0][i] = c;
    }
    for (int i = 0; i < 256; i++)
        for (int k = 1; k < 8; k++)
            o->table[k][i] = o->table[k - 1][i] >> 8 ^ o->table[0][o->table[k - 1][i] & 255];
    o->path = path;
    if (!(o->f = fopen(path, "wb")))
        return fail("%s: %s", path, strerror(errno));
    return 0;
}

static void crc_update(Out *o, const uint8_t *p, size_t n)
{
    uint32_t c = ~o->crc;

    for (; n >= 8; p += 8, n -= 8) {
        c ^= (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
        c = o->table[7][c & 255] ^ o->table[6][c >> 8 & 255] ^ o->table[5][c >> 16 & 255] ^ o->table[4][c >> 24] ^
            o->table[3][p[4]] ^ o->table[2][p[5]] ^ o->table[1][p[6]] ^ o->table[0][p[7]];
    }
    for (; n; p++, n--)
        c = o->table[0][(c ^ *p) & 255] ^ c >> 8;
    o->crc = ~c;
}

static int out_write(Out *o, const void *data, size_t n)
{
    if (o->want_crc)
        crc_update(o, data, n);
    o->pos += n;
    if (fwrite(data, 1, n, o->f) != n)
        return fail("%s: write: %s", o->path, strerror(errno));
    return 0;
}

static int out_close(Out *o, int ret)
{
    if (o->f && fclose(o->f) && ret >= 0)
        ret = fail("%s: write: %s", o->path, strerror(errno));
    if (o->f && ret < 0)
        remove(o->path);
    o->f = NULL;
    return ret;
}

/* ---- generating in parallel ---- */

typedef struct Job {
    const Spec *spec;
    uint64_t key;
    int64_t first, n;                /* units */
    uint8_t *dst;
    int index, stride;
} Job;

#define MAX_THREADS 64
#define BATCH_UNITS 32

static void *job_run(void *arg)
{
    Job *j = arg;

    for (int64_t i = j->index; i < j->n; i += j->stride) {
        uint8_t *dst = j->dst + (size_t)i * unit_bytes(j->spec, 0);

        if (j->spec->fill == FILL_VALUES)
            fill_values(j->spec, j->key, j->first + i, dst);
        else
            fill_quantised(j->spec, j->key, j->first + i, dst);
    }
    return NULL;
}

/* Generate and write one tensor: a batch of units at a time, all threads on one batch. */
static int write_tensor(Out *o, const Plan *plan, const Spec *s)
{
    uint64_t key = tensor_key(plan, s->source);
    int64_t n_units = unit_count(s);
    size_t unit = unit_bytes(s, 0);
    uint8_t *buf = malloc((size_t)min64(BATCH_UNITS, n_units) * unit);
    int ret = 0;

    if (!buf)
        return fail("%s: out of memory", s->name);
    for (int64_t first = 0; first < n_units && ret >= 0; first += BATCH_UNITS) {
        int64_t n = min64(BATCH_UNITS, n_units - first);
        size_t bytes = (size_t)(n - 1) * unit + unit_bytes(s, first + n - 1);
        int n_threads = (int)min64(plan->n_threads, n), started = 0;
        pthread_t thread[MAX_THREADS];
        Job job[MAX_THREADS];

        for (int t = 0; t < n_threads; t++)
            job[t] = (Job){ s, key, first, n, buf, t, n_threads };
        while (started < n_threads - 1 && !pthread_create(&thread[started], NULL, job_run, &job[started + 1]))
            started++;
        for (int t = started + 1; t < n_threads; t++)
            job_run(&job[t]);
        job_run(&job[0]);
        for (int t = 0; t < started; t++)
            pthread_join(thread[t], NULL);
        ret = out_write(o, buf, bytes);
    }
    free(buf);
    return ret;
}

/* ---- growing byte string ---- */

typedef struct Bytes {
    uint8_t *p;
    size_t n, cap;
    int failed;
} Bytes;

static void put(Bytes *b, const void *data, size_t n)
{
    if (b->failed)
        return;
    if (b->cap - b->n < n) {
        size_t cap = (b->n + n) * 2;
        uint8_t *p = realloc(b->p, cap);

        if (!p) {
            b->failed = 1;
            return;
        }
        b->p = p;
        b->cap = cap;
    }
    memcpy(b->p + b->n, data, n);
    b->n += n;
}

static void put_le(Bytes *b, uint64_t v, int n_bytes)
{
    uint8_t le[8];

    for (int i = 0; i < n_bytes; i++)
        le[i] = (uint8_t)(v >> 8 * i);
    put(b, le, (size_t)n_bytes);
}

static void put_text(Bytes *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void put_text(Bytes *b, const char *fmt, ...)
{
    char line[512];
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    if (n < 0 || n >= (int)sizeof(line))
        b->failed = 1;
    else
        put(b, line, (size_t)n);
}

/* ---- .safetensors ---- */

static int write_safetensors(const Plan *plan, const char *path)
{
    static const char *const name[TD_N_DTYPES] = {
        [TD_F32] = "F32", [TD_BF16] = "BF16", [TD_F16] = "F16", [TD_I8] = "I8"
    };
    Bytes header = { 0 };
    size_t offset = 0;
    Out o;
    int ret;

    put_text(&header, "{\"__metadata__\":{\"format\":\"pt\"}");
    for (int i = 0; i < plan->n; i++) {
        const Spec *s = &plan->spec[i];

        put_text(&header, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[", s->name, name[s->dtype]);
        for (int d = 0; d < s->n_dims; d++)
            put_text(&header, "%s%" PRId64, d ? "," : "", s->shape[d]);
        put_text(&header, "],\"data_offsets\":[%zu,%zu]}", offset, offset + spec_bytes(s));
        offset += spec_bytes(s);
    }
    put_text(&header, "}");
    while (header.n % 8 && !header.failed)
        put(&header, " ", 1);
    if (header.failed) {
        free(header.p);
        return fail("%s: out of memory", path);
    }
    if ((ret = out_open(&o, path)) >= 0) {
        Bytes size = { 0 };

        put_le(&size, header.n, 8);
        ret = size.failed ? fail("%s: out of memory", path) : out_write(&o, size.p, size.n);
        free(size.p);
        if (ret >= 0)
            ret = out_write(&o, header.p, header.n);
        for (int i = 0; i < plan->n && ret >= 0; i++)
            ret = write_tensor(&o, plan, &plan->spec[i]);
        ret = out_close(&o, ret);
    }
    free(header.p);
    return ret;
}

#endif /* TDSYNTH_WRITE_H */
