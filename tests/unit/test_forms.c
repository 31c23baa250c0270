/* SPDX-License-Identifier: BSD-2-Clause
 * Every form of weight files that is read, made of a small model: its clip equals that of a file of plain bf16 that has
 * the same values, bit for bit, and its values are as near to the original ones as the form allows. On a GPU
 * (TD_TEST_BACKEND=cuda) as well, which makes the values of most forms itself. */
#include "forms.h"
#include "golden.h"

enum { W = 32, H = 32, N = 5, BYTES = W * H * 3 * N };

#define DIT "TurboWan2.1-T2V-1.3B-480P.safetensors"

static char original[256];                       /* the directory of the model as tdsynth makes it */

/* one clip of the original with another transformer */
static int dit_clip(const char *dit, enum TDQuant quant, enum TDQuant want, uint8_t *rgb)
{
    TDContext *c = NULL;
    TDSettings s;
    TDParams p;
    TDInfo info;
    Seen seen;
    int ret;

    small_settings(&s, &seen, original);
    small_params(&p);
    s.backend = golden_backend();
    s.dit = dit;
    s.quant = quant;
    ret = td_open(&c, &s);
    if (ret >= 0 && CHECK_INT(td_info(c, &info), 0))
        CHECK_INT(info.quant, want);
    if (ret >= 0 && (ret = td_start(c, &p)) >= 0)
        ret = read_clip(c, rgb);
    CHECK_STR(seen.error, "");
    td_close(&c);
    return ret;
}

/* a file of few bits against plain bf16 of its values */
static void check_clips_of(const char *path)
{
    static uint8_t a[BYTES], b[BYTES];
    char plain[256];
    Form is;

    if (form_read(&is, path, 1) < 0)
        return;
    CHECK_INT(form_write(&is, small_path(plain, "plain.safetensors"), NULL), 0);
    form_free(&is);
    CHECK_INT(dit_clip(path, TD_QUANT_NONE, TD_QUANT_NONE, a), N);
    CHECK_INT(dit_clip(plain, TD_QUANT_NONE, TD_QUANT_NONE, b), N);
    CHECK(!memcmp(a, b, BYTES));
    /* 8 bits or less: int8, unless somebody says otherwise */
    CHECK_INT(dit_clip(path, TD_QUANT_AUTO, TD_QUANT_INT8, a), N);
    CHECK_INT(dit_clip(plain, TD_QUANT_INT8, TD_QUANT_INT8, b), N);
    CHECK(!memcmp(a, b, BYTES));
}

/* the same; error: what its values may be from the original ones */
static void check_values_of(const char *path, double error)
{
    char from[256];
    Form was, is;

    if (form_read(&is, path, 1) < 0 || form_read(&was, small_path(from, "own/" DIT), 0) < 0)
        return;
    if (!CHECK_NEAR(form_distance(&was, &is), error, 0.15 * error))
        printf("  %s\n", path);
    form_free(&was);
    form_free(&is);
    check_clips_of(path);
}

static void test_8_bits(void)
{
    static const struct {
        const char *name;
        enum TDDtype type;
        enum FormScale scales;
        const char *scale_name, *comfy, *metadata;
        int rotated;
        double error;
    } forms[] = {
        { "fp8 e4m3, plain", TD_F8_E4M3, FORM_PLAIN, NULL, NULL, NULL, 0, 0.027 },
        { "fp8 e5m2, plain", TD_F8_E5M2, FORM_PLAIN, NULL, NULL, NULL, 0, 0.053 },
        { "fp8 e4m3, scale_weight", TD_F8_E4M3, FORM_TENSOR, "scale_weight", NULL, NULL, 0, 0.0267 },
        { "fp8 e4m3, scale_weight of [1], behind a prefix", TD_F8_E4M3, FORM_TENSOR_1, "scale_weight", NULL, NULL, 0,
          0.0267 },
        { "fp8 e5m2, comfy_quant", TD_F8_E5M2, FORM_TENSOR, "weight_scale", "{\"format\":\"float8_e5m2\"}", NULL, 0,
          0.053 },
        { "fp8 e4m3, comfy_quant", TD_F8_E4M3, FORM_TENSOR, "weight_scale", "{\"format\":\"float8_e4m3fn\"}", NULL, 0,
          0.0267 },
        { "fp8 e4m3, _quantization_metadata", TD_F8_E4M3, FORM_TENSOR, "weight_scale", NULL,
          "{\"_quantization_metadata\":\"{\\\"layers\\\":{\\\"blocks.0.ffn.0\\\":"
          "{\\\"format\\\":\\\"float8_e4m3fn\\\"} }}\"}", 0, 0.0267 },
        { "fp8 e4m3, rows", TD_F8_E4M3, FORM_ROWS, "weight_scale", NULL, NULL, 0, 0.0263 },
        { "int8, rows", TD_I8, FORM_ROWS, "weight_scale", NULL, NULL, 0, 0.0065 },
        { "int8, one scale", TD_I8, FORM_TENSOR, "weight_scale", "{\"format\":\"int8_tensorwise\"}", NULL, 0, 0.0077 },
        { "int8, rows, rotated", TD_I8, FORM_ROWS, "weight_scale",
          "{\"format\":\"int8_tensorwise\",\"convrot\":true,\"convrot_groupsize\":64}", NULL, 64, 0.0070 },
        { "int8, rows as [N], rotated", TD_I8, FORM_ROWS_1, "weight_scale",
          "{\"format\":\"int8_tensorwise\",\"convrot\":true,\"convrot_groupsize\":64}", NULL, 64, 0.0070 },
        { "int8, rows, rotated, older", TD_I8, FORM_ROWS, "weight_scale", "{\"params\":{\"convrot\":true}}", NULL, 256,
          0.0070 },
    };
    char from[256], to[256];
    Form f;

    for (size_t i = 0; i < sizeof(forms) / sizeof(*forms); i++) {
        test_begin(forms[i].name);
        if (form_read(&f, small_path(from, "own/" DIT), 0) < 0)
            return;
        form_to_8_bits(&f, forms[i].type, forms[i].scales, forms[i].scale_name, forms[i].comfy, forms[i].rotated);
        if (!strcmp(forms[i].name, "fp8 e4m3, scale_weight"))    /* a marker without values, and what is not needed */
            form_add(&f, "scaled_fp8", TD_F8_E4M3, 1, (int64_t[]){ 0 }, NULL),
            form_add(&f, "blocks.0.ffn.0.scale_input", TD_F32, 0, NULL, NULL);
        if (forms[i].scales == FORM_TENSOR_1)    /* one of another type and size */
            form_add(&f, "scaled_fp8", TD_F32, 1, (int64_t[]){ 2 }, NULL), form_prefix(&f, "model.diffusion_model.");
        if (!strcmp(forms[i].name, "fp8 e5m2, comfy_quant"))
            form_add(&f, "blocks.0.ffn.0.input_scale", TD_F32, 0, NULL, NULL);
        if (form_write(&f, small_path(to, "form.safetensors"), forms[i].metadata) >= 0)
            check_values_of(to, forms[i].error);
        form_tdinfo(to, forms[i].type == TD_I8 ? " i8, SLA" : forms[i].type == TD_F8_E4M3 ? "f8_e4m3" : "f8_e5m2");
        form_free(&f);
    }
}

/* ComfyUI's files of fp8 have f16 where others have bf16: the same as f32 of these values */
static void test_halves(void)
{
    static uint8_t a[BYTES], b[BYTES];
    char from[256], to[256], wide[256];
    Form f;

    test_begin("fp8 e4m3, all else f16");
    if (form_read(&f, small_path(from, "own/" DIT), 0) < 0)
        return;
    form_to_8_bits(&f, TD_F8_E4M3, FORM_TENSOR, "scale_weight", NULL, 0);
    form_halve(&f);
    CHECK_INT(form_find(&f, "head.head.weight")->dtype, TD_F16);
    CHECK_INT(form_write(&f, small_path(to, "form.safetensors"), NULL), 0);
    form_widen(&f);
    CHECK_INT(form_find(&f, "head.head.weight")->dtype, TD_F32);
    CHECK_INT(form_write(&f, small_path(wide, "wide.safetensors"), NULL), 0);
    form_free(&f);
    for (int quant = 0; quant < 2; quant++) {
        CHECK_INT(dit_clip(to, quant ? TD_QUANT_AUTO : TD_QUANT_NONE, quant ? TD_QUANT_INT8 : TD_QUANT_NONE, a), N);
        CHECK_INT(dit_clip(wide, quant ? TD_QUANT_AUTO : TD_QUANT_NONE, quant ? TD_QUANT_INT8 : TD_QUANT_NONE, b), N);
        CHECK(!memcmp(a, b, BYTES));
    }
    form_tdinfo(to, "f8_e4m3, SLA");
}

static void test_groups(void)
{
    char from[256], to[256];
    Form f;

    for (int fp4 = 0; fp4 < 2; fp4++) {
        test_begin(fp4 ? "nvfp4" : "mxfp8");
        if (form_read(&f, small_path(from, "own/" DIT), 0) < 0)
            return;
        form_to_groups(&f, fp4);
        if (form_write(&f, small_path(to, "form.safetensors"), NULL) >= 0)
            check_values_of(to, fp4 ? 0.095 : 0.027);
        form_tdinfo(to, fp4 ? "fp4, SLA" : "f8_e4m3, SLA");
        form_free(&f);
    }
}

/* scales of inputs beside weights of any kind: ComfyUI's nvfp4 has them, as AWQ found them */
static void test_columns(void)
{
    static const char *const names[] = { "bf16 with scales of inputs", "fp8 e4m3, rows, with scales of inputs",
                                         "int8, one scale, with scales of inputs", "mxfp8 with scales of inputs",
                                         "nvfp4 with scales of inputs" };
    static uint8_t a[BYTES], b[BYTES];
    char from[256], to[256];
    Form f;

    small_path(from, "own/" DIT);
    for (int kind = 0; kind < 5; kind++) {
        test_begin(names[kind]);
        if (form_read(&f, from, 0) < 0)
            return;
        form_smooth(&f);
        if (kind == 1 || kind == 2)
            form_to_8_bits(&f, kind == 1 ? TD_F8_E4M3 : TD_I8, kind == 1 ? FORM_ROWS : FORM_TENSOR, "weight_scale",
                           NULL, 0);
        if (kind > 2)
            form_to_groups(&f, kind == 4);
        CHECK_INT(form_write(&f, small_path(to, "form.safetensors"), NULL), 0);
        form_free(&f);
        if (kind) {
            check_clips_of(to);
        } else {
            CHECK_INT(dit_clip(to, TD_QUANT_NONE, TD_QUANT_NONE, a), N);
            CHECK_INT(dit_clip(from, TD_QUANT_NONE, TD_QUANT_NONE, b), N);
            CHECK(!memcmp(a, b, BYTES));
            CHECK_INT(dit_clip(to, TD_QUANT_INT8, TD_QUANT_INT8, a), N);
            CHECK_INT(dit_clip(from, TD_QUANT_INT8, TD_QUANT_INT8, b), N);
            CHECK(!memcmp(a, b, BYTES));
        }
        if (kind == 1)
            check_values_of(to, 0.0263);
        form_tdinfo(to, kind == 4 ? "fp4, SLA" : kind == 2 ? " i8, SLA" : kind ? "f8_e4m3, SLA" : "not quantised, SLA");
    }
}

/* ---- GGUF ---- */

static void test_gguf(void)
{
    char from[256], to[256], name[64];
    Form f;

    for (int type = TD_Q4_0; type <= TD_IQ4_XS; type++) {
        snprintf(name, sizeof(name), "GGUF: %s, two matrices in q6_k", td_dtype_name(type));
        test_begin(name);
        if (form_read(&f, small_path(from, "own/" DIT), 0) < 0)
            return;
        for (int i = 0; i < f.n; i++)
            if (form_is_linear(&f.t[i]))
                form_random_blocks(&f.t[i], strstr(f.t[i].name, "self_attn.v") || strstr(f.t[i].name, "ffn.2")
                                                ? TD_Q6_K : (enum TDDtype)type, (uint32_t)i);
        if (form_write_gguf(&f, small_path(to, "form.gguf"), NULL, 0, 0) >= 0)
            check_clips_of(to);
        form_tdinfo(to, td_dtype_name(type));
        form_free(&f);
    }

    test_begin("GGUF: q8_0 of the model's weights");
    if (form_read(&f, small_path(from, "own/" DIT), 0) < 0)
        return;
    form_to_q8_0(&f);
    if (form_write_gguf(&f, small_path(to, "form.gguf"), NULL, 0, 0) >= 0)
        check_values_of(to, 0.0078);
    form_free(&f);
}

/* as ComfyUI-GGUF writes it: behind a prefix, patches f32 of five dimensions, what is not quantised f16 */
static void test_gguf_prefix(void)
{
    char from[256], to[256], plain[256];
    static uint8_t a[BYTES], b[BYTES];
    Form f, is;

    test_begin("GGUF: behind a prefix, f32 patches of 5 dimensions, f16");
    if (form_read(&f, small_path(from, "own/" DIT), 0) < 0)
        return;
    for (int i = 0; i < f.n; i++) {
        FormTensor *t = &f.t[i];
        int64_t n = td_shape_count(t->shape, t->n_dims);

        if (t->dtype == TD_BF16 && !strcmp(t->name, "patch_embedding.weight")) {
            float *wide = malloc((size_t)n * sizeof(*wide));

            for (int64_t k = 0; k < n; k++)
                wide[k] = td_bf16_to_f32(((uint16_t *)t->data)[k]);
            free(t->data);
            *t = (FormTensor){ .dtype = TD_F32, .n_dims = 5, .shape = { 256, 16, 1, 2, 2 }, .data = (uint8_t *)wide,
                               .bytes = (size_t)n * sizeof(*wide) };
            strcpy(t->name, "patch_embedding.weight");
        } else if (form_is_linear(t) && strstr(t->name, "cross_attn.k.")) {
            t->dtype = TD_F16;                   /* of the same bits: other values, all finite */
            for (int64_t k = 0; k < n; k++)
                ((uint16_t *)t->data)[k] &= 0xbfff;
        } else if (form_is_linear(t)) {
            form_random_blocks(t, TD_Q8_0, (uint32_t)i);
        }
    }
    form_prefix(&f, "model.diffusion_model.");
    if (form_write_gguf(&f, small_path(to, "form.gguf"), NULL, 0, 0) >= 0 && form_read(&is, to, 1) >= 0) {
        CHECK_INT(form_write(&is, small_path(plain, "plain.safetensors"), NULL), 0);
        form_free(&is);
        CHECK_INT(dit_clip(to, TD_QUANT_NONE, TD_QUANT_NONE, a), N);
        CHECK_INT(dit_clip(plain, TD_QUANT_NONE, TD_QUANT_NONE, b), N);
        CHECK(!memcmp(a, b, BYTES));
    }
    form_tdinfo(to, "q8_0");
    form_free(&f);
}

/* what is not quantised, in the types and shapes that writers of GGUF choose; frames as of the original */
static void test_gguf_plain(void)
{
    static const char pair[] = "\x2e\0\0\0\0\0\0\0" "comfy.gguf.orig_shape.time_projection.1.weight"
                               "\x09\0\0\0\x05\0\0\0\x02\0\0\0\0\0\0\0\0\x06\0\0\0\x01\0\0";
    static uint8_t a[BYTES], b[BYTES];
    char from[256], to[256];
    FormTensor *t;
    Form f;

    test_begin("GGUF: bf16, patches of 4 dimensions, and a shape that the writer had changed");
    if (form_read(&f, small_path(from, "own/" DIT), 0) < 0)
        return;
    t = form_find(&f, "patch_embedding.weight");
    if (!CHECK(t && t->n_dims >= 2))
        return;
    t->n_dims = 4;
    memcpy(t->shape, (int64_t[]){ 256 * 16, 1, 2, 2 }, 4 * sizeof(*t->shape));
    t = form_find(&f, "time_projection.1.weight");
    if (!CHECK(t && t->shape[0] == 1536 && t->shape[1] == 256))
        return;
    t->shape[0] = 384;
    t->shape[1] = 1024;
    if (form_write_gguf(&f, small_path(to, "form.gguf"), (const uint8_t *)pair, sizeof(pair) - 1, 1) >= 0) {
        CHECK_INT(dit_clip(to, TD_QUANT_AUTO, TD_QUANT_NONE, a), N);
        CHECK_INT(dit_clip(from, TD_QUANT_AUTO, TD_QUANT_NONE, b), N);
        CHECK(!memcmp(a, b, BYTES));
    }
    form_tdinfo(to, "not quantised");
    form_free(&f);
}

/* ---- what is refused ---- */

static void refuse(const Form *f, enum TDQuant quant, int err, const char *words)
{
    char path[256];
    TDContext *c = NULL;
    TDSettings s;
    Seen seen;

    if (form_write(f, small_path(path, "bad.safetensors"), NULL) < 0)
        return;
    small_settings(&s, &seen, original);
    s.dit = path;
    s.quant = quant;
    if (!check_error(&seen, td_open(&c, &s), TD_ERR(err), words))
        td_close(&c);
}

static void test_refused(void)
{
    static const struct { const char *json; int err; const char *words; } forms[] = {
        { "{\"format\":\"svdquant\"}", ENOTSUP, "blocks.0.ffn.2.comfy_quant: format 'svdquant' of i8 values, want f" },
        { "{\"format\":\"nvfp4\"}", ENOTSUP, "comfy_quant: format 'nvfp4', whose values are u8, of a weight of" },
        { "{\"format\":\"float8_e4m3fn\"}", ENOTSUP, "format 'float8_e4m3fn', whose values are f8_e4m3, of a" },
        { "{\"format\":8}", EBADMSG, "its format is no string" },
        { "{\"format\":", EBADMSG, ".safetensors: blocks.0.ffn.2.comfy_quant: JSON line 1" },
        { "{\"convrot\":true,\"convrot_groupsize\":128}", ENOTSUP, "groups of 128 rotated i8 inputs, of 256" },
        { "{\"convrot\":true,\"convrot_groupsize\":1024}", ENOTSUP, "groups of 1024 rotated i8 inputs, of 256" },
        { "{\"convrot\":true,\"convrot_groupsize\":0}", ENOTSUP, "groups of 0 rotated" },
        { "{\"convrot\":true,\"convrot_groupsize\":-256}", ENOTSUP, "groups of -256 rotated" },
        { "{\"convrot\":true,\"convrot_groupsize\":\"x\"}", ENOTSUP, "groups of 0 rotated" },
    };
    char from[256];
    float scale[256], nan = NAN;
    FormTensor *t;
    Form f;

    test_begin("what comfy_quant says and is not read");
    for (size_t i = 0; i < sizeof(forms) / sizeof(*forms); i++) {
        if (form_read(&f, small_path(from, "own/" DIT), 0) < 0)
            return;
        form_to_8_bits(&f, TD_I8, FORM_ROWS, "weight_scale", NULL, 0);
        form_add(&f, "blocks.0.ffn.2.comfy_quant", TD_U8, 1, (int64_t[]){ (int64_t)strlen(forms[i].json) },
                 forms[i].json);
        refuse(&f, TD_QUANT_AUTO, forms[i].err, forms[i].words);
        form_free(&f);
    }

    test_begin("scales that do not fit");
    if (form_read(&f, small_path(from, "own/" DIT), 0) < 0)
        return;
    form_to_8_bits(&f, TD_I8, FORM_ROWS, "weight_scale", NULL, 0);
    t = form_find(&f, "blocks.0.ffn.0.weight_scale");
    memcpy(scale, t->data, sizeof(scale));
    memcpy(t->data + 4 * 17, &nan, 4);
    refuse(&f, TD_QUANT_AUTO, EBADMSG, "blocks.0.ffn.0.weight_scale[17] is nan, want a finite value");
    memcpy(t->data, scale, t->bytes);
    t->shape[0] = 128;
    t->bytes = 512;
    refuse(&f, TD_QUANT_AUTO, EBADMSG, "blocks.0.ffn.0.weight_scale: 128 values, want 1 or 256");
    t->shape[0] = 1;
    t->shape[1] = 256;
    t->bytes = 1024;
    refuse(&f, TD_QUANT_AUTO, EBADMSG, "blocks.0.ffn.0.weight_scale: 256 values, want 1 or 256");
    t->dtype = TD_I8;
    t->bytes = 256;
    refuse(&f, TD_QUANT_AUTO, ENOTSUP, "blocks.0.ffn.0.weight_scale: dtype i8, want a float type");
    strcpy(t->name, "blocks.0.ffn.0.weight_something");
    refuse(&f, TD_QUANT_AUTO, ENOTSUP, "blocks.0.ffn.0.weight: dtype i8 without a scale, want a float type, or its");
    refuse(&f, TD_QUANT_NONE, ENOTSUP, "blocks.0.ffn.0.weight: dtype i8 without a scale, want a float type, or its");
    t->dtype = TD_F32;
    t->n_dims = 0;
    t->bytes = 4;
    strcpy(t->name, "blocks.0.ffn.0.weight_scale");
    form_add(&f, "blocks.0.ffn.0.scale_weight", TD_F32, 0, NULL, NULL);
    refuse(&f, TD_QUANT_AUTO, EBADMSG, "blocks.0.ffn.0.scale_weight and blocks.0.ffn.0.weight_scale, want one scale");
    strcpy(f.t[f.n - 1].name, "head.head.weight_scale");
    refuse(&f, TD_QUANT_AUTO, ENOTSUP, "head.head.weight_scale: a scale of bf16 values, want one of fp8 or int8");
    form_free(&f);

    test_begin("scales of inputs that do not fit");
    if (form_read(&f, small_path(from, "own/" DIT), 0) < 0)
        return;
    form_to_8_bits(&f, TD_I8, FORM_ROWS, "weight_scale", "{\"convrot\":true}", 256);
    t = form_add(&f, "blocks.0.ffn.0.pre_quant_scale", TD_F32, 1, (int64_t[]){ 255 }, NULL);
    refuse(&f, TD_QUANT_AUTO, EBADMSG, "ffn.0.pre_quant_scale: 255 values of f32, want one of a float type for each of "
           "256 inputs");
    t->shape[0] = 1024;
    t->dtype = TD_I8;
    t->bytes = 1024;
    t->data = realloc(t->data, 1024);
    refuse(&f, TD_QUANT_AUTO, EBADMSG, "ffn.0.pre_quant_scale: 1024 values of i8, want one");
    t->shape[0] = 256;
    t->dtype = TD_F32;
    refuse(&f, TD_QUANT_AUTO, ENOTSUP, "ffn.0.pre_quant_scale: scales of inputs that are rotated, which are not read");
    form_free(&f);
    if (form_read(&f, small_path(from, "own/" DIT), 0) < 0)
        return;
    t = form_add(&f, "blocks.0.ffn.0.pre_quant_scale", TD_F32, 1, (int64_t[]){ 256 }, NULL);
    memcpy(t->data + 4 * 3, &nan, 4);
    refuse(&f, TD_QUANT_AUTO, EBADMSG, "blocks.0.ffn.0.pre_quant_scale[3] is nan, want a finite value");
    for (int i = 0; i < 5; i++) {
        static const char *const endings[] = { "pre_quant_scale", "scale_weight", "weight_scale", "weight_scale_2",
                                               "weight_scale_inv" };
        char words[80];

        sprintf(t->name, "blocks.0.nothing.%s", endings[i]);
        sprintf(words, "nothing.%s: scales, and no weight beside them that has them", endings[i]);
        refuse(&f, TD_QUANT_AUTO, ENOTSUP, words);
    }
    form_free(&f);

    test_begin("scales of groups that do not fit");
    for (int fp4 = 0; fp4 < 2; fp4++) {
        if (form_read(&f, small_path(from, "own/" DIT), 0) < 0)
            return;
        form_to_groups(&f, fp4);
        t = form_find(&f, "blocks.0.ffn.0.weight_scale");
        t->data[0] = fp4 ? 0x7f : 0xff;
        refuse(&f, TD_QUANT_AUTO, EBADMSG, "blocks.0.ffn.0.weight_scale[0] is nan, want a finite value");
        t->shape[0] = 128;
        t->bytes = (size_t)(128 * t->shape[1]);
        refuse(&f, TD_QUANT_AUTO, EBADMSG, fp4 ? "weight_scale: 2048 values of f8_e4m3, want 4096 of f8_e4m3"
                                               : "weight_scale: 1024 values of f8_e8m0, want 2048 of f8_e8m0");
        t->dtype = TD_I8;
        refuse(&f, TD_QUANT_AUTO, EBADMSG, "values of i8, want");
        strcpy(t->name, "nothing");
        refuse(&f, TD_QUANT_AUTO, EBADMSG, " with no scales; want rows of groups of");
        form_free(&f);
    }
    if (form_read(&f, small_path(from, "own/" DIT), 0) < 0)
        return;
    form_to_groups(&f, 1);
    t = form_find(&f, "blocks.0.ffn.0.weight_scale_2");
    memcpy(t->data, &nan, 4);
    refuse(&f, TD_QUANT_AUTO, EBADMSG, "blocks.0.ffn.0.weight_scale_2[0] is nan");
    t->dtype = TD_I8;
    t->bytes = 1;
    refuse(&f, TD_QUANT_AUTO, EBADMSG, "weight_scale_2: 1 values of i8, want one of f32");
    form_free(&f);
}

static void count_hints(void *cookie, int level, const char *line)
{
    *(int *)cookie += level == TD_LOG_INFO && !strncmp(line, "load: ", 6) &&
                      strstr(line, " by stage, as it does not fit at once, ");
}

/* what does not fit at once: the load line says so. No word of quant=int8: its codes would be memory beside the file */
static void test_hint(void)
{
    static const struct { enum TDQuant quant; enum TDResidency residency; uint64_t limit; int n; } rows[] = {
        { TD_QUANT_NONE, TD_RESIDENT_AUTO, 1 << 20, 1 }, { TD_QUANT_INT8, TD_RESIDENT_AUTO, 1 << 20, 1 },
        { TD_QUANT_NONE, TD_RESIDENT_STAGE, 0, 0 },
    };
    char dit[256];

    test_begin("weights that do not fit at once");
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        TDContext *c = NULL;
        TDSettings s;
        Seen seen;
        int n = 0;

        small_settings(&s, &seen, original);
        s.dit = small_path(dit, "own/" DIT);
        s.quant = rows[i].quant;
        s.residency = rows[i].residency;
        s.max_bytes = rows[i].limit;
        s.logger = (TDLogger){ &n, count_hints, TD_LOG_INFO };
        CHECK_INT(td_open(&c, &s), 0);
        td_close(&c);
        CHECK_INT(n, rows[i].n);
    }
}

int main(void)
{
    test_begin("a model");
    if (small_model_make("own", "--dim=256 --ffn=256 --vae-dim=16") < 0)
        return test_end();
    small_path(original, "own");
    test_8_bits();
    test_halves();
    test_groups();
    test_columns();
    test_gguf();
    test_gguf_prefix();
    test_gguf_plain();
    test_refused();
    test_hint();
    small_model_remove();
    return test_end();
}
