/* SPDX-License-Identifier: BSD-2-Clause
 * Sizes that are no multiples of 16: frames are the top left of those of the next multiple, and a picture's edge goes
 * on to the right and the bottom of it. */
#include <stdlib.h>
#include "golden.h"
#include "small_model.h"

enum { W = 40, H = 21, WHOLE_W = 48, WHOLE_H = 32, N = 5 };

static uint8_t cut[N][H][W][3], whole[N][WHOLE_H][WHOLE_W][3];

static void make(TDContext *c, uint8_t *pixels, int w, int h, const TDImage *image)
{
    TDParams p;
    TDInfo info;

    small_params(&p);
    p.width = w;
    p.height = h;
    p.n_frames = N;
    p.image = image;
    CHECK_INT(td_start(c, &p), 0);
    CHECK_INT(td_info(c, &info), 0);
    CHECK_INT(info.clip_width, w);
    CHECK_INT(info.clip_height, h);
    CHECK_INT(read_clip(c, pixels), N);
}

static void check_cut(void)
{
    int n_other = 0;

    for (int t = 0; t < N; t++)
        for (int y = 0; y < H; y++)
            n_other += memcmp(cut[t][y], whole[t][y], sizeof(cut[t][y])) != 0;
    CHECK_INT(n_other, 0);
    CHECK(memcmp(cut[0], cut[N - 1], sizeof(cut[0])) != 0);      /* equal frames would show little */
}

static void check_model(const char *name, const char *options, int has_image)
{
    static uint8_t picture[H][W][3], padded[WHOLE_H][WHOLE_W][3];
    TDImage small = { W, H, sizeof(picture[0]), &picture[0][0][0] },
            large = { WHOLE_W, WHOLE_H, sizeof(padded[0]), &padded[0][0][0] };
    TDContext *c = NULL;
    TDSettings s;
    char path[256];
    Seen seen;

    for (int y = 0; y < WHOLE_H; y++)
        for (int x = 0; x < WHOLE_W; x++)
            for (int i = 0; i < 3; i++) {
                int py = y < H ? y : H - 1, px = x < W ? x : W - 1;

                picture[py][px][i] = (uint8_t)(40 * i + 5 * px + 3 * py);
                padded[y][x][i] = picture[py][px][i];
            }
    if (golden_backend() == TD_BACKEND_CUDA)     /* its convolutions want whole groups of 8 channels */
        options = has_image ? "--in-dim=36 --vae-dim=16" : "--vae-dim=16";
    if (small_model_make(name, options) < 0)
        return;
    small_settings(&s, &seen, small_path(path, name));
    s.backend = golden_backend();
    if (CHECK_INT(td_open(&c, &s), 0)) {
        make(c, &cut[0][0][0][0], W, H, has_image ? &small : NULL);
        make(c, &whole[0][0][0][0], WHOLE_W, WHOLE_H, has_image ? &large : NULL);
        check_cut();
    }
    td_close(&c);
}

int main(void)
{
    test_begin("a size that is no multiple of 16, text to video");
    check_model("t2v", "", 0);
    test_begin("a size that is no multiple of 16, image to video");
    check_model("i2v", "--in-dim=36", 1);
    small_model_remove();
    return test_end();
}
