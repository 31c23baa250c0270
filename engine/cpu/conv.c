/* SPDX-License-Identifier: BSD-2-Clause
 * Causal convolution over channels-last frames as an implicit matrix product: row = output pixel, k = (tap, input
 * channel). Frames before the first of x come from the cache, the kt - stride_t frames that preceded it. */
#include "cpu/cpu.h"

typedef struct ConvJob {
    const TDConv *conv;
    const TDTensor *x, *cache, *residual;
    TDTensor *y;
    int64_t h_out, w_out;                        /* of the convolution, before interleaving frames */
} ConvJob;

/* rows of im2col: one tap of up to eight pixels, NULL where the tap falls on padding */
static int64_t conv_rows(const void *ctx, int64_t r0, int n, int64_t k0, const void *row[8])
{
    const ConvJob *job = ctx;
    const TDConv *cv = job->conv;
    int64_t tap = k0 / cv->c_in, c = k0 % cv->c_in, h = job->x->shape[1], w = job->x->shape[2];
    int64_t dt = tap / (cv->kh * cv->kw), dy = tap / cv->kw % cv->kh, dx = tap % cv->kw,
            n_cache = cv->kt - cv->stride_t;
    int pads = cv->stride_s == 1 || cv->centred;
    int64_t pad_y = pads ? cv->kh / 2 : 0, pad_x = pads ? cv->kw / 2 : 0;
    int64_t x_out = r0 % job->w_out, y_out = r0 / job->w_out % job->h_out, t_out = r0 / job->w_out / job->h_out;

    for (int i = 0; i < n; i++) {
        int64_t t = t_out * cv->stride_t + dt - n_cache, y = y_out * cv->stride_s + dy - pad_y,
                x = x_out * cv->stride_s + dx - pad_x;
        const uint16_t *frame = t < 0 ? (const uint16_t *)job->cache->data + (t + n_cache) * h * w * cv->c_in
                                      : (const uint16_t *)job->x->data + t * h * w * cv->c_in;

        if (y < 0 || x < 0 || y >= h << cv->upsample || x >= w << cv->upsample)
            row[i] = NULL;
        else
            row[i] = frame + ((y >> cv->upsample) * w + (x >> cv->upsample)) * cv->c_in + c;
        if (++x_out == job->w_out) {
            x_out = 0;
            if (++y_out == job->h_out) {
                y_out = 0;
                t_out++;
            }
        }
    }
    return cv->c_in - c;
}

static void conv_store(void *ctx, int64_t m0, int64_t m, int64_t n0, int64_t n, const float *c, int64_t ldc)
{
    const ConvJob *job = ctx;
    const TDConv *cv = job->conv;
    int64_t channels = cv->interleave ? cv->c_out / 2 : cv->c_out, area = job->h_out * job->w_out;

    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            int64_t pixel = m0 + i, ch = n0 + j, at;
            float v = c[i * ldc + j] + cv->bias[ch];

            if (cv->interleave)
                pixel = (pixel / area * 2 + ch / channels) * area + pixel % area;
            at = pixel * channels + ch % channels;
            if (job->residual)
                v += td_bf16_to_f32(((const uint16_t *)job->residual->data)[at]);
            if (cv->relu)
                v = v < 0.0f ? 0.0f : v;         /* NaN stays */
            if (job->y->dtype == TD_F32)
                ((float *)job->y->data)[at] = v;
            else
                ((uint16_t *)job->y->data)[at] = td_f32_to_bf16(v);
        }
}

int td_cpu_causal_conv3d(TDDev *dev, TDTensor *y, const TDTensor *x, const TDTensor *cache, const TDConv *conv,
                         const TDTensor *residual)
{
    ConvJob job = { conv, x, cache, residual, y, y->shape[1], y->shape[2] };
    int64_t k = (int64_t)conv->kt * conv->kh * conv->kw * conv->c_in,
            frames = conv->interleave ? y->shape[0] / 2 : y->shape[0];
    TDMatrix mat = { conv->w, k, k, sizeof(uint16_t) };
    TDRows a = { TD_BF16, conv_rows, &job }, b = { TD_BF16, td_rows_matrix, &mat };
    int ret = td_cpu_gemm(td_cpu(dev), frames * job.h_out * job.w_out, conv->c_out, k, &a, &b, NULL, conv_store, &job);

    return ret < 0 || !conv->gamma ? ret : td_cpu_rms_silu(dev, y, y, conv->gamma, 1);
}

int td_cpu_keep_frames(TDDev *dev, TDTensor *cache, const TDTensor *x)
{
    int64_t n = cache->shape[0], t = x->shape[0];
    size_t frame = td_tensor_bytes(x) / (size_t)t;
    uint8_t *c = cache->data;

    (void)dev;
    if (t >= n) {
        memcpy(c, (const uint8_t *)x->data + (size_t)(t - n) * frame, (size_t)n * frame);
    } else {
        memmove(c, c + (size_t)t * frame, (size_t)(n - t) * frame);
        memcpy(c + (size_t)(n - t) * frame, x->data, (size_t)t * frame);
    }
    return 0;
}
