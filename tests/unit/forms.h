/* SPDX-License-Identifier: BSD-2-Clause
 * The forms that files of weights have in the wild, made of tdsynth's: other types of values and scales beside them,
 * other names, other containers. A form is a list of tensors that is read, changed and written. */
#ifndef FORMS_H
#define FORMS_H

#include <stdlib.h>
#include "files/checkpoint.h"
#include "files/values.h"
#include "small_model.h"

typedef struct FormTensor {
    char name[300];
    enum TDDtype dtype;
    int n_dims;
    int64_t shape[TD_MAX_DIMS];
    uint8_t *data;                               /* owned */
    size_t bytes;
} FormTensor;

typedef struct Form {
    FormTensor *t;
    int n;
} Form;

/* data: copied; NULL for zeros. The list may move: shape and data may be in it all the same. */
static inline FormTensor *form_add(Form *f, const char *name, enum TDDtype dtype, int n_dims, const int64_t *shape,
                                   const void *data)
{
    int64_t own[TD_MAX_DIMS] = { 0 };
    FormTensor *t;

    if (n_dims)
        memcpy(own, shape, (size_t)n_dims * sizeof(*shape));
    f->t = realloc(f->t, ((size_t)f->n + 1) * sizeof(*f->t));
    t = &f->t[f->n++];
    *t = (FormTensor){ .dtype = dtype, .n_dims = n_dims };
    snprintf(t->name, sizeof(t->name), "%s", name);
    memcpy(t->shape, own, sizeof(own));
    t->bytes = td_dtype_bytes(dtype, td_shape_count(own, n_dims));
    t->data = calloc(1, t->bytes + 1);
    if (data)
        memcpy(t->data, data, t->bytes);
    return t;
}

static inline void form_free(Form *f)
{
    for (int i = 0; i < f->n; i++)
        free(f->t[i].data);
    free(f->t);
    *f = (Form){ 0 };
}

static inline FormTensor *form_find(Form *f, const char *name)
{
    for (int i = 0; i < f->n; i++)
        if (!strcmp(f->t[i].name, name))
            return &f->t[i];
    return NULL;
}

/* plain: what is stored in few bits becomes bf16, and what stands beside it goes */
static inline int form_read(Form *f, const char *path, int plain)
{
    Seen seen = { 0 };
    TDLog log = { .out = { &seen, on_line, TD_LOG_WARNING } };
    const TDEntry *e;
    TDCheckpoint *c;

    *f = (Form){ 0 };
    if (!CHECK_INT(td_checkpoint_open(&c, path, &log), 0)) {
        printf("  %s\n", seen.error);
        return -1;
    }
    for (int i = 0; (e = td_checkpoint_entry(c, i)); i++) {
        int few = e->dtype >= TD_F8_E4M3 || e->scale || e->columns;
        int64_t n = td_entry_count(e);
        FormTensor *t;
        float *wide;

        if (plain && e->aside)
            continue;
        t = form_add(f, e->name, plain && few ? TD_BF16 : e->dtype, e->n_dims, e->shape, NULL);
        if (!plain || !few) {
            td_entry_to_rows(e, t->data);
            continue;
        }
        wide = malloc((size_t)n * sizeof(*wide));
        CHECK_INT(td_entry_to_f32(e, wide), 0);
        for (int64_t k = 0; k < n; k++)
            ((uint16_t *)t->data)[k] = td_f32_to_bf16(wide[k]);
        free(wide);
    }
    td_checkpoint_close(&c);
    return 0;
}

/* every name behind this prefix */
static inline void form_prefix(Form *f, const char *prefix)
{
    for (int i = 0; i < f->n; i++) {
        char name[300];

        snprintf(name, sizeof(name), "%.40s%.250s", prefix, f->t[i].name);
        strcpy(f->t[i].name, name);
    }
}

/* metadata: JSON of __metadata__, or NULL */
static inline int form_write(const Form *f, const char *path, const char *metadata)
{
    static const char *const names[TD_N_DTYPES] = { [TD_F32] = "F32", [TD_BF16] = "BF16", [TD_F16] = "F16",
                                                    [TD_I8] = "I8", [TD_U8] = "U8", [TD_I32] = "I32",
                                                    [TD_F8_E4M3] = "F8_E4M3", [TD_F8_E5M2] = "F8_E5M2",
                                                    [TD_F8_E8M0] = "F8_E8M0" };
    size_t size = 400 * (size_t)(f->n + 1) + (metadata ? strlen(metadata) : 0), n = 0, at = 0;
    char *header = malloc(size);
    FILE *file = fopen(path, "wb");
    uint64_t length;
    int ok = header && file;

    n += (size_t)snprintf(header + n, size - n, "{\"__metadata__\":%s", metadata ? metadata : "{}");
    for (int i = 0; i < f->n; i++) {
        const FormTensor *t = &f->t[i];

        n += (size_t)snprintf(header + n, size - n, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[", t->name, names[t->dtype]);
        for (int d = 0; d < t->n_dims; d++)
            n += (size_t)snprintf(header + n, size - n, "%s%lld", d ? "," : "", (long long)t->shape[d]);
        n += (size_t)snprintf(header + n, size - n, "],\"data_offsets\":[%zu,%zu]}", at, at + t->bytes);
        at += t->bytes;
    }
    n += (size_t)snprintf(header + n, size - n, "}");
    length = n;
    ok = ok && fwrite(&length, 1, 8, file) == 8 && fwrite(header, 1, n, file) == n;
    for (int i = 0; i < f->n && ok; i++)
        ok = fwrite(f->t[i].data, 1, f->t[i].bytes, file) == f->t[i].bytes;
    ok = file && fclose(file) == 0 && ok;
    free(header);
    return CHECK(ok) ? 0 : -1;
}

/* in so many shards with their index. dir/stem: with a slash at the end of dir, or "" */
static inline int form_write_shards(const Form *f, const char *dir, const char *stem, int n_shards)
{
    size_t n = 0, size = 500 * (size_t)(f->n + 1);
    char path[400], *index = malloc(size);
    int ok = index != NULL;
    FILE *file;

    n += (size_t)snprintf(index, size, "{\"metadata\":{\"total_size\":1},\"weight_map\":{");
    for (int s = 0; s < n_shards; s++) {
        int from = f->n * s / n_shards;
        Form part = { f->t + from, f->n * (s + 1) / n_shards - from };

        for (int i = 0; i < part.n; i++)
            n += (size_t)snprintf(index + n, size - n, "%s\"%s\":\"%s-0000%d-of-0000%d.safetensors\"",
                                  from + i ? "," : "", part.t[i].name, stem, s + 1, n_shards);
        snprintf(path, sizeof(path), "%s/%s-0000%d-of-0000%d.safetensors", dir, stem, s + 1, n_shards);
        ok = ok && form_write(&part, path, NULL) >= 0;
    }
    n += (size_t)snprintf(index + n, size - n, "}}");
    snprintf(path, sizeof(path), "%s/%s.safetensors.index.json", dir, stem);
    file = fopen(path, "wb");
    ok = file && fwrite(index, 1, n, file) == n && fclose(file) == 0 && ok;
    free(index);
    return CHECK(ok) ? 0 : -1;
}

static inline void form_gguf_text(FILE *file, const char *s, size_t n)
{
    uint64_t length = n;

    fwrite(&length, 1, 8, file);
    fwrite(s, 1, n, file);
}

/* pairs: n_pairs key-value pairs as the file has them, size bytes */
static inline int form_write_gguf(const Form *f, const char *path, const uint8_t *pairs, size_t size, uint64_t n_pairs)
{
    static const uint32_t ids[TD_N_DTYPES] = {
        [TD_F32] = 0, [TD_F16] = 1, [TD_BF16] = 30, [TD_Q4_0] = 2, [TD_Q4_1] = 3, [TD_Q5_0] = 6, [TD_Q5_1] = 7,
        [TD_Q8_0] = 8, [TD_Q2_K] = 10, [TD_Q3_K] = 11, [TD_Q4_K] = 12, [TD_Q5_K] = 13, [TD_Q6_K] = 14,
        [TD_IQ4_NL] = 20, [TD_IQ4_XS] = 23,
    };
    static const uint8_t zeros[32];
    uint64_t counts[2] = { (uint64_t)f->n, n_pairs }, at = 0;
    FILE *file = fopen(path, "wb");

    if (!CHECK(file != NULL))
        return -1;
    fwrite("GGUF\3\0\0\0", 1, 8, file);
    fwrite(counts, 8, 2, file);
    if (size)
        fwrite(pairs, 1, size, file);
    for (int i = 0; i < f->n; i++) {
        const FormTensor *t = &f->t[i];
        uint32_t n_dims = (uint32_t)t->n_dims;

        form_gguf_text(file, t->name, strlen(t->name));
        fwrite(&n_dims, 4, 1, file);
        for (int d = t->n_dims - 1; d >= 0; d--)
            fwrite(&t->shape[d], 8, 1, file);
        fwrite(&ids[t->dtype], 4, 1, file);
        fwrite(&at, 8, 1, file);
        at += (t->bytes + 31) / 32 * 32;
    }
    fwrite(zeros, 1, (size_t)(-ftell(file) & 31), file);
    for (int i = 0; i < f->n; i++) {
        fwrite(f->t[i].data, 1, f->t[i].bytes, file);
        fwrite(zeros, 1, -f->t[i].bytes & 31, file);
    }
    return CHECK(!ferror(file) && fclose(file) == 0) ? 0 : -1;
}

/* whether these files quantise it: a matrix of a block, but not proj_l, relative positions and modulations */
static inline int form_is_linear(const FormTensor *t)
{
    size_t n = strlen(t->name);

    return strstr(t->name, "blocks.") && n > 7 && !strcmp(t->name + n - 7, ".weight") && t->n_dims == 2 &&
           t->dtype == TD_BF16 && !strstr(t->name, "proj_l") && !strstr(t->name, "pos_embedding");
}

/* root mean square of the difference of all linears, as a share of the original */
static inline double form_distance(const Form *a, Form *b)
{
    double d = 0, s = 0;

    for (int i = 0; i < a->n; i++) {
        const FormTensor *x = &a->t[i], *y = form_find(b, x->name);

        if (!form_is_linear(x) || !CHECK(y && y->bytes == x->bytes && y->dtype == TD_BF16))
            continue;
        for (size_t k = 0; k < x->bytes / 2; k++) {
            double u = td_bf16_to_f32(((uint16_t *)x->data)[k]), v = td_bf16_to_f32(((uint16_t *)y->data)[k]);

            d += (u - v) * (u - v);
            s += u * u;
        }
    }
    return sqrt(d / s);
}

/* tdinfo of a file or directory: complete, and with these words */
static inline void form_tdinfo(const char *path, const char *words)
{
    const char *build = getenv("TD_BUILD");
    char line[600], out[4096];
    size_t n;
    FILE *f;

    snprintf(line, sizeof(line), "%s/tdinfo --summary %s 2>&1", build ? build : "build", path);
    f = popen(line, "r");
    if (!CHECK(f != NULL))
        return;
    n = fread(out, 1, sizeof(out) - 1, f);
    out[n] = 0;
    if (!CHECK_INT(pclose(f), 0) || !CHECK(strstr(out, words) && strstr(out, "complete")))
        printf("  %s: want \"%s\" and complete: %s\n", path, words, out);
}

/* ---- values ---- */

static inline uint8_t form_fp8(float v, enum TDDtype type)
{
    int best = 0, top = type == TD_F8_E4M3 ? 0x7e : 0x7b;

    for (int lo = 0, hi = top; lo <= hi;) {      /* codes of one sign are in the order of their values */
        int mid = (lo + hi) / 2;
        float x = type == TD_F8_E4M3 ? td_e4m3_to_f32((uint8_t)mid) : td_f16_to_f32((uint16_t)(mid << 8));

        best = mid;
        if (x == fabsf(v))
            break;
        if (x < fabsf(v))
            lo = mid + 1;
        else
            hi = mid - 1;
        best = lo > 0 ? lo - 1 : 0;
    }
    if (best < top) {
        float a = type == TD_F8_E4M3 ? td_e4m3_to_f32((uint8_t)best) : td_f16_to_f32((uint16_t)(best << 8));
        float b = type == TD_F8_E4M3 ? td_e4m3_to_f32((uint8_t)(best + 1)) : td_f16_to_f32((uint16_t)((best + 1) << 8));

        best += fabsf(v) - a > b - fabsf(v);
    }
    return (uint8_t)(best | (v < 0 ? 0x80 : 0));
}

/* scales: none; one, as [] or [1]; of rows, as [N,1] or [N] */
enum FormScale { FORM_PLAIN, FORM_TENSOR, FORM_TENSOR_1, FORM_ROWS, FORM_ROWS_1 };

/* Every linear to 8 bits. scale_name: of its scale; "scale_weight", ... comfy: JSON of L.comfy_quant, or NULL;
 *  rotated: the inputs first, in such groups */
static inline void form_to_8_bits(Form *f, enum TDDtype type, enum FormScale scales, const char *scale_name,
                                  const char *comfy, int rotated)
{
    float top = type == TD_I8 ? 127 : type == TD_F8_E4M3 ? 448 : 57344;

    for (int i = 0, n = f->n; i < n; i++) {
        FormTensor *t = &f->t[i];
        int64_t rows = t->shape[0], k = t->shape[1], per = scales >= FORM_ROWS ? k : rows * k;
        float *x, *scale;
        uint8_t *code;
        char name[300];

        if (!form_is_linear(t))
            continue;
        x = malloc((size_t)(rows * k) * sizeof(*x));
        scale = malloc((size_t)rows * sizeof(*scale));
        code = calloc(1, (size_t)(rows * k) + 1);
        for (int64_t e = 0; e < rows * k; e++)
            x[e] = td_bf16_to_f32(((uint16_t *)t->data)[e]);
        for (int64_t e = 0; rotated && e < rows * k; e += rotated)
            td_rotate(x + e, rotated);
        for (int64_t at = 0; at < rows * k; at += per) {
            float most = 1e-5f, s;

            for (int64_t e = at; e < at + per; e++)
                most = fmaxf(most, fabsf(x[e]));
            s = scale[at / per] = scales == FORM_PLAIN ? 1 : most / top;
            for (int64_t e = at; e < at + per; e++)
                code[e] = type == TD_I8 ? (uint8_t)(int8_t)rintf(x[e] / s) : form_fp8(x[e] / s, type);
        }
        free(t->data);
        t->data = code;
        t->dtype = type;
        t->bytes = (size_t)(rows * k);
        snprintf(name, sizeof(name), "%.*s%.40s", (int)strlen(t->name) - 6, t->name, scale_name ? scale_name : "");
        if (scales != FORM_PLAIN)
            form_add(f, name, TD_F32, scales == FORM_ROWS ? 2 : scales != FORM_TENSOR,
                     (int64_t[]){ scales == FORM_TENSOR_1 ? 1 : rows, 1 }, scale);
        if (comfy) {
            strcpy(strrchr(name, '.'), ".comfy_quant");
            form_add(f, name, TD_U8, 1, (int64_t[]){ (int64_t)strlen(comfy) }, comfy);
        }
        free(x);
        free(scale);
    }
}

/* what is no linear from bf16 to f16, as ComfyUI's files have it; what f16 cannot hold becomes 0 */
static inline void form_halve(Form *f)
{
    for (int i = 0; i < f->n; i++) {
        uint16_t *v = (uint16_t *)f->t[i].data;

        if (f->t[i].dtype != TD_BF16 || form_is_linear(&f->t[i]))
            continue;
        f->t[i].dtype = TD_F16;
        for (size_t k = 0; k < f->t[i].bytes / 2; k++) {
            int e = (v[k] >> 7 & 255) - 112;

            v[k] = (uint16_t)((v[k] & 0x8000) | (e > 0 && e < 31 ? e << 10 | (v[k] & 127) << 3 : 0));
        }
    }
}

/* what is f16 to f32, of the same values */
static inline void form_widen(Form *f)
{
    for (int i = 0; i < f->n; i++) {
        FormTensor *t = &f->t[i];
        float *wide = malloc(2 * t->bytes + 1);

        for (size_t k = 0; t->dtype == TD_F16 && k < t->bytes / 2; k++)
            wide[k] = td_f16_to_f32(((uint16_t *)t->data)[k]);
        if (t->dtype != TD_F16) {
            free(wide);
            continue;
        }
        free(t->data);
        t->data = (uint8_t *)wide;
        t->bytes *= 2;
        t->dtype = TD_F32;
    }
}

/* every linear with scales of its inputs, as AWQ has them: powers of 2, by which its columns are divided */
static inline void form_smooth(Form *f)
{
    for (int i = 0, n = f->n; i < n; i++) {
        FormTensor *t = &f->t[i];
        int64_t rows = t->shape[0], k = t->shape[1];
        uint16_t *scale, *x = (uint16_t *)t->data;
        char name[300];

        if (!form_is_linear(t))
            continue;
        scale = malloc((size_t)k * sizeof(*scale));
        for (int64_t c = 0; c < k; c++) {
            float s = ldexpf(1, (int)((c * 7 + i) % 5) - 2);

            scale[c] = td_f32_to_bf16(s);
            for (int64_t r = 0; r < rows; r++)
                x[r * k + c] = td_f32_to_bf16(td_bf16_to_f32(x[r * k + c]) / s);
        }
        snprintf(name, sizeof(name), "%.*spre_quant_scale", (int)strlen(t->name) - 6, t->name);
        form_add(f, name, TD_BF16, i % 2 + 1, i % 2 ? (int64_t[]){ 1, k } : &k, scale);
        free(scale);
    }
}

/* Every linear to a group format of ComfyUI: mxfp8, or nvfp4 where `fp4`, with the scales swizzled. */
static inline void form_to_groups(Form *f, int fp4)
{
    static const float e2m1[8] = { 0, 0.5f, 1, 1.5f, 2, 3, 4, 6 };
    const char *json = fp4 ? "{\"format\":\"nvfp4\"}" : "{\"format\":\"mxfp8\"}";
    int group = fp4 ? 16 : 32;

    for (int i = 0, n = f->n; i < n; i++) {
        FormTensor *t = &f->t[i];
        int64_t rows = t->shape[0], k = t->shape[1], groups = k / group, wide = (groups + 3) / 4;
        int64_t shape[2] = { (rows + 127) / 128 * 128, wide * 4 };
        uint8_t *code, *scale;
        float all = 0x1p-9f;
        char name[300];

        if (!form_is_linear(t))
            continue;
        code = calloc(1, (size_t)(rows * k) + 1);
        scale = calloc(1, (size_t)(shape[0] * shape[1]));
        for (int64_t r = 0; r < rows; r++)
            for (int64_t g = 0; g < groups; g++) {
                /* a tile of 128 rows and 4 groups is 32 lines of 16: 4 rows, 32 apart, of 4 groups */
                uint8_t *to = scale + (r / 128 * wide + g / 4) * 512 + r % 32 * 16 + r % 128 / 32 * 4 + g % 4;
                const uint16_t *x = (const uint16_t *)t->data + r * k + g * group;
                float most = 1e-9f, s;

                for (int e = 0; e < group; e++)
                    most = fmaxf(most, fabsf(td_bf16_to_f32(x[e])));
                *to = fp4 ? form_fp8(most / 6 / all, TD_F8_E4M3) : (uint8_t)(127 + (int)ceilf(log2f(most / 448)));
                s = fp4 ? td_e4m3_to_f32(*to) * all : ldexpf(1, *to - 127);
                for (int e = 0; e < group; e++) {
                    float v = td_bf16_to_f32(x[e]) / (s > 0 ? s : 1);
                    int64_t at = r * k + g * group + e;
                    int best = 0;

                    for (int c = 1; c < 8; c++)
                        best = fabsf(fabsf(v) - e2m1[c]) < fabsf(fabsf(v) - e2m1[best]) ? c : best;
                    if (fp4)                     /* the first of two values is in the high bits */
                        code[at / 2] |= (uint8_t)((best | (v < 0 ? 8 : 0)) << (at % 2 ? 0 : 4));
                    else
                        code[at] = form_fp8(v, TD_F8_E4M3);
                }
            }
        free(t->data);
        t->data = code;
        t->dtype = fp4 ? TD_U8 : TD_F8_E4M3;
        t->shape[1] = fp4 ? k / 2 : k;
        t->bytes = (size_t)(rows * t->shape[1]);
        snprintf(name, sizeof(name), "%.*sweight_scale", (int)strlen(t->name) - 6, t->name);
        form_add(f, name, fp4 ? TD_F8_E4M3 : i % 2 ? TD_U8 : TD_F8_E8M0, 2, shape, scale);
        if (fp4) {
            strcat(name, "_2");
            form_add(f, name, TD_F32, 0, NULL, &all);
        }
        strcpy(strrchr(name, '.'), ".comfy_quant");
        form_add(f, name, TD_U8, 1, (int64_t[]){ (int64_t)strlen(json) }, json);
        free(scale);
    }
}

/* Blocks of any bytes, with scales that bring the values to about the size of the weights that they replace. */
static inline void form_random_blocks(FormTensor *t, enum TDDtype type, uint32_t seed)
{
    static const int scales[TD_N_DTYPES][2] = { [TD_Q4_1] = { 0, 2 }, [TD_Q5_1] = { 0, 2 }, [TD_Q2_K] = { 80, 82 },
                                                [TD_Q3_K] = { 108, 108 }, [TD_Q4_K] = { 0, 2 }, [TD_Q5_K] = { 0, 2 },
                                                [TD_Q6_K] = { 208, 208 } };
    int64_t n = td_shape_count(t->shape, t->n_dims);
    size_t size = td_dtype_size(type);
    float *x = malloc((size_t)n * sizeof(*x));
    double was = 0, is = 0;
    int exponent = 15;

    for (int64_t i = 0; i < n; i++)
        was += pow(td_bf16_to_f32(((uint16_t *)t->data)[i]), 2);
    t->dtype = type;
    t->bytes = td_dtype_bytes(type, n);
    free(t->data);
    t->data = malloc(t->bytes);
    for (size_t i = 0; i < t->bytes; i++) {
        seed = seed * 1664525 + 1013904223;
        t->data[i] = (uint8_t)(seed >> 24);
    }
    for (int pass = 0; pass < 2; pass++) {       /* with scales of 1, then with the power of 2 that it takes */
        for (size_t b = 0; b < t->bytes; b += size)
            for (int k = 0; k < 2; k++) {
                t->data[b + (size_t)scales[type][k]] = 0;
                t->data[b + (size_t)scales[type][k] + 1] = (uint8_t)(exponent << 2);
            }
        td_blocks_to_f32(x, t->data, type, n);
        for (int64_t i = 0; i < n && !pass; i++)
            is += x[i] * x[i];
        exponent = 15 + (int)lrint(log2(sqrt(was / is)));
        exponent = exponent < 1 ? 1 : exponent;
    }
    free(x);
}

/* Every linear to Q8_0 as its writers do it, but for the scale's rounding up to a power of 2. */
static inline void form_to_q8_0(Form *f)
{
    for (int i = 0; i < f->n; i++) {
        FormTensor *t = &f->t[i];
        int64_t n = td_shape_count(t->shape, t->n_dims);
        uint8_t *out;

        if (!form_is_linear(t))
            continue;
        out = calloc(1, td_dtype_bytes(TD_Q8_0, n));
        for (int64_t b = 0; b < n / 32; b++) {
            const uint16_t *x = (const uint16_t *)t->data + 32 * b;
            float most = 0;
            int e;

            for (int k = 0; k < 32; k++)
                most = fmaxf(most, fabsf(td_bf16_to_f32(x[k])));
            e = most > 0 ? (int)ceilf(log2f(most / 127)) : 0;
            e = e < -14 ? -14 : e;
            out[34 * b + 1] = (uint8_t)((e + 15) << 2);
            for (int k = 0; k < 32; k++)
                out[34 * b + 2 + k] = (uint8_t)(int8_t)rintf(ldexpf(td_bf16_to_f32(x[k]), -e));
        }
        free(t->data);
        t->data = out;
        t->dtype = TD_Q8_0;
        t->bytes = td_dtype_bytes(TD_Q8_0, n);
    }
}

#endif /* FORMS_H */
