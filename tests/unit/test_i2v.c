/* SPDX-License-Identifier: BSD-2-Clause
 * Image to video through the public API: frames of the official script on the same weights, the conditioning channels,
 * what must and must not change the bytes, and what is refused. */
#include <stdlib.h>
#include "clip/condition.h"
#include "clip/sampler.h"
#include "golden.h"
#include "small_model.h"
#include "base/thread.h"

enum { W = 96, H = 64, N = 9, BYTES = W * H * 3 * N };

static double psnr(const uint8_t *a, const float *b, int64_t n)
{
    double d = 0;

    for (int64_t i = 0; i < n; i++)
        d += (a[i] - b[i]) * (a[i] - b[i]);
    return d > 0 ? 10 * log10(255.0 * 255.0 * (double)n / d) : 99;
}

/* the transformers of "i2v" with the other files of "tiny" */
static void golden_settings(TDSettings *s, Seen *seen, char path[4][512])
{
    small_settings(s, seen, golden_path(path[0], "TD_MODELS", "build/models", "i2v"));
    s->backend = golden_backend();
    s->vae = golden_path(path[1], "TD_MODELS", "build/models", "tiny/Wan2.1_VAE.pth");
    s->text_encoder = golden_path(path[2], "TD_MODELS", "build/models", "tiny/models_t5_umt5-xxl-enc-bf16.pth");
    s->tokenizer = golden_path(path[3], "TD_MODELS", "build/models", "tiny/google/umt5-xxl/spiece.model");
    s->attention = TD_ATTN_SLA;
    s->quant = TD_QUANT_NONE;
}

static TDImage golden_image(const TDCheckpoint *g)
{
    const TDEntry *e = td_checkpoint_find(g, "image");

    return (TDImage){ (int)e->shape[1], (int)e->shape[0], 3 * (ptrdiff_t)e->shape[1], (uint8_t *)(uintptr_t)e->data };
}

static void golden_params(TDParams *p, const TDImage *image, int ode)
{
    CHECK_INT(td_default_params(p, sizeof(*p)), 0);
    p->prompt = "a cat walks on a beach at sunset";
    p->width = W;
    p->height = H;
    p->n_frames = N;
    p->sla_topk = 0.5;
    p->noise = TD_NOISE_CPU;
    p->image = image;
    p->ode = ode;
}

/* ---- against the official script ---- */

static void check_official(const char *name, int ode, enum TDResidency residency)
{
    char path[4][512];
    TDLog log = golden_logger();
    TDCheckpoint *g = golden_open(name, &log);
    int64_t n = 0;
    float *want = golden_f32(g, "frames", &n);
    uint8_t *frames = calloc(1, BYTES);
    TDContext *c = NULL;
    TDSettings s;
    TDParams p;
    TDImage image;
    TDInfo info;
    Seen seen;

    golden_settings(&s, &seen, path);
    s.residency = residency;
    if (want && CHECK_INT(n, BYTES) && CHECK_INT(td_open(&c, &s), 0)) {
        image = golden_image(g);
        golden_params(&p, &image, ode);
        CHECK_INT(td_start(c, &p), 0);
        CHECK_INT(read_clip(c, frames), N);
        CHECK_INT(seen.backwards, 0);
        if (getenv("TD_VERBOSE"))
            printf("  %s: PSNR %.2f dB\n", name, psnr(frames, want, n));
        CHECK(psnr(frames, want, n) >= 40);
        golden_psnr(g, "frames", psnr(frames, want, n));
        CHECK_INT(td_info(c, &info), 0);
        CHECK(info.needs_image == 1 && info.stage_seconds[TD_STAGE_IMAGE] > 0);
    }
    if (seen.n_errors)
        printf("  %s\n", seen.error);
    td_close(&c);
    free(frames);
    free(want);
    td_checkpoint_close(&g);
}

/* mask and latent of the picture, as the transformer sees them */
static void check_condition(void)
{
    char path[512];
    TDLog log = golden_logger();
    TDCancel cancel = { 0 };
    TDCheckpoint *g = golden_open("clip_i2v", &log);
    TDDev *dev = NULL;
    TDPartKey key = { .kind = TD_PART_ENCODER };
    TDPart *part = NULL;
    TDNet net = { NULL };
    TDEncoder enc;
    TDCondition cond = { 0 };
    TDBuf buf = { 0 };
    TDArena a = { 0 };
    TDImage image;
    float *y = NULL;
    int64_t t = (N - 1) / 4 + 1, area = W / 8 * (H / 8);
    int ret = 0;

    if (!g || !CHECK_INT(golden_device(&dev, &cancel, &log), 0) ||
        !CHECK_INT(td_part_open(&part, &key, golden_path(path, "TD_MODELS", "build/models", "tiny/Wan2.1_VAE.pth"),
                                dev), 0) ||
        !CHECK_INT(td_part_hold(part, &net, dev), 1))
        goto end;
    enc = (TDEncoder){ part->kind, &net, dev };
    for (int pass = 0; pass < 2; pass++) {
        if (pass && !CHECK_INT(dev->ops->alloc(dev, &buf, a.peak, "a test"), 0))
            goto end;
        td_arena_init(&a, pass ? buf.ptr : NULL, buf.bytes, &log);
        CHECK_INT(td_condition_plan(&cond, &a, t, H / 8, W / 8), 0);
        CHECK_INT(td_condition_plan_work(&cond, &enc, &a, H / 8, W / 8), 0);
    }
    image = golden_image(g);
    CHECK_INT(td_condition_image(&cond, &image, W, H, W, H, part->kind->from_zero, &log), 0);
    CHECK_INT(td_condition_begin(&cond, &enc), 0);
    for (int64_t i = 0; i < t; i++)
        CHECK_INT(ret = td_condition_next(&cond, &enc, path), i == t - 1);
    y = malloc((size_t)(TD_COND_CHANNELS * t * area) * sizeof(*y));
    CHECK_INT(td_unpack(dev, y, &cond.cond, TD_UNPACK_TENSOR), 0);
    for (int64_t i = 0; i < TD_MASK_CHANNELS * t * area; i++)
        ret += y[i] != (i / area % t == 0 ? 1.0f : 0.0f);
    CHECK_INT(ret, 1);
    golden_check(g, "latent", y + TD_MASK_CHANNELS * t * area, 16 * t * area);
end:
    free(y);
    td_condition_free(&cond);
    dev->ops->free(dev, &buf);
    if (net.encoder) {
        td_part_release(part, dev);
        td_part_view_free(part, &net);
    }
    td_part_close(&part);
    td_checkpoint_close(&g);
    dev->ops->close(&dev);
}

/* ---- what changes the bytes ---- */

typedef struct Change { const char *what; int steps, unipc; double boundary, sigma_max; int same; } Change;

/* "same": as the clip of 4 steps with the defaults */
static const Change changes[] = {
    { "defaults",                     4, 0, 0,      0,   1 },
    { "the same boundary",            4, 0, 0.9,    0,   1 },
    { "between the same two steps",   4, 0, 0.86,   0,   1 },
    { "one step less of high noise",  4, 0, 0.94,   0,   0 },
    { "all low noise",                4, 0, 1,      0,   0 },
    { "all high noise",               4, 0, 0.0001, 0,   0 },
    { "the same sigma",               4, 0, 0,      200, 1 },
    { "another sigma",                4, 0, 0,      80,  0 },
    { "2 steps",                      2, 0, 0,      0,   0 },
    { "UniPC",                        3, 1, 0,      0,   0 },
};

/* times given by hand, and the steps beside them; "same" as above: to 1e-15 */
static const struct { const char *times; int steps, n, same; } by_hand[] = {
    { "0.995024875621891|0.933781061416858|0.852895394823775|0.608979049230431", 0, 4, 1 },
    { "0.995024875621891|0.933781061416858|0.852895394823775|0.608979049230431", 4, 4, 1 },
    { "1|0.9375|0.8333|0.625", 0, 4, 0 },
    { "1|0.91", 0, 2, 0 },                       /* all high noise */
};

/* guidance of each expert. "low": of the low-noise one alone, which has all steps where the boundary is 1 */
static void check_guidance(TDContext *c, const TDImage *image)
{
    static const struct { double guidance, low, boundary; } sets[] = {
        { 4, 0, 0.9 }, { 4, 4, 0.9 }, { 4, 3, 0.9 }, { 3, 4, 0.9 }, { 4, 3, 1 }, { 3, 0, 1 }, { 1, 3, 1 },
        { 1, 1, 0.9 }, { 1, 0, 0.9 },
    };
    enum { SETS = sizeof(sets) / sizeof(*sets) };
    uint8_t *frames[SETS];
    TDParams p;

    for (int i = 0; i < SETS; i++) {
        frames[i] = calloc(1, BYTES);
        golden_params(&p, image, 0);
        p.sampler = TD_SAMPLER_UNIPC;
        p.n_steps = 3;                           /* the last one at 0.71 */
        p.guidance = sets[i].guidance;
        p.guidance_low = sets[i].low;
        p.boundary = sets[i].boundary;
        CHECK_INT(td_start(c, &p), 0);
        CHECK_INT(read_clip(c, frames[i]), N);
    }
    CHECK(!memcmp(frames[0], frames[1], BYTES));
    CHECK(memcmp(frames[0], frames[2], BYTES) && memcmp(frames[0], frames[3], BYTES));
    CHECK(memcmp(frames[2], frames[3], BYTES) != 0);
    CHECK(!memcmp(frames[4], frames[5], BYTES) && !memcmp(frames[5], frames[6], BYTES));
    CHECK(!memcmp(frames[7], frames[8], BYTES));
    for (int i = 0; i < SETS; i++)
        free(frames[i]);
}

static void check_changes(TDContext *c, const TDImage *image, uint8_t *first)
{
    uint8_t *other = malloc(BYTES);
    double t[TD_RCM_MAX_STEPS + 1];
    TDParams p;
    TDInfo info;

    for (size_t i = 0; i < sizeof(changes) / sizeof(*changes); i++) {
        const Change *k = &changes[i];

        golden_params(&p, image, 0);
        p.n_steps = k->steps;
        p.boundary = k->boundary;
        p.sigma_max = k->sigma_max;
        p.sampler = k->unipc ? TD_SAMPLER_UNIPC : TD_SAMPLER_RCM;
        memset(other, 0, BYTES);
        CHECK_INT(td_start(c, &p), 0);
        CHECK_INT(read_clip(c, i ? other : first), N);
        if (i && !CHECK_INT(memcmp(first, other, BYTES) == 0, k->same))
            printf("  %s\n", k->what);
    }
    for (size_t i = 0; i < sizeof(by_hand) / sizeof(*by_hand); i++) {
        golden_params(&p, image, 0);
        p.timesteps = by_hand[i].times;
        p.n_steps = by_hand[i].steps;
        CHECK_INT(td_start(c, &p), 0);
        CHECK_INT(td_get_info(c, &info, sizeof(info)), 0);
        CHECK_INT(info.n_steps, by_hand[i].n);
        CHECK_INT(read_clip(c, other), N);
        if (!CHECK_INT(memcmp(first, other, BYTES) == 0, by_hand[i].same))
            printf("  %s\n", by_hand[i].times);
    }
    check_guidance(c, image);
    /* a step at the boundary itself is one of high noise */
    td_rcm_schedule(t, 4, 200);
    golden_params(&p, image, 0);
    p.boundary = t[1];
    CHECK(t[1] < 0.94 && t[1] > 0.9);
    CHECK_INT(td_start(c, &p), 0);
    CHECK_INT(read_clip(c, other), N);
    CHECK(!memcmp(first, other, BYTES));
    free(other);
}

static void check_bytes(void)
{
    char path[4][512];
    TDLog log = golden_logger();
    TDCheckpoint *g = golden_open("clip_i2v", &log);
    uint8_t *a = calloc(1, BYTES), *b = calloc(1, BYTES), *black = calloc(1, 70 * 100 * 3);
    TDContext *c = NULL, *d = NULL;
    TDImage image;
    TDSettings s;
    TDParams p;
    Seen seen, seen2;

    golden_settings(&s, &seen, path);
    s.n_threads = 1;
    if (!g || !CHECK_INT(td_open(&c, &s), 0))
        goto end;
    image = golden_image(g);
    check_changes(c, &image, a);
    golden_settings(&s, &seen2, path);           /* by stage, in pieces, on two threads, beside the other */
    s.residency = TD_RESIDENT_STAGE;
    if (CHECK_INT(td_open(&d, &s), 0)) {
        golden_params(&p, &image, 0);
        p.nonblocking = 1;
        CHECK_INT(td_start(d, &p), 0);
        CHECK_INT(read_clip(d, b), N);
        CHECK(!memcmp(a, b, BYTES));
    }
    image.data = black;                          /* another picture is another clip */
    golden_params(&p, &image, 0);
    CHECK_INT(td_start(c, &p), 0);
    CHECK_INT(read_clip(c, b), N);
    CHECK(memcmp(a, b, BYTES) != 0);
end:
    td_close(&c);
    td_close(&d);
    free(a);
    free(b);
    free(black);
    td_checkpoint_close(&g);
}

/* ---- what is refused ---- */

static void check_start(const char *model, const TDImage *image, double boundary, const char *words)
{
    char dir[256];
    TDContext *c = NULL;
    TDSettings s;
    TDParams p;
    Seen seen;

    small_settings(&s, &seen, small_path(dir, model));
    if (!CHECK_INT(td_open(&c, &s), 0))
        return;
    small_params(&p);
    p.image = image;
    p.boundary = boundary;
    check_error(&seen, td_start(c, &p), TD_ERR(EINVAL), words);
    td_close(&c);
}

static void check_open(const char *model, const char *dit, const char *dit_low, int code, const char *words)
{
    char dir[256], high[256], low[256];
    TDContext *c = NULL;
    TDSettings s;
    Seen seen;

    small_settings(&s, &seen, small_path(dir, model));
    s.dit = dit ? small_path(high, dit) : NULL;
    s.dit_low = dit_low ? small_path(low, dit_low) : NULL;
    check_error(&seen, td_open(&c, &s), code, words);
    CHECK(c == NULL);
    td_close(&c);
}

/* pair: whether both experts are used, which shows in the bytes of the weights */
static void check_opens(const char *model, const char *dit, const char *dit_low, int pair)
{
    char dir[256], high[256], low[256];
    uint64_t bytes[2] = { 0 };
    TDContext *c = NULL;
    TDSettings s;
    TDInfo info;
    Seen seen;

    for (int i = 0; i < 2; i++) {                /* as told, and with one of them alone */
        small_settings(&s, &seen, small_path(dir, model));
        s.dit = small_path(high, dit ? dit : dit_low);
        if (i == 0) {
            s.dit = dit ? high : NULL;
            s.dit_low = dit_low ? small_path(low, dit_low) : NULL;
        }
        if (!CHECK_INT(td_open(&c, &s), 0) || !CHECK_INT(td_info(c, &info), 0))
            return;
        bytes[i] = info.weight_bytes;
        td_close(&c);
    }
    CHECK(pair ? bytes[0] > bytes[1] : bytes[0] == bytes[1]);
    CHECK_STR(seen.error, "");
}

static void check_refused(void)
{
    static uint8_t pixels[8 * 8 * 3];
    TDImage good = { 8, 8, 24, pixels }, bad = good;
    char command[700];

    if (small_model_make("t2v", "") < 0 || small_model_make("pair", "--in-dim=36") < 0 ||
        small_model_make("wider", "--in-dim=36 --dim=256 --only=dit") < 0)
        return;
    test_begin("image: wanted, or not");
    check_start("t2v", &good, 0, "text-to-video model");
    check_start("pair", NULL, 0, "no image");
    check_start("pair", &good, 1.5, "boundary: 1.5");
    check_start("pair", &good, -0.5, "boundary: -0.5");
    bad.stride = 23;
    check_start("pair", &bad, 0, "stride of 23");
    bad = (TDImage){ 8, 8, 24, NULL };
    check_start("pair", &bad, 0, "data at");
    bad = (TDImage){ 8, 0, 24, pixels };
    check_start("pair", &bad, 0, "8x0");
    bad = (TDImage){ 1 << 20, 1 << 20, 3 << 20, pixels };
    check_start("pair", &bad, 0, "1048576x1048576");

    test_begin("experts: missing, or of another model");
    snprintf(command, sizeof(command), "cd %s && mkdir alone && cp -r pair/[!T]* alone && cp pair/*high* alone",
             small_dir);
    CHECK_INT(system(command), 0);
    check_open("alone", NULL, NULL, TD_ERR(ENOENT), "one of two experts");
    check_open("alone", NULL, "none.safetensors", TD_ERR(ENOENT), "none.safetensors: no such file");
    check_open("pair", NULL, "wider/TurboWan2.2-I2V-A14B-low-720P.safetensors", TD_ERR(EINVAL), "two experts of one");
    check_open("t2v", NULL, "pair/TurboWan2.2-I2V-A14B-low-720P.safetensors", TD_ERR(EINVAL), "two experts of one");
    test_begin("experts: two of text to video are used if the caller names them");
    snprintf(command, sizeof(command), "cd %s && cp t2v/TurboWan2.1-T2V-1.3B-480P.safetensors "
             "t2v/TurboWan2.1-T2V-1.3B-low-480P.safetensors", small_dir);
    CHECK_INT(system(command), 0);
    check_open("t2v", NULL, NULL, TD_ERR(EINVAL), "/TurboWan2.1-T2V-1.3B-480P-quant.safetensors and ");
    check_open("t2v", NULL, NULL, TD_ERR(EINVAL), "/TurboWan2.1-T2V-1.3B-low-480P.safetensors: two transformers, "
               "want one; set dit= to the one to use, or dit= and dit_low= where they are the experts of one model");
    check_opens("t2v", "t2v/TurboWan2.1-T2V-1.3B-480P.safetensors", NULL, 0);
    check_opens("t2v", "t2v/TurboWan2.1-T2V-1.3B-low-480P.safetensors", NULL, 0);
    check_opens("t2v", NULL, "t2v/TurboWan2.1-T2V-1.3B-low-480P.safetensors", 1);
    check_opens("t2v", "t2v/TurboWan2.1-T2V-1.3B-480P.safetensors", "t2v/TurboWan2.1-T2V-1.3B-low-480P.safetensors", 1);
    small_model_remove();
}

static void check_adaptive(void)
{
    /* area, picture, result (doc: the official adaptive resolution) */
    static const int sizes[][6] = {
        { 1280, 720, 1920, 1080, 1280, 720 }, { 832, 480, 1920, 1080, 848, 480 }, { 1280, 720, 4, 3, 1104, 832 },
        { 832, 480, 4, 3, 736, 544 },         { 1280, 720, 3, 2, 1168, 784 },     { 832, 480, 3, 2, 768, 512 },
        { 1280, 720, 1, 1, 960, 960 },        { 832, 480, 1, 1, 624, 624 },       { 1280, 720, 2, 1, 1360, 672 },
        { 832, 480, 2, 1, 896, 448 },         { 1280, 720, 9, 16, 720, 1280 },    { 832, 480, 9, 16, 480, 848 },
    };
    int w, h;

    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        w = sizes[i][0];
        h = sizes[i][1];
        CHECK_INT(td_adaptive_size(&w, &h, sizes[i][2], sizes[i][3]), 0);
        CHECK_INT(w, sizes[i][4]);
        CHECK_INT(h, sizes[i][5]);
    }
    CHECK_INT(td_adaptive_size(&w, &h, 100, 1), TD_ERR(EINVAL));
    CHECK_INT(td_adaptive_size(&w, &h, 1, INT32_MAX), TD_ERR(EINVAL));
    CHECK_INT(td_adaptive_size(&w, &h, 0, 1), TD_ERR(EINVAL));
    CHECK_INT(td_adaptive_size(NULL, &h, 1, 1), TD_ERR(EINVAL));
    w = 0;
    CHECK_INT(td_adaptive_size(&w, &h, 1, 1), TD_ERR(EINVAL));
}

int main(void)
{
    test_begin("conditioning channels");
    check_condition();
    test_begin("image to video, SDE");
    check_official("clip_i2v", 0, TD_RESIDENT_ALL);
    test_begin("image to video, ODE, by stage");
    check_official("clip_i2v_ode", 1, TD_RESIDENT_STAGE);
    test_begin("image to video: what changes the bytes");
    check_bytes();
    test_begin("adaptive size");
    check_adaptive();
    check_refused();
    return test_end();
}
