/* SPDX-License-Identifier: BSD-2-Clause
 * Latent in, picture out: (de)normalising a latent frame for the VAE, storing a decoded frame in the caller's planes.
 *
 * u = (1 + clamp(x)) / 2. RGB: byte = trunc(255 u + 0.5), as the official writer. YUV: BT.709 limited range from the
 * float values; 4:2:0 chroma is sited left: (1 2 1)/4 across, two rows averaged. */
#include <math.h>
#include <stdatomic.h>
#include "cpu/cpu.h"
#include "base/latent_stats.h"
#include "base/pixfmt.h"

static float soft(float x)
{
    return 3.0f * tanhf(x / 3.0f);
}

int td_cpu_vae_unscale(TDDev *dev, TDTensor *y, const TDTensor *z, int64_t t, int form)
{
    int64_t area = z->shape[2] * z->shape[3], plane = z->shape[1] * area;

    (void)dev;
    for (int c = 0; c < TD_LATENT_CHANNELS; c++) {
        float scale = td_bf16_round(1.0f / td_bf16_round(td_latent_std[c])), mean = td_bf16_round(td_latent_mean[c]);

        for (int64_t p = 0; p < area; p++) {
            float v = td_bf16_round(((const float *)z->data)[c * plane + t * area + p]);

            if (!(form & TD_LATENT_PLAIN))
                v = td_bf16_round(td_bf16_round(v / scale) + mean);
            ((uint16_t *)y->data)[p * TD_LATENT_CHANNELS + c] = td_f32_to_bf16(form & TD_LATENT_SOFT ? soft(v) : v);
        }
    }
    return 0;
}

int td_cpu_vae_scale(TDDev *dev, TDTensor *y, const TDTensor *x, int64_t t, int form)
{
    int64_t area = y->shape[2] * y->shape[3], plane = y->shape[1] * area, n_c = x->shape[3];

    (void)dev;
    for (int c = 0; c < TD_LATENT_CHANNELS; c++) {
        float scale = td_bf16_round(1.0f / td_bf16_round(td_latent_std[c])), mean = td_bf16_round(td_latent_mean[c]);

        for (int64_t p = 0; p < area; p++) {
            float v = td_bf16_to_f32(((const uint16_t *)x->data)[p * n_c + c]);

            if (!(form & TD_LATENT_PLAIN))
                v = td_bf16_round(v - mean) * scale;
            ((uint16_t *)y->data)[c * plane + t * area + p] = td_f32_to_bf16(v);
        }
    }
    return 0;
}

int td_cpu_repeat_frame(TDDev *dev, TDTensor *y, const TDTensor *x)
{
    size_t frame = td_tensor_bytes(x);

    (void)dev;
    for (int64_t i = 0; i < y->shape[0]; i++)
        memcpy((uint8_t *)y->data + (size_t)i * frame, x->data, frame);
    return 0;
}

typedef struct StoreJob {
    const TDFrame *dst;
    TDPixLayout l;
    const float *rgb;                            /* rows of pitch pixels */
    int64_t h, w, pitch;
    atomic_int *bad;                             /* set if a value is not finite */
} StoreJob;

static float unit(float x)
{
    x = x > -1.0f ? (x < 1.0f ? x : 1.0f) : -1.0f;
    return (1.0f + x) * 0.5f;
}

/* v: for 8 bits */
static void put(const StoreJob *job, int plane, int64_t y, int64_t i, float v)
{
    uint8_t *row = job->dst->data[plane] + y * job->dst->stride[plane];

    if (job->l.ten)
        ((uint16_t *)row)[i] = (uint16_t)((int)(4.0f * v + 0.5f) << job->l.shift);
    else
        row[i] = (uint8_t)(v + 0.5f);
}

static void store_rgb_row(const StoreJob *job, int64_t y)
{
    static const int gbr[3] = { 2, 0, 1 };       /* plane of R, G, B in gbrp */
    const float *rgb = job->rgb + y * job->pitch * 3;

    for (int64_t x = 0; x < job->w; x++)
        for (int c = 0; c < 3; c++) {
            float v = 255.0f * unit(rgb[x * 3 + c]);

            if (job->l.n_planes == 1)
                put(job, 0, y, x * 3 + c, v);
            else
                put(job, gbr[c], y, x, v);
        }
}

static float luma(const float *p)
{
    return 0.2126f * unit(p[0]) + 0.7152f * unit(p[1]) + 0.0722f * unit(p[2]);
}

/* Cb and Cr in -0.5..0.5 */
static void chroma(const float *p, float *cb, float *cr)
{
    float y = luma(p);

    *cb = (unit(p[2]) - y) / 1.8556f;
    *cr = (unit(p[0]) - y) / 1.5748f;
}

static void store_yuv_row(const StoreJob *job, int64_t y)
{
    int sub = job->l.sub, pair = job->l.pair;
    const float *rgb = job->rgb + y * job->pitch * 3;

    for (int64_t x = 0; x < job->w; x++)
        put(job, 0, y, x, 16.0f + 219.0f * luma(rgb + x * 3));
    if (sub && y % 2)
        return;
    for (int64_t x = 0; x < job->w; x += 1 + sub) {
        float sum_b = 0, sum_r = 0, cb, cr;
        int64_t cy = y >> sub, cx = x >> sub;

        for (int64_t dy = 0; dy <= sub; dy++)
            for (int64_t dx = -sub; dx <= sub; dx++) {
                int64_t px = x + dx < 0 ? 0 : x + dx >= job->w ? job->w - 1 : x + dx;
                int64_t py = y + dy < job->h ? y + dy : job->h - 1;
                float weight = sub ? (dx ? 0.125f : 0.25f) : 1.0f;

                chroma(job->rgb + (py * job->pitch + px) * 3, &cb, &cr);
                sum_b += weight * cb;
                sum_r += weight * cr;
            }
        put(job, 1, cy, pair ? 2 * cx : cx, 128.0f + 224.0f * sum_b);
        put(job, pair ? 1 : 2, cy, pair ? 2 * cx + 1 : cx, 128.0f + 224.0f * sum_r);
    }
}

static void store_task(void *arg, int64_t y, int worker)
{
    const StoreJob *job = arg;
    int bad = 0;

    (void)worker;
    for (int64_t i = 0; i < 3 * job->w; i++)
        bad |= !isfinite(job->rgb[y * job->pitch * 3 + i]);
    if (bad)
        atomic_store(job->bad, 1);
    if (job->l.rgb)
        store_rgb_row(job, y);
    else
        store_yuv_row(job, y);
}

int td_cpu_fetch_frame(TDDev *dev, TDFrame *dst, TDFrameSet *set, int64_t t, int *finite)
{
    int64_t pitch = set->rgb.shape[2];
    const float *rgb = (const float *)set->rgb.data + t * set->rgb.shape[1] * pitch * 3;
    atomic_int bad = 0;
    StoreJob job = { dst, td_pix_layout(dst->format), rgb, set->h, set->w, pitch, &bad };
    int ret = td_parallel(td_cpu(dev)->pool, set->h, store_task, &job);

    *finite = !atomic_load(&bad);
    return ret;
}
