/* SPDX-License-Identifier: BSD-2-Clause
 * VAE encode, one latent frame a call, against the official encoder; and that leaving out what has settled in a still
 * changes no bit. */
#include "golden.h"
#include "base/thread.h"
#include "nets/vae_encode.h"
#include "widest.h"

typedef struct Encoder {
    TDDev *dev;
    TDVaeEncoder *enc;
    TDVaeEncodeClip clip;
    TDTensor in, latent;                         /* one chunk; the result */
    TDBuf buf;
    int64_t t, h, w;
} Encoder;

static int encoder_open(Encoder *e, TDLog *log, int64_t t, int64_t h, int64_t w)
{
    TDArena a = { 0 };

    e->t = t;
    e->h = h;
    e->w = w;
    for (int pass = 0; pass < 2; pass++) {
        if (pass && !CHECK(e->dev->ops->alloc(e->dev, &e->buf, a.peak, "a test") == 0))
            return -1;
        td_arena_init(&a, pass ? e->buf.ptr : NULL, e->buf.bytes, log);
        TD_CARVE(&a, &e->latent, TD_BF16, 16, t, h, w);
        TD_CARVE(&a, &e->in, TD_BF16, 4, 8 * h, 8 * w, TD_VAE_IN_CHANNELS);
        if (!CHECK(td_vae_encode_plan(&e->clip, e->enc, &a, h, w) == 0))
            return -1;
    }
    return 0;
}

/* video: [3,F,8h,8w]; plain: zero frames are passed like others. ours: malloc'd [16,T,h,w] */
static float *encode(Encoder *e, const float *video, int64_t frames, int plain)
{
    int64_t area = 64 * e->h * e->w, n = 16 * e->t * e->h * e->w;
    uint16_t *in = malloc((size_t)(4 * area * TD_VAE_IN_CHANNELS) * sizeof(*in));
    float *ours = malloc((size_t)n * sizeof(*ours));

    CHECK(td_vae_encode_begin(e->enc, &e->clip) == 0);
    for (int64_t i = 0, f = 0; i < e->t; i++) {
        TDTensor chunk = e->in;
        int any = i == 0 || plain;

        chunk.shape[0] = i ? 4 : 1;
        memset(in, 0, (size_t)(4 * area * TD_VAE_IN_CHANNELS) * sizeof(*in));
        for (int64_t k = 0; k < chunk.shape[0]; k++, f++)
            for (int64_t p = 0; p < area; p++)
                for (int c = 0; c < 3; c++) {
                    float v = video[(c * frames + f) * area + p];

                    in[(k * area + p) * TD_VAE_IN_CHANNELS + c] = td_f32_to_bf16(v);
                    any |= v != 0;
                }
        CHECK(e->dev->ops->upload(e->dev, &chunk, in) == 0);
        CHECK(td_vae_encode_next(e->enc, &e->clip, any ? &chunk : NULL, &e->latent) == 0);
        CHECK_INT(e->clip.next, i + 1);
    }
    CHECK(td_unpack(e->dev, ours, &e->latent, TD_UNPACK_TENSOR) == 0);
    free(in);
    return ours;
}

static void test_golden(Encoder *e, TDLog *log)
{
    TDCheckpoint *g = golden_open("vae_encode", log);
    const TDEntry *v = g ? td_checkpoint_find(g, "video") : NULL;
    int64_t n = 0, f, area, t;
    float *video, *ours;

    if (!CHECK(v != NULL) || !(video = golden_f32(g, "video", &n)))
        goto end;
    f = v->shape[1];
    area = v->shape[2] * v->shape[3];
    t = (f - 1) / 4 + 1;
    if (encoder_open(e, log, t, v->shape[2] / 8, v->shape[3] / 8) >= 0) {
        for (int run = 0; run < 2; run++) {      /* the second clip must not see the first one's caches */
            ours = encode(e, video, f, 1);
            golden_check(g, "latent", ours, 16 * t * e->h * e->w);
            free(ours);
        }
        for (int64_t i = 0; i < 3 * f * area; i++)
            if (i / area % f)
                video[i] = 0;
        ours = encode(e, video, f, 0);
        golden_check(g, "latent_still", ours, 16 * t * e->h * e->w);
        free(ours);
        CHECK_INT(td_tensor_bytes(&e->clip.buf[0]), widest.bytes);
    }
    free(video);
    e->dev->ops->free(e->dev, &e->buf);
end:
    td_checkpoint_close(&g);
}

/* place of the k-th value of frame i in [16,T,h,w] */
static int64_t latent_at(const Encoder *e, int64_t i, int64_t k)
{
    int64_t area = e->h * e->w;

    return (k / area * e->t + i) * area + k % area;
}

/* 141 frames: past the latent frame from which on all are the same */
static void test_still(Encoder *e, TDLog *log)
{
    int64_t t = 36, frames = 4 * t - 3, area, n;
    float *video, *plain, *quick;

    if (encoder_open(e, log, t, 2, 4) < 0)
        return;
    area = 64 * e->h * e->w;
    n = 16 * t * e->h * e->w;
    video = calloc((size_t)(3 * frames * area), sizeof(*video));
    for (int64_t i = 0; i < 3 * area; i++)
        video[i / area * frames * area + i % area] = (float)((i * 37 % 255) - 127) / 127.0f;
    plain = encode(e, video, frames, 1);
    quick = encode(e, video, frames, 0);
    CHECK_INT(e->enc->settled_out, 29);
    CHECK(memcmp(plain, quick, (size_t)n * sizeof(*plain)) == 0);
    for (int64_t i = 1; i < t; i++) {            /* equality would show nothing if all were the same at once */
        int64_t k = 0;

        while (k < 16 * e->h * e->w && plain[latent_at(e, i, k)] == plain[latent_at(e, i - 1, k)])
            k++;
        if (i <= 10 || i > e->enc->settled_out)  /* in between rounding may hide the last changes */
            CHECK_INT(k == 16 * e->h * e->w, i > e->enc->settled_out);
    }
    free(video);
    free(plain);
    free(quick);
    e->dev->ops->free(e->dev, &e->buf);
}

int main(void)
{
    char path[512];
    TDLog log = golden_logger();
    TDCancel cancel = { 0 };
    TDCheckpoint *ckpt = NULL;
    Encoder e = { 0 };

    test_begin("VAE encode");
    if (!CHECK(golden_device(&e.dev, &cancel, &log) == 0))
        return test_end();
    widest_watch(e.dev);
    if (CHECK(td_checkpoint_open(&ckpt, golden_path(path, "TD_MODELS", "build/models", "tiny/Wan2.1_VAE.pth"),
                                 &log) == 0) &&
        CHECK(td_vae_encode_bind(&e.enc, e.dev, ckpt, TD_VAE_DTYPE_AUTO, 0) == 0)) {
        test_golden(&e, &log);
        test_begin("VAE encode: what has settled is not computed again");
        test_still(&e, &log);
    }
    if (e.enc)
        td_vae_free(&e.enc);
    td_checkpoint_close(&ckpt);
    e.dev->ops->close(&e.dev);
    return test_end();
}
