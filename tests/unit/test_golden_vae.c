/* SPDX-License-Identifier: BSD-2-Clause
 * VAE decode, one latent frame a call, against the official decoder. */
#include "golden.h"
#include "base/thread.h"
#include "nets/vae.h"
#include "widest.h"

/* frames of [T,H,W,3] into [3,F,H,W] from frame f0 on */
static void scatter(float *video, const float *rgb, int64_t t, int64_t area, int64_t f0, int64_t n_frames)
{
    for (int64_t f = 0; f < t; f++)
        for (int64_t p = 0; p < area; p++)
            for (int c = 0; c < 3; c++)
                video[(c * n_frames + f0 + f) * area + p] = rgb[(f * area + p) * 3 + c];
}

int main(void)
{
    char path[512];
    TDLog log = golden_logger();
    TDCancel cancel = { 0 };
    TDCheckpoint *g, *ckpt = NULL;
    const TDEntry *ze;
    TDVae *vae = NULL;
    TDDev *dev = NULL;
    TDVaeClip clip;
    TDTensor z, out;
    TDBuf buf = { 0 };
    TDArena a;
    int64_t n = 0, t, h, w, frames, at = 0;
    float *zf = NULL, *video = NULL, *rgb = NULL;

    test_begin("VAE decode");
    g = golden_open("vae_decode", &log);
    CHECK(golden_device(&dev, &cancel, &log) == 0);
    widest_watch(dev);
    if (!g ||
        !CHECK(td_checkpoint_open(&ckpt, golden_path(path, "TD_MODELS", "build/models", "tiny/Wan2.1_VAE.pth"), &log) ==
               0) ||
        !CHECK(td_vae_bind(&vae, dev, ckpt, 0) == 0) || !(zf = golden_f32(g, "z", &n)))
        goto end;
    ze = td_checkpoint_find(g, "z");
    t = ze->shape[1];
    h = ze->shape[2];
    w = ze->shape[3];
    frames = 4 * t - 3;
    for (int pass = 0; pass < 2; pass++) {
        if (pass)
            CHECK(dev->ops->alloc(dev, &buf, a.peak, "a test") == 0);
        td_arena_init(&a, pass ? buf.ptr : NULL, buf.bytes, &log);
        TD_CARVE(&a, &z, TD_F32, 16, t, h, w);
        CHECK(td_vae_plan(&clip, vae, &a, h, w) == 0);
        CHECK(TD_CARVE(&a, &out, TD_F32, 4, 8 * h, 8 * w, 3) == 0);
    }
    CHECK(dev->ops->upload(dev, &z, zf) == 0);
    video = malloc((size_t)(3 * frames * 64 * h * w) * sizeof(*video));
    rgb = malloc((size_t)(3 * 4 * 64 * h * w) * sizeof(*rgb));
    for (int run = 0; run < 2; run++) {          /* the second clip must not see the first one's caches */
        at = 0;
        CHECK(td_vae_begin(vae, &clip) == 0);
        for (int64_t i = 0; i < t; i++) {
            widest.copied *= i != 1;
            CHECK(td_vae_decode_next(vae, &clip, &z, &out) == 0);
            CHECK_INT(out.shape[0], i ? 4 : 1);
            CHECK(td_unpack(dev, rgb, &out, TD_UNPACK_TENSOR) == 0);
            scatter(video, rgb, out.shape[0], 64 * h * w, at, frames);
            at += out.shape[0];
        }
        CHECK_INT(at, frames);
        golden_check(g, "video", video, 3 * frames * 64 * h * w);
    }
    CHECK_INT(td_tensor_bytes(&clip.buf[0]), widest.bytes);
    CHECK(t > 1 && widest.copied && widest.copied < widest.bytes);   /* those of full size change places instead */
end:
    free(zf);
    free(video);
    free(rgb);
    dev->ops->free(dev, &buf);
    td_vae_free(&vae);
    td_checkpoint_close(&ckpt);
    td_checkpoint_close(&g);
    dev->ops->close(&dev);
    return test_end();
}
