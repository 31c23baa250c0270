/* SPDX-License-Identifier: BSD-2-Clause
 * Latent in, picture out: (de)normalising a latent frame for the VAE, and bringing decoded pictures to the caller's
 * planes. Conversions as in engine/cpu/frame.c.
 *
 * The stream `out` converts and copies, while the stream of all other slots goes on with the next latent frame. Its
 * blocks come first where both have some to start.
 *
 * Invariants
 *  1. `out` waits for the event `made` of a set before it reads its rgb.
 *  2. The host has waited for the last copy from a set before the set is begun again: a set is fetched as a whole. */
#include <string.h>
#include "device.h"
#include "base/latent_stats.h"
#include "base/pixfmt.h"

struct LatentStats { float scale[TD_LATENT_CHANNELS], mean[TD_LATENT_CHANNELS]; };

__global__ void unscale_kernel(bf16 *y, const float *z, int64_t area, int64_t plane, LatentStats s, int form)
{
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    int c = (int)(i % TD_LATENT_CHANNELS);
    float v;

    if (i >= area * TD_LATENT_CHANNELS)
        return;
    v = round_bf16(z[c * plane + i / TD_LATENT_CHANNELS]);
    if (!(form & TD_LATENT_PLAIN))
        v = round_bf16(round_bf16(v / s.scale[c]) + s.mean[c]);
    if (form & TD_LATENT_SOFT)
        v = 3.0f * tanhf(v / 3.0f);
    y[i] = to_bf16(v);
}

__global__ void scale_kernel(bf16 *y, const bf16 *x, int64_t area, int64_t plane, int n_c, LatentStats s, int form)
{
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    int c = (int)(i / area);
    float v;

    if (i >= area * TD_LATENT_CHANNELS)
        return;
    v = to_f32(x[i % area * n_c + c]);
    if (!(form & TD_LATENT_PLAIN))
        v = round_bf16(v - s.mean[c]) * s.scale[c];
    y[c * plane + i % area] = to_bf16(v);
}

static LatentStats latent_stats(void)
{
    LatentStats s;

    for (int c = 0; c < TD_LATENT_CHANNELS; c++) {
        s.scale[c] = td_bf16_round(1.0f / td_bf16_round(td_latent_std[c]));
        s.mean[c] = td_bf16_round(td_latent_mean[c]);
    }
    return s;
}

int td_cuda_vae_unscale(TDDev *dev, TDTensor *y, const TDTensor *z, int64_t t, int form)
{
    int64_t area = z->shape[2] * z->shape[3];

    unscale_kernel<<<(unsigned)td_blocks(area * TD_LATENT_CHANNELS, 256), 256, 0, td_cuda(dev)->stream>>>(
        (bf16 *)y->data, (const float *)z->data + t * area, area, z->shape[1] * area, latent_stats(),
        form);
    CU_LAUNCHED(dev, "unscale_kernel");
    return 0;
}

int td_cuda_vae_scale(TDDev *dev, TDTensor *y, const TDTensor *x, int64_t t, int form)
{
    int64_t area = y->shape[2] * y->shape[3];

    scale_kernel<<<(unsigned)td_blocks(area * TD_LATENT_CHANNELS, 256), 256, 0, td_cuda(dev)->stream>>>(
        (bf16 *)y->data + t * area, (const bf16 *)x->data, area, y->shape[1] * area, (int)x->shape[3], latent_stats(),
        form);
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
    const float *rgb;                            /* [pictures,rows,pitch,3] */
    uint8_t *plane[3];                           /* of the first picture */
    int64_t stride[3], next;                     /* bytes to the next row, to the next picture */
    int *bad;                                    /* a word for each picture: set if a value is not finite */
    TDPixLayout l;
    int w, h, pitch, rows;                       /* of the pictures; of rgb */
};

__device__ __forceinline__ float unit(float x) { return (1.0f + fminf(fmaxf(x, -1.0f), 1.0f)) * 0.5f; }
__device__ __forceinline__ float luma(const float *p)
{
    return 0.2126f * unit(p[0]) + 0.7152f * unit(p[1]) + 0.0722f * unit(p[2]);
}

/* v: for 8 bits */
__device__ __forceinline__ void put(const StoreArgs &a, int plane, int y, int64_t i, float v)
{
    uint8_t *row = a.plane[plane] + blockIdx.z * a.next + y * a.stride[plane];

    if (a.l.ten)
        ((uint16_t *)row)[i] = (uint16_t)((int)(4.0f * v + 0.5f) << a.l.shift);
    else
        row[i] = (uint8_t)(v + 0.5f);
}

__global__ void store_kernel(StoreArgs a)
{
    int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y;
    const float *rgb = a.rgb + (int64_t)blockIdx.z * a.rows * a.pitch * 3, *p = rgb + ((int64_t)y * a.pitch + x) * 3;
    int sub = a.l.sub, cx = x >> sub, cy = y >> sub;
    float b = 0, r = 0;

    if (x >= a.w)
        return;
    if (!isfinite(p[0]) || !isfinite(p[1]) || !isfinite(p[2]))
        a.bad[blockIdx.z] = 1;
    if (a.l.rgb) {
        for (int c = 0; c < 3; c++) {
            float v = 255.0f * unit(p[c]);

            if (a.l.n_planes == 1)
                put(a, 0, y, (int64_t)x * 3 + c, v);
            else
                put(a, (c + 2) % 3, y, x, v);
        }
        return;
    }
    put(a, 0, y, x, 16.0f + 219.0f * luma(p));
    if (sub && (x % 2 || y % 2))
        return;
    for (int dy = 0; dy <= sub; dy++)
        for (int dx = -sub; dx <= sub; dx++) {
            const float *q = rgb + ((int64_t)min(y + dy, a.h - 1) * a.pitch + min(max(x + dx, 0), a.w - 1)) * 3;
            float weight = sub ? (dx ? 0.125f : 0.25f) : 1.0f, l = luma(q);

            b += weight * ((unit(q[2]) - l) / 1.8556f);
            r += weight * ((unit(q[0]) - l) / 1.5748f);
        }
    put(a, 1, cy, a.l.pair ? 2 * cx : cx, 128.0f + 224.0f * b);
    put(a, a.l.pair ? 1 : 2, cy, a.l.pair ? 2 * cx + 1 : cx, 128.0f + 224.0f * r);
}

/* ---- sets (clip_memory.h) ---- */

/* bytes of a picture; planes: where they begin in it */
static int64_t picture_bytes(const TDPixLayout *l, int64_t h, int64_t w, int64_t planes[3])
{
    int64_t at = 0;

    for (int p = 0; p < l->n_planes; p++) {
        planes[p] = at;
        at += td_pix_row(l, p, w) * l->bytes * td_pix_rows(l, p, h);
    }
    return at;
}

int td_cuda_plan_frames(TDDev *, TDArena *a, TDFrameSet *set)
{
    return carve(a, &set->own, TD_I8, { td_cuda_set_bytes(set->h, set->w) });
}

int td_cuda_reserve_frames(TDDev *dev, int64_t h, int64_t w)
{
    TDCuda *c = td_cuda(dev);
    size_t bytes = (size_t)td_cuda_set_bytes(h, w);

    for (TDFrameBuffer &b : c->frames) {
        int ret = b.host.bytes >= bytes ? 0 : td_cuda_host_alloc(dev, &b.host, bytes);

        if (ret < 0)
            return ret;
    }
    return 0;
}

/* from where and what of it is stored, for pictures from t on */
static StoreArgs store_args(const TDFrameSet *set, enum TDPixFmt format, int64_t t)
{
    StoreArgs a = {};

    a.l = td_pix_layout(format);
    a.w = (int)set->w;
    a.h = (int)set->h;
    a.rows = (int)set->rgb.shape[1];
    a.pitch = (int)set->rgb.shape[2];
    a.rgb = (const float *)set->rgb.data + t * a.rows * a.pitch * 3;
    return a;
}

/* pictures t.. of the set to tightly packed memory, and with their flags to the host; t 0: all of them, in one copy */
static int copy_out(TDDev *dev, TDFrameSet *set, enum TDPixFmt format, int64_t t, int64_t n)
{
    TDCuda *c = td_cuda(dev);
    TDFrameBuffer *b = &c->frames[set->turn];
    int64_t h = set->h, w = set->w, planes[3], bytes;
    uint8_t *base = (uint8_t *)set->own.data;
    StoreArgs a = store_args(set, format, t);

    bytes = picture_bytes(&a.l, h, w, planes);
    a.next = bytes;
    a.bad = (int *)base;
    for (int p = 0; p < a.l.n_planes; p++) {
        a.plane[p] = base + FLAGS + planes[p];
        a.stride[p] = td_pix_row(&a.l, p, w) * a.l.bytes;
    }
    CU(dev, cudaMemsetAsync(base, 0, FLAGS, c->out));
    store_kernel<<<dim3((unsigned)td_blocks(w, 128), (unsigned)h, (unsigned)n), 128, 0, c->out>>>(a);
    CU_LAUNCHED(dev, "store_kernel");
    CU(dev, cudaMemcpyAsync(b->host.data, base, (size_t)(FLAGS + n * bytes), cudaMemcpyDeviceToHost, c->out));
    CU(dev, cudaEventRecord(b->there, c->out));
    b->format = format;
    b->first = t;
    b->n = n;
    return 0;
}

int td_cuda_begin_frames(TDDev *dev, TDFrameSet *set, const TDFrame *like)
{
    TDCuda *c = td_cuda(dev);
    TDFrameBuffer *b = &c->frames[set->turn];

    CU(dev, cudaEventRecord(b->made, c->stream));
    CU(dev, cudaStreamWaitEvent(c->out, b->made, 0));
    b->n = 0;
    return like->memory == TD_MEMORY_CUDA ? 0 : copy_out(dev, set, like->format, 0, set->rgb.shape[0]);
}

int td_cuda_wait_frames(TDDev *dev, TDFrameSet *set)
{
    CU(dev, cudaEventSynchronize(td_cuda(dev)->frames[set->turn].made));
    return 0;
}

/* the picture to the caller's device memory; the word behind all others tells whether it is finite */
static int store_there(TDDev *dev, const TDFrame *dst, TDFrameSet *set, int64_t t, int *finite)
{
    TDCuda *c = td_cuda(dev);
    TDFrameBuffer *b = &c->frames[set->turn];
    int64_t h = set->h, w = set->w;
    int *word = (int *)set->own.data + FLAGS / sizeof(int) - 1,
        *there = (int *)b->host.data + FLAGS / sizeof(int) - 1;
    StoreArgs a = store_args(set, dst->format, t);

    a.bad = word;
    for (int p = 0; p < a.l.n_planes; p++) {
        cudaPointerAttributes memory = {};

        if (cudaPointerGetAttributes(&memory, dst->data[p]) != cudaSuccess ||
            (memory.type != cudaMemoryTypeDevice && memory.type != cudaMemoryTypeManaged) ||
            memory.device != td_cuda(dev)->ordinal) {
            cudaGetLastError();
            return td_error(dev->log, EINVAL, "frame: plane %d at %p, want memory of CUDA device %d", p,
                            (void *)dst->data[p], td_cuda(dev)->ordinal);
        }
        a.plane[p] = dst->data[p];
        a.stride[p] = dst->stride[p];
    }
    CU(dev, cudaEventRecord(c->callers, c->callers_stream));     /* what reads an earlier frame from this memory */
    CU(dev, cudaStreamWaitEvent(c->out, c->callers, 0));
    CU(dev, cudaMemsetAsync(word, 0, sizeof(*word), c->out));
    store_kernel<<<dim3((unsigned)td_blocks(w, 128), (unsigned)h), 128, 0, c->out>>>(a);
    CU_LAUNCHED(dev, "store_kernel");
    CU(dev, cudaMemcpyAsync(there, word, sizeof(*word), cudaMemcpyDeviceToHost, c->out));
    CU(dev, cudaStreamSynchronize(c->out));
    *finite = !*there;
    return 0;
}

/* another format than the set was begun with: this picture alone, in place of what is there */
int td_cuda_fetch_frame(TDDev *dev, TDFrame *dst, TDFrameSet *set, int64_t t, int *finite)
{
    TDFrameBuffer *b = &td_cuda(dev)->frames[set->turn];
    int64_t h = set->h, w = set->w, planes[3], bytes;
    TDPixLayout l = td_pix_layout(dst->format);
    int ret;

    if (dst->memory == TD_MEMORY_CUDA)
        return store_there(dev, dst, set, t, finite);
    if (b->format != dst->format || t < b->first || t >= b->first + b->n)
        TRY(copy_out(dev, set, dst->format, t, 1));
    CU(dev, cudaEventSynchronize(b->there));
    t -= b->first;
    bytes = picture_bytes(&l, h, w, planes);
    for (int p = 0; p < l.n_planes; p++) {
        int64_t row = td_pix_row(&l, p, w) * l.bytes;

        for (int64_t y = 0; y < td_pix_rows(&l, p, h); y++)
            memcpy(dst->data[p] + y * dst->stride[p], b->host.data + FLAGS + t * bytes + planes[p] + y * row,
                   (size_t)row);
    }
    *finite = !((const int *)b->host.data)[t];
    return 0;
fail:
    return ret;
}

static const TDKernel kernels[] = { TD_KERNEL(0, false, store_kernel) };

TDKernels td_cuda_in_frame(void) { return td_kernels(kernels); }
