/* SPDX-License-Identifier: BSD-2-Clause
 * Clips of a small model with LoRAs: the frames are those of a file that had them merged before, bit for bit, whatever
 * form the model's file has; they change from clip to clip as they are asked for. */
#include "files/lora.h"
#include "lora_files.h"

enum { W = 32, H = 32, N = 5, BYTES = W * H * 3 * N };

static char own[256];                            /* the model's directory */
static char lora_a[256], lora_b[256];            /* two LoRAs of it */
static struct { float *u, *v; int64_t n, k; } made[2][LORA_MODULES];

#define RANK 4
#define ALPHA 2

static void make_loras(void)
{
    char from[600], name[300], module[128];
    Form f, base;

    snprintf(from, sizeof(from), "%s/" LORA_DIT, own);
    if (form_read(&base, from, 0) < 0)
        return;
    for (int file = 0; file < 2; file++) {
        float alpha = ALPHA;

        f = (Form){ 0 };
        for (int i = 0; i < LORA_MODULES; i++) {
            FormTensor *t;

            snprintf(name, sizeof(name), "%s.weight", lora_module_name(module, i, LORA_OFFICIAL));
            t = form_find(&base, name);
            if (!strcmp(module, "patch_embedding"))    /* of another size for image to video */
                continue;
            made[file][i].n = t->shape[0];
            made[file][i].k = td_shape_count(t->shape, t->n_dims) / t->shape[0];
            snprintf(name, sizeof(name), "diffusion_model.%s.lora_up.weight", module);
            made[file][i].u = lora_tensor(&f, name, TD_BF16, made[file][i].n, RANK, 0.2f);
            snprintf(name, sizeof(name), "diffusion_model.%s.lora_down.weight", module);
            made[file][i].v = lora_tensor(&f, name, TD_BF16, RANK, made[file][i].k, 0.2f);
            snprintf(name, sizeof(name), "diffusion_model.%s.alpha", module);
            form_add(&f, name, TD_F32, 0, NULL, &alpha);
        }
        form_write(&f, small_path(file ? lora_b : lora_a, file ? "lora_b.safetensors" : "lora_a.safetensors"), NULL);
        form_free(&f);
    }
    form_free(&base);
}

/* the file at `from` with LoRAs of these strengths in its weights, as f32 or bf16 */
static void merge(const char *from, const char *to, const float strength[2], enum TDDtype dtype)
{
    char name[300], module[128];
    Seen seen = { 0 };
    TDLog log = { .out = { &seen, on_line, TD_LOG_WARNING } };
    TDCheckpoint *c = NULL;
    Form f;

    if (form_read(&f, from, 1) < 0 || !CHECK_INT(td_checkpoint_open(&c, from, &log), 0))
        return;
    for (int i = 0; i < LORA_MODULES; i++) {
        FormTensor *t;
        int64_t count;
        float *w;

        if (made[0][i].k == 0)                   /* no file has it */
            continue;

        snprintf(name, sizeof(name), "%s.weight", lora_module_name(module, i, LORA_OFFICIAL));
        t = form_find(&f, name);
        count = td_shape_count(t->shape, t->n_dims);
        w = malloc((size_t)count * sizeof(*w));
        CHECK_INT(td_entry_to_f32(td_checkpoint_find(c, name), w), 0);
        for (int file = 0; file < 2; file++)
            if (strength[file] != 0)
                lora_merge(w, made[file][i].u, made[file][i].v, t->shape[0], count / t->shape[0], RANK,
                           strength[file] * ((float)ALPHA / RANK));
        free(t->data);
        t->bytes = td_dtype_bytes(dtype, count);
        t->data = malloc(t->bytes);
        t->dtype = dtype;
        for (int64_t e = 0; e < count; e++) {
            uint16_t h = td_f32_to_bf16(w[e]);

            memcpy(t->data + e * (dtype == TD_BF16 ? 2 : 4), dtype == TD_BF16 ? (void *)&h : &w[e],
                   dtype == TD_BF16 ? 2 : 4);
        }
        free(w);
    }
    form_write(&f, to, NULL);
    form_free(&f);
    td_checkpoint_close(&c);
}

/* one clip in a context of its own, with what it says */
static int try_clip(Seen *seen, const char *dit, const char *lora, enum TDQuant quant, uint64_t max_bytes, uint8_t *rgb)
{
    TDContext *c = NULL;
    TDSettings s;
    TDParams p;
    int ret;

    small_settings(&s, seen, own);
    small_params(&p);
    s.dit = dit;
    s.quant = quant;
    s.max_bytes = max_bytes;
    s.clip = &p;
    p.lora = lora;
    ret = td_open(&c, &s);
    if (ret >= 0 && (ret = td_start(c, &p)) >= 0)
        ret = read_clip(c, rgb);
    td_close(&c);
    return ret;
}

static int clip(const char *dit, const char *lora, enum TDQuant quant, uint64_t max_bytes, uint8_t *rgb)
{
    Seen seen;
    int ret = try_clip(&seen, dit, lora, quant, max_bytes, rgb);

    if (!CHECK_STR(seen.error, ""))
        printf("  %s with %s\n", dit, lora ? lora : "none");
    return ret;
}

static void test_forms(void)
{
    static const struct { const char *name; enum TDDtype type; enum FormScale scales; } forms[] = {
        { "frames of a file merged before: bf16", TD_BF16, 0 }, { "frames of a file merged before: f32", TD_F32, 0 },
        { "frames of a file merged before: fp8, scaled", TD_F8_E4M3, FORM_TENSOR },
        { "frames of a file merged before: fp8, plain", TD_F8_E4M3, FORM_PLAIN },
        { "frames of a file merged before: int8 of rows", TD_I8, FORM_ROWS },
        { "frames of a file merged before: GGUF, q8_0", TD_Q8_0, FORM_PLAIN },
    };
    static uint8_t a[BYTES], b[BYTES], plain[BYTES];
    static const float strength[2] = { 1, -0.5f };
    char from[600], form[256], merged[256], text[600];

    snprintf(from, sizeof(from), "%s/" LORA_DIT, own);
    snprintf(text, sizeof(text), "%s|%s*-0.5", lora_a, lora_b);
    for (size_t i = 0; i < sizeof(forms) / sizeof(*forms); i++) {
        Form f;

        test_begin(forms[i].name);
        if (form_read(&f, from, 0) < 0)
            return;
        if (forms[i].type == TD_F32)
            for (int t = 0; t < f.n; t++) {
                float *wide = malloc(4 * f.t[t].bytes);

                for (size_t e = 0; e < f.t[t].bytes / 2 && f.t[t].dtype == TD_BF16; e++)
                    wide[e] = td_bf16_to_f32(((uint16_t *)f.t[t].data)[e]);
                if (f.t[t].dtype != TD_BF16) {
                    free(wide);
                    continue;
                }
                free(f.t[t].data);
                f.t[t].data = (uint8_t *)wide;
                f.t[t].bytes *= 2;
                f.t[t].dtype = TD_F32;
            }
        else if (forms[i].type == TD_Q8_0)
            form_to_q8_0(&f);
        else if (forms[i].type != TD_BF16)
            form_to_8_bits(&f, forms[i].type, forms[i].scales, "weight_scale", NULL, 0);
        if (forms[i].type == TD_Q8_0)
            form_write_gguf(&f, small_path(form, "form.gguf"), NULL, 0, 0);
        else
            form_write(&f, small_path(form, "form.safetensors"), NULL);
        form_free(&f);
        /* what of a bf16 file is f32 of the product would be computed with as f32 */
        merge(form, small_path(merged, "merged.safetensors"), strength, forms[i].type == TD_F32 ? TD_F32 : TD_BF16);
        for (int quant = TD_QUANT_NONE; quant <= (int)TD_QUANT_INT8; quant++) {
            CHECK_INT(clip(merged, NULL, quant, 0, a), N);
            CHECK_INT(clip(form, text, quant, 0, b), N);
            CHECK(!memcmp(a, b, BYTES));
            CHECK_INT(clip(form, NULL, quant, 0, plain), N);
            CHECK(memcmp(a, plain, BYTES) != 0);
        }
    }
}

/* what the log says of memory */
static int streams;

static void watch(void *cookie, int level, const char *text)
{
    on_line(cookie, level, text);
    streams |= strstr(text, LORA_DIT) && strstr(text, "comes block by block");
}

static void test_streamed(void)
{
    static uint8_t a[BYTES], b[BYTES];
    TDContext *c = NULL;
    TDSettings s;
    TDParams p;
    TDInfo info;
    Seen seen;
    int some = 0;

    test_begin("weights that come block by block are merged each time: the same frames");
    small_settings(&s, &seen, own);
    small_params(&p);
    s.quant = TD_QUANT_NONE;
    s.clip = &p;
    p.lora = lora_a;
    p.n_steps = 2;
    CHECK_INT(td_open(&c, &s), 0);
    CHECK_INT(td_start(c, &p), 0);
    CHECK_INT(read_clip(c, a), N);
    td_info(c, &info);
    td_close(&c);
    for (uint64_t limit = info.peak_bytes - 1; limit > info.peak_bytes / 8; limit -= info.peak_bytes / 16) {
        small_settings(&s, &seen, own);
        s.logger.callback = watch;
        s.quant = TD_QUANT_NONE;
        s.max_bytes = limit;
        s.clip = &p;
        streams = 0;
        if (td_open(&c, &s) < 0 || td_start(c, &p) < 0) {
            CHECK(strstr(seen.error, "more than the limit"));
            td_close(&c);
            break;
        }
        CHECK_INT(read_clip(c, b), N);
        CHECK(!memcmp(a, b, BYTES));
        some += streams;
        td_close(&c);
    }
    CHECK(some > 0);
}

static void test_change(void)
{
    static uint8_t with[2][BYTES], none[BYTES], got[BYTES];
    char dit[600], text[600], bad[600];
    TDContext *c = NULL, *other = NULL;
    TDSettings s;
    TDParams p;
    Seen seen;

    test_begin("changed between clips: each has its own; without one the frames are those of the model alone");
    snprintf(dit, sizeof(dit), "%s/" LORA_DIT, own);
    CHECK_INT(clip(dit, lora_a, TD_QUANT_NONE, 0, with[0]), N);
    CHECK_INT(clip(dit, lora_b, TD_QUANT_NONE, 0, with[1]), N);
    CHECK_INT(clip(dit, NULL, TD_QUANT_NONE, 0, none), N);
    CHECK(memcmp(with[0], with[1], BYTES) && memcmp(with[0], none, BYTES));
    small_settings(&s, &seen, own);
    s.quant = TD_QUANT_NONE;
    CHECK_INT(td_open(&c, &s), 0);
    CHECK_INT(td_open(&other, &s), 0);           /* shares the weights of the first, as long as they are the same */
    for (int i = 0; i < 8; i++) {
        static const int order[8] = { 2, 0, 1, 1, 2, 0, 0, 2 };

        small_params(&p);
        p.lora = order[i] == 2 ? i == 4 ? "" : NULL : order[i] ? lora_b : lora_a;
        CHECK_INT(td_start(c, &p), 0);
        CHECK_INT(read_clip(c, got), N);
        CHECK(!memcmp(got, order[i] == 2 ? none : with[order[i]], BYTES));
        small_params(&p);
        CHECK_INT(td_start(other, &p), 0);
        CHECK_INT(read_clip(other, got), N);
        CHECK(!memcmp(got, none, BYTES));
    }
    CHECK_STR(seen.error, "");

    test_begin("strength 0 is the model alone; a LoRA that is refused leaves all as it was");
    small_params(&p);
    snprintf(text, sizeof(text), "%s*0", lora_a);
    p.lora = text;
    CHECK_INT(td_start(c, &p), 0);
    CHECK_INT(read_clip(c, got), N);
    CHECK(!memcmp(got, none, BYTES));
    p.lora = lora_b;
    CHECK_INT(td_start(c, &p), 0);
    CHECK_INT(read_clip(c, got), N);
    snprintf(bad, sizeof(bad), "%s*x", lora_a);
    p.lora = bad;
    check_error(&seen, td_start(c, &p), TD_ERR(EINVAL), "lora: strength 'x' of file 1");
    seen.n_errors = 0;
    p.lora = dit;
    check_error(&seen, td_start(c, &p), TD_ERR(EINVAL), "it is no LoRA");
    seen.n_errors = 0;
    p.lora = lora_b;
    p.lora_low = lora_b;
    check_error(&seen, td_start(c, &p), TD_ERR(EINVAL), "lora_low: Wan-T2V-dim128-blocks3 is one transformer, want lo");
    p.lora_low = NULL;
    CHECK_INT(td_start(c, &p), 0);
    CHECK_INT(read_clip(c, got), N);
    CHECK(!memcmp(got, with[1], BYTES));
    td_close(&c);
    td_close(&other);

    test_begin("a LoRA in place of the transformer is told from one");
    small_settings(&s, &seen, own);
    s.dit = lora_a;
    check_error(&seen, td_open(&c, &s), TD_ERR(EINVAL), "a LoRA and no transformer; want it as lora=");
}

/* one error line, with these words */
static void refused(const char *lora, enum TDQuant quant, const char *words)
{
    static uint8_t rgb[BYTES];
    Seen seen;
    int ret = try_clip(&seen, NULL, lora, quant, 0, rgb);

    check_error(&seen, ret, TD_ERR(EBADMSG), words);
}

static void test_too_large(void)
{
    static const int64_t u[2] = { 64, 1 }, v[2] = { 1, 128 };
    float huge[128];
    char path[256], text[600], words[600];
    Form f = { 0 };

    test_begin("finite values that are too large: the LoRA is named, not the transformer alone");
    for (int i = 0; i < 128; i++)
        huge[i] = 1e30f;
    form_add(&f, "head.head.lora_up.weight", TD_F32, 2, u, huge);
    form_add(&f, "head.head.lora_down.weight", TD_F32, 2, v, huge);
    form_write(&f, small_path(path, "pair.safetensors"), NULL);
    form_free(&f);
    snprintf(words, sizeof(words), ", or too large ones come of lora=%s", path);
    refused(path, TD_QUANT_NONE, words);
    refused(path, TD_QUANT_INT8, words);
    small_path(path, "bias.safetensors");
    snprintf(text, sizeof(text), "%s*1e6|%s*1e6", path, lora_a);
    snprintf(words, sizeof(words), LORA_DIT " with LoRA %s: head.head.bias[0] is ", path);
    for (int i = 0; i < 128; i++)
        huge[i] = 3e38f;
    form_add(&f, "head.head.diff_b", TD_F32, 1, u, huge);
    form_write(&f, path, NULL);
    form_free(&f);
    refused(text, TD_QUANT_NONE, words);
    snprintf(words, sizeof(words), "VAE.safetensors holds NaN or infinite weights, "
             "or too large ones come of lora=%s", path);
    refused(path, TD_QUANT_NONE, words);
}

static int told;

/* lines that one of two experts has a LoRA alone */
static void count_told(void *cookie, int level, const char *text)
{
    on_line(cookie, level, text);
    told += strstr(text, "-noise expert alone") != NULL;
}

/* image to video, by two experts: each has its own LoRA */
static int expert_clip(const char *dit, const char *dit_low, const char *lora, const char *low, uint8_t *rgb)
{
    static uint8_t grey[W * H * 3];
    TDImage image = { W, H, 3 * W, grey };
    TDContext *c = NULL;
    TDSettings s;
    TDParams p;
    Seen seen;
    int ret;

    for (int i = 0; i < W * H * 3; i++)
        grey[i] = (uint8_t)i;
    small_settings(&s, &seen, own);
    small_params(&p);
    s.logger.callback = count_told;
    s.dit = dit;
    s.dit_low = dit_low;
    p.n_steps = 2;
    p.image = &image;
    p.boundary = 0.99;                           /* the second step is of the low-noise one */
    p.lora = lora;
    p.lora_low = low;
    ret = td_open(&c, &s);
    if (ret >= 0 && (ret = td_start(c, &p)) >= 0)
        ret = read_clip(c, rgb);
    CHECK_STR(seen.error, "");
    td_close(&c);
    return ret;
}

static void test_experts(void)
{
    static const float first[2] = { 1, 0 }, second[2] = { 0, 1 };
    static const char *const names[2] = { "TurboWan2.2-I2V-A14B-high-720P", "TurboWan2.2-I2V-A14B-low-720P" };
    static uint8_t a[BYTES], b[BYTES], none[BYTES];
    char dit[2][600], merged[2][256];

    test_begin("two experts: lora is of the one, lora_low of the other");
    if (small_model_make("i2v", "--ffn=256 --blocks=3 --in-dim=36") < 0)
        return;
    small_path(own, "i2v");
    small_path(merged[0], "high.safetensors");
    small_path(merged[1], "low.safetensors");
    for (int i = 0; i < 2; i++) {
        snprintf(dit[i], sizeof(dit[i]), "%s/%s.safetensors", own, names[i]);
        merge(dit[i], merged[i], i ? second : first, TD_BF16);
    }
    CHECK_INT(expert_clip(dit[0], dit[1], NULL, NULL, none), N);
    CHECK_INT(expert_clip(merged[0], merged[1], NULL, NULL, a), N);
    CHECK_INT(expert_clip(dit[0], dit[1], lora_a, lora_b, b), N);
    CHECK(!memcmp(a, b, BYTES) && memcmp(a, none, BYTES));
    CHECK_INT(told, 0);
    CHECK_INT(expert_clip(dit[0], merged[1], NULL, NULL, a), N);
    CHECK_INT(expert_clip(dit[0], dit[1], NULL, lora_b, b), N);
    CHECK(!memcmp(a, b, BYTES) && memcmp(a, none, BYTES));
    CHECK_INT(expert_clip(merged[0], dit[1], NULL, NULL, a), N);
    CHECK_INT(expert_clip(dit[0], dit[1], lora_a, "", b), N);
    CHECK(!memcmp(a, b, BYTES) && memcmp(a, none, BYTES));
    CHECK_INT(told, 2);
}

int main(void)
{
    if (small_model_make("own", "--ffn=256 --blocks=3 --dit=both") < 0)
        return 1;
    small_path(own, "own");
    make_loras();
    test_forms();
    test_streamed();
    test_change();
    test_too_large();
    test_experts();
    for (int file = 0; file < 2; file++)
        for (int i = 0; i < LORA_MODULES; i++) {
            free(made[file][i].u);
            free(made[file][i].v);
        }
    small_model_remove();
    return test_end();
}
