/* SPDX-License-Identifier: BSD-2-Clause
 * VAE decode, one latent frame a call, against the official decoder; and which of its convolutions are of f16 where a
 * device is faster so: the picture is nearer to float64 then than by bf16. */
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

/* those behind a norm, and no others */
static void check_f16(const TDVae *vae, int f16)
{
    CHECK_INT(vae->conv_out.f16, f16);
    CHECK_INT(vae->conv_in.f16 || vae->conv_latent.f16, 0);
    for (int i = 0; i < vae->n_layers; i++) {
        const TDVaeLayer *l = &vae->layers[i];

        CHECK_INT(l->conv1.f16, f16 && l->kind == TD_VAE_RESIDUAL);
        CHECK_INT(l->conv2.f16, f16 && l->kind == TD_VAE_RESIDUAL);
        CHECK_INT(l->shortcut.f16 || l->time.f16, 0);
        CHECK(l->shortcut.reach == 0);           /* what it reads was not normed */
    }
}

/* on a device that is said to be faster so, and for an option that says no. Nothing is computed */
static void test_choice(TDDev *dev, const TDCheckpoint *ckpt)
{
    int channels = dev->caps.f16_channels;

    test_begin("VAE: convolutions of f16");
    for (int i = 0; i < 3; i++) {
        TDVae *vae = NULL;

        dev->caps.f16_channels = i ? 511 : 0;
        if (CHECK_INT(td_vae_bind(&vae, dev, ckpt, i == 2 ? TD_VAE_DTYPE_BF16 : TD_VAE_DTYPE_AUTO, 0), 0))
            check_f16(vae, i == 1);
        td_vae_free(&vae);
    }
    dev->caps.f16_channels = channels;
}

/* @return the distance from the float64 run */
static double decode(TDDev *dev, const TDCheckpoint *ckpt, const TDCheckpoint *g, enum TDVaeDtype dtype, TDLog *log)
{
    const TDEntry *ze = td_checkpoint_find(g, "z");
    int64_t t = ze->shape[1], h = ze->shape[2], w = ze->shape[3], frames = 4 * t - 3, n = 3 * frames * 64 * h * w, at;
    float *zf = golden_f32(g, "z", NULL), *exact = golden_f32(g, "video.exact", NULL),
          *video = malloc((size_t)n * sizeof(*video)), *rgb = malloc((size_t)(3 * 4 * 64 * h * w) * sizeof(*rgb));
    double error = INFINITY;
    TDVae *vae = NULL;
    TDVaeClip clip;
    TDTensor z, out;
    TDBuf buf = { 0 };
    TDArena a;

    if (!CHECK_INT(td_vae_bind(&vae, dev, ckpt, dtype, 0), 0) || !CHECK(zf && exact && video && rgb))
        goto end;
    for (int pass = 0; pass < 2; pass++) {
        if (pass)
            CHECK(dev->ops->alloc(dev, &buf, a.peak, "a test") == 0);
        td_arena_init(&a, pass ? buf.ptr : NULL, buf.bytes, log);
        TD_CARVE(&a, &z, TD_F32, 16, t, h, w);
        CHECK(td_vae_plan(&clip, vae, &a, h, w) == 0);
        CHECK(TD_CARVE(&a, &out, TD_F32, 4, 8 * h, 8 * w, 3) == 0);
    }
    CHECK(dev->ops->upload(dev, &z, zf) == 0);
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
        golden_check(g, "video", video, n);
    }
    CHECK_INT(td_tensor_bytes(&clip.buf[0]), widest.bytes);
    CHECK(t > 1 && widest.copied && widest.copied < widest.bytes);   /* those of full size change places instead */
    error = relative_error(video, exact, n);
end:
    free(zf);
    free(exact);
    free(video);
    free(rgb);
    dev->ops->free(dev, &buf);
    td_vae_free(&vae);
    return error;
}

int main(void)
{
    char path[512];
    TDLog log = golden_logger();
    TDCancel cancel = { 0 };
    TDCheckpoint *g, *ckpt = NULL;
    TDDev *dev = NULL;
    double error;

    test_begin("VAE decode");
    g = golden_open("vae_decode", &log);
    CHECK(golden_device(&dev, &cancel, &log) == 0);
    widest_watch(dev);
    if (g && CHECK(td_checkpoint_open(&ckpt, golden_path(path, "TD_MODELS", "build/models", "tiny/Wan2.1_VAE.pth"),
                                      &log) == 0)) {
        error = decode(dev, ckpt, g, TD_VAE_DTYPE_AUTO, &log);
        if (dev->caps.f16_channels)
            CHECK(error < decode(dev, ckpt, g, TD_VAE_DTYPE_BF16, &log));
        test_choice(dev, ckpt);
    }
    td_checkpoint_close(&ckpt);
    td_checkpoint_close(&g);
    dev->ops->close(&dev);
    return test_end();
}
