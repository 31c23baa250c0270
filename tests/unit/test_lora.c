/* SPDX-License-Identifier: BSD-2-Clause
 * LoRA files in every convention, laid onto a small model: each weight is what the formula says, to the last bits of
 * f32, and every other one is as it was. */
#include "files/lora.h"
#include "lora_files.h"

static char model[400];                          /* its transformer */
static int n_lines, n_warnings;
static char last_warning[512];

static void line(void *cookie, int level, const char *text)
{
    (void)cookie;
    n_lines += level == TD_LOG_ERROR;
    n_warnings += level == TD_LOG_WARNING;
    if (level == TD_LOG_WARNING)
        snprintf(last_warning, sizeof(last_warning), "%s", text);
}

static TDLog lines = { .out = { .callback = line, .level = TD_LOG_WARNING } };

static float *read_weight(const TDCheckpoint *c, const char *module, const char *ending, int64_t *n, int64_t *k)
{
    const TDEntry *e;
    char name[160];
    float *w;

    snprintf(name, sizeof(name), "%s%s", module, ending);
    e = td_checkpoint_find(c, name);
    if (!CHECK(e != NULL))
        return NULL;
    *n = e->shape[0];
    *k = td_entry_count(e) / *n;
    w = malloc((size_t)td_entry_count(e) * sizeof(*w));
    CHECK_INT(td_entry_to_f32(e, w), 0);
    return w;
}

/* the model with LoRAs, or NULL after a failed check. *lora is to be freed after it */
static TDCheckpoint *with_lora(TDLora **lora, const char *text, int low)
{
    TDCheckpoint *c = NULL;
    int ret;

    n_lines = n_warnings = 0;
    lines.last_error[0] = 0;
    CHECK_INT(td_checkpoint_open(&c, model, &lines), 0);
    ret = td_lora_open(lora, text, "lora", &lines);
    if (ret >= 0)
        ret = td_lora_apply(*lora, c, 1, low, &lines);
    if (!CHECK_INT(ret, 0)) {
        printf("  %s: %s\n", text, lines.last_error);
        td_checkpoint_close(&c);
    }
    return c;
}

/* the values of a weight with and without it are apart by this. want: what it should be; NULL: as it was */
static void check_weight(const TDCheckpoint *c, const char *module, const char *ending, const float *want, float error)
{
    TDCheckpoint *plain = NULL;
    double most = 0, size = 0;
    int64_t n, k, m, l;
    float *w, *was;

    CHECK_INT(td_checkpoint_open(&plain, model, &lines), 0);
    w = read_weight(c, module, ending, &n, &k);
    was = read_weight(plain, module, ending, &m, &l);
    for (int64_t i = 0; i < n * k; i++) {
        most = fmax(most, fabs((double)w[i] - (want ? want : was)[i]));
        size = fmax(size, fabs((double)w[i]));
    }
    if (!CHECK(most <= error * size))
        printf("  %s%s: %g away, of values up to %g\n", module, ending, most, size);
    free(w);
    free(was);
    td_checkpoint_close(&plain);
}

/* one line, and this error */
static void refused(const char *what, const char *text, int err, const char *words)
{
    TDCheckpoint *c = NULL;
    TDLora *lora = NULL;
    int ret;

    n_lines = n_warnings = 0;
    CHECK_INT(td_checkpoint_open(&c, model, &lines), 0);
    ret = td_lora_open(&lora, text, "lora", &lines);
    if (ret >= 0)
        ret = td_lora_apply(lora, c, 1, 0, &lines);
    if (ret != TD_ERR(err) || n_lines != 1 || !strstr(lines.last_error, words)) {
        printf("  %s: %d, %d lines, %s; want %d, \"%s\"\n", what, ret, n_lines, lines.last_error, -err, words);
        CHECK(!"refused");
    }
    td_checkpoint_close(&c);
    td_lora_free(&lora);
}

/* ---- pairs, by convention ---- */

static const struct Convention {
    const char *name, *prefix, *down, *up;
    enum LoraNaming naming;
    enum TDDtype dtype;
    int alpha;
} conventions[] = {
    { "ComfyUI: diffusion_model., lora_A", "diffusion_model.", ".lora_A.weight", ".lora_B.weight", LORA_OFFICIAL,
      TD_BF16, 0 },
    { "Kijai: diffusion_model., lora_down, alpha", "diffusion_model.", ".lora_down.weight", ".lora_up.weight",
      LORA_OFFICIAL, TD_F16, 1 },
    { "LightX2V: no prefix, lora_down", "", ".lora_down.weight", ".lora_up.weight", LORA_OFFICIAL, TD_F32, 0 },
    { "musubi, kohya: lora_unet_", "lora_unet_", ".lora_down.weight", ".lora_up.weight", LORA_KOHYA, TD_BF16, 1 },
    { "VideoX-Fun: lora_unet__", "lora_unet__", ".lora_down.weight", ".lora_up.weight", LORA_KOHYA, TD_BF16, 1 },
    { "diffusers, peft", "transformer.", ".lora_A.weight", ".lora_B.weight", LORA_DIFFUSERS, TD_F32, 0 },
    { "peft, raw", "base_model.model.", ".lora_A.default.weight", ".lora_B.default.weight", LORA_DIFFUSERS, TD_F32, 0 },
    { "peft, raw, official names", "base_model.model.", ".lora_A.default.weight", ".lora_B.default.weight",
      LORA_OFFICIAL, TD_F32, 0 },
    { "model., lora_A", "model.", ".lora_A.weight", ".lora_B.weight", LORA_OFFICIAL, TD_BF16, 0 },
    { "DiffSynth", "pipe.dit.", ".lora_A.default.weight", ".lora_B.default.weight", LORA_OFFICIAL, TD_BF16, 0 },
    { "LyCORIS", "lycoris_", ".lora_down.weight", ".lora_up.weight", LORA_LYCORIS, TD_F32, 1 },
    { "without weight", "unet.", ".lora_A", ".lora_B", LORA_OFFICIAL, TD_F32, 0 },
    { "_lora.down", "model.diffusion_model.", "_lora.down.weight", "_lora.up.weight", LORA_OFFICIAL, TD_F32, 0 },
    { ".lora.down", "base_model.model.diffusion_model.", ".lora.down.weight", ".lora.up.weight", LORA_OFFICIAL, TD_F32,
      1 },
    { "lora_linear_layer", "unet.", ".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight", LORA_DIFFUSERS,
      TD_F32, 0 },
};

static void test_pairs(const struct Convention *v)
{
    float *u[LORA_MODULES], *d[LORA_MODULES], *w, strength = -0.75f;
    TDCheckpoint *base = NULL, *c;
    char path[256], text[300], module[128], name[300];
    int64_t n, k;
    TDLora *lora = NULL;
    Form f = { 0 };

    test_begin(v->name);
    CHECK_INT(td_checkpoint_open(&base, model, &lines), 0);
    for (int i = 0; i < LORA_MODULES; i++) {     /* each of another rank */
        float alpha = (float)(i + 2);
        int rank = 1 + i % 5;

        free(read_weight(base, lora_module_name(module, i, LORA_OFFICIAL), ".weight", &n, &k));
        lora_module_name(module, i, v->naming);
        snprintf(name, sizeof(name), "%s%s%s", v->prefix, module, v->up);
        u[i] = lora_tensor(&f, name, v->dtype, n, rank, 0.3f);
        snprintf(name, sizeof(name), "%s%s%s", v->prefix, module, v->down);
        d[i] = lora_tensor(&f, name, v->dtype, rank, k, 0.3f);
        snprintf(name, sizeof(name), "%s%s.alpha", v->prefix, module);
        if (v->alpha)
            form_add(&f, name, TD_F32, i % 2, (int64_t[]){ 1 }, &alpha);
    }
    form_write(&f, small_path(path, "lora.safetensors"), NULL);
    snprintf(text, sizeof(text), "%s*%g", path, strength);
    c = with_lora(&lora, text, 0);
    for (int i = 0; i < LORA_MODULES && c; i++) {
        int rank = 1 + i % 5;

        w = read_weight(base, lora_module_name(module, i, LORA_OFFICIAL), ".weight", &n, &k);
        lora_merge(w, u[i], d[i], n, k, rank, strength * (v->alpha ? (float)(i + 2) / (float)rank : 1));
        check_weight(c, module, ".weight", w, 0);
        free(w);
    }
    if (c) {
        CHECK_INT(lora->n_changed, LORA_MODULES);
        CHECK_INT(n_warnings, 0);
        check_weight(c, "blocks.0.norm3", ".weight", NULL, 0);
        check_weight(c, "blocks.0.self_attn.attn_op.local_attn.proj_l", ".weight", NULL, 0);
    }
    for (int i = 0; i < LORA_MODULES; i++) {
        free(u[i]);
        free(d[i]);
    }
    form_free(&f);
    td_checkpoint_close(&c);
    td_checkpoint_close(&base);
    td_lora_free(&lora);
}

/* ---- the scale that metadata says ---- */

static void test_metadata(void)
{
    static const struct { const char *name, *metadata; double alpha[3]; } rows[] = {
        { "no metadata: alpha is the rank", NULL, { 4, 4, 4 } },
        { "lora_alpha", "{\\\"transformer.r\\\":4,\\\"transformer.lora_alpha\\\":16}", { 16, 16, 16 } },
        { "lora_alpha, rank-stabilised", "{\\\"transformer.r\\\":4,\\\"transformer.lora_alpha\\\":1.6e1,"
          "\\\"transformer.use_rslora\\\":true}", { 32, 32, 32 } },
        { "alpha_pattern: a name, a regular expression, the first that fits", "{\\\"transformer.r\\\":4,"
          "\\\"transformer.lora_alpha\\\":8,\\\"transformer.alpha_pattern\\\":{\\\"attn1.to_q\\\":3,"
          "\\\"\\\\\\\\d+\\\\\\\\.attn(1|2)\\\\\\\\.to_[qk]\\\":5}}", { 3, 5, 8 } },
        { "rank_pattern", "{\\\"transformer.r\\\":7,\\\"transformer.lora_alpha\\\":8,"
          "\\\"transformer.rank_pattern\\\":{\\\"^blocks.0.*\\\":4}}", { 8, 8, 8 } },
        { "without a prefix, and another one's",
          "{\\\"transformer_2.lora_alpha\\\":2,\\\"lora_alpha\\\":12,\\\"r\\\":4}", { 12, 12, 12 } },
    };
    static const char *const modules[3] = { "self_attn.q", "self_attn.k", "ffn.2" };
    static const char *const theirs[3] = { "attn1.to_q", "attn1.to_k", "ffn.net.2" };

    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        char path[256], name[300], json[1000];
        TDCheckpoint *base = NULL, *c;
        float *u[3], *d[3], *w;
        TDLora *lora = NULL;
        Form f = { 0 };
        int64_t n, k;

        test_begin(rows[i].name);
        CHECK_INT(td_checkpoint_open(&base, model, &lines), 0);
        for (int m = 0; m < 3; m++) {
            snprintf(name, sizeof(name), "blocks.0.%s", modules[m]);
            free(read_weight(base, name, ".weight", &n, &k));
            snprintf(name, sizeof(name), "transformer.blocks.0.%s.lora_B.weight", theirs[m]);
            u[m] = lora_tensor(&f, name, TD_F32, n, 4, 0.3f);
            snprintf(name, sizeof(name), "transformer.blocks.0.%s.lora_A.weight", theirs[m]);
            d[m] = lora_tensor(&f, name, TD_F32, 4, k, 0.3f);
        }
        snprintf(json, sizeof(json), "{\"format\":\"pt\",\"lora_adapter_metadata\":\"%s\"}",
                 rows[i].metadata ? rows[i].metadata : "");
        form_write(&f, small_path(path, "lora.safetensors"), rows[i].metadata ? json : NULL);
        c = with_lora(&lora, path, 0);
        for (int m = 0; m < 3; m++) {
            snprintf(name, sizeof(name), "blocks.0.%s", modules[m]);
            w = read_weight(base, name, ".weight", &n, &k);
            lora_merge(w, u[m], d[m], n, k, 4, (float)(rows[i].alpha[m] / 4));
            if (c)
                check_weight(c, name, ".weight", w, 0);
            free(w);
            free(u[m]);
            free(d[m]);
        }
        form_free(&f);
        td_checkpoint_close(&c);
        td_checkpoint_close(&base);
        td_lora_free(&lora);
    }
}

/* peft's own files, beside their configuration */
static void test_config(void)
{
    static const struct { const char *config; float scale; const char *words; } rows[] = {
        { "{\"r\":2,\"lora_alpha\":5,\"peft_type\":\"LORA\"}", 2.5f, NULL },
        { "{\"r\":2,\"lora_alpha\":5,\"use_rslora\":true}", (float)(5 / 1.4142135623730951), NULL },
        { "[1", 0, "adapter_config.json: JSON line 1" },
    };
    char path[256], beside[256], command[600];
    TDCheckpoint *base = NULL, *c;
    TDLora *lora = NULL;
    float *u, *v, *w;
    int64_t n, k;
    FILE *file;
    Form f = { 0 };

    test_begin("adapter_config.json beside adapter_model.safetensors");
    snprintf(command, sizeof(command), "mkdir -p %s", small_path(path, "peft"));
    CHECK_INT(system(command), 0);
    u = lora_tensor(&f, "base_model.model.blocks.0.ffn.0.lora_B.weight", TD_F32, 256, 2, 0.3f);
    v = lora_tensor(&f, "base_model.model.blocks.0.ffn.0.lora_A.weight", TD_F32, 2, 128, 0.3f);
    form_write(&f, small_path(path, "peft/adapter_model.safetensors"), NULL);
    CHECK_INT(td_checkpoint_open(&base, model, &lines), 0);
    for (int i = 0; i < 3; i++) {
        file = fopen(small_path(beside, "peft/adapter_config.json"), "wb");
        CHECK(file && fputs(rows[i].config, file) >= 0 && fclose(file) == 0);
        if (rows[i].words) {
            refused(rows[i].config, path, EBADMSG, rows[i].words);
            continue;
        }
        w = read_weight(base, "blocks.0.ffn.0", ".weight", &n, &k);
        lora_merge(w, u, v, n, k, 2, rows[i].scale);
        if ((c = with_lora(&lora, path, 0)))
            check_weight(c, "blocks.0.ffn.0", ".weight", w, 0);
        td_checkpoint_close(&c);
        td_lora_free(&lora);
        free(w);
    }
    form_free(&f);
    free(u);
    free(v);
    td_checkpoint_close(&base);
}

/* ---- other kinds ---- */

/* one module with tensors ENDING of [rows,cols] */
typedef struct Part { const char *ending; int64_t rows, cols; int n_dims; } Part;

enum { DIM = 128, FFN = 256 };                   /* ffn.0 is [FFN,DIM] */

static const struct Kind {
    const char *name;
    Part parts[6];
    double alpha;                                /* 0: there is none */
} kinds[] = {
    { "a difference", { { "diff", FFN, DIM, 2 } }, 0 },
    { "a weight in place of another", { { "set_weight", FFN, DIM, 2 } }, 0 },
    { "DoRA by rows", { { "lora_A.weight", 4, DIM, 2 }, { "lora_B.weight", FFN, 4, 2 }, { "dora_scale", FFN, 1, 2 } },
      2 },
    { "DoRA of peft", { { "lora_A.weight", 4, DIM, 2 }, { "lora_B.weight", FFN, 4, 2 },
                        { "lora_magnitude_vector", FFN, 1, 1 } }, 2 },
    { "DoRA by columns", { { "lora_A.weight", 4, DIM, 2 }, { "lora_B.weight", FFN, 4, 2 },
                           { "dora_scale", 1, DIM, 2 } }, 2 },
    { "LoHa", { { "hada_w1_a", FFN, 3, 2 }, { "hada_w1_b", 3, DIM, 2 }, { "hada_w2_a", FFN, 3, 2 },
                { "hada_w2_b", 3, DIM, 2 } }, 2 },
    { "LoKr, both full: whatever alpha says", { { "lokr_w1", 4, 8, 2 }, { "lokr_w2", FFN / 4, DIM / 8, 2 } }, 1e10 },
    { "LoKr, the second of low rank", { { "lokr_w1", 4, 8, 2 }, { "lokr_w2_a", FFN / 4, 5, 2 },
                                        { "lokr_w2_b", 5, DIM / 8, 2 } }, 2 },
    { "LoKr, the first of low rank", { { "lokr_w1_a", 16, 2, 2 }, { "lokr_w1_b", 2, 2, 2 },
                                       { "lokr_w2", FFN / 16, DIM / 2, 2 } }, 3 },
    { "LoKr, both of low rank", { { "lokr_w1_a", 16, 2, 2 }, { "lokr_w1_b", 2, 2, 2 }, { "lokr_w2_a", FFN / 16, 5, 2 },
                                  { "lokr_w2_b", 5, DIM / 2, 2 } }, 2 },
};

static double product(const float *a, const float *b, int64_t i, int64_t j, int64_t r, int64_t cols)
{
    double d = 0;

    for (int64_t e = 0; e < r; e++)
        d += (double)a[i * r + e] * b[e * cols + j];
    return d;
}

/* the delta of one element, without strength, by the definition */
static double delta(const struct Kind *t, float *const x[6], int64_t i, int64_t j)
{
    const Part *p = t->parts;

    if (!strncmp(p->ending, "lora", 4))
        return product(x[1], x[0], i, j, 4, DIM) * t->alpha / 4;
    if (!strncmp(p->ending, "hada", 4))
        return product(x[0], x[1], i, j, 3, DIM) * product(x[2], x[3], i, j, 3, DIM) * t->alpha / 3;
    if (!strncmp(p->ending, "lokr", 4)) {
        int first = strcmp(p->ending, "lokr_w1") ? 2 : 1, full = !strcmp(p[first].ending, "lokr_w2");
        int64_t rows = p[first].rows, cols = full ? p[first].cols : p[first + 1].cols;
        double a = first == 1 ? x[0][i / rows * p->cols + j / cols]
                              : product(x[0], x[1], i / rows, j / cols, 2, p[1].cols);
        double b = full ? x[first][i % rows * cols + j % cols]
                        : product(x[first], x[first + 1], i % rows, j % cols, 5, cols);

        return a * b * (!full ? t->alpha / 5 : first == 2 ? t->alpha / 2 : 1);
    }
    return x[0][i * DIM + j];
}

/* module: blocks.1.ffn.0 as a program calls it */
static void test_kind(const struct Kind *t, const char *module)
{
    char path[256], text[300], name[300];
    double strength = 0.5, norm[FFN + DIM] = { 0 };
    TDCheckpoint *base = NULL, *c;
    float *x[6] = { NULL }, *w, alpha = (float)t->alpha;
    const float *dora = NULL;
    int by_column = 0;
    TDLora *lora = NULL;
    Form f = { 0 };
    int64_t n, k;

    test_begin(t->name);
    for (int i = 0; i < 6 && t->parts[i].ending; i++) {
        snprintf(name, sizeof(name), "%s.%s", module, t->parts[i].ending);
        x[i] = lora_tensor(&f, name, TD_F32, t->parts[i].rows, t->parts[i].cols, 0.5f);
        form_find(&f, name)->n_dims = t->parts[i].n_dims;
        if (strstr(name, "dora_scale") || strstr(name, "magnitude")) {
            dora = x[i];
            by_column = t->parts[i].rows == 1;
        }
    }
    snprintf(name, sizeof(name), "%s.alpha", module);
    if (t->alpha != 0)
        form_add(&f, name, TD_F32, 0, NULL, &alpha);
    form_write(&f, small_path(path, "lora.safetensors"), NULL);
    snprintf(text, sizeof(text), "%s*%g", path, strength);
    c = with_lora(&lora, text, 0);
    CHECK_INT(td_checkpoint_open(&base, model, &lines), 0);
    w = read_weight(base, "blocks.1.ffn.0", ".weight", &n, &k);
    CHECK(n == FFN && k == DIM);
    for (int64_t i = 0; i < n * k && dora; i++) {
        double v = w[i] + delta(t, x, i / k, i % k);

        norm[by_column ? i % k : i / k] += v * v;
    }
    for (int64_t i = 0; i < n * k; i++) {
        double d = delta(t, x, i / k, i % k);
        int64_t at = by_column ? i % k : i / k;

        if (dora)
            w[i] = (float)(w[i] + strength * (dora[at] * (w[i] + d) / sqrt(norm[at]) - w[i]));
        else
            w[i] = (float)(!strcmp(t->parts->ending, "set_weight") ? d : w[i] + strength * d);
    }
    if (c) {
        CHECK_INT(n_warnings, 0);
        CHECK_INT(lora->n_changed, 1);
        check_weight(c, "blocks.1.ffn.0", ".weight", w, 1e-6f);
        check_weight(c, "blocks.0.ffn.0", ".weight", NULL, 0);
    }
    for (int i = 0; i < 6; i++)
        free(x[i]);
    free(w);
    form_free(&f);
    td_checkpoint_close(&c);
    td_checkpoint_close(&base);
    td_lora_free(&lora);
}

/* ---- differences of what is no matrix ---- */

static void test_small_tensors(void)
{
    static const struct { const char *theirs, *module, *ending; int64_t n; int bias; } rows[] = {
        { "blocks.0.norm3.diff", "blocks.0.norm3", ".weight", DIM, 0 },
        { "blocks.0.norm3.diff_b", "blocks.0.norm3", ".bias", DIM, 0 },
        { "blocks.2.self_attn.norm_q.diff", "blocks.2.self_attn.norm_q", ".weight", DIM, 0 },
        { "blocks.1.ffn.0.diff_b", "blocks.1.ffn.0", ".bias", FFN, 0 },
        { "blocks.1.diff_m", "blocks.1", ".modulation", 6 * DIM, 0 },
        { "head.diff_m", "head", ".modulation", 2 * DIM, 0 },
        { "blocks.2.modulation.diff", "blocks.2", ".modulation", 6 * DIM, 0 },
        { "transformer.blocks.1.norm2.diff", "blocks.1.norm3", ".weight", DIM, 0 },
        { "blocks.1.cross_attn.norm_k.w_norm", "blocks.1.cross_attn.norm_k", ".weight", DIM, 0 },
    };
    TDCheckpoint *base = NULL, *c;
    char path[256], text[300], name[300];
    TDLora *lora = NULL;
    float *x[9], *w, *u, *v, *b, two = 2;
    Form f = { 0 };
    int64_t n, k;

    test_begin("differences of norms, biases and modulations; a pair's own bias");
    for (size_t i = 0; i < 9; i++) {
        snprintf(name, sizeof(name), "diffusion_model.%s", rows[i].theirs);
        x[i] = lora_tensor(&f, name, TD_F32, rows[i].n, 1, 0.5f);
        form_find(&f, name)->n_dims = 1;
        if (strstr(name, "diff_m")) {            /* as the model has it, or without the dimension of 1 */
            int64_t d = form_find(&f, name)->shape[0] / DIM;

            form_find(&f, name)->n_dims = i == 4 ? 3 : 2;
            memcpy(form_find(&f, name)->shape, i == 4 ? (int64_t[]){ 1, d, DIM } : (int64_t[]){ d, DIM, 1 },
                   3 * sizeof(int64_t));
        }
    }
    u = lora_tensor(&f, "base_model.model.blocks.0.ffn.2.lora_B.weight", TD_F32, DIM, 1, 0.5f);
    v = lora_tensor(&f, "base_model.model.blocks.0.ffn.2.lora_A.weight", TD_F32, 1, FFN, 0.5f);
    b = lora_tensor(&f, "base_model.model.blocks.0.ffn.2.lora_B.bias", TD_F32, DIM, 1, 0.5f);
    form_find(&f, "base_model.model.blocks.0.ffn.2.lora_B.bias")->n_dims = 1;
    form_add(&f, "blocks.0.ffn.2.alpha", TD_F32, 0, NULL, &two);
    form_write(&f, small_path(path, "lora.safetensors"), NULL);
    snprintf(text, sizeof(text), "%s*0.5", path);
    c = with_lora(&lora, text, 0);
    CHECK_INT(td_checkpoint_open(&base, model, &lines), 0);
    for (size_t i = 0; i < 9; i++) {
        w = read_weight(base, rows[i].module, rows[i].ending, &n, &k);
        CHECK_INT(n * k, rows[i].n);
        for (int64_t e = 0; e < n * k; e++)
            w[e] += 0.5f * x[i][e];
        if (c)
            check_weight(c, rows[i].module, rows[i].ending, w, 0);
        free(w);
        free(x[i]);
    }
    w = read_weight(base, "blocks.0.ffn.2", ".bias", &n, &k);
    for (int64_t e = 0; e < n; e++)
        w[e] += 0.5f * 2 * b[e];
    if (c) {
        check_weight(c, "blocks.0.ffn.2", ".bias", w, 0);
        CHECK_INT(lora->n_changed, 11);
        CHECK_INT(n_warnings, 0);
    }
    free(w);
    free(u);
    free(v);
    free(b);
    form_free(&f);
    td_checkpoint_close(&c);
    td_checkpoint_close(&base);
    td_lora_free(&lora);
}

/* ---- several, two experts, leftovers ---- */

static void write_pair(const char *path, const char *module, const char *more, float **u, float **v)
{
    char name[300];
    Form f = { 0 };

    snprintf(name, sizeof(name), "%s.lora_B.weight", module);
    *u = lora_tensor(&f, name, TD_F32, FFN, 2, 0.5f);
    snprintf(name, sizeof(name), "%s.lora_A.weight", module);
    *v = lora_tensor(&f, name, TD_F32, 2, DIM, 0.5f);
    if (more)
        form_add(&f, more, TD_F32, 1, (int64_t[]){ 3 }, NULL);
    form_write(&f, path, NULL);
    form_free(&f);
}

static void test_several(void)
{
    TDCheckpoint *base = NULL, *c;
    char a[256], b[256], text[600];
    float *u[2], *v[2], *w;
    TDLora *lora = NULL;
    int64_t n, k;

    test_begin("several files, in their order, with strengths; strength 0 changes nothing; leftovers are one line");
    write_pair(small_path(a, "a.safetensors"), "blocks.0.ffn.0", "blocks.0.cross_attn.k_img.diff_b", &u[0], &v[0]);
    write_pair(small_path(b, "b.safetensors"), "blocks.0.ffn.0", NULL, &u[1], &v[1]);
    CHECK_INT(td_checkpoint_open(&base, model, &lines), 0);
    w = read_weight(base, "blocks.0.ffn.0", ".weight", &n, &k);
    lora_merge(w, u[0], v[0], n, k, 2, 1);
    lora_merge(w, u[1], v[1], n, k, 2, 0.3f);
    snprintf(text, sizeof(text), "%s|%s*0.3", a, b);
    if ((c = with_lora(&lora, text, 0)))
        check_weight(c, "blocks.0.ffn.0", ".weight", w, 0);
    CHECK_INT(n_warnings, 1);
    CHECK(strstr(last_warning, "1 of its 3 tensors fit nothing") &&
          strstr(last_warning, "such as blocks.0.cross_attn.k_img.diff_b"));
    td_checkpoint_close(&c);
    td_lora_free(&lora);
    snprintf(text, sizeof(text), "%s*0|%s*-0.0", a, b);
    if ((c = with_lora(&lora, text, 0))) {
        check_weight(c, "blocks.0.ffn.0", ".weight", NULL, 0);
        CHECK_INT(lora->n_changed, 0);
    }
    td_checkpoint_close(&c);
    td_lora_free(&lora);
    free(w);
    for (int i = 0; i < 2; i++) {
        free(u[i]);
        free(v[i]);
    }

    test_begin("fp8 with a scale: the scale is no leftover");
    {
        const float two = 2;
        Form f = { 0 };

        u[0] = lora_tensor(&f, "blocks.0.ffn.0.lora_B.weight", TD_F32, FFN, 2, 0.5f);
        v[0] = lora_tensor(&f, "blocks.0.ffn.0.lora_A.weight", TD_F8_E4M3, 2, DIM, 0.5f);
        form_add(&f, "blocks.0.ffn.0.lora_A.scale_weight", TD_F32, 0, NULL, &two);
        form_write(&f, a, NULL);
        form_free(&f);
        w = read_weight(base, "blocks.0.ffn.0", ".weight", &n, &k);
        lora_merge(w, u[0], v[0], n, k, 2, two);
        if ((c = with_lora(&lora, a, 0)))
            check_weight(c, "blocks.0.ffn.0", ".weight", w, 0);
        CHECK_INT(n_warnings, 0);
        td_checkpoint_close(&c);
        td_lora_free(&lora);
        free(w);
        free(u[0]);
        free(v[0]);
    }

    test_begin("diffusers' file for two experts: each takes its own");
    write_pair(a, "transformer.blocks.0.ffn.net.0.proj", "transformer_2.blocks.0.norm2.diff_b", &u[0], &v[0]);
    for (int low = 0; low < 2; low++) {
        TDLog quiet = { 0 };

        w = read_weight(base, "blocks.0.ffn.0", ".weight", &n, &k);
        lora_merge(w, u[0], v[0], n, k, 2, 1);
        if (!low && (c = with_lora(&lora, a, 0))) {
            check_weight(c, "blocks.0.ffn.0", ".weight", w, 0);
            CHECK_INT(n_warnings, 0);
            td_checkpoint_close(&c);
        }
        if (low) {                               /* whose tensor has 3 values in place of 128 */
            CHECK_INT(td_checkpoint_open(&c, model, &quiet), 0);
            CHECK_INT(td_lora_open(&lora, a, "lora_low", &quiet), 0);
            CHECK_INT(td_lora_apply(lora, c, 1, 1, &quiet), TD_ERR(EINVAL));
            CHECK(strstr(quiet.last_error, "transformer_2.blocks.0.norm2.diff_b"));
            td_checkpoint_close(&c);
        }
        td_lora_free(&lora);
        free(w);
    }
    free(u[0]);
    free(v[0]);
    td_checkpoint_close(&base);
}

/* ---- what is refused ---- */

static void test_options(void)
{
    char path[256], text[600];
    float *u, *v;

    test_begin("bad separators and strengths");
    write_pair(small_path(path, "a.safetensors"), "blocks.0.ffn.0", NULL, &u, &v);
    free(u);
    free(v);
    for (int i = 0; i < 10; i++) {
        static const char *const bad[] = { "nan", "inf", "-inf", "", "1x", "1e999", "0x1", "--1", "1,5", "2e6" };

        snprintf(text, sizeof(text), "%s*%s", path, bad[i]);
        refused(bad[i], text, EINVAL, "want a number such as 0.8, up to 1e+06, after the star");
    }
    refused("|", "|", EINVAL, "file 1 has no name, want FILE or FILE*STRENGTH, several joined with |");
    snprintf(text, sizeof(text), "%s|", path);
    refused("a|", text, EINVAL, "file 2 has no name");
    snprintf(text, sizeof(text), "%s||%s", path, path);
    refused("a||b", text, EINVAL, "file 2 has no name");
    refused("*1", "*1", EINVAL, "file 1 has no name");
    snprintf(text, sizeof(text), "%s,%s", path, path);
    refused("a,b", text, ENOENT, "a.safetensors,");
    refused("no file", "/nowhere/lora.safetensors", ENOENT, "no such file");
}

static void test_hostile(void)
{
    static const struct {
        const char *name, *tensor[3];
        int64_t shape[3][2];
        int err;
        const char *words;
    } rows[] = {
        { "rank 0", { "blocks.0.ffn.0.lora_A.weight", "blocks.0.ffn.0.lora_B.weight" }, { { 0, DIM }, { FFN, 0 } },
          EBADMSG, "rank 0, want 1 to 256" },
        { "a rank of many", { "blocks.0.ffn.0.lora_A.weight", "blocks.0.ffn.0.lora_B.weight" },
          { { 1000, DIM }, { FFN, 1000 } }, EBADMSG, "rank 1000, want 1 to 256" },
        { "another model's", { "blocks.0.ffn.0.lora_A.weight", "blocks.0.ffn.0.lora_B.weight" },
          { { 4, 2 * DIM }, { FFN, 4 } }, EINVAL, "want 4 rows of 128 values: it is of another model" },
        { "two ranks", { "blocks.0.ffn.0.lora_A.weight", "blocks.0.ffn.0.lora_B.weight" },
          { { 4, DIM }, { FFN, 3 } }, EINVAL, "want 256 rows of 4 values: it" },
        { "half a pair", { "blocks.0.ffn.0.lora_A.weight" }, { { 4, DIM } }, EBADMSG,
          "has no .lora_B.weight beside it" },
        { "the other half", { "blocks.0.ffn.0.lora_up.weight" }, { { FFN, 4 } }, EBADMSG,
          "has no .lora_A.weight beside it" },
        { "one name by two prefixes", { "blocks.0.ffn.0.lora_A.weight", "unet.blocks.0.ffn.0.lora_A.weight" },
          { { 4, DIM }, { 4, DIM } }, EBADMSG, "are the same of one module, blocks.0.ffn.0" },
        { "one name by two namings", { "blocks.0.ffn.0.diff_b", "lora_unet_blocks_0_ffn_net_0_proj.diff_b" },
          { { FFN, 1 }, { FFN, 1 } }, EBADMSG, "are the same of one module" },
        { "two names that are one", { "transformer.blocks.0.ffn.0.diff", "diffusion_model.blocks.0.ffn.0.diff" },
          { { FFN, DIM }, { FFN, DIM } }, EBADMSG, "occurs twice" },
        { "none fits", { "text_model.encoder.layers.0.lora_A.weight" }, { { 4, DIM } }, EINVAL,
          "such as text_model.encoder.layers.0.lora_A.weight; want a LoRA of this model" },
        { "no LoRA", { "blocks.0.ffn.0.weight" }, { { 4, DIM } }, EINVAL, "it is no LoRA" },
        { "an alpha of two values", { "blocks.0.ffn.0.lora_A.weight", "blocks.0.ffn.0.lora_B.weight",
                                      "blocks.0.ffn.0.alpha" }, { { 4, DIM }, { FFN, 4 }, { 2, 1 } }, EINVAL,
          "alpha: shape [2,1], want 1 value: it" },
        { "a control LoRA", { "patch_embedding.reshape_weight" }, { { 5, 1 } }, ENOTSUP,
          "such a LoRA is not supported" },
        { "DoRA alone", { "blocks.0.ffn.0.dora_scale" }, { { FFN, 1 } }, EBADMSG, "beside no pair of matrices" },
        { "DoRA of another size", { "blocks.0.ffn.0.lora_A.weight", "blocks.0.ffn.0.lora_B.weight",
                                    "blocks.0.ffn.0.dora_scale" }, { { 4, DIM }, { FFN, 4 }, { 7, 1 } }, EINVAL,
          "want 256 values: it" },
        { "a third of LoHa", { "blocks.0.ffn.0.hada_w1_a", "blocks.0.ffn.0.hada_w1_b", "blocks.0.ffn.0.hada_w2_a" },
          { { FFN, 4 }, { 4, DIM }, { FFN, 4 } }, EBADMSG, "has no .hada_w2_b beside it" },
        { "half of LoHa", { "blocks.0.ffn.0.hada_w1_a", "blocks.0.ffn.0.hada_w1_b" }, { { FFN, 4 }, { 4, DIM } },
          EBADMSG, "has no .hada_w2_a beside it" },
        { "factors that do not fit", { "blocks.0.ffn.0.lokr_w1", "blocks.0.ffn.0.lokr_w2" }, { { 3, 4 }, { 64, 32 } },
          EINVAL, "want a product of [256,128]" },
        { "one factor", { "blocks.0.ffn.0.lokr_w2" }, { { 64, 32 } }, EBADMSG, "of two factors one is missing" },
        { "half a factor", { "blocks.0.ffn.0.lokr_w2", "blocks.0.ffn.0.lokr_w1_b" }, { { 64, 32 }, { 2, 4 } }, EBADMSG,
          "of two factors one is missing" },
        { "an empty factor", { "blocks.0.ffn.0.lokr_w2", "blocks.0.ffn.0.lokr_w1" }, { { 64, 32 }, { 0, 4 } }, EBADMSG,
          "is missing or empty" },
    };
    char path[256];

    test_begin("files that are wrong: one line each");
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        Form f = { 0 };

        for (int t = 0; t < 3 && rows[i].tensor[t]; t++)
            free(lora_tensor(&f, rows[i].tensor[t], TD_F32, rows[i].shape[t][0], rows[i].shape[t][1], 1));
        form_write(&f, small_path(path, "bad.safetensors"), NULL);
        refused(rows[i].name, path, rows[i].err, rows[i].words);
        form_free(&f);
    }
}

static void test_hostile_values(void)
{
    static const float bad[] = { NAN, INFINITY };
    char path[256], deep[400], pattern[600];
    Form f = { 0 };

    test_begin("values that are not finite, integers, metadata that is none");
    for (int i = 0; i < 4; i++) {
        free(lora_tensor(&f, "blocks.0.ffn.0.lora_A.weight", TD_F32, 2, DIM, 1));
        free(lora_tensor(&f, "blocks.0.ffn.0.lora_B.weight", TD_F32, FFN, 2, 1));
        form_add(&f, "blocks.0.ffn.0.alpha", TD_F32, 0, NULL, &(float){ 1 });
        memcpy(f.t[i < 2 ? 2 : i - 2].data, &bad[i % 2], 4);
        form_write(&f, small_path(path, "bad.safetensors"), NULL);
        refused("not finite", path, EBADMSG, i < 2 ? "ffn.0.alpha[0] is " : i == 2 ? "lora_A.weight[0] is nan"
                                                                                : "lora_B.weight[0] is inf");
        form_free(&f);
    }
    form_add(&f, "blocks.0.ffn.0.lora_A.weight", TD_I8, 2, (int64_t[]){ 2, DIM }, NULL);
    form_add(&f, "blocks.0.ffn.0.lora_B.weight", TD_I8, 2, (int64_t[]){ FFN, 2 }, NULL);
    form_write(&f, path, NULL);
    refused("int8", path, ENOTSUP, "dtype i8, want a float type");
    form_free(&f);

    free(lora_tensor(&f, "blocks.0.ffn.0.lora_A.weight", TD_F32, 2, DIM, 1));
    free(lora_tensor(&f, "blocks.0.ffn.0.lora_B.weight", TD_F32, FFN, 2, 1));
    for (int i = 0; i < 16; i++) {
        static const struct { const char *text, *words; int err; } rows[] = {
            { "", "", EBADMSG }, { "{", "", EBADMSG }, { "{\\\"r\\\":\\\"x\\\",\\\"lora_alpha\\\":1}",
                                                        "r or lora_alpha is no number", EBADMSG },
            { "{\\\"r\\\":3,\\\"lora_alpha\\\":1}", "rank 2, but peft's configuration says 3", EBADMSG },
            { "{\\\"r\\\":0}", "r is 0, want 1 or more", EBADMSG },
            { "{\\\"r\\\":-2,\\\"lora_alpha\\\":1}", "r is -2, want 1 or more", EBADMSG },
            { "{\\\"r\\\":2,\\\"use_rslora\\\":1}", "use_rslora is neither true nor false", EBADMSG },
            { "{\\\"r\\\":2,\\\"alpha_pattern\\\":[1]}", "patterns that are no object", EBADMSG },
            { "{\\\"r\\\":2,\\\"rank_pattern\\\":\\\"x\\\"}", "patterns that are no object", EBADMSG },
            { "{\\\"r\\\":2,\\\"rank_pattern\\\":{\\\"ffn.0\\\":0}}", "the rank of 'ffn.0' is 0, want 1 or more",
              EBADMSG },
            { "{\\\"r\\\":2,\\\"alpha_pattern\\\":{\\\"ffn.0\\\":\\\"4\\\"}}", "the value of 'ffn.0' is no number",
              EBADMSG },
            { "[1,2]", "is no object", EBADMSG },
            { "{\\\"r\\\":2,\\\"alpha_pattern\\\":{\\\"x\\\":null}}", "the value of 'x' is no number", EBADMSG },
            { "{\\\"r\\\":2,\\\"alpha_pattern\\\":{\\\"((a+)+)+\\\":1}}", "'((a+)+)+' is not understood", ENOTSUP },
            { "{\\\"r\\\":2,\\\"alpha_pattern\\\":{\\\"a{9,999}\\\":1}}", "is not understood", ENOTSUP },
            { "{\\\"r\\\":2,\\\"alpha_pattern\\\":{\\\"a(b\\\":1}}", "is not understood", ENOTSUP },
        };

        snprintf(pattern, sizeof(pattern), "{\"lora_adapter_metadata\":\"%s\"}", rows[i].text);
        form_write(&f, path, pattern);
        refused(rows[i].text, path, rows[i].err, rows[i].words);
    }
    form_write(&f, path, "{\"lora_adapter_metadata\":{\"r\":2}}");
    refused("metadata that is no text", path, EBADMSG, "lora_adapter_metadata is no text");
    form_write(&f, path, "[\"lora_adapter_metadata\"]");
    refused("metadata that is no object", path, EBADMSG, "__metadata__ is no object");
    memset(deep, '[', 300);
    snprintf(deep + 300, 100, "\"}");
    snprintf(pattern, sizeof(pattern), "{\"lora_adapter_metadata\":\"%s", deep);
    form_write(&f, path, pattern);
    refused("deep", path, EBADMSG, "nest");
    form_free(&f);
}

int main(void)
{
    char own[256];

    if (small_model_make("own", "--ffn=256 --blocks=3 --only=dit") < 0)
        return 1;
    snprintf(model, sizeof(model), "%s/" LORA_DIT, small_path(own, "own"));
    for (size_t i = 0; i < sizeof(conventions) / sizeof(*conventions); i++)
        test_pairs(&conventions[i]);
    test_metadata();
    test_config();
    for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
        test_kind(&kinds[i], "diffusion_model.blocks.1.ffn.0");
        test_kind(&kinds[i], "lycoris_blocks_1_ffn_net_0_proj");
        test_kind(&kinds[i], "lora_unet_blocks_1_ffn_0");
    }
    test_small_tensors();
    test_several();
    test_options();
    test_hostile();
    test_hostile_values();
    small_model_remove();
    return test_end();
}
