/* SPDX-License-Identifier: BSD-2-Clause
 * Private to the CUDA backend: its device struct, error macro, small device helpers, and the slots by file. */
#ifndef TD_CUDA_DEVICE_H
#define TD_CUDA_DEVICE_H

#include <cuda_bf16.h>
#include <cuda_runtime.h>

extern "C" {
#include "backend.h"
}

struct TDLoader;                                 /* upload.h */

struct TDCuda {
    TDDev dev;
    int sm, n_sm;
    cudaStream_t stream;
    void *staging[2];                            /* pinned, for uploads */
    cudaEvent_t staged[2];
    TDLoader *loader;
    void *encode_tiled;                          /* cuTensorMapEncodeTiled */
    uint8_t *frame, *frame_host;                 /* a stored frame on the device, and page-locked */
    size_t frame_bytes;
    char description[128];
};

#define TD_STAGING_BYTES ((size_t)32 << 20)

static inline TDCuda *td_cuda(TDDev *dev) { return (TDCuda *)dev; }

/* log FILE:LINE and map the code: memory -> ENOMEM, else EIO */
int td_cuda_error(TDDev *dev, cudaError_t e, const char *what, const char *file, int line);

#define CU(dev, call) do { \
        cudaError_t e_ = (call); \
        if (e_ != cudaSuccess) return td_cuda_error(dev, e_, #call, __FILE__, __LINE__); } while (0)
/* after a launch */
#define CU_LAUNCHED(dev, what) do { \
        cudaError_t e_ = cudaGetLastError(); \
        if (e_ != cudaSuccess) return td_cuda_error(dev, e_, what, __FILE__, __LINE__); } while (0)

static inline int64_t td_blocks(int64_t n, int64_t block) { return (n + block - 1) / block; }

typedef __nv_bfloat16 bf16;

__device__ __forceinline__ float to_f32(bf16 x) { return __bfloat162float(x); }
__device__ __forceinline__ bf16 to_bf16(float x) { return __float2bfloat16_rn(x); }
__device__ __forceinline__ float round_bf16(float x) { return __bfloat162float(__float2bfloat16_rn(x)); }
/* two bf16 in a word, low half first */
__device__ __forceinline__ float low_f32(uint32_t w) { return __uint_as_float(w << 16); }
__device__ __forceinline__ float high_f32(uint32_t w) { return __uint_as_float(w & 0xffff0000u); }
__device__ __forceinline__ uint32_t pack_bf16(float low, float high)
{
    __nv_bfloat162 v = __floats2bfloat162_rn(low, high);

    return *(uint32_t *)&v;
}

__device__ __forceinline__ float warp_sum(float x)
{
    for (int i = 16; i > 0; i >>= 1)
        x += __shfl_xor_sync(~0u, x, i);
    return x;
}

__device__ __forceinline__ float warp_max(float x)
{
    for (int i = 16; i > 0; i >>= 1)
        x = fmaxf(x, __shfl_xor_sync(~0u, x, i));
    return x;
}

/* 1/x without the slow path's call: one Newton step on the approximation; x normal */
__device__ __forceinline__ float reciprocal(float x)
{
    float r;

    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x));
    return fmaf(r, fmaf(-x, r, 1.0f), r);
}

/* 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) */
__device__ __forceinline__ float gelu_tanh(float x)
{
    float u = 0.79788456f * (x + 0.044715f * (x * x * x));

    return x - __fdividef(x, 1.0f + __expf(2.0f * u));
}

/* words of 4 column groups -> the 4 words of group lane%4 from all lanes of the quad */
__device__ __forceinline__ void transpose_quad(uint32_t (&w)[4])
{
    int lane = threadIdx.x & 3;
    uint32_t a, b;

    /* exchange with the neighbour: after this w[0..1], w[2..3] hold pairs (own, neighbour) of groups of equal parity */
    a = __shfl_xor_sync(~0u, lane & 1 ? w[0] : w[1], 1);
    b = __shfl_xor_sync(~0u, lane & 1 ? w[2] : w[3], 1);
    if (lane & 1) {
        w[0] = a;
        w[2] = b;
    } else {
        w[1] = a;
        w[3] = b;
    }
    a = __shfl_xor_sync(~0u, lane & 2 ? w[0] : w[2], 2);
    b = __shfl_xor_sync(~0u, lane & 2 ? w[1] : w[3], 2);
    if (lane & 2) {
        w[0] = a;
        w[1] = b;
    } else {
        w[2] = a;
        w[3] = b;
    }
}

/* ---- slots ---- */
extern "C" {
int td_cuda_pack_linear(TDDev *, TDWeights *, TDLinear *, const TDLinearSource *, int, enum TDDtype);
int td_cuda_pack_conv(TDDev *, TDWeights *, TDConv *, const TDEntry *);
int td_cuda_pack_table(TDDev *, TDWeights *, TDTensor *, const TDEntry *);
int td_cuda_copy_in(TDDev *, void *dst, const void *src, size_t bytes);      /* host to device through pinned memory */

int td_cuda_linear(TDDev *, TDTensor *, const TDAct *, const TDLinear *);
int td_cuda_linear_gelu(TDDev *, TDAct *, const TDAct *, const TDLinear *);
int td_cuda_linear_residual(TDDev *, TDTensor *, const TDAct *, const TDLinear *, const float *);
int td_cuda_linear_geglu(TDDev *, TDAct *, TDTensor *, const TDAct *, const TDLinear *, const TDLinear *);

int td_cuda_quantise(TDDev *, TDAct *);
int td_cuda_quantise_blocks(TDDev *, const bf16 *x, int64_t rows, int64_t k, int8_t *code, float *scale);
int td_cuda_norm_modulate(TDDev *, TDAct *, const TDTensor *, const TDNormW *, const float *, const float *);
int td_cuda_rms_norm(TDDev *, TDAct *, const TDTensor *, const TDNormW *);
int td_cuda_qk_norm_rope(TDDev *, TDQkv *, const TDTensor *, const TDNormW *, const TDNormW *, const TDTensor *);

int td_cuda_plan_qkv(TDDev *, TDArena *, TDQkv *);
int td_cuda_attn_dense(TDDev *, TDAct *, TDQkv *);
int td_cuda_flash(TDDev *, __nv_bfloat16 *o, const TDQkv *);                /* the bf16 kernel, dense or by qkv->map */
int td_cuda_attn_sla(TDDev *, TDAct *, TDQkv *, const TDLinear *);
int td_cuda_attn_t5(TDDev *, TDAct *, const TDTensor *, const TDTensor *, int64_t);

int td_cuda_patch_embed(TDDev *, TDTensor *, const TDTensor *, const TDTensor *, const TDLinear *);
int td_cuda_time_embed(TDDev *, TDTensor *, TDTensor *, double, const TDTimeEmbed *);
int td_cuda_add_modulation(TDDev *, TDTensor *, const TDTensor *, const TDTensor *);
int td_cuda_head(TDDev *, TDTensor *, const TDTensor *, const TDNormW *, const TDTensor *, const TDLinear *);
int td_cuda_rcm_step(TDDev *, TDTensor *, const TDTensor *, const TDTensor *, double, double);

int td_cuda_vae_unscale(TDDev *, TDTensor *, const TDTensor *, int64_t);
int td_cuda_vae_scale(TDDev *, TDTensor *, const TDTensor *, int64_t);
int td_cuda_repeat_frame(TDDev *, TDTensor *, const TDTensor *);
int td_cuda_causal_conv3d(TDDev *, TDTensor *, const TDTensor *, TDTensor *, const TDConv *, const TDTensor *);
int td_cuda_rms_silu(TDDev *, TDTensor *, const TDTensor *, const float *, int);
int td_cuda_store_frame(TDDev *, TDFrame *, const TDTensor *, int64_t);
}

/* carve a tensor: carve(a, &t, TD_BF16, {L, D}) */
template <size_t N> static int carve(TDArena *a, TDTensor *t, enum TDDtype dtype, const int64_t (&shape)[N])
{
    return td_arena_tensor(a, t, dtype, (int)N, shape);
}

#endif /* TD_CUDA_DEVICE_H */
