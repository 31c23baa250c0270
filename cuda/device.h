/* SPDX-License-Identifier: BSD-2-Clause
 * Private to the CUDA backend: its device struct, error macro, small device helpers, and the slots by file. */
#ifndef TD_CUDA_DEVICE_H
#define TD_CUDA_DEVICE_H

#include <cuda.h>
#include <cuda_bf16.h>
#include <cuda_runtime.h>

extern "C" {
#include "seam/backend.h"
}
#include "clip_memory.h"

struct TDLoader;                                 /* upload.h */

/* functions of the driver API (context.cu) */
struct TDDriver {
    CUresult (*push)(CUcontext), (*pop)(CUcontext *), (*get)(CUcontext *), (*set)(CUcontext), (*device)(CUdevice *);
};

/* of the host, for copies: page-locked, or what malloc() gives */
struct TDHostBlock {
    uint8_t *data;
    size_t bytes;
    bool locked;
};

/* of one set of pictures (frame.cu) */
struct TDFrameBuffer {
    cudaEvent_t made, there;                     /* rgb; the pictures in host memory */
    TDHostBlock host;
    int format;                                  /* of what is there or on its way: n pictures of the set, from first */
    int64_t first, n;
};

/* what differs from card to card, chosen when a device is opened (device.cu) */
struct TDCudaKernels {
    int (*gemm)(TDDev *, const struct TDGemm *);                             /* gemm.h */
    /* bf16, dense or by qkv->map; o: [n_q, H*d], and with code and scale quantised, when o may be left unwritten */
    int (*flash)(TDDev *, const TDQkv *, __nv_bfloat16 *o, int8_t *code, float *scale);
    int (*sage)(TDDev *, const struct SlaArgs &);                            /* attn.h: o = sparse branch */
    int (*conv)(TDDev *, struct ConvArgs &);                                 /* conv.h */
    int (*norm_quant)(TDDev *, const struct NormArgs &);                     /* norm.cu: norm_modulate to codes */
    bool half_v;                                 /* sparse attention has v and P in f16, not e4m3 (clip_memory.h) */
};

struct TDCuda {
    TDDev dev;
    TDCard card;                                 /* as which it runs */
    TDCudaKernels kernels;
    int ordinal, n_sm;
    cudaStream_t stream;
    TDHostBlock staging[2];                      /* for uploads and downloads */
    bool told_unlocked;
    cudaEvent_t staged[2];
    TDLoader *loader;
    int *flag;                                   /* page-locked: a kernel's answer */
    void *encode_tiled;                          /* cuTensorMapEncodeTiled */
    TDDriver driver;
    cudaStream_t out, callers_stream;            /* for pictures; the caller's */
    cudaEvent_t callers;                         /* what the latter holds */
    TDFrameBuffer frames[2];
    char description[128];
};

#define TD_STAGING_BYTES ((size_t)32 << 20)

static inline TDCuda *td_cuda(TDDev *dev) { return (TDCuda *)dev; }

/* log it in words, where it was and its name at debug level, and map the code: memory -> ENOMEM, else EIO */
int td_cuda_error(TDDev *dev, cudaError_t e, const char *what, const char *file, int line);

#define CU(dev, call) do { \
        cudaError_t e_ = (call); \
        if (e_ != cudaSuccess) return td_cuda_error(dev, e_, #call, __FILE__, __LINE__); } while (0)
/* after a launch */
#define CU_LAUNCHED(dev, what) do { \
        cudaError_t e_ = cudaGetLastError(); \
        if (e_ != cudaSuccess) return td_cuda_error(dev, e_, what, __FILE__, __LINE__); } while (0)

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

/* eight bf16 */
__device__ __forceinline__ void unpack8(float (&v)[8], uint4 u)
{
    v[0] = low_f32(u.x), v[1] = high_f32(u.x), v[2] = low_f32(u.y), v[3] = high_f32(u.y);
    v[4] = low_f32(u.z), v[5] = high_f32(u.z), v[6] = low_f32(u.w), v[7] = high_f32(u.w);
}

/* two f16 in a word */
__device__ __forceinline__ uint32_t pack_half(float low, float high)
{
    uint32_t r;

    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
    return r;
}
__device__ __forceinline__ uint32_t pack16(float low, float high, bool f16)
{
    return f16 ? pack_half(low, high) : pack_bf16(low, high);
}

/* 16 bytes to global memory in one piece: the compiler may cut a vector that it packed itself into words */
__device__ __forceinline__ void store16(void *p, const uint32_t (&w)[4])
{
    asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(p), "r"(w[0]), "r"(w[1]), "r"(w[2]), "r"(w[3])
                 : "memory");
}

/* both to bf16 precision: one packed conversion, where single ones would go to the slow unit */
__device__ __forceinline__ void round2(float &a, float &b)
{
    uint32_t w = pack_bf16(a, b);

    a = low_f32(w);
    b = high_f32(w);
}

/* of values >= 0 or NaN, whose bits are ordered like integers; NaN is the greatest */
__device__ __forceinline__ float nan_max(float a, float b)
{
    return __uint_as_float(max(__float_as_uint(a) & 0x7fffffffu, __float_as_uint(b) & 0x7fffffffu));
}
__device__ __forceinline__ float warp_amax(float x)
{
    return __uint_as_float(__reduce_max_sync(~0u, __float_as_uint(x) & 0x7fffffffu));
}
/* of |values| of two words of two bf16; NaN stays */
__device__ __forceinline__ uint32_t abs_max2(uint32_t a, uint32_t b)
{
    __nv_bfloat162 m;

    a &= 0x7fff7fffu;
    b &= 0x7fff7fffu;
    m = __hmax2_nan(*(__nv_bfloat162 *)&a, *(__nv_bfloat162 *)&b);
    return *(uint32_t *)&m;
}

/* int8 codes sat(rint(x mult)), first in the low byte: adding 1.5 * 2^23 rounds to even and leaves the integer in the
 * low bits */
__device__ __forceinline__ uint32_t code_bits(float x, float mult)
{
    return __float_as_uint(__fadd_rn(fminf(fmaxf(__fmul_rn(x, mult), -128.0f), 127.0f), 12582912.0f));
}
__device__ __forceinline__ uint32_t codes4(float a, float b, float c, float d, float mult)
{
    uint32_t low = __byte_perm(code_bits(a, mult), code_bits(b, mult), 0x0040),
             high = __byte_perm(code_bits(c, mult), code_bits(d, mult), 0x0040);

    return __byte_perm(low, high, 0x5410);
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

/* x / (1 + e^-x) */
__device__ __forceinline__ float silu(float x)
{
    float e, r;

    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(e) : "f"(-1.4426950408889634f * x));
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(1.0f + e));
    return x * r;
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

/* ---- kernels ---- */

/* blocks of a kernel that a multiprocessor is to hold at least (__launch_bounds__), 0: as the compiler likes: where it
 * has 227 KB of shared memory, and where it has less */
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900 && __CUDA_ARCH__ < 1200
#define TD_BLOCKS(large, small) large
#else
#define TD_BLOCKS(large, small) small
#endif

struct TDKernel {
    const char *name;
    const void *function;
    int shared;                                  /* bytes of dynamic shared memory that it is launched with, at most */
    bool hopper;                                 /* launched where TDCard.sm is 90 alone */
};

#define TD_KERNEL(shared, hopper, ...) { #__VA_ARGS__, (const void *)__VA_ARGS__, (int)(shared), hopper }

/* of one file: all kernels with dynamic shared memory; where it has none, one of them (kernels.cu) */
struct TDKernels {
    const TDKernel *list;
    int n;
};
template <size_t N> static TDKernels td_kernels(const TDKernel (&list)[N]) { return TDKernels{ list, (int)N }; }

/* the files that have kernels */
#define TD_KERNEL_FILES(F)                                                                                             \
    F(attn_flash) F(attn_flash_sm90) F(attn_linear) F(attn_prepare) F(attn_sage) F(attn_sage_sm90) F(attn_t5)          \
    F(conv3d) F(conv3d_patch) F(conv3d_sm90) F(embed) F(frame) F(gemm_mma) F(gemm_sm90) F(norm)                  \
    F(widen)

#define TD_DECLARE(file) TDKernels td_cuda_in_##file(void);
TD_KERNEL_FILES(TD_DECLARE)

/* all of them, into the current context. ENOMEM, ENOTSUP where there is no code for the GPU or it has too little shared
 * memory for one of them, EIO */
int td_cuda_load_kernels(TDDev *dev);

/* bytes of dynamic shared memory to launch a kernel with, by its file's list. EIO where it is not in the list */
int td_cuda_shared(TDDev *dev, const TDKernels &file, const void *function);

/* ---- slots ---- */
extern "C" {
__attribute__((visibility("default"))) int td_cuda_open(TDDev **out, const TDGpu *gpu, TDLog *log);
__attribute__((visibility("default"))) int td_cuda_list(TDGpuInfo *list, int max, TDLog *log);
int td_cuda_count(TDLog *log);                   /* of GPUs: 1 or more, or a logged ENOTSUP: why there is none */
int td_cuda_copy_in(TDDev *, void *dst, const void *src, size_t bytes);      /* host to device through staging memory */
/* a block of so many bytes in place of the one that is there. Page-locked memory, of which WSL2 and containers may have
 * little, else memory that the driver copies through its own: slower, with a line that says so. 0 or ENOMEM, logged */
int td_cuda_host_alloc(TDDev *, TDHostBlock *block, size_t bytes);
void td_cuda_host_free(TDHostBlock *block);

int td_cuda_linear(TDDev *, TDTensor *, const TDAct *, const TDLinear *);
int td_cuda_linear_gelu(TDDev *, TDAct *, const TDAct *, const TDLinear *);
int td_cuda_linear_residual(TDDev *, TDTensor *, const TDAct *, const TDLinear *, const float *);
int td_cuda_linear_geglu(TDDev *, TDTensor *, TDTensor *, const TDAct *, const TDLinear *, const TDLinear *);

int td_cuda_quantise(TDDev *, TDAct *);
int td_cuda_quantise_blocks(TDDev *, const bf16 *x, int64_t rows, int64_t k, int8_t *code, float *scale);
/* in any stream and thread; logs nothing */
cudaError_t td_cuda_launch_quantise(cudaStream_t, const bf16 *x, int64_t rows, int64_t k, int8_t *code, float *scale);
/* values of a piece, which lies at src and scales on the device, to dst: bf16, also where codes are wanted, or f32 */
cudaError_t td_cuda_widen(cudaStream_t, const TDPiece *, const uint8_t *src, const uint8_t *scales, void *dst);
int td_cuda_norm_quant(TDDev *, const struct NormArgs &);
int td_cuda_norm_quant_cluster(TDDev *, const struct NormArgs &);
int td_cuda_norm_modulate(TDDev *, TDAct *, const TDTensor *, const TDNormW *, const float *, const float *);
int td_cuda_rms_norm(TDDev *, TDAct *, const TDTensor *, const TDNormW *);
int td_cuda_qk_norm_rope(TDDev *, TDQkv *, const TDNormW *, const TDNormW *, const TDTensor *);

int td_cuda_plan_qkv(TDDev *, TDArena *, TDQkv *);
int td_cuda_attn_dense(TDDev *, TDAct *, TDQkv *);
int td_cuda_flash_mma(TDDev *, const TDQkv *qkv, __nv_bfloat16 *o, int8_t *code, float *scale);
int td_cuda_flash_sm90(TDDev *, const TDQkv *qkv, __nv_bfloat16 *o, int8_t *code, float *scale);
int td_cuda_attn_sla(TDDev *, TDAct *, TDQkv *, const TDLinear *);
int td_cuda_attn_t5(TDDev *, TDTensor *, const TDTensor *, const TDTensor *, int64_t);

int td_cuda_patch_embed(TDDev *, TDTensor *, const TDTensor *, const TDTensor *, const TDLinear *);
int td_cuda_time_embed(TDDev *, TDTensor *, TDTensor *, double, const TDTimeEmbed *);
int td_cuda_add_modulation(TDDev *, TDTensor *, const TDTensor *, const TDTensor *);
int td_cuda_head(TDDev *, TDTensor *, const TDTensor *, const TDNormW *, const TDTensor *, const TDLinear *);
int td_cuda_normal(TDDev *, TDTensor *, TDRng *, float *);
int td_cuda_scale_noise(TDDev *, TDTensor *, const TDTensor *, double);
int td_cuda_round_state(TDDev *, TDTensor *, const TDTensor *, int *);
int td_cuda_rcm_step(TDDev *, TDTensor *, const TDTensor *, const TDTensor *, double, double);

int td_cuda_vae_unscale(TDDev *, TDTensor *, const TDTensor *, int64_t, int);
int td_cuda_vae_scale(TDDev *, TDTensor *, const TDTensor *, int64_t, int);
int td_cuda_keep_frames(TDDev *, TDTensor *, const TDTensor *);
int td_cuda_repeat_frame(TDDev *, TDTensor *, const TDTensor *);
int td_cuda_causal_conv3d(TDDev *, TDTensor *, const TDTensor *, const TDTensor *, const TDConv *, const TDTensor *);
int td_cuda_rms_silu(TDDev *, TDTensor *, const TDTensor *, const float *, int);
int td_cuda_plan_frames(TDDev *, TDArena *, TDFrameSet *);
int td_cuda_reserve_frames(TDDev *, int64_t h, int64_t w);
int td_cuda_begin_frames(TDDev *, TDFrameSet *, const TDFrame *);
int td_cuda_wait_frames(TDDev *, TDFrameSet *);
int td_cuda_fetch_frame(TDDev *, TDFrame *, TDFrameSet *, int64_t, int *);
}

/* carve a tensor: carve(a, &t, TD_BF16, {L, D}) */
template <size_t N> static int carve(TDArena *a, TDTensor *t, enum TDDtype dtype, const int64_t (&shape)[N])
{
    return td_arena_tensor(a, t, dtype, (int)N, shape);
}

#endif /* TD_CUDA_DEVICE_H */
