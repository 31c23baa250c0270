/* SPDX-License-Identifier: BSD-2-Clause
 * The last picture of a clip as the VAE made it, and a clip that begins with it. */
#include <math.h>
#include <stdlib.h>
#include "small_model.h"

enum { W = 44, H = 36, N = 9, VALUES = 3 * W * H };  /* no multiples of 16: the right and the bottom are cut off */

static TDContext *c;
static Seen seen;

static void begin(const TDImage *image, const float *picture, int nonblocking)
{
    TDParams p;

    small_params(&p);
    p.width = W;
    p.height = H;
    p.n_frames = N;
    p.nonblocking = nonblocking;
    p.image = image;
    p.picture = picture;
    CHECK_INT(td_start(c, &p), 0);
}

/* the next frame as rgb24 */
static int next(uint8_t *rgb)
{
    TDFrame f = { .format = TD_PIX_RGB24, .data = { rgb }, .stride = { 3 * W } };
    int ret;

    while ((ret = td_read_frame(c, &f)) == TD_ERR(EAGAIN))
        ;
    return ret;
}

/* every frame's picture is what the frame was rounded from; the last one stays in the picture */
static void check_pictures(const TDImage *image, int nonblocking, float *picture)
{
    uint8_t rgb[VALUES];
    int finer = 0;

    begin(image, NULL, nonblocking);
    for (int n = 0; n < N; n++) {
        double far = 0;

        CHECK_INT(next(rgb), 1);
        CHECK_INT(td_last_picture(c, picture), 0);
        for (int i = 0; i < VALUES; i++) {
            double d = 255.0 * (double)picture[i];

            far = fmax(far, fabs(d - rgb[i]));
            finer += fabs(d - rint(d)) > 0.1;
        }
        CHECK(far <= 0.5001);
    }
    CHECK(finer > N * VALUES / 2);
}

static void check_refused(const TDImage *image, float *picture, TDContext *text)
{
    uint8_t rgb[VALUES];
    TDParams p;

    small_params(&p);
    p.width = W;
    p.height = H;
    p.picture = picture;
    p.image = image;
    seen.n_errors = 0;
    check_error(&seen, td_start(c, &p), TD_ERR(EINVAL), "image and picture: want one of them");
    p.image = NULL;
    seen.n_errors = 0;
    check_error(&seen, td_start(text, &p), TD_ERR(EINVAL), "picture: Wan-T2V-dim128-blocks1 is a text-to-video model");
    for (int i = 0; i < 3; i++) {
        float old = picture[5 * 3 * W + 1];

        picture[5 * 3 * W + 1] = i == 0 ? NAN : i == 1 ? -0.01f : 1.01f;
        seen.n_errors = 0;
        check_error(&seen, td_start(c, &p), TD_ERR(EINVAL), "in row 5, want values from 0 to 1");
        picture[5 * 3 * W + 1] = old;
    }
    seen.n_errors = 0;
    check_error(&seen, td_last_picture(c, picture), TD_ERR(EINVAL), "no picture: td_read_frame() comes first");
    begin(image, NULL, 0);
    seen.n_errors = 0;
    check_error(&seen, td_last_picture(c, picture), TD_ERR(EINVAL), "no picture");
    for (int n = 0; n < N; n++)
        CHECK_INT(next(rgb), 1);
    CHECK_INT(next(rgb), 0);
    seen.n_errors = 0;
    check_error(&seen, td_last_picture(c, picture), TD_ERR(EINVAL), "no picture");
    CHECK_INT(td_last_picture(c, NULL), TD_ERR(EINVAL));
    CHECK_INT(td_last_picture(NULL, picture), TD_ERR(EINVAL));
}

int main(void)
{
    static uint8_t bytes[VALUES], a[N * VALUES], b[N * VALUES];
    static float picture[VALUES], again[VALUES], levels[VALUES];
    TDImage image = { W, H, 3 * W, bytes };
    char dir[256];
    TDContext *text = NULL;
    TDSettings s;

    for (int i = 0; i < VALUES; i++)
        bytes[i] = (uint8_t)(i * 7 + i / W);
    if (small_model_make("t2v", "") < 0 || small_model_make("pair", "--in-dim=36") < 0)
        return 1;
    small_settings(&s, &seen, small_path(dir, "t2v"));
    CHECK_INT(td_open(&text, &s), 0);
    small_settings(&s, &seen, small_path(dir, "pair"));
    if (CHECK_INT(td_open(&c, &s), 0)) {
        test_begin("the picture of each frame");
        check_pictures(&image, 0, picture);
        check_pictures(&image, 1, again);
        CHECK(!memcmp(picture, again, sizeof(picture)));

        test_begin("a picture of 256 levels is as the image");
        for (int i = 0; i < VALUES; i++)
            levels[i] = (float)bytes[i] * (1.0f / 255.0f);
        begin(&image, NULL, 0);
        CHECK_INT(read_clip(c, a), N);
        begin(NULL, levels, 0);
        CHECK_INT(read_clip(c, b), N);
        CHECK(!memcmp(a, b, sizeof(a)));

        test_begin("what 8 bits take away is not taken away");
        for (int i = 0; i < VALUES; i++)
            bytes[i] = (uint8_t)(255.0f * picture[i] + 0.5f);
        begin(&image, NULL, 0);
        CHECK_INT(read_clip(c, a), N);
        begin(NULL, picture, 0);
        CHECK_INT(read_clip(c, b), N);
        CHECK(memcmp(a, b, sizeof(a)) != 0);

        test_begin("what is refused");
        check_refused(&image, picture, text);
    }
    td_close(&c);
    td_close(&text);
    small_model_remove();
    return test_end();
}
