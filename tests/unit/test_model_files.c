/* SPDX-License-Identifier: BSD-2-Clause
 * Model directories that are not of the official sizes: widths, vocabulary and stored types come from the files, and
 * the transformer is found whatever its name says after "TurboWan2.1-T2V-". */
#include "small_model.h"

enum { W = 32, H = 32, N = 5, BYTES = W * H * 3 * N };

/* one clip of a model; rgb: BYTES */
static int make_clip(const char *model, uint8_t *rgb)
{
    TDContext *c = NULL;
    TDSettings s;
    TDParams p;
    Seen seen;
    int ret;

    small_settings(&s, &seen, model);
    small_params(&p);
    ret = td_open(&c, &s);
    if (ret >= 0 && (ret = td_start(c, &p)) >= 0)
        ret = read_clip(c, rgb);
    CHECK_STR(seen.error, "");
    td_close(&c);
    return ret;
}

static void test_sizes(void)
{
    static const char *const options = "--format=pth --dim=256 --ffn=384 --blocks=2 --text-dim=128 --text-heads=2 "
                                       "--text-ffn=256 --text-blocks=2 --vae-dim=16 --dit=int8";
    static uint8_t a[BYTES], b[BYTES];
    char dir[256], from[256], to[256], line[300];
    double d = 0;

    test_begin("widths of the files' own, a transformer's name of its own");
    if (small_model_make("own", options) < 0)
        return;
    CHECK_INT(rename(small_path(from, "own/TurboWan2.1-T2V-1.3B-480P-quant.pth"),
                     small_path(to, "own/TurboWan2.1-T2V-demo-quant.pth")), 0);
    CHECK_INT(make_clip(small_path(dir, "own"), a), N);

    test_begin("a VAE stored as bf16");
    snprintf(line, sizeof(line), "%s --vae-dtype=bf16 --only=vae", options);
    if (small_model_make("own", line) < 0)
        return;
    CHECK_INT(make_clip(dir, b), N);
    for (int i = 0; i < BYTES; i++)
        d += (a[i] - b[i]) * (a[i] - b[i]);
    /* convolutions are bf16 either way: what differs is biases and norms */
    CHECK(d > 0 && 10 * log10(255.0 * 255.0 * BYTES / d) > 40);
}

int main(void)
{
    test_sizes();
    small_model_remove();
    return test_end();
}
