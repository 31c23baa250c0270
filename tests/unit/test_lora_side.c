/* SPDX-License-Identifier: BSD-2-Clause
 * LoRAs beside weights of int8, which cannot be changed: how much of one comes through, and what the frames are, next
 * to those of weights that had it merged before they were quantised. */
#include "base/thread.h"
#include "lora_files.h"
#include "model/device.h"
#include "nets/dit.h"

enum { W = 32, H = 32, N = 5, BYTES = W * H * 3 * N };

static char own[256];
static char names[2][600];                       /* the transformer as bf16 and as int8 */
static char lora[256];

/* ---- one linear ---- */

static TDDev *dev;
static TDCancel cancel;
static TDLog quiet;

static void *host(size_t bytes)
{
    void *p = calloc(1, bytes + 64);

    return p;
}

static TDEntry as_entry(const float *x, int64_t n, int64_t k)
{
    return (TDEntry){ .name = "x", .file = "test", .dtype = TD_F32, .n_dims = 2, .shape = { n, k, 1, 1, 1 },
                      .stride = { k, 1, 1, 1, 1 }, .data = (const uint8_t *)x, .bytes = (size_t)(n * k) * 4 };
}

/* y = x W^T on int8 codes, as floats */
static void product(float *y, TDAct *x, const float *w, const TDDitSide *side, int64_t l, int64_t n, int64_t k)
{
    TDTensor out = { host((size_t)(l * n) * 2), { l, n, 1, 1, 1 }, 2, TD_BF16 };
    TDEntry e = as_entry(w, n, k);
    TDLinearSource src = { .w = &e };
    TDWeights weights = { 0 };
    TDLinear lin;

    CHECK_INT(td_pack_linear(dev, &weights, &lin, &src, 1, TD_I8), 0);
    x->add = NULL;
    if (side) {
        TDTensor inner = { host((size_t)(l * side->down.n) * 2), { l, side->down.n, 1, 1, 1 }, 2, TD_BF16 };
        TDAct in = { .x = inner };

        CHECK_INT(dev->ops->linear(dev, &inner, x, &side->down), 0);
        CHECK_INT(dev->ops->linear(dev, &out, &in, &side->up), 0);
        x->add = out.data;
        free(inner.data);
    }
    CHECK_INT(dev->ops->linear(dev, &out, x, &lin), 0);
    for (int64_t i = 0; i < l * n; i++)
        y[i] = td_bf16_to_f32(((uint16_t *)out.data)[i]);
    td_weights_free(dev, &weights);
    free(out.data);
}

static float normal(void)
{
    float s = 0;

    for (int i = 0; i < 12; i++)
        s += lora_random();
    return s / 2;                                /* 12 of variance 1/3 */
}

/* Share of a LoRA's term that is left in y: its projection. size: of the delta, as a share of the weights */
static void test_share(double size)
{
    enum { L = 96, OUT = 256, IN = 512, R = 16 };
    static float w[OUT * IN], merged[OUT * IN], u[OUT * R], v[R * IN], x[L * IN], y0[L * OUT], y1[L * OUT], y2[L * OUT];
    uint16_t *half = host(sizeof(x));
    int8_t *code = host(sizeof(x));
    float *scale = host(4 * IN / 128);
    TDAct act = { .x = { half, { L, IN, 1, 1, 1 }, 2, TD_BF16 }, .code = { code, { L, IN, 1, 1, 1 }, 2, TD_I8 },
                  .scale = { scale, { 1, IN / 128, 1, 1, 1 }, 2, TD_F32 } };
    double dd = 0, ww = 0, one = 0, two = 0, tt = 0;
    TDDit view = { .dev = dev, .n_blocks = 1 };
    TDEntry weight = { .name = "blocks.0.ffn.0.int8_weight" };
    TDLoraSide sides[2];
    TDLora list = { .sides = sides, .n_sides = 2 };
    TDWeights weights = { 0 };

    for (int i = 0; i < OUT * IN; i++)
        w[i] = normal();
    /* rows of V as different as several LoRAs' are, though each does as much */
    for (int i = 0; i < OUT * R; i++)
        u[i] = normal() * (i % R % 4 == 0 ? 100 : 1);
    for (int i = 0; i < R * IN; i++)
        v[i] = normal() * (i / IN % 4 == 0 ? 0.01f : 1);
    for (int i = 0; i < L * IN; i++)
        half[i] = td_f32_to_bf16(normal());
    memcpy(merged, w, sizeof(w));
    lora_merge(merged, u, v, OUT, IN, R, 1);
    for (int i = 0; i < OUT * IN; i++) {
        dd += (merged[i] - w[i]) * (merged[i] - w[i]);
        ww += w[i] * w[i];
    }
    sides[0] = (TDLoraSide){ &weight, { (uint8_t *)u, TD_F32, OUT, R }, { (uint8_t *)v, TD_F32, R, IN },
                             (float)(size * sqrt(ww / dd) / 2) };
    sides[1] = sides[0];                         /* two files of half the strength are one */
    memcpy(merged, w, sizeof(w));
    lora_merge(merged, u, v, OUT, IN, R, 2 * sides[0].factor);
    CHECK_INT(dev->ops->quantise(dev, &act), 0);
    CHECK_INT(td_dit_bind_sides(&view, &weights, &list), 0);
    CHECK_INT(view.side_rank, 64);
    CHECK(view.side_ffn && view.sides[0].ffn1.down.n == 64 && view.sides[0].q.down.n == 0);
    product(y0, &act, w, NULL, L, OUT, IN);
    product(y1, &act, w, &view.sides[0].ffn1, L, OUT, IN);
    product(y2, &act, merged, NULL, L, OUT, IN);
    for (int i = 0; i < L; i++)
        for (int k = 0; k < IN; k++)
            x[i * IN + k] = (float)code[i * IN + k] * scale[k / 128];
    for (int i = 0; i < L; i++)
        for (int j = 0; j < OUT; j++) {
            double t = 0;

            for (int k = 0; k < IN; k++)
                t += (double)x[i * IN + k] * (merged[j * IN + k] - w[j * IN + k]);
            tt += t * t;
            one += t * (y1[i * OUT + j] - y0[i * OUT + j]);
            two += t * (y2[i * OUT + j] - y0[i * OUT + j]);
        }
    if (getenv("TD_VERBOSE"))
        printf("  delta of %.2f %%: %.1f %% of it beside the codes, %.1f %% merged before quantising\n", 100 * size,
               100 * one / tt, 100 * two / tt);
    CHECK_NEAR(one / tt, 1, 0.03);
    CHECK(fabs(one / tt - 1) <= fabs(two / tt - 1) + 0.03);
    td_dit_drop_sides(&view);
    td_weights_free(dev, &weights);
    free(half);
    free(code);
    free(scale);
}

/* ---- clips ---- */

static uint64_t seed;

static int clip(const char *dit, const char *with, enum TDQuant quant, uint64_t max_bytes, uint8_t *rgb, TDInfo *info)
{
    TDContext *c = NULL;
    TDSettings s;
    TDParams p;
    Seen seen;
    int ret;

    small_settings(&s, &seen, own);
    small_params(&p);
    s.dit = dit;
    s.quant = quant;
    s.max_bytes = max_bytes;
    s.clip = &p;
    p.n_steps = 2;
    p.seed = seed;
    p.lora = with;
    ret = td_open(&c, &s);
    if (ret >= 0 && (ret = td_start(c, &p)) >= 0)
        ret = read_clip(c, rgb);
    if (!max_bytes && !CHECK_STR(seen.error, ""))
        printf("  %s with %s\n", dit, with ? with : "none");
    if (c && info)
        td_info(c, info);
    td_close(&c);
    return ret;
}

static double apart(const uint8_t *a, const uint8_t *b)
{
    double d = 0;

    for (int i = 0; i < BYTES; i++)
        d += (a[i] - b[i]) * (a[i] - b[i]);
    return sqrt(d / BYTES);
}

/* one file of the ten linears of all blocks */
static void make_lora(float size)
{
    char name[300], module[128];
    Form f = { 0 }, base;

    if (form_read(&base, names[0], 0) < 0)
        return;
    for (int i = 0; i < LORA_BLOCKS * LORA_TAILS; i++) {
        FormTensor *t;

        snprintf(name, sizeof(name), "%s.weight", lora_module_name(module, i, LORA_OFFICIAL));
        t = form_find(&base, name);
        snprintf(name, sizeof(name), "diffusion_model.%s.lora_B.weight", module);
        free(lora_tensor(&f, name, TD_BF16, t->shape[0], 8, size));
        snprintf(name, sizeof(name), "diffusion_model.%s.lora_A.weight", module);
        free(lora_tensor(&f, name, TD_BF16, 8, t->shape[1], size));
    }
    form_write(&f, small_path(lora, "lora.safetensors"), NULL);
    form_free(&f);
    form_free(&base);
}

static void test_clips(void)
{
    static uint8_t bf16[BYTES], merged[BYTES], side[BYTES], plain[BYTES], got[BYTES];
    double base, ours, moved;
    TDInfo info, without;
    char text[600];
    int n = 0;

    test_begin("frames: as near to those of bf16 as weights merged before they were quantised");
    make_lora(0.2f);
    base = ours = moved = 0;
    for (seed = 8; seed-- > 0;) {
        CHECK_INT(clip(names[0], lora, TD_QUANT_NONE, 0, bf16, NULL), N);
        CHECK_INT(clip(names[0], lora, TD_QUANT_INT8, 0, merged, NULL), N);
        CHECK_INT(clip(names[1], lora, TD_QUANT_AUTO, 0, side, &info), N);
        CHECK_INT(clip(names[1], NULL, TD_QUANT_AUTO, 0, plain, &without), N);
        base += apart(merged, bf16) / 8;
        ours += apart(side, bf16) / 8;
        moved += apart(plain, bf16) / 8;
    }
    seed = 0;
    if (getenv("TD_VERBOSE"))
        printf("  RMS of frames from bf16's: merged, then quantised %.3f; beside int8 %.3f; int8 without it %.3f\n",
               base, ours, moved);
    CHECK(ours <= 1.25 * base);
    CHECK(moved > 4 * base);
    CHECK(info.weight_bytes > without.weight_bytes && info.peak_bytes <= info.predicted_bytes);

    test_begin("strength 0 beside int8 changes nothing; two of half the strength are one");
    snprintf(text, sizeof(text), "%s*0", lora);
    CHECK_INT(clip(names[1], text, TD_QUANT_AUTO, 0, got, NULL), N);
    CHECK(!memcmp(got, plain, BYTES));
    snprintf(text, sizeof(text), "%s*0.5|%s*0.5", lora, lora);
    CHECK_INT(clip(names[1], text, TD_QUANT_AUTO, 0, got, NULL), N);
    CHECK(apart(got, side) <= 0.3 * moved);

    test_begin("beside int8, block by block and in less memory: the same frames");
    for (uint64_t limit = info.peak_bytes - 1; limit > info.peak_bytes / 8; limit -= info.peak_bytes / 12, n++) {
        if (clip(names[1], lora, TD_QUANT_AUTO, limit, got, &without) < 0)
            break;
        CHECK(!memcmp(got, side, BYTES) && without.peak_bytes <= limit);
    }
    CHECK(n > 2);
}

static int loads;

static void watch(void *cookie, int level, const char *text)
{
    on_line(cookie, level, text);
    loads += strstr(text, "load: ") && strstr(text, "quant") && !strstr(text, "load: LoRA");
}

static void test_change(void)
{
    static uint8_t plain[BYTES], with[BYTES], got[BYTES];
    TDContext *c = NULL;
    TDSettings s;
    TDParams p;
    Seen seen;

    test_begin("changed between clips at once: the int8 weights stay");
    CHECK_INT(clip(names[1], lora, TD_QUANT_AUTO, 0, with, NULL), N);
    CHECK_INT(clip(names[1], NULL, TD_QUANT_AUTO, 0, plain, NULL), N);
    small_settings(&s, &seen, own);
    s.dit = names[1];
    s.logger.callback = watch;
    CHECK_INT(td_open(&c, &s), 0);
    loads = 0;
    for (int i = 0; i < 6; i++) {
        small_params(&p);
        p.n_steps = 2;
        p.lora = i % 2 ? lora : NULL;
        CHECK_INT(td_start(c, &p), 0);
        CHECK_INT(read_clip(c, got), N);
        CHECK(!memcmp(got, i % 2 ? with : plain, BYTES));
    }
    CHECK_INT(loads, 0);
    CHECK_STR(seen.error, "");
    td_close(&c);
}

/* image to video by two experts of int8, one context, clips with these on the one and the other */
static void test_experts(void)
{
    static uint8_t grey[W * H * 3], got[2][4][BYTES];
    TDImage image = { W, H, 3 * W, grey };
    const char *const on[4][2] = { { NULL, NULL }, { lora, NULL }, { NULL, lora }, { lora, lora } };
    char dir[256];

    test_begin("two experts of int8: each has its own beside it, whatever is in memory when");
    if (small_model_make("i2v", "--ffn=256 --blocks=3 --in-dim=36 --dit=int8") < 0)
        return;
    small_path(dir, "i2v");
    for (int i = 0; i < W * H * 3; i++)
        grey[i] = (uint8_t)i;
    for (int by_stage = 0; by_stage < 2; by_stage++) {
        TDContext *c = NULL;
        TDSettings s;
        TDParams p;
        TDInfo info;
        Seen seen;

        small_settings(&s, &seen, dir);
        s.residency = by_stage ? TD_RESIDENT_STAGE : TD_RESIDENT_ALL;
        CHECK_INT(td_open(&c, &s), 0);
        for (int i = 0; i < 4; i++) {
            small_params(&p);
            p.n_steps = 2;
            p.boundary = 0.99;
            p.image = &image;
            p.lora = on[i][0];
            p.lora_low = on[i][1];
            CHECK_INT(td_start(c, &p), 0);
            CHECK_INT(read_clip(c, got[by_stage][i]), N);
            td_info(c, &info);
            CHECK(info.peak_bytes <= info.predicted_bytes);
            for (int k = 0; k < i; k++)
                CHECK(memcmp(got[by_stage][i], got[by_stage][k], BYTES) != 0);
        }
        CHECK_STR(seen.error, "");
        td_close(&c);
    }
    CHECK(!memcmp(got[0], got[1], sizeof(got[0])));
}

static void test_refused(void)
{
    static const struct { const char *ending[3]; int64_t rows[3], cols[3]; } kinds[] = {
        { { "diff" }, { 256 }, { 128 } }, { { "set_weight" }, { 256 }, { 128 } },
        { { "lora_A.weight", "lora_B.weight", "dora_scale" }, { 4, 256, 256 }, { 128, 4, 1 } },
        { { "lokr_w1", "lokr_w2" }, { 4, 64 }, { 4, 32 } },
        { { "hada_w1_a", "hada_w1_b" }, { 256, 2 }, { 2, 128 } },
    };
    char path[256], name[300];
    TDContext *c = NULL;
    TDSettings s;
    TDParams p;
    Seen seen;

    test_begin("what is no pair of matrices is refused beside int8, but for what is no matrix of it");
    for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
        Form f = { 0 };

        for (int t = 0; t < 3 && kinds[i].ending[t]; t++) {
            snprintf(name, sizeof(name), "blocks.0.ffn.0.%s", kinds[i].ending[t]);
            free(lora_tensor(&f, name, TD_F32, kinds[i].rows[t], kinds[i].cols[t], 1));
        }
        form_write(&f, small_path(path, "odd.safetensors"), NULL);
        form_free(&f);
        small_settings(&s, &seen, own);
        small_params(&p);
        s.dit = names[1];
        s.clip = &p;
        p.lora = path;
        check_error(&seen, td_open(&c, &s), TD_ERR(EINVAL), "is int8 codes, which take pairs of two matrices alone; "
                    "want the model's bf16 file");
        td_close(&c);
    }
    {
        static uint8_t plain[BYTES], got[BYTES];
        Form f = { 0 };

        free(lora_tensor(&f, "blocks.0.ffn.0.diff_b", TD_F32, 256, 1, 4));
        free(lora_tensor(&f, "blocks.1.norm3.diff", TD_F32, 128, 1, 4));
        free(lora_tensor(&f, "text_embedding.0.diff", TD_F32, 128, 64, 1));
        form_write(&f, path, NULL);
        form_free(&f);
        CHECK_INT(clip(names[1], path, TD_QUANT_AUTO, 0, got, NULL), N);
        CHECK_INT(clip(names[1], NULL, TD_QUANT_AUTO, 0, plain, NULL), N);
        CHECK(memcmp(got, plain, BYTES));
    }
}

int main(void)
{
    if (small_model_make("own", "--ffn=256 --blocks=3 --dit=both") < 0)
        return 1;
    small_path(own, "own");
    snprintf(names[0], sizeof(names[0]), "%s/" LORA_DIT, own);
    snprintf(names[1], sizeof(names[1]), "%s/TurboWan2.1-T2V-1.3B-480P-quant.safetensors", own);
    if (!CHECK_INT(td_device_open(&dev, TD_BACKEND_CPU, NULL, 2, &cancel, &quiet), 0))
        return 1;
    test_begin("a weak LoRA comes through beside int8 as it does merged before quantising");
    test_share(0.003);
    test_share(0.01);
    test_share(0.1);
    dev->ops->close(&dev);
    test_clips();
    test_change();
    test_experts();
    test_refused();
    small_model_remove();
    return test_end();
}
