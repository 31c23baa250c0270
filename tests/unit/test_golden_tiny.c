/* SPDX-License-Identifier: BSD-2-Clause
 * The tiny VAE, both halves, against the upstream class: on the device, and in float64 from the same weights, by a
 * table of operations of its own, where nothing but the network itself can differ. */
#include <unistd.h>
#include "golden.h"
#include "base/thread.h"
#include "base/latent_stats.h"
#include "clip/condition.h"
#include "widest.h"

/* ---- operations without rounding ---- */

/* What was written to the memory of the networks, unrounded: a place for each 2 bytes of it. The memory itself, bf16,
 * holds anything. */
static struct {
    const TDOps *real;
    TDOps ops;
    const uint8_t *memory;
    double *v;
} plain;

static double *place(const TDTensor *t, int64_t i)
{
    int64_t size = (int64_t)td_dtype_size(t->dtype);

    return plain.v + ((const uint8_t *)t->data - plain.memory + size * i) / 2;
}

/* the input of a network, or what has only been zeroed */
static int plain_upload(TDDev *dev, TDTensor *t, const void *src)
{
    for (int64_t i = 0; i < td_tensor_count(t); i++)
        *place(t, i) = t->dtype == TD_F32 ? ((const float *)src)[i]
                                             : td_bf16_to_f32(((const uint16_t *)src)[i]);
    return plain.real->upload(dev, t, src);
}

static int plain_zero(TDDev *dev, TDTensor *t)
{
    for (int64_t i = 0; i < td_tensor_count(t); i++)
        *place(t, i) = 0;
    return plain.real->zero(dev, t);
}

static int plain_repeat(TDDev *dev, TDTensor *y, const TDTensor *x)
{
    int64_t n = td_tensor_count(x);

    (void)dev;
    for (int64_t i = 0; i < td_tensor_count(y); i++)
        *place(y, i) = *place(x, i % n);
    return 0;
}

static int plain_unscale(TDDev *dev, TDTensor *y, const TDTensor *z, int64_t t, int form)
{
    int64_t area = z->shape[2] * z->shape[3], plane = z->shape[1] * area;

    (void)dev;
    for (int64_t p = 0; p < area; p++)
        for (int c = 0; c < 16; c++) {
            double v = *place(z, c * plane + t * area + p);

            if (!(form & TD_LATENT_PLAIN))
                v = v / td_bf16_round(1 / td_bf16_round(td_latent_std[c])) + td_bf16_round(td_latent_mean[c]);
            *place(y, p * 16 + c) = form & TD_LATENT_SOFT ? 3 * tanh(v / 3) : v;
        }
    return 0;
}

static int plain_scale(TDDev *dev, TDTensor *y, const TDTensor *x, int64_t t, int form)
{
    int64_t area = y->shape[2] * y->shape[3], plane = y->shape[1] * area;

    (void)dev;
    for (int64_t p = 0; p < area; p++)
        for (int c = 0; c < 16; c++) {
            double v = *place(x, p * x->shape[3] + c);

            if (!(form & TD_LATENT_PLAIN))
                v = (v - td_bf16_round(td_latent_mean[c])) * td_bf16_round(1 / td_bf16_round(td_latent_std[c]));
            *place(y, c * plane + t * area + p) = v;
        }
    return 0;
}

/* one output value without bias and residual */
static double sum_of(const TDConv *cv, const TDTensor *x, const TDTensor *cache, int64_t t, int64_t y, int64_t xx,
                     int64_t o)
{
    int64_t h = x->shape[1], w = x->shape[2], n_before = cv->kt - cv->stride_t;
    int pad = cv->stride_s == 1 || cv->centred ? cv->kh / 2 : 0;
    double sum = 0;

    for (int dt = 0; dt < cv->kt; dt++)
        for (int dy = 0; dy < cv->kh; dy++)
            for (int dx = 0; dx < cv->kw; dx++) {
                int64_t ti = t * cv->stride_t + dt - n_before, yi = y * cv->stride_s + dy - pad,
                        xi = xx * cv->stride_s + dx - pad;
                const double *frame = ti < 0 ? place(cache, (ti + n_before) * h * w * cv->c_in)
                                             : place(x, ti * h * w * cv->c_in);
                const uint16_t *weight = cv->w + (((o * cv->kt + dt) * cv->kh + dy) * cv->kw + dx) * cv->c_in;

                if (yi < 0 || xi < 0 || yi >= h << cv->upsample || xi >= w << cv->upsample)
                    continue;
                frame += ((yi >> cv->upsample) * w + (xi >> cv->upsample)) * cv->c_in;
                for (int64_t i = 0; i < cv->c_in; i++)
                    sum += frame[i] * td_bf16_to_f32(weight[i]);
            }
    return sum;
}

static int plain_conv(TDDev *dev, TDTensor *y, const TDTensor *x, const TDTensor *cache, const TDConv *cv,
                      const TDTensor *residual)
{
    int64_t channels = y->shape[3], w = y->shape[2], h = y->shape[1], n = td_tensor_count(y);

    (void)dev;
    for (int64_t i = 0; i < n; i++) {
        int64_t t = i / channels / w / h, o = i % channels + (cv->interleave ? t % 2 * channels : 0);
        double v = cv->bias[o] + sum_of(cv, x, cache, cv->interleave ? t / 2 : t, i / channels / w % h,
                                        i / channels % w, o);

        v += residual ? *place(residual, i) : 0;
        *place(y, i) = cv->relu && v < 0 ? 0 : v;
    }
    return 0;
}

/* one frame, as all of its caches have */
static int plain_keep(TDDev *dev, TDTensor *cache, const TDTensor *x)
{
    int64_t frame = td_tensor_count(x) / x->shape[0];

    (void)dev;
    for (int64_t i = 0; i < frame; i++)
        *place(cache, i) = *place(x, (x->shape[0] - 1) * frame + i);
    return 0;
}

static void plain_begin(TDDev *dev)
{
    plain.real = dev->ops;
    plain.ops = *dev->ops;
    plain.ops.upload = plain_upload;
    plain.ops.zero = plain_zero;
    plain.ops.repeat_frame = plain_repeat;
    plain.ops.vae_unscale = plain_unscale;
    plain.ops.vae_scale = plain_scale;
    plain.ops.causal_conv3d = plain_conv;
    plain.ops.keep_frames = plain_keep;
    dev->ops = &plain.ops;
}

/* ---- the networks ---- */

typedef struct Net {
    TDLog *log;
    TDDev *dev;
    TDTiny *dec, *enc;
    TDTinyClip clip;
    TDTinyEncodeClip encode;
    TDTensor z, rgb, in, latent;
    TDBuf buf;
    int unrounded;                               /* by the table above */
} Net;

static int net_open(Net *n, const TDCheckpoint *ckpt)
{
    return CHECK_INT(td_tiny_bind(&n->dec, n->dev, ckpt, 1, 0), 0) &&
           CHECK_INT(td_tiny_bind(&n->enc, n->dev, ckpt, 0, 0), 0);
}

static void net_close(Net *n)
{
    td_tiny_free(&n->dec);
    td_tiny_free(&n->enc);
}

static int net_size(Net *n, int64_t t, int64_t h, int64_t w)
{
    TDArena a = { 0 };

    for (int pass = 0; pass < 2; pass++) {
        if (pass && !CHECK_INT(n->dev->ops->alloc(n->dev, &n->buf, a.peak, "a test"), 0))
            return 0;
        td_arena_init(&a, pass ? n->buf.ptr : NULL, n->buf.bytes, n->log);
        if (!CHECK(TD_CARVE(&a, &n->z, TD_F32, 16, t, h, w) >= 0) ||
            !CHECK(TD_CARVE(&a, &n->latent, TD_BF16, 16, t, h, w) >= 0) ||
            !CHECK(TD_CARVE(&a, &n->rgb, TD_F32, 4, 8 * h, 8 * w, 3) >= 0) ||
            !CHECK(TD_CARVE(&a, &n->in, TD_BF16, 4, 8 * h, 8 * w, TD_VAE_IN_CHANNELS) >= 0) ||
            !CHECK(td_tiny_plan(&n->clip, n->dec, &a, h, w) >= 0) ||
            !CHECK(td_tiny_encode_plan(&n->encode, n->enc, &a, h, w) >= 0))
            return 0;
    }
    plain.memory = n->buf.ptr;
    plain.v = realloc(plain.v, n->buf.bytes / 2 * sizeof(*plain.v));
    return CHECK(plain.v != NULL);
}

static void get(const Net *n, float *dst, const TDTensor *t)
{
    if (!n->unrounded)
        CHECK_INT(td_unpack(n->dev, dst, t, TD_UNPACK_TENSOR), 0);
    for (int64_t i = 0; i < td_tensor_count(t) && n->unrounded; i++)
        dst[i] = (float)*place(t, i);
}

/* on the device: the rules of golden.h; unrounded: 1e-3 is wanted, and a millionth is what the sums leave */
static void judge(const Net *n, const TDCheckpoint *g, const char *name, const float *ours, int64_t count)
{
    char key[64];
    float *exact;
    int64_t n_exact = 0;
    double error;

    if (!n->unrounded) {
        golden_check(g, name, ours, count);
        return;
    }
    snprintf(key, sizeof(key), "%s.exact", name);
    if (!(exact = golden_f32(g, key, &n_exact)))
        return;
    error = CHECK_INT(n_exact, count) ? relative_error(ours, exact, count) : INFINITY;
    if (!(error <= 1e-6) || getenv("TD_VERBOSE"))
        printf("  %s, unrounded: error %.3e\n", name, error);
    CHECK(error <= 1e-6);
    free(exact);
}

/* malloc'd [3,F,8h,8w] in 0..1, of the first t latent frames of z */
static float *decode(Net *n, const float *z, int64_t t)
{
    int64_t h = n->clip.h, w = n->clip.w, area = 64 * h * w, frames = 4 * t - 3, at = 0;
    float *video = calloc((size_t)(3 * frames * area), sizeof(*video)),
          *rgb = malloc((size_t)(12 * area) * sizeof(*rgb));

    CHECK_INT(n->dev->ops->upload(n->dev, &n->z, z), 0);
    CHECK_INT(td_tiny_begin(n->dec, &n->clip), 0);
    for (int64_t i = 0; i < t; i++) {
        CHECK_INT(td_tiny_decode_next(n->dec, &n->clip, &n->z, &n->rgb), 0);
        CHECK_INT(n->rgb.shape[0], i ? 4 : 1);
        get(n, rgb, &n->rgb);
        for (int64_t k = 0; k < n->rgb.shape[0] && at < frames; k++, at++)
            for (int64_t p = 0; p < area; p++)
                for (int c = 0; c < 3; c++)
                    video[(c * frames + at) * area + p] = (rgb[(k * area + p) * 3 + c] + 1) / 2;
    }
    CHECK_INT(at, frames);
    free(rgb);
    return video;
}

/* bf16 [count,8h,8w,8] to the device: frames from first on of [3,F,8h,8w], the last one repeated */
static void put_frames(Net *n, TDTensor *in, const float *video, int64_t frames, int64_t first, int64_t count)
{
    int64_t area = 64 * n->encode.h * n->encode.w;
    uint16_t *v = calloc((size_t)(count * area * TD_VAE_IN_CHANNELS), sizeof(*v));

    *in = n->in;
    in->shape[0] = count;
    for (int64_t k = 0; k < count; k++)
        for (int64_t p = 0; p < area; p++)
            for (int c = 0; c < 3; c++) {
                int64_t f = first + k < frames ? first + k : frames - 1;

                v[(k * area + p) * TD_VAE_IN_CHANNELS + c] = td_f32_to_bf16(video[(c * frames + f) * area + p]);
            }
    CHECK_INT(n->dev->ops->upload(n->dev, in, v), 0);
    free(v);
}

/* malloc'd [16,T,h,w] */
static float *encode(Net *n, const float *video, int64_t frames)
{
    float *ours = malloc((size_t)td_tensor_count(&n->latent) * sizeof(*ours));
    TDTensor in;

    CHECK_INT(td_tiny_encode_begin(n->enc, &n->encode), 0);
    for (int64_t i = 0; i < n->latent.shape[1]; i++) {
        put_frames(n, &in, video, frames, 4 * i, 4);
        CHECK_INT(td_tiny_encode_next(n->enc, &n->encode, &in, &n->latent), 0);
        CHECK_INT(n->encode.next, i + 1);
    }
    get(n, ours, &n->latent);
    return ours;
}

/* of a picture, and grey behind it */
static float *encode_still(Net *n, const float *picture)
{
    float *ours = malloc((size_t)td_tensor_count(&n->latent) * sizeof(*ours));
    TDTensor in;

    CHECK_INT(td_tiny_encode_begin(n->enc, &n->encode), 0);
    for (int64_t i = 0; i < n->latent.shape[1]; i++) {
        put_frames(n, &in, picture, 1, 0, 1);
        CHECK_INT(i ? td_tiny_encode_next(n->enc, &n->encode, NULL, &n->latent)
                    : td_tiny_encode_picture(n->enc, &n->encode, &in, &n->latent), 0);
    }
    get(n, ours, &n->latent);
    return ours;
}

static void test_video(Net *n, const TDCheckpoint *g, const char *decoded, const char *encoded, int64_t t)
{
    float *z = golden_f32(g, "z", NULL), *frames = golden_f32(g, "frames", NULL), *ours;
    const int64_t h = 4, w = 6;

    if (!z || !frames || !net_size(n, 3, h, w))
        goto end;
    for (int run = 0; run < 2 - n->unrounded; run++) {       /* the second must not remember the first */
        widest.bytes = 0;
        ours = decode(n, z, t);
        judge(n, g, decoded, ours, 3 * (4 * t - 3) * 64 * h * w);
        free(ours);
        if (!n->unrounded && t > 1)
            CHECK_INT(td_tensor_bytes(&n->clip.buf[0]), widest.bytes);
        widest.bytes = 0;
        ours = encode(n, frames, 9);
        judge(n, g, encoded, ours, 16 * 3 * h * w);
        free(ours);
        if (!n->unrounded)
            CHECK_INT(td_tensor_bytes(&n->encode.buf[0]), widest.bytes);
    }
end:
    n->dev->ops->free(n->dev, &n->buf);
    free(z);
    free(frames);
}

static void test_still(Net *n, const TDCheckpoint *g)
{
    float *picture = golden_f32(g, "picture", NULL), *ours, *video, *whole;
    const int64_t t = 13, frames = 4 * t - 3, area = 16 * 16;

    if (!picture || !net_size(n, t, 2, 2))
        goto end;
    ours = encode_still(n, picture);
    judge(n, g, "latent_still", ours, 16 * t * 4);
    if (!n->unrounded) {                         /* what is not computed again is the same to the bit */
        video = malloc((size_t)(3 * frames * area) * sizeof(*video));
        for (int64_t i = 0; i < 3 * frames * area; i++)
            video[i] = i / area % frames ? 0.5f : picture[i / area / frames * area + i % area];
        whole = encode(n, video, frames);
        CHECK(!memcmp(whole, ours, (size_t)(16 * t * 4) * sizeof(*ours)));
        for (int64_t i = 1; i < t; i++) {        /* equality would show nothing if all were the same at once */
            int64_t same = 0;

            for (int64_t k = 0; k < 64; k++)
                same += whole[(k / 4 * t + i) * 4 + k % 4] == whole[(k / 4 * t + i - 1) * 4 + k % 4];
            if (i < 5 || i > 9)
                CHECK_INT(same == 64, i > 9);
        }
        free(video);
        free(whole);
    }
    free(ours);
    n->dev->ops->free(n->dev, &n->buf);
    if (net_size(n, 1, 2, 2)) {                  /* a clip of one frame: the picture four times */
        ours = encode_still(n, picture);
        whole = encode(n, picture, 1);
        CHECK(!memcmp(whole, ours, 64 * sizeof(*ours)));
        free(ours);
        free(whole);
    }
end:
    n->dev->ops->free(n->dev, &n->buf);
    free(picture);
}

/* the channels that an image-to-video transformer sees, of the same picture in 8 bits */
static void test_condition(Net *n, const TDCheckpoint *g, const char *path)
{
    const TDEntry *e = td_checkpoint_find(g, "image");
    const int64_t t = 13, mask = TD_MASK_CHANNELS * t * 4;
    TDPartKey key = { .kind = TD_PART_ENCODER };
    TDCondition cond = { 0 };
    TDPart *part = NULL;
    TDNet net = { NULL };
    TDEncoder enc;
    TDImage image;
    TDArena a = { 0 };
    float *y = NULL;

    if (!CHECK(e != NULL) || !CHECK_INT(td_part_open(&part, &key, path, n->dev), 0) ||
        !CHECK_INT(td_part_hold(part, &net, n->dev), 1))
        goto end;
    image = (TDImage){ (int)e->shape[1], (int)e->shape[0], 3 * (ptrdiff_t)e->shape[1], (uint8_t *)(uintptr_t)e->data };
    enc = (TDEncoder){ part->kind, &net, n->dev };
    for (int pass = 0; pass < 2; pass++) {
        if (pass && !CHECK_INT(n->dev->ops->alloc(n->dev, &n->buf, a.peak, "a test"), 0))
            goto end;
        td_arena_init(&a, pass ? n->buf.ptr : NULL, n->buf.bytes, n->log);
        CHECK_INT(td_condition_plan(&cond, &a, t, 2, 2), 0);
        CHECK_INT(td_condition_plan_work(&cond, &enc, &a, 2, 2), 0);
    }
    CHECK_INT(td_condition_image(&cond, &image, 16, 16, 16, 16, part->kind->from_zero, n->log), 0);
    CHECK_INT(td_condition_begin(&cond, &enc), 0);
    for (int64_t i = 0; i < t; i++)
        CHECK_INT(td_condition_next(&cond, &enc, path), i == t - 1);
    y = malloc((size_t)td_tensor_count(&cond.cond) * sizeof(*y));
    CHECK_INT(td_unpack(n->dev, y, &cond.cond, TD_UNPACK_TENSOR), 0);
    for (int64_t i = 0; i < mask; i++)
        CHECK(y[i] == (i / 4 % t == 0 ? 1.0f : 0.0f));
    golden_check(g, "latent_still", y + mask, 16 * t * 4);
end:
    free(y);
    td_condition_free(&cond);
    n->dev->ops->free(n->dev, &n->buf);
    if (net.tiny) {
        td_part_release(part, n->dev);
        td_part_view_free(part, &net);
    }
    td_part_close(&part);
}

/* the same weights, where the file's name says that latents have mean and deviation */
static int open_light(TDCheckpoint **ckpt, const char *path, TDLog *log)
{
    char name[] = "/tmp/td_lighttae_XXXXXX", link[64];
    int ok;

    if (!CHECK(mkdtemp(name) != NULL))
        return 0;
    snprintf(link, sizeof(link), "%s/LightTAEw2_1.pth", name);
    ok = CHECK_INT(symlink(path, link), 0) && CHECK_INT(td_checkpoint_open(ckpt, link, log), 0);
    unlink(link);
    rmdir(name);
    return ok;
}

static void test_all(Net *n, const TDCheckpoint *plain_file, const TDCheckpoint *light_file, const TDCheckpoint *g)
{
    if (net_open(n, plain_file)) {
        test_video(n, g, "video", "latent", 3);
        test_still(n, g);
    }
    net_close(n);
    if (net_open(n, light_file))
        test_video(n, g, "light", "light_latent", 1);
    net_close(n);
}

int main(void)
{
    char path[512], *whole;
    TDLog log = golden_logger();
    TDCancel cancel = { 0 };
    TDCheckpoint *g, *file = NULL, *light = NULL;
    Net n = { .log = &log };

    test_begin("tiny VAE against the upstream class");
    g = golden_open("vae_tiny", &log);
    whole = realpath(golden_path(path, "TD_MODELS", "build/models", "tae/taew2_1.pth"), NULL);
    if (!g || !CHECK(whole != NULL) || !CHECK_INT(td_checkpoint_open(&file, whole, &log), 0) ||
        !open_light(&light, whole, &log) || !CHECK_INT(golden_device(&n.dev, &cancel, &log), 0))
        goto end;
    widest_watch(n.dev);
    test_all(&n, file, light, g);
    test_begin("tiny VAE: mask and latent of a picture");
    test_condition(&n, g, whole);
    n.dev->ops->close(&n.dev);

    test_begin("tiny VAE without rounding");
    if (!CHECK_INT(td_cpu_open(&n.dev, 1, golden_kernels(), &cancel, &log), 0))
        goto end;
    n.unrounded = 1;
    plain_begin(n.dev);
    test_all(&n, file, light, g);
    free(plain.v);
    n.dev->ops->close(&n.dev);
end:
    free(whole);
    td_checkpoint_close(&light);
    td_checkpoint_close(&file);
    td_checkpoint_close(&g);
    return test_end();
}
