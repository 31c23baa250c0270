/* SPDX-License-Identifier: BSD-2-Clause
 * Whole clips through the public API: against the official script's frames for the same weights, seed and noise; and,
 * for every attention, linear and sampler, what must not change the bytes (threads, residency, another context) and
 * what must (the seed). */
#include "golden.h"
#include "api/turbodiff.h"

static void log_line(void *cookie, int level, const char *line)
{
    (void)cookie;
    if (level <= TD_LOG_WARNING)
        printf("  log: %s\n", line);
}

static double psnr(const uint8_t *a, const float *b, int64_t n)
{
    double d = 0;

    for (int64_t i = 0; i < n; i++)
        d += (a[i] - b[i]) * (a[i] - b[i]);
    return d > 0 ? 10 * log10(255.0 * 255.0 * (double)n / d) : 99;
}

typedef struct OfficialClip {
    const char *golden, *frames, *title;         /* frames: tensor u8 [17,H,W,3] */
    int width;
    enum TDAttention attention;
    enum TDSlaBlock block;
    enum TDNoise noise;
    enum TDQuant quant;
    double topk, least;                          /* least: PSNR in dB */
} OfficialClip;

/* the gpu_ ones are frames of the official script and kernels on an H100 */
static const OfficialClip official[] = {
    { "clip_cpu", "frames", "clip, bf16 sla, CPU noise", 96, TD_ATTN_SLA, TD_SLA_BLOCK_AUTO, TD_NOISE_CPU,
      TD_QUANT_NONE, 0.5, 40 },
    { "clip_h100", "frames", "clip, bf16 sla, H100 noise", 96, TD_ATTN_SLA, TD_SLA_BLOCK_AUTO, TD_NOISE_H100,
      TD_QUANT_NONE, 1.0, 40 },
    { "clip_int8", "frames", "clip, int8 sla, H100 noise", 96, TD_ATTN_SLA, TD_SLA_BLOCK_AUTO, TD_NOISE_H100,
      TD_QUANT_AUTO, 1.0, 40 },
    { "clip_dense", "frames", "clip, bf16 dense, H100 noise", 96, TD_ATTN_DENSE, TD_SLA_BLOCK_AUTO, TD_NOISE_H100,
      TD_QUANT_NONE, 1.0, 40 },
    { "gpu_clip", "sla.bf16.frames", "clip, bf16 sla of an H100", 128, TD_ATTN_SLA, TD_SLA_BLOCK_AUTO, TD_NOISE_H100,
      TD_QUANT_NONE, 0.5, 40 },
    { "gpu_clip", "sagesla.int8.frames", "clip, int8 sagesla of an H100", 128, TD_ATTN_SAGESLA, TD_SLA_BLOCK_64X128,
      TD_NOISE_H100, TD_QUANT_AUTO, 0.5, 40 },
};

static void check_official(const OfficialClip *k)
{
    char path[512];
    TDLog log = golden_logger();
    TDSettings s;
    TDParams p;
    TDContext *c = NULL;
    TDFrame f = { .format = TD_PIX_RGB24 };
    TDCheckpoint *g;
    int64_t n = 0, bytes = k->width * 64 * 3;
    float *want;
    uint8_t *frames = NULL;
    int count = 0;

    test_begin(k->title);
    g = golden_open(k->golden, &log);
    want = golden_f32(g, k->frames, &n);
    td_default_settings(&s, sizeof(s));
    td_default_params(&p, sizeof(p));
    s.backend = golden_backend();
    s.model = golden_path(path, "TD_MODELS", "build/models", "tiny");
    s.attention = k->attention;
    s.sla_block = k->block;
    s.quant = k->quant;
    s.logger = (TDLogger){ NULL, log_line, TD_LOG_WARNING };
    p.prompt = "a cat walks on a beach at sunset";
    p.width = k->width;
    p.height = 64;
    p.n_frames = 17;
    p.sla_topk = k->topk;
    p.noise = k->noise;
    if (!want || !CHECK_INT(n, 17 * bytes) || !CHECK(td_open(&c, &s) == 0) || !CHECK(td_start(c, &p) == 0))
        goto end;
    frames = malloc((size_t)n);
    f.stride[0] = k->width * 3;
    for (; count < 17; count++) {
        f.data[0] = frames + count * bytes;
        if (!CHECK(td_read_frame(c, &f) == 1))
            goto end;
        CHECK_INT(f.index, count);
    }
    CHECK_INT(td_read_frame(c, &f), 0);
    if (getenv("TD_VERBOSE"))
        printf("  %s: PSNR %.2f dB\n", k->title, psnr(frames, want, n));
    CHECK(psnr(frames, want, n) >= k->least);
    golden_psnr(g, k->frames, psnr(frames, want, n));
end:
    free(frames);
    free(want);
    td_close(&c);
    td_checkpoint_close(&g);
}

/* ---- what changes the bytes ---- */

enum { W = 96, H = 96, N = 5, BYTES = W * H * 3 * N };

typedef struct Kind {
    const char *title;
    enum TDAttention attention;
    enum TDQuant quant;
    enum TDSampler sampler;
    int steps, ode;
    double guidance;
} Kind;

static const Kind kinds[] = {
    { "dense bf16",           TD_ATTN_DENSE,   TD_QUANT_NONE, TD_SAMPLER_RCM,   4, 0, 1 },
    { "dense int8, ODE",      TD_ATTN_DENSE,   TD_QUANT_INT8, TD_SAMPLER_RCM,   2, 1, 1 },
    { "sla int8",             TD_ATTN_SLA,     TD_QUANT_INT8, TD_SAMPLER_RCM,   1, 0, 1 },
    { "sagesla bf16",         TD_ATTN_SAGESLA, TD_QUANT_NONE, TD_SAMPLER_RCM,   3, 0, 1 },
    { "UniPC, guidance",      TD_ATTN_DENSE,   TD_QUANT_NONE, TD_SAMPLER_UNIPC, 3, 0, 5 },
    { "UniPC, no guidance",   TD_ATTN_DENSE,   TD_QUANT_NONE, TD_SAMPLER_UNIPC, 3, 0, 1 },
};

static TDContext *open_kind(const Kind *k, int n_threads, enum TDResidency residency)
{
    char path[512];
    TDContext *c = NULL;
    TDSettings s;

    td_default_settings(&s, sizeof(s));
    s.backend = golden_backend();
    s.model = golden_path(path, "TD_MODELS", "build/models", "tiny");
    s.attention = k->attention;
    s.quant = k->quant;
    s.n_threads = n_threads;
    s.residency = residency;
    s.logger = (TDLogger){ NULL, log_line, TD_LOG_WARNING };
    CHECK_INT(td_open(&c, &s), 0);
    return c;
}

static int start_kind(TDContext *c, const Kind *k, uint64_t seed, const char *prompt)
{
    TDParams p;

    td_default_params(&p, sizeof(p));
    p.prompt = prompt;
    p.width = W;
    p.height = H;
    p.n_frames = N;
    p.seed = seed;
    p.sampler = k->sampler;
    p.n_steps = k->steps;
    p.ode = k->ode;
    p.guidance = k->guidance;
    p.sla_topk = 0.5;                            /* one of two key blocks */
    return CHECK_INT(td_start(c, &p), 0);
}

static int read_one(TDContext *c, uint8_t *frames, int i)
{
    TDFrame f = { .format = TD_PIX_RGB24, .stride = { W * 3 }, .data = { frames + (size_t)i * W * H * 3 } };

    return CHECK_INT(td_read_frame(c, &f), 1) && CHECK_INT(f.index, i);
}

static void read_all(TDContext *c, uint8_t *frames)
{
    TDFrame f = { .format = TD_PIX_RGB24 };

    memset(frames, 0, BYTES);
    for (int i = 0; i < N && read_one(c, frames, i); i++)
        ;
    CHECK_INT(td_read_frame(c, &f), 0);
}

/* each strength of guidance is another clip */
static void check_guidance(void)
{
    static const double strengths[] = { 1, 1.5, 5 };
    uint8_t *frames[3] = { malloc(BYTES), malloc(BYTES), malloc(BYTES) };
    Kind k = kinds[4];
    TDContext *c;

    test_begin("each strength of guidance is another clip");
    c = open_kind(&k, 2, TD_RESIDENT_ALL);
    for (int i = 0; i < 3 && c; i++) {
        k.guidance = strengths[i];
        if (start_kind(c, &k, 7, "a dog"))
            read_all(c, frames[i]);
    }
    for (int i = 0; i < 3 && c; i++)
        CHECK(memcmp(frames[i], frames[(i + 1) % 3], BYTES) != 0);
    td_close(&c);
    for (int i = 0; i < 3; i++)
        free(frames[i]);
}

static void check_kind(const Kind *k)
{
    uint8_t *a = malloc(BYTES), *b = malloc(BYTES), *b2 = malloc(BYTES);
    TDContext *c, *d;

    test_begin(k->title);
    c = open_kind(k, 1, TD_RESIDENT_ALL);
    d = open_kind(k, 2, TD_RESIDENT_STAGE);
    if (c && d && start_kind(c, k, 7, "a dog")) {
        read_all(c, a);
        if (start_kind(c, k, 7, "a dog"))                /* again, in the memory of the first */
            read_all(c, b);
        CHECK(!memcmp(a, b, BYTES));
        if (start_kind(c, k, 8, "a dog") && start_kind(d, k, 7, "a dog"))
            for (int i = 0; i < N; i++)                  /* two contexts in turn; d: two threads, weights by stage */
                if (!read_one(c, b, i) || !read_one(d, b2, i))
                    break;
        CHECK(memcmp(a, b, BYTES) != 0);                 /* another seed is another clip */
        CHECK(!memcmp(a, b2, BYTES));
        if (start_kind(d, k, 7, "a red house by the sea"))
            read_all(d, b);
        CHECK(memcmp(a, b, BYTES) != 0);
    }
    free(b2);
    td_close(&c);
    td_close(&d);
    free(a);
    free(b);
}

int main(void)
{
    for (size_t i = 0; i < sizeof(official) / sizeof(*official); i++)
        check_official(&official[i]);
    for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
        check_kind(&kinds[i]);
    check_guidance();
    return test_end();
}
