/* SPDX-License-Identifier: BSD-2-Clause
 * Latent in, picture out: (de)normalising a latent frame for the VAE, storing a decoded frame in the caller's planes.
 * Conversions as in engine/cpu/frame.c. */
#include <string.h>
#include "device.h"
#include "latent_stats.h"

struct LatentStats { float scale[16], mean[16]; };

__global__ void unscale_kernel(bf16 *y, const float *z, int64_t area, int64_t plane, LatentStats s)
{
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    int c = (int)(i % 16);

    if (i < area * 16)
        y[i] = to_bf16(round_bf16(round_bf16(z[c * plane + i / 16]) / s.scale[c]) + s.mean[c]);
}

__global__ void scale_kernel(bf16 *y, const bf16 *x, int64_t area, int64_t plane, int n_c, LatentStats s)
{
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    int c = (int)(i / area);

    if (i < area * 16)
        y[c * plane + i % area] = to_bf16(round_bf16(to_f32(x[i % area * n_c + c]) - s.mean[c]) * s.scale[c]);
}

static LatentStats latent_stats(void)
{
    LatentStats s;

    for (int c = 0; c < 16; c++) {
        s.scale[c] = td_bf16_round(1.0f / td_bf16_round(td_latent_std[c]));
        s.mean[c] = td_bf16_round(td_latent_mean[c]);
    }
    return s;
}

int td_cuda_vae_unscale(TDDev *dev, TDTensor *y, const TDTensor *z, int64_t t)
{
    int64_t area = z->shape[2] * z->shape[3];

    unscale_kernel<<<(unsigned)td_blocks(area * 16, 256), 256, 0, td_cuda(dev)->stream>>>(
        (bf16 *)y->data, (const float *)z->data + t * area, area, z->shape[1] * area, latent_stats());
    CU_LAUNCHED(dev, "unscale_kernel");
    return 0;
}

int td_cuda_vae_scale(TDDev *dev, TDTensor *y, const TDTensor *x, int64_t t)
{
    int64_t area = y->shape[2] * y->shape[3];

    scale_kernel<<<(unsigned)td_blocks(area * 16, 256), 256, 0, td_cuda(dev)->stream>>>(
        (bf16 *)y->data + t * area, (const bf16 *)x->data, area, y->shape[1] * area, (int)x->shape[3], latent_stats());
    CU_LAUNCHED(dev, "scale_kernel");
    return 0;
}

int td_cuda_repeat_frame(TDDev *dev, TDTensor *y, const TDTensor *x)
{
    size_t frame = td_tensor_bytes(x);

    for (int64_t i = 0; i < y->shape[0]; i++)
        CU(dev, cudaMemcpyAsync((uint8_t *)y->data + (size_t)i * frame, x->data, frame, cudaMemcpyDeviceToDevice,
                                td_cuda(dev)->stream));
    return 0;
}

struct StoreArgs {
    const float *rgb;
    uint8_t *plane[3];
    int w, h, format;
};

__device__ __forceinline__ float unit(float x) { return (1.0f + fminf(fmaxf(x, -1.0f), 1.0f)) * 0.5f; }
__device__ __forceinline__ float luma(const float *p)
{
    return 0.2126f * unit(p[0]) + 0.7152f * unit(p[1]) + 0.0722f * unit(p[2]);
}

__device__ __forceinline__ void put(uint8_t *plane, int64_t i, bool ten, float v)
{
    if (ten)
        ((uint16_t *)plane)[i] = (uint16_t)(v + 0.5f);
    else
        plane[i] = (uint8_t)(v + 0.5f);
}

__global__ void store_frame_kernel(StoreArgs a)
{
    int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y;
    const float *p = a.rgb + ((int64_t)y * a.w + x) * 3;
    bool ten = a.format >= TD_PIX_YUV420P10, sub = a.format == TD_PIX_YUV420P || a.format == TD_PIX_YUV420P10;
    float depth = ten ? 4.0f : 1.0f, b = 0, r = 0;

    if (x >= a.w)
        return;
    if (a.format == TD_PIX_RGB24 || a.format == TD_PIX_GBRP) {
        for (int c = 0; c < 3; c++) {
            if (a.format == TD_PIX_RGB24)
                put(a.plane[0], ((int64_t)y * a.w + x) * 3 + c, false, 255.0f * unit(p[c]));
            else
                put(a.plane[(c + 2) % 3], (int64_t)y * a.w + x, false, 255.0f * unit(p[c]));
        }
        return;
    }
    put(a.plane[0], (int64_t)y * a.w + x, ten, depth * (16.0f + 219.0f * luma(p)));
    if (sub && (x % 2 || y % 2))
        return;
    for (int dy = 0; dy <= sub; dy++)
        for (int dx = -(int)sub; dx <= sub; dx++) {
            const float *q = a.rgb + ((int64_t)(y + dy) * a.w + min(max(x + dx, 0), a.w - 1)) * 3;
            float weight = sub ? (dx ? 0.125f : 0.25f) : 1.0f, l = luma(q);

            b += weight * ((unit(q[2]) - l) / 1.8556f);
            r += weight * ((unit(q[0]) - l) / 1.5748f);
        }
    put(a.plane[1], (int64_t)(y >> sub) * (a.w >> sub) + (x >> sub), ten, depth * (128.0f + 224.0f * b));
    put(a.plane[2], (int64_t)(y >> sub) * (a.w >> sub) + (x >> sub), ten, depth * (128.0f + 224.0f * r));
}

/* the picture is made tightly packed on the device, copied in one piece, and spread over the caller's strides here */
int td_cuda_store_frame(TDDev *dev, TDFrame *dst, const TDTensor *rgb, int64_t t)
{
    TDCuda *c = td_cuda(dev);
    int64_t h = rgb->shape[1], w = rgb->shape[2];
    int sub = dst->format == TD_PIX_YUV420P || dst->format == TD_PIX_YUV420P10,
        bytes = dst->format >= TD_PIX_YUV420P10 ? 2 : 1;
    int n_planes = dst->format == TD_PIX_RGB24 ? 1 : 3;
    int64_t row[3] = { (dst->format == TD_PIX_RGB24 ? 3 * w : w) * bytes, (w >> sub) * bytes, (w >> sub) * bytes },
            rows[3] = { h, h >> sub, h >> sub };
    size_t total = 0;
    StoreArgs a = {};

    for (int p = 0; p < n_planes; p++)
        total += (size_t)(row[p] * rows[p]);
    if (total > c->frame_bytes) {
        cudaFree(c->frame);
        cudaFreeHost(c->frame_host);
        c->frame = c->frame_host = NULL;
        c->frame_bytes = 0;
        CU(dev, cudaMalloc(&c->frame, total));
        CU(dev, cudaMallocHost(&c->frame_host, total));
        c->frame_bytes = total;
    }
    a.rgb = (const float *)rgb->data + t * h * w * 3;
    a.w = (int)w;
    a.h = (int)h;
    a.format = dst->format;
    for (int p = 0; p < n_planes; p++)
        a.plane[p] = p ? a.plane[p - 1] + row[p - 1] * rows[p - 1] : c->frame;
    store_frame_kernel<<<dim3((unsigned)td_blocks(w, 128), (unsigned)h), 128, 0, c->stream>>>(a);
    CU_LAUNCHED(dev, "store_frame_kernel");
    CU(dev, cudaMemcpyAsync(c->frame_host, c->frame, total, cudaMemcpyDeviceToHost, c->stream));
    CU(dev, cudaStreamSynchronize(c->stream));
    for (int p = 0; p < n_planes; p++)
        for (int64_t y = 0; y < rows[p]; y++)
            memcpy(dst->data[p] + y * dst->stride[p], c->frame_host + (a.plane[p] - c->frame) + y * row[p],
                   (size_t)row[p]);
    return 0;
}
