/* SPDX-License-Identifier: BSD-2-Clause
 * How long a clip is said to take on the CPU: against one that is sixteen times as large, and against the clock. Both
 * are timed on a machine that may be busy, so limits are wide. */
#include "clip/estimate.h"
#include "model/device.h"
#include "small_model.h"

static TDCancel cancel;

static double estimate(const TDModel *m, int side, int n_frames, int n_steps)
{
    TDClipConfig g = { .p.width = side, .p.height = side, .p.n_frames = n_frames, .p.n_steps = n_steps,
                       .attn = { .kind = TD_ATTN_DENSE, .topk = 1 } };
    double seconds, least = 1e9;

    for (int i = 0; i < 3; i++) {
        if (CHECK_INT(td_clip_seconds(m, &g, &seconds), 0) && CHECK(seconds > 0))
            least = seconds < least ? seconds : least;
    }
    return least;
}

static double make(const TDSettings *s)
{
    static uint8_t pixels[160 * 160 * 3];
    TDFrame f = { .format = TD_PIX_RGB24, .data = { pixels }, .stride = { 3 * 160 } };
    TDContext *c = NULL;
    TDParams p;
    double began;

    small_params(&p);
    p.width = p.height = 160;
    p.n_frames = 17;
    p.n_steps = 2;
    if (!CHECK_INT(td_open(&c, s), 0))
        return 0;
    began = td_now();
    CHECK_INT(td_start(c, &p), 0);
    while (td_read_frame(c, &f) > 0)
        ;
    td_close(&c);
    return td_now() - began;
}

int main(void)
{
    TDLog log = { .out = { 0 } };
    TDModel *m = NULL;
    TDDev *dev = NULL;
    double small = 0, large = 0, said, took;
    char path[256];
    TDSettings s;
    Seen seen;

    test_begin("model");
    if (!CHECK_INT(small_model_make("model", ""), 0))
        return test_end();
    small_settings(&s, &seen, small_path(path, "model"));
    if (CHECK_INT(td_device_open(&dev, TD_BACKEND_CPU, NULL, 0, &cancel, &log), 0) &&
        CHECK_INT(td_model_open(&m, &s, dev, &log), 0)) {
        test_begin("sixteen times as large, sixteen times as long");
        for (int i = 0; i < 10; i++) {           /* other programs' load makes some times longer */
            const double now[2] = { estimate(m, 64, 17, 1), estimate(m, 256, 17, 1) };

            small = i && small < now[0] ? small : now[0];
            large = i && large < now[1] ? large : now[1];
            if (large > 8 * small && large < 40 * small)
                break;
        }
        if (!CHECK(large > 4 * small && large < 100 * small))
            printf("  %g s and %g s\n", small, large);

        test_begin("what is said is what it takes, to a factor of 20");
        said = estimate(m, 160, 17, 2);
        took = make(&s);
        if (!CHECK(took < 20 * said && said < 20 * took))
            printf("  said %g s, took %g s\n", said, took);
        if (getenv("TD_VERBOSE"))
            printf("  said %g s, took %g s\n", said, took);
    }
    td_model_close(&m);

    test_begin("another VAE, another time");     /* of 20 times as many products as the small one */
    s.vae = "taew";
    if (CHECK_INT(small_model_make("model", "--only=vae --vae=tiny"), 0) && dev &&
        CHECK_INT(td_model_open(&m, &s, dev, &log), 0)) {
        large = estimate(m, 64, 17, 1);
        if (!CHECK(large > 3 * small))
            printf("  %g s and %g s\n", small, large);
    }
    td_model_close(&m);
    if (dev)
        dev->ops->close(&dev);
    small_model_remove();
    return test_end();
}
