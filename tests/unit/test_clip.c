/* SPDX-License-Identifier: BSD-2-Clause
 * Whole clips through the public API against the official script's frames for the same weights, seed and noise. */
#include "golden.h"
#include "turbodiff.h"

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

static void check_clip(const char *golden, const char *title, enum TDNoise noise, enum TDQuant quant, double least)
{
    char path[512];
    TDLog log = golden_logger();
    TDSettings s;
    TDParams p;
    TDContext *c = NULL;
    TDFrame f = { .format = TD_PIX_RGB24 };
    TDCheckpoint *g;
    int64_t n = 0, bytes = 96 * 64 * 3;
    float *want;
    uint8_t *frames = NULL;
    int count = 0;

    test_begin(title);
    g = golden_open(golden, &log);
    want = golden_f32(g, "frames", &n);
    td_default_settings(&s, sizeof(s));
    td_default_params(&p, sizeof(p));
    s.model = golden_path(path, "TD_MODELS", "build/models", "tiny");
    s.attention = TD_ATTN_SLA;
    s.quant = quant;
    s.logger = (TDLogger){ NULL, log_line, TD_LOG_WARNING };
    p.prompt = "a cat walks on a beach at sunset";
    p.width = 96;
    p.height = 64;
    p.n_frames = 17;
    p.sla_topk = 0.5;
    p.noise = noise;
    if (!want || !CHECK_INT(n, 17 * bytes) || !CHECK(td_open(&c, &s) == 0) || !CHECK(td_start(c, &p) == 0))
        goto end;
    frames = malloc((size_t)n);
    f.stride[0] = 96 * 3;
    for (; count < 17; count++) {
        f.data[0] = frames + count * bytes;
        if (!CHECK(td_read_frame(c, &f) == 1))
            goto end;
        CHECK_INT(f.index, count);
    }
    CHECK_INT(td_read_frame(c, &f), 0);
    if (getenv("TD_VERBOSE"))
        printf("  %s: PSNR %.2f dB\n", title, psnr(frames, want, n));
    CHECK(psnr(frames, want, n) >= least);
end:
    free(frames);
    free(want);
    td_close(&c);
    td_checkpoint_close(&g);
}

int main(void)
{
    check_clip("clip_cpu", "clip, bf16 sla, CPU noise", TD_NOISE_CPU, TD_QUANT_NONE, 40);
    check_clip("clip_h100", "clip, bf16 sla, H100 noise", TD_NOISE_H100, TD_QUANT_NONE, 40);
    return test_end();
}
