/* SPDX-License-Identifier: BSD-2-Clause
 * Pictures on their way out of a clip: a device that works ahead has the next latent frame under way before the first
 * picture is handed out, and shows the same pictures as one that does not; a picture that is not finite ends the clip.
 * The device is the CPU's, told to be one that works ahead. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "clip/clip.h"
#include "model/device.h"
#include "small_model.h"
#include "test.h"

enum { W = 32, H = 32, N = 13, BYTES = W * H * 3 };

static const TDOps *real;
static int ruined;                               /* the latent frame whose last value becomes a NaN; -1: none */
static int64_t n_begun, begun_before_first;

static int spy_begin(TDDev *dev, TDFrameSet *set, const TDFrame *like)
{
    if (n_begun++ == ruined)
        ((float *)set->rgb.data)[td_tensor_count(&set->rgb) - 1] = NAN;
    return real->begin_frames(dev, set, like);
}

/* @return number of pictures, or the error that ended the clip */
static int run_clip(TDModel *m, int ahead, uint8_t *out, TDLog *log)
{
    const char *const prompts[TD_MAX_PROMPTS] = { "a cat", NULL };
    TDClipConfig cfg = { .p.width = W, .p.height = H, .p.n_frames = N, .p.n_steps = 1, .t = { 80.0 / 81 } };
    TDFrame f = { .format = TD_PIX_RGB24, .stride = { 3 * W } };
    TDClip *clip = NULL;
    int n = 0, ret;

    m->dev->caps.ahead = ahead;
    n_begun = 0;
    cfg.attn = (TDAttnConfig){ .kind = TD_ATTN_DENSE, .bq = 128, .bk = 64, .topk = 1 };
    ret = td_clip_open(&clip, m, &cfg, prompts, log);
    while (ret >= 0 && clip->phase != TD_CLIP_DONE) {
        f.data[0] = out + n * BYTES;
        ret = td_clip_advance(clip, &f);
        if (ret <= 0)
            continue;
        if (n == 0)
            begun_before_first = n_begun;
        ret = td_clip_frame(clip, &f);
        if (ret >= 0)
            CHECK_INT(f.index, n++);
    }
    td_clip_close(&clip);
    return ret < 0 ? ret : n;
}

int main(void)
{
    static uint8_t a[N * BYTES], b[N * BYTES];
    TDLog log = { 0 };
    TDCancel cancel = { 0 };
    TDModel *m = NULL;
    TDDev *dev = NULL;
    TDSettings s;
    TDOps ops;
    char path[256];

    test_begin("a device that works ahead");
    if (small_model_make("m", "") < 0)
        return test_end();
    CHECK_INT(td_default_settings(&s, sizeof(s)), 0);
    s.model = small_path(path, "m");
    if (!CHECK_INT(td_device_open(&dev, TD_BACKEND_CPU, NULL, 1, &cancel, &log), 0) ||
        !CHECK_INT(td_model_open(&m, &s, dev, &log), 0))
        goto end;
    ops = *dev->ops;
    real = dev->ops;
    ops.begin_frames = spy_begin;
    dev->ops = &ops;
    ruined = -1;
    CHECK_INT(run_clip(m, 0, a, &log), N);
    CHECK_INT(begun_before_first, 1);
    CHECK_INT(run_clip(m, 1, b, &log), N);
    CHECK_INT(begun_before_first, 2);
    CHECK_INT(memcmp(a, b, sizeof(a)), 0);

    test_begin("a picture that is not finite, late in a clip");
    for (int ahead = 0; ahead < 2; ahead++) {
        ruined = 3;                              /* of pictures 9 to 12 */
        CHECK_INT(run_clip(m, ahead, a, &log), TD_ERR(EBADMSG));
        CHECK(strstr(log.last_error, "decode: the picture is not finite") != NULL);
        log.last_error[0] = 0;
    }
    CHECK_INT(memcmp(a, b, 12 * BYTES), 0);
    dev->ops = real;
end:
    td_model_close(&m);
    if (dev)
        dev->ops->close(&dev);
    small_model_remove();
    return test_end();
}
